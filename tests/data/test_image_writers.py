"""Labels and images go out so that other programs read them, and a full disk costs nothing."""

from __future__ import annotations

import errno
import itertools
import os
import time
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image
from zarr.storage import LocalStore

from napari_unet.data.files import read_image, write_image, write_labels
from napari_unet.data.storage import StorageError
from napari_unet.errors import InputError


def _ramp(*shape: int, dtype: Any = np.uint16) -> npt.NDArray[Any]:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def _check(path: Path, expected: npt.NDArray[Any], axes: str, spacing: tuple[float, ...] | None = None) -> None:
    image = read_image(path)
    assert image.axes == axes
    assert image.name == path.name
    assert image.array.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(image.array), expected)
    if spacing is None:
        assert image.spacing is None
    else:
        assert image.spacing == pytest.approx(spacing)


def test_label_tiff_is_ome_with_axes_and_pixel_size_compressed(tmp_path: Path) -> None:
    labels = _ramp(2, 3, 20, 30)
    path = tmp_path / "x.tif"
    write_labels(path, labels, "TZYX", (2.0, 0.5, 0.25))
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "TZYX"
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        np.testing.assert_array_equal(file.asarray(), labels)
        root = ElementTree.fromstring(str(file.ome_metadata))
    pixels = next(element for element in root.iter() if element.tag.endswith("Pixels"))
    assert [pixels.get(f"PhysicalSize{letter}") for letter in "ZYX"] == ["2.0", "0.5", "0.25"]
    assert pixels.get("PhysicalSizeXUnit") == "µm"
    _check(path, labels, "TZYX", (2.0, 0.5, 0.25))


@pytest.mark.parametrize(
    ("suffix", "axes", "kept"), [(".tif", "ZTYX", "TZYX"), (".zarr", "YXC", "CYX"), (".tif", "YXZ", "ZYX")]
)
def test_axes_are_put_into_the_order_of_the_format(tmp_path: Path, suffix: str, axes: str, kept: str) -> None:
    data = _ramp(*(20 + i for i in range(len(axes))))
    write_image(tmp_path / f"x{suffix}", data, axes)
    image = read_image(tmp_path / f"x{suffix}")
    assert image.axes == kept
    np.testing.assert_array_equal(np.asarray(image.array), data.transpose([axes.index(a) for a in kept]))


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "TZYX", "CYX"])
def test_image_comes_back_with_axes_and_pixel_size(tmp_path: Path, suffix: str, axes: str) -> None:
    data = _ramp(*(5 + i for i in range(len(axes))), dtype=np.float32) / 3
    spacing = (2.0, 0.5, 0.25)[-sum(letter in "ZYX" for letter in axes) :]
    write_image(tmp_path / f"x{suffix}", data, axes, spacing)
    _check(tmp_path / f"x{suffix}", data, axes, spacing)


@pytest.mark.parametrize(("highest", "dtype"), [(200, np.uint8), (300, np.uint16), (70_000, np.uint32)])
def test_labels_are_stored_in_the_smallest_type_that_others_can_read(tmp_path: Path, highest: int, dtype: Any) -> None:
    labels = np.zeros((9, 8), np.int64)
    labels[3, 4] = highest
    write_labels(tmp_path / "x.tif", labels)
    assert tifffile.imread(tmp_path / "x.tif").dtype == dtype
    _check(tmp_path / "x.tif", labels.astype(dtype), "YX")


def test_colours_are_written_as_colours(tmp_path: Path) -> None:
    data = _ramp(20, 30, 3, dtype=np.uint8)
    for suffix in (".tif", ".png"):
        write_image(tmp_path / f"x{suffix}", data, "YXS")
        _check(tmp_path / f"x{suffix}", data, "YXS")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.png")), data)


@pytest.mark.parametrize(
    ("name", "labels", "axes", "spacing", "words"),
    [
        ("x.png", np.zeros((3, 4, 5), np.uint8), "ZYX", None, "PNG can't hold"),
        ("x.png", np.full((4, 5), 70_000), "YX", None, "PNG can't hold"),
        ("x.bmp", np.zeros((4, 5), np.uint8), "YX", None, "no ending that can be written"),
        ("x.tif", np.full((4, 5), -1), "YX", None, "whole numbers"),
        ("x.tif", np.full((4, 5), 0.5), "YX", None, "whole numbers"),
        ("x.tif", np.zeros((4, 5), np.uint8), "ZYX", None, "one letter"),
        ("x.tif", np.zeros((4, 5), np.uint8), "YX", (1.0,), "pixel size"),
    ],
)
def test_labels_that_a_format_lacks_are_refused(
    tmp_path: Path, name: str, labels: npt.NDArray[Any], axes: str, spacing: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        write_labels(tmp_path / name, labels, axes, spacing)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".zarr"])
def test_full_disk_keeps_the_old_labels(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"x{suffix}"
    labels = _ramp(20, 30)
    write_labels(path, labels, "YX")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="disk full"):
            write_labels(path, labels * 0, "YX")
    np.testing.assert_array_equal(np.asarray(read_image(path).array), labels)
    assert os.listdir(tmp_path) == [path.name]


def test_zarr_that_fails_half_way_leaves_no_writer_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put, count = LocalStore.set, itertools.count()

    async def limited(store: LocalStore, key: str, value: Any) -> None:
        if "/c/" in key and next(count) >= 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        await put(store, key, value)

    monkeypatch.setattr(LocalStore, "set", limited)
    with pytest.raises(StorageError, match="disk full"):
        write_labels(tmp_path / "x.zarr", _ramp(40, 30, 20), "ZYX")
    time.sleep(0.3)
    assert os.listdir(tmp_path) == []
    assert next(count) == 4


def test_reading_warns_of_nothing(tmp_path: Path) -> None:
    write_labels(tmp_path / "x.zarr", _ramp(20, 30), "YX")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.asarray(read_image(tmp_path / "x.zarr").array)
