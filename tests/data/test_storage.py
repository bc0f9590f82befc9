"""Files are replaced in one step, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import NoReturn

import pytest

from napari_unet.data.storage import (
    StorageError,
    atomic_path,
    check_writable,
    is_zarr_folder,
    restore_interrupted,
    scratch_array,
)
from napari_unet.errors import UNetError


def _make_zarr(folder: Path, content: str) -> None:
    (folder / "c").mkdir(parents=True)
    (folder / "zarr.json").write_text("{}")
    (folder / "c" / "0").write_text(content)


def _write(target: Path, content: str, then: BaseException | None = None) -> None:
    with atomic_path(target) as temporary:
        if target.suffix == ".zarr":
            _make_zarr(temporary, content)
        else:
            temporary.write_text(content)
        if then is not None:
            raise then


def test_new_file_appears_with_its_folders_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "x.txt"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".txt"
        assert temporary.name.startswith(".")
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(target.parent) == ["x.txt"]


def test_existing_file_is_replaced_and_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    target.chmod(0o640)
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    if sys.platform != "win32":
        assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.parametrize("failure", [ValueError("bad"), KeyboardInterrupt()])
def test_failure_in_the_block_keeps_the_old_file_and_passes_through(tmp_path: Path, failure: BaseException) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(type(failure)):
        _write(target, "half", then=failure)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("folder", [False, True])
def test_full_disk_keeps_the_old_content_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool
) -> None:
    target = tmp_path / ("x.zarr" if folder else "x.txt")
    if folder:
        _make_zarr(target, "old")
    else:
        target.write_text("old")

    def full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"x\.(txt|zarr) can't be written: disk full") as caught:
        _write(target, "new")
    assert isinstance(caught.value, UNetError)
    assert "\n" not in str(caught.value)
    assert (target / "c" / "0" if folder else target).read_text() == "old"
    assert os.listdir(tmp_path) == [target.name]


def test_write_that_fails_within_the_block_is_reported_with_the_target(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    with pytest.raises(StorageError, match="disk full"), atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_real_failure_of_the_system_half_way_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x.bin"
    target.write_bytes(b"old")
    script = f"""
        import resource
        from napari_unet.data.storage import StorageError, atomic_path
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            with atomic_path({str(target)!r}) as temporary, open(temporary, "wb") as stream:
                stream.write(bytes(100_000))
        except StorageError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert "x.bin can't be written: the disk does not take a file that large" in done.stdout
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.bin"]


def test_zarr_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "x.zarr"
    _make_zarr(target, "old")
    (target / "c" / "1").write_text("only in the old one")
    with atomic_path(target) as temporary:
        _make_zarr(temporary, "new")
    assert is_zarr_folder(target)
    assert [file.name for file in (target / "c").iterdir()] == ["0"]
    assert (target / "c" / "0").read_text() == "new"
    assert os.listdir(tmp_path) == ["x.zarr"]


def test_folder_that_is_no_zarr_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter.txt").write_text("years of work")
    with pytest.raises(StorageError, match="choose another name"), atomic_path(target) as temporary:
        temporary.write_text("new")
    with pytest.raises(StorageError, match="choose another name"):
        check_writable(target)
    assert (target / "chapter.txt").read_text() == "years of work"


def test_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "x.zarr"
    target.write_text("a file")
    with pytest.raises(StorageError, match="is there already"), atomic_path(target) as temporary:
        _make_zarr(temporary, "new")
    assert target.read_text() == "a file"
    assert os.listdir(tmp_path) == ["x.zarr"]


def test_interrupted_replacement_of_a_folder_is_put_right(tmp_path: Path) -> None:
    target = tmp_path / "x.zarr"
    script = f"""
        import os, signal
        from pathlib import Path
        from napari_unet.data import storage
        storage.os.replace = lambda source, target: os.kill(os.getpid(), signal.SIGTERM)
        with storage.atomic_path({str(target)!r}) as temporary:
            temporary.mkdir()
            Path(temporary, "zarr.json").write_text("new")
    """
    _make_zarr(target, "old")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode != 0
    assert not target.exists(), "the process was to die between the two renames"
    restore_interrupted(target)
    assert (target / "c" / "0").read_text() == "old"


def test_leftovers_of_dead_writers_are_swept_and_those_of_others_kept(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    script = f"""
        import os
        from napari_unet.data.storage import atomic_path
        with atomic_path({str(target)!r}) as temporary:
            temporary.write_text("half")
            os._exit(9)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert len(os.listdir(tmp_path)) == 1
    (tmp_path / ".x.txt.swp").write_text("an editor's")
    other = tmp_path / "y.txt"
    with atomic_path(other) as temporary:
        temporary.write_text("other target")
    assert len(os.listdir(tmp_path)) == 3
    with atomic_path(target) as first:
        first.write_text("first")
        with atomic_path(target) as second:
            second.write_text("second")
        assert first.exists(), "a writer at work was swept away"
    assert sorted(os.listdir(tmp_path)) == [".x.txt.swp", "x.txt", "y.txt"]
    assert target.read_text() == "first"


def test_old_leftovers_of_other_computers_are_swept_after_a_day(tmp_path: Path) -> None:
    fresh = tmp_path / ".x.00000000-123-0123abcd.part.txt"
    stale = tmp_path / ".x.00000000-124-0123abcd.part.txt"
    fresh.touch()
    stale.touch()
    os.utime(stale, (time.time() - 2 * 86400,) * 2)
    with atomic_path(tmp_path / "x.txt") as temporary:
        temporary.write_text("new")
    assert sorted(os.listdir(tmp_path)) == [fresh.name, "x.txt"]


def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    real = tmp_path / "real.txt"
    real.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError, match="is a file, not a folder"), atomic_path(tmp_path / "out" / "x.txt"):
        pass
    with pytest.raises(StorageError, match="is a file, not a folder"):
        check_writable(tmp_path / "out" / "x.txt")


def test_check_writable_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    check_writable(target)
    check_writable(tmp_path / "new" / "y.txt")
    assert target.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["new", "x.txt"]
    assert os.listdir(tmp_path / "new") == []


def test_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nothing was saved"), atomic_path(tmp_path / "x.txt"):
        pass


def test_scratch_array_reserves_its_space_and_leaves_nothing(tmp_path: Path) -> None:
    array = scratch_array(tmp_path / "new", (3, 4, 5))
    array[...] = 1.5
    assert array.shape == (3, 4, 5)
    assert float(array.sum()) == 90.0
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system can't reserve space")
def test_scratch_array_without_space_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no space for an intermediate result"):
        scratch_array(tmp_path, (2**40, 2**15))
