"""Files are found, refused by name where they are unusable, and annotations understood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from napari_unet.data.files import find_images, read_annotation, read_image, write_image, write_labels
from napari_unet.errors import FileFormatError


def _ramp(*shape: int, dtype: Any = np.uint16) -> npt.NDArray[Any]:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def _refusal(path: Path) -> str:
    with pytest.raises(FileFormatError) as caught:
        np.asarray(read_image(path).array)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what can't be read


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".npy", ".npz"])
@pytest.mark.parametrize(
    "content", [b"", b"II*\x00", b"hello", b"<html></html>", bytes(1000), b"PK\x03\x04" + bytes(50)]
)
def test_file_with_other_content_is_refused_by_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"x{suffix}").write_bytes(content)
    _refusal(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".npy", ".npz"])
def test_truncated_file_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    data = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = tmp_path / f"x{suffix}"
    if suffix == ".npz":
        np.savez(path, data)
    elif suffix == ".jpg":
        Image.fromarray(data).save(path)
    else:
        write_image(path, data, "YX")
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.8):
        path.write_bytes(content[: int(len(content) * share)])
        _refusal(path)


@pytest.mark.parametrize("content", ["", "{}", '{"zarr_format": 3,', '{"zarr_format": 9, "node_type": "array"}'])
def test_zarr_with_damaged_description_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr" / "zarr.json").write_text(content)
    _refusal(tmp_path / "x.zarr")


def test_missing_unknown_and_useless_files_are_told_apart(tmp_path: Path) -> None:
    assert "does not exist" in _refusal(tmp_path / "gone.tif")
    (tmp_path / "x.docx").write_bytes(b"text")
    assert "there are TIFF, PNG" in _refusal(tmp_path / "x.docx")
    (tmp_path / "folder").mkdir()
    assert "is a folder" in _refusal(tmp_path / "folder")
    np.save(tmp_path / "complex.npy", np.zeros((4, 4), complex))
    assert "real numbers" in _refusal(tmp_path / "complex.npy")
    np.save(tmp_path / "flat.npy", np.zeros(4))
    _refusal(tmp_path / "flat.npy")
    np.save(tmp_path / "none.npy", np.zeros((0, 4)))
    assert "shape is (0, 4)" in _refusal(tmp_path / "none.npy")


# --- annotations


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".zarr"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_annotation_comes_back_as_it_was_written(tmp_path: Path, suffix: str, dtype: Any) -> None:
    labels = _ramp(20, 30, dtype=dtype)
    write_labels(tmp_path / f"x{suffix}", labels, "YX")
    read = read_annotation(tmp_path / f"x{suffix}")
    assert read.axes == "YX"
    assert read.array.dtype == dtype
    np.testing.assert_array_equal(read.array, labels)


def test_annotation_in_unusual_wrapping_is_understood(tmp_path: Path) -> None:
    labels = _ramp(20, 30, dtype=np.uint8) % 4
    np.save(tmp_path / "float.npy", labels.astype(float))
    np.testing.assert_array_equal(read_annotation(tmp_path / "float.npy").array, labels)
    Image.fromarray(np.dstack([labels] * 3)).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read_annotation(tmp_path / "rgb.png").array, labels)
    np.save(tmp_path / "thin.npy", np.dstack([labels] * 4))
    assert read_annotation(tmp_path / "thin.npy").axes == "ZYX"
    tifffile.imwrite(tmp_path / "c.tif", labels[None], imagej=True, metadata={"axes": "CYX"})
    assert read_annotation(tmp_path / "c.tif").array.shape == (20, 30)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.full((4, 5), 0.5), "whole numbers"),
        (np.full((4, 5), np.nan), "whole numbers"),
        (np.full((4, 5), -1), "whole numbers"),
    ],
)
def test_numbers_that_are_no_labels_are_refused(tmp_path: Path, data: npt.NDArray[Any], words: str) -> None:
    np.save(tmp_path / "x.npy", data)
    with pytest.raises(FileFormatError, match=words):
        read_annotation(tmp_path / "x.npy")


def test_colour_picture_is_refused_as_annotation(tmp_path: Path) -> None:
    Image.fromarray(_ramp(20, 30, 3, dtype=np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(FileFormatError, match=r"x\.png is a colour picture"):
        read_annotation(tmp_path / "x.png")


# --- finding


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folder_gives_its_images_in_natural_order(tmp_path: Path) -> None:
    _touch(tmp_path, "c10.tif", "c2.TIF", "c1.png", ".hidden.tif", "notes.txt", "sub/x.tif", "z.zarr/zarr.json")
    assert [path.name for path in find_images([tmp_path])] == ["c1.png", "c2.TIF", "c10.tif", "z.zarr"]


def test_patterns_and_files_are_joined_without_repeats(tmp_path: Path) -> None:
    _touch(tmp_path, "a1.tif", "a2.tif", "b.png", "a3.txt", "sub/a4.tif", "odd[1].tif")
    first = tmp_path / "a2.tif"
    found = find_images([first, tmp_path / "a*", str(tmp_path / "**" / "a4.tif"), tmp_path / "odd[1].tif"])
    assert [path.name for path in found] == ["a2.tif", "a1.tif", "a4.tif", "odd[1].tif"]


def test_array_inside_an_npz_and_zarr_folders_count_as_files(tmp_path: Path) -> None:
    _touch(tmp_path, "x.npz", "z.zarr/.zgroup", "z.zarr/0/.zarray")
    patterns: list[str | Path] = [f"{tmp_path / 'x.npz'}:a", tmp_path / "z.zarr", tmp_path / "z.zarr" / "0"]
    assert find_images(patterns) == [Path(pattern) for pattern in patterns]


@pytest.mark.parametrize("pattern", ["gone.tif", "*.tif", "empty", "gone.npz:a"])
def test_pattern_that_stands_for_nothing_is_named(tmp_path: Path, pattern: str) -> None:
    _touch(tmp_path, "empty/notes.txt")
    with pytest.raises(FileFormatError, match=pattern.replace("*", r"\*")):
        find_images([tmp_path / pattern])
