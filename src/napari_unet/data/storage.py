"""Writing files so that a crash, a kill or a full disk leaves the old file whole.

Everything that the package writes goes through `atomic_path`: it is written beside its target under another name,
flushed to the disk and put in place in one step. Readers see the old file or the new one, never a half.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import socket
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_unet.errors import UNetError

__all__ = [
    "StorageError",
    "atomic_path",
    "check_writable",
    "failure_reason",
    "is_zarr_folder",
    "restore_interrupted",
    "scratch_array",
]

_STALE_AFTER_SECONDS = 24 * 3600.0
_ZARR_MARKS = (".zarray", ".zgroup", "zarr.json")
_REASONS = {
    errno.ENOSPC: "disk full; free some space and save again",
    getattr(errno, "EDQUOT", errno.ENOSPC): "disk full (your quota is used up); free some space and save again",
    errno.EFBIG: "the disk does not take a file that large; save it elsewhere",
    errno.EACCES: "you have no permission to write there (or another program has the file open); save it elsewhere",
    errno.EPERM: "you have no permission to write there; save it elsewhere",
    errno.EROFS: "the disk can only be read; save it elsewhere",
    errno.ENOTDIR: "a part of its path is a file, not a folder; choose another place",
    errno.EEXIST: "a part of its path is a file, not a folder; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the disk reports an error; save it elsewhere",
}


class StorageError(UNetError):
    """A file can't be written: disk full, no permission, read-only disk."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to, and put it in place of `path` when the block ends well.

    The temporary lies in the same folder and has the same suffix; missing folders on the way are made. A folder (a
    zarr) may be written as well as a file. If the block fails, the temporary is removed and what was at `path` before
    stays as it was. Leftovers of killed writers of the same target are swept away.

    Parameters
    ----------
    path : path-like
        The file or folder to write. A symbolic link is followed.

    Yields
    ------
    pathlib.Path
        Where to write; nothing exists there yet.

    Raises
    ------
    StorageError
        If it can't be written, naming the file and the reason; also for any `OSError` that the block raises, and if
        `path` is a folder that is no zarr.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder, "count.txt")
    ...     with atomic_path(target) as temporary:
    ...         _ = temporary.write_text("17")
    ...     target.read_text(), [file.name for file in Path(folder).iterdir()]
    ('17', ['count.txt'])
    """
    target = _resolve(path)
    if target.is_dir() and not is_zarr_folder(target) and any(target.iterdir()):
        raise StorageError(f"{target} can't be written: a folder with that name is there already; choose another name.")
    temporary = _sibling(target, "part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        yield temporary
        if not temporary.exists():
            raise StorageError(f"{target} can't be written: nothing was saved.")
        _flush(temporary)
        _put_in_place(temporary, target)
    except OSError as error:
        raise StorageError(f"{target} can't be written: {failure_reason(error)}.") from error
    finally:
        _remove(temporary)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out whether `path` can be written, before hours of work end in an error.

    Missing folders on the way are made; the file itself is left as it is.

    Raises
    ------
    StorageError
        If it can't be written, naming the file and the reason.
    """
    target = _resolve(path)
    probe = _sibling(target, "part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        raise StorageError(f"{target} can't be written: {failure_reason(error)}.") from error
    finally:
        _remove(probe)
    if target.is_dir() and not is_zarr_folder(target):
        raise StorageError(f"{target} can't be written: a folder with that name is there already; choose another name.")


def scratch_array(folder: str | os.PathLike[str], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Make a large float32 array that lives on the disk instead of in memory, and vanishes when it is no longer used.

    Its space is reserved at once, so that a full disk is told now and not in the middle of the work.

    Raises
    ------
    StorageError
        If there is no space for it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     array = scratch_array(folder, (2, 3))
    ...     array[1] = 7
    ...     float(array.sum()), os.listdir(folder)
    (21.0, [])
    """
    size = math.prod(shape) * 4
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as stream:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
            stream.truncate(size)
            return np.memmap(stream, np.float32, "r+", shape=shape)
    except OSError as error:
        raise StorageError(f"{folder} has no space for an intermediate result of {size / 1e9:.3g} GB.") from error


def is_zarr_folder(path: str | os.PathLike[str]) -> bool:
    """Tell whether a folder holds a zarr array or group (version 2 or 3)."""
    return any(Path(path, mark).is_file() for mark in _ZARR_MARKS)


def restore_interrupted(path: str | os.PathLike[str]) -> None:
    """Put back a folder whose replacement was killed in the short time between its two renames.

    Does nothing where `path` exists or nothing was set aside.
    """
    target = _resolve(path)
    if os.path.lexists(target) or not target.parent.is_dir():
        return
    aside = [file for file, kind in _siblings(target) if kind == "old" and not _is_alive(file)]
    if aside:
        max(aside, key=_modified).rename(target)


def _resolve(path: str | os.PathLike[str]) -> Path:
    given = Path(path).expanduser()
    return given.resolve() if given.is_symlink() else Path(os.path.abspath(given))


def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _sibling(target: Path, kind: str) -> Path:
    """Name a temporary after its target, computer and process: hidden, in the same folder, with the same suffix."""
    token = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return target.with_name(f".{target.stem[:150]}.{token}.{kind}{target.suffix}")


def _siblings(target: Path) -> Iterator[tuple[Path, str]]:
    pattern = re.compile(
        rf"\.{re.escape(target.stem[:150])}\.[0-9a-f]{{8}}-\d+-[0-9a-f]{{8}}\.(part|old){re.escape(target.suffix)}"
    )
    for file in target.parent.iterdir():
        match = pattern.fullmatch(file.name)
        if match:
            yield file, match[1]


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()


def _is_alive(temporary: Path) -> bool:
    """Tell whether the process that made a temporary may still be at work on it."""
    if time.time() - _modified(temporary) > _STALE_AFTER_SECONDS:
        return False
    match = re.search(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.(?:part|old)", temporary.name)
    if match is None or match[1] != _host() or sys.platform == "win32":
        return True
    try:
        os.kill(int(match[2]), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _sweep(target: Path) -> None:
    """Remove what killed writers of the same target left behind."""
    restore_interrupted(target)
    for leftover in [file for file, _ in _siblings(target) if not _is_alive(file)]:
        _remove(leftover)


def _remove(path: Path) -> None:
    """Remove a temporary; one that can't be removed now is swept by the next writer."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _flush(path: Path) -> None:
    """Make sure that the data are on the disk before the name points to them."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    for file in files:
        with open(file, "r+b") as stream:
            os.fsync(stream.fileno())


def _put_in_place(temporary: Path, target: Path) -> None:
    if target.is_dir():
        aside = _sibling(target, "old")
        os.rename(target, aside)
        try:
            os.replace(temporary, target)
        except BaseException:
            os.rename(aside, target)
            raise
        _remove(aside)
    else:
        if target.exists() and temporary.is_file():
            shutil.copymode(target, temporary)
        elif target.is_file():
            raise FileExistsError(errno.EEXIST, "a file with that name is there already", str(target))
        os.replace(temporary, target)
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    """Make the renaming itself durable, where the system knows how (Windows does it by itself)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some network disks can't
            raise
    finally:
        os.close(descriptor)


def failure_reason(error: OSError) -> str:
    """Say in a few words why something can't be written, and what to do."""
    if isinstance(error, FileExistsError) and error.strerror and "already" in error.strerror:
        return f"{error.strerror}; choose another name"
    if error.errno in _REASONS:
        return _REASONS[error.errno]
    text = error.strerror or str(error) or type(error).__name__
    return f"{text[:1].lower()}{text[1:]}".rstrip(".")
