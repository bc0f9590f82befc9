"""The images of a session: how one is recognised, where its file may have gone, and copies of those without a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.storage import atomic_path
from napari_unet.errors import SessionError
from napari_unet.session.document import ImageEntry

__all__ = ["IMAGES_FOLDER", "candidate_paths", "copy_image", "fingerprint", "read_copy"]

IMAGES_FOLDER = "images"  # in the folder of a session

_PATCH = 32
_PATCHES_A_SIDE = 3
_COPY_BYTES = 8_000_000


def fingerprint(image: Any) -> str:
    r"""Return a short text that is the same for the same image and, but for tiny edits, for no other.

    Nine small patches along the last spatial axes, in three planes, are read; nothing else, so that it costs little
    for images on the disk too.

    Parameters
    ----------
    image : array-like
        (\*axes) at full resolution: numpy, dask, zarr or the like.

    Returns
    -------
    str
        Hexadecimal digits.

    Examples
    --------
    >>> image = np.arange(12.0).reshape(3, 4)
    >>> fingerprint(image) == fingerprint(image.copy()), fingerprint(image) == fingerprint(image + 1)
    (True, False)
    """
    shape = tuple(int(n) for n in image.shape)
    digest = hashlib.sha256(repr((shape, np.dtype(image.dtype).str)).encode())
    for box in _patches(shape):
        digest.update(np.ascontiguousarray(image[box]).tobytes())
    return digest.hexdigest()[:32]


def _patches(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    colour = 1 if len(shape) > 2 and shape[-1] in (3, 4) else 0
    rows, columns = len(shape) - 2 - colour, len(shape) - 1 - colour
    for step in range(_PATCHES_A_SIDE):
        part = step / (_PATCHES_A_SIDE - 1)
        for other in range(_PATCHES_A_SIDE):
            across = other / (_PATCHES_A_SIDE - 1)
            box = []
            for axis, n in enumerate(shape):
                if axis in (rows, columns):
                    at = int((part if axis == rows else across) * max(0, n - _PATCH))
                    box.append(slice(at, at + _PATCH))
                elif axis > columns:
                    box.append(slice(None))
                else:
                    at = int(part * max(0, n - 1))
                    box.append(slice(at, at + 1))
            yield tuple(box)


def candidate_paths(entry: ImageEntry, folder: Path) -> list[str]:
    """List where the file of an image may be, likeliest first: where it was, or beside the session's folder.

    Only those that exist; an address on the web is taken as it is.

    Parameters
    ----------
    entry : ImageEntry
        The image.
    folder : pathlib.Path
        The folder of the session.
    """
    if not entry.path:
        return []
    if "://" in entry.path:
        return [entry.path]
    name = entry.path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    places = [Path(entry.path), folder.parent / name, folder / name]
    return list(dict.fromkeys(str(place) for place in places if place.exists()))


def copy_image(image: Any, target: Path) -> None:
    r"""Write a copy of an image as an npy file, in one step and a few megabytes at a time.

    Parameters
    ----------
    image : array-like
        (\*axes) at full resolution.
    target : pathlib.Path
        The file.

    Raises
    ------
    napari_unet.data.storage.StorageError
        If it can't be written.
    """
    shape, dtype = tuple(int(n) for n in image.shape), np.dtype(image.dtype)
    row = max(1, int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize)
    rows = max(1, _COPY_BYTES // row)
    with atomic_path(target) as temporary, open(temporary, "wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, shape[0], rows):
            stream.write(np.ascontiguousarray(image[start : start + rows]).data)


def read_copy(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read a copy that `copy_image` wrote.

    Raises
    ------
    SessionError
        If it is missing or damaged.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise SessionError(f"The copy {Path(path).name} of an image in the session is missing or damaged.") from error
    return array
