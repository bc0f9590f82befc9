"""A tile on the disk is absent or whole, and that its file is there is the record of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_unet.data.storage import StorageError
from napari_unet.data.tile_array import TileArray


def make(folder: Path, **settings: Any) -> TileArray:
    given: dict[str, Any] = {"tile": (4, 8), "dtype": "uint16", **settings}
    return TileArray.create(folder / "a.zarr", given.pop("names", ("0",)), (10, 20), **given)


def tile_files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "zarr.json")


def test_each_tile_is_one_file_and_what_is_missing_reads_as_zero(tmp_path: Path, rng: np.random.Generator) -> None:
    array = make(tmp_path)
    image = rng.integers(1, 1000, (10, 20)).astype(np.uint16)
    assert array.grid == (3, 3)
    written = [(0, 0), (1, 2), (2, 2)]
    for index in written:
        array.write(index, image[array.box(index)])
    assert tile_files(tmp_path) == [f"a.zarr/0/c/{i}/{j}" for i, j in written]
    reopened = TileArray.open(tmp_path / "a.zarr", ["0"])
    assert [index for index in reopened.indices() if reopened.has(index)] == written
    expected = np.zeros_like(image)
    for index in written:
        expected[array.box(index)] = image[array.box(index)]
    np.testing.assert_array_equal(reopened[:], expected)


def test_a_tile_of_zeros_is_there_too(tmp_path: Path) -> None:
    array = make(tmp_path)
    array.write((2, 2), np.zeros((2, 4), np.uint16))
    assert array.has((2, 2))
    array.remove((2, 2))
    assert not array.has((2, 2))


def test_smaller_versions_hold_every_second_pixel_and_come_before_the_tile_itself(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = rng.integers(1, 1000, (10, 20)).astype(np.uint16)
    array = make(tmp_path, names=("0", "1", "2"), halved=(True, True), axes="YX")
    names: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (names.append(Path(b).parts[-4]), replace(a, b)))
    for index in array.indices():
        array.write(index, image[array.box(index)])
    assert names == ["2", "1", "0"] * 9
    for step, level in zip((1, 2, 4), array.levels, strict=True):
        np.testing.assert_array_equal(level[:], image[::step, ::step])
        assert level.metadata.dimension_names == ("y", "x")  # type: ignore[union-attr]


def test_a_tile_that_cannot_be_written_is_absent_and_leaves_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = make(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="disk full"):
            array.write((0, 0), np.ones((4, 8), np.uint16))
    assert tile_files(tmp_path) == []
    array.write((0, 0), np.ones((4, 8), np.uint16))
    assert array.has((0, 0))


def test_what_a_killed_writer_left_is_no_tile_and_is_swept_by_the_next(tmp_path: Path) -> None:
    array = make(tmp_path)
    array.write((1, 1), np.ones((4, 8), np.uint16))
    written = tmp_path / "a.zarr/0/c/1/1"
    dead = 2**22 + 1  # above the largest process id
    from napari_unet.data.storage import _host

    leftover = written.with_name(f".1.{_host()}-{dead}-0123abcd.part")
    written.rename(leftover)
    leftover.write_bytes(leftover.read_bytes()[:10])
    assert not array.has((1, 1))
    assert not array[:].any()
    array.write((1, 1), np.ones((4, 8), np.uint16))
    assert tile_files(tmp_path) == ["a.zarr/0/c/1/1"]


def test_other_programs_read_the_array(tmp_path: Path) -> None:
    array = make(tmp_path)
    array.write((0, 1), np.full((4, 8), 7, np.uint16))
    found = zarr.open_group(tmp_path / "a.zarr", mode="r")["0"]
    assert isinstance(found, zarr.Array)
    assert found.metadata.zarr_format == 3
    np.testing.assert_array_equal(found[:4, 8:16], 7)
