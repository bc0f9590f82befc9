"""Images of every format come in with the right pixels, axes and pixel size, lazily where they can be huge."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr
from PIL import Image

from napari_unet.data import image_readers
from napari_unet.data.files import read_annotation, read_image, write_image
from napari_unet.errors import FileFormatError


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


def _refusal(path: Path) -> str:
    with pytest.raises(FileFormatError) as caught:
        np.asarray(read_image(path).array)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- TIFF


@pytest.mark.parametrize(
    ("unit", "factor"), [("µm", 1.0), ("nm", 1e-3), ("mm", 1e3), ("pixel", None), ("furlong", None)]
)
def test_ome_tiff_gives_axes_and_pixel_size_in_micrometres(tmp_path: Path, unit: str, factor: float | None) -> None:
    data = _ramp(2, 3, 20, 30)
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    units = {f"{key}Unit": unit for key in sizes}
    path = tmp_path / "x.ome.tif"
    tifffile.imwrite(path, data, ome=True, metadata={"axes": "ZCYX", **sizes, **units})
    _check(path, data, "ZCYX", None if factor is None else (2.0 * factor, 0.5 * factor, 0.25 * factor))


@pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m", "mm"])
def test_imagej_hyperstack_gives_axes_and_pixel_size(tmp_path: Path, unit: str) -> None:
    data = _ramp(4, 2, 20, 30)
    path = tmp_path / "x.tif"
    metadata = {"axes": "TCYX", "unit": unit}
    tifffile.imwrite(path, data, imagej=True, resolution=(4.0, 2.0), metadata=metadata)
    factor = 1000.0 if unit == "mm" else 1.0
    _check(path, data, "TCYX", (0.5 * factor, 0.25 * factor))
    tifffile.imwrite(path, data, imagej=True, resolution=(4, 2), metadata={**metadata, "axes": "ZCYX", "spacing": 3.0})
    _check(path, data, "ZCYX", (3.0 * factor, 0.5 * factor, 0.25 * factor))


def test_screen_resolution_is_not_taken_for_a_pixel_size(tmp_path: Path) -> None:
    data = _ramp(20, 30)
    tifffile.imwrite(tmp_path / "x.tif", data, resolution=(72, 72), resolutionunit="INCH")
    _check(tmp_path / "x.tif", data, "YX")
    tifffile.imwrite(tmp_path / "y.tif", data, imagej=True, resolution=(72, 72))
    _check(tmp_path / "y.tif", data, "YX")


@pytest.mark.parametrize(
    ("shape", "options", "axes"),
    [
        ((20, 30), {}, "YX"),
        ((5, 20, 30), {"photometric": "minisblack"}, "ZYX"),
        ((2, 5, 20, 30), {"photometric": "minisblack"}, "CZYX"),
        ((5, 20, 30), {"photometric": "minisblack", "metadata": {"axes": "TYX"}}, "TYX"),
        ((20, 30, 3), {"photometric": "rgb"}, "YXS"),
        ((20, 30, 4), {"photometric": "rgb"}, "YXS"),
        ((6, 20, 30, 3), {"photometric": "rgb"}, "ZYXS"),
        ((20, 30, 2), {"photometric": "minisblack", "planarconfig": "contig"}, "YXC"),
    ],
)
def test_plain_tiff_gets_likely_axes(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], axes: str
) -> None:
    data = _ramp(*shape, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "x.TIF", data, **options)
    _check(tmp_path / "x.TIF", data, axes)


def test_pages_written_one_by_one_are_a_stack(tmp_path: Path) -> None:
    data = _ramp(5, 20, 30)
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for page in data:
            file.write(page, metadata=None)
    _check(tmp_path / "x.tif", data, "ZYX")


def test_planar_rgb_comes_with_its_samples_last(tmp_path: Path) -> None:
    data = _ramp(3, 20, 30, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", data, photometric="rgb", planarconfig="separate")
    _check(tmp_path / "x.tif", np.moveaxis(data, 0, -1), "YXS")


def test_of_several_series_and_resolutions_the_first_is_taken(tmp_path: Path) -> None:
    data = _ramp(64, 64)
    with tifffile.TiffWriter(tmp_path / "x.ome.tif", ome=True) as file:
        file.write(data, subifds=1, metadata={"axes": "YX"})
        file.write(data[::2, ::2], subfiletype=1)
    _check(tmp_path / "x.ome.tif", data, "YX")


def test_large_tiff_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_readers, "_LAZY_FROM_BYTES", 1000)
    data = _ramp(4, 64, 48)
    tifffile.imwrite(tmp_path / "x.tif", data, compression="zlib", photometric="minisblack", metadata={"axes": "TYX"})
    image = read_image(tmp_path / "x.tif")
    assert not isinstance(image.array, np.ndarray)
    assert (image.array.shape, image.array.ndim, len(image.array)) == (data.shape, 3, 4)
    np.testing.assert_array_equal(image.array[2, 10:20, slice(5, None)], data[2, 10:20, 5:])
    _check(tmp_path / "x.tif", data, "TYX")


# --- pictures


@pytest.mark.parametrize(
    ("data", "axes"),
    [
        (_ramp(20, 30, dtype=np.uint8), "YX"),
        (_ramp(20, 30) * 200, "YX"),
        (_ramp(20, 30, 3, dtype=np.uint8), "YXS"),
        (_ramp(20, 30, 4, dtype=np.uint8), "YXS"),
    ],
)
def test_png_keeps_its_depth_and_colours(tmp_path: Path, data: npt.NDArray[Any], axes: str) -> None:
    Image.fromarray(data).save(tmp_path / "x.png")
    _check(tmp_path / "x.png", data, axes)


def test_png_with_one_bit_or_transparency_is_grey(tmp_path: Path) -> None:
    mask = _ramp(20, 30) % 2 == 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    _check(tmp_path / "mask.png", mask.astype(np.uint8), "YX")
    grey = Image.fromarray(_ramp(20, 30, dtype=np.uint8))
    Image.merge("LA", (grey, grey)).save(tmp_path / "grey.png")
    _check(tmp_path / "grey.png", np.asarray(grey), "YX")


def test_palette_is_colours_in_an_image_and_numbers_in_an_annotation(tmp_path: Path) -> None:
    labels = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30) % 3
    picture = Image.fromarray(labels).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / "x.png")
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    _check(tmp_path / "x.png", colours[labels], "YXS")
    np.testing.assert_array_equal(read_annotation(tmp_path / "x.png").array, labels)


def test_jpeg_is_read_as_it_is_decoded_elsewhere(tmp_path: Path) -> None:
    Image.fromarray(_ramp(20, 30, 3, dtype=np.uint8)).save(tmp_path / "x.JPEG")
    _check(tmp_path / "x.JPEG", np.asarray(Image.open(tmp_path / "x.JPEG")), "YXS")
    Image.fromarray(_ramp(20, 30, 4, dtype=np.uint8), "CMYK").save(tmp_path / "print.jpg")
    assert read_image(tmp_path / "print.jpg").array.shape == (20, 30, 3)


# --- numpy


def test_npy_is_mapped_into_memory(tmp_path: Path) -> None:
    data = _ramp(5, 20, 30).astype(">u2")
    np.save(tmp_path / "x.npy", data)
    _check(tmp_path / "x.npy", data, "ZYX")
    assert isinstance(read_image(tmp_path / "x.npy").array, np.memmap)


def test_npz_with_one_image_needs_no_name(tmp_path: Path) -> None:
    data = _ramp(20, 30)
    np.savez(tmp_path / "x.npz", image=data, meta=json.dumps({"source": "mine"}))
    _check(tmp_path / "x.npz", data, "YX")


@pytest.mark.parametrize("separator", [":", "::"])
def test_npz_with_several_images_takes_the_named_one(tmp_path: Path, separator: str) -> None:
    data = _ramp(20, 30)
    np.savez_compressed(tmp_path / "x.npz", image_00=data * 0, image_01=data)
    image = read_image(f"{tmp_path / 'x.npz'}{separator}image_01")
    np.testing.assert_array_equal(image.array, data)
    assert image.name == "x.npz:image_01"
    text = _refusal(tmp_path / "x.npz")
    assert "several images" in text
    assert "x.npz:image_00" in text
    with pytest.raises(FileFormatError, match=r"has no array 'image_02'"):
        read_image(f"{tmp_path / 'x.npz'}{separator}image_02")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_objects_are_never_loaded(tmp_path: Path, suffix: str) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    objects = np.array([[Trap()]], dtype=object)
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, objects, allow_pickle=True)
        _refusal(path)
    else:
        np.savez(path, objects)
        _refusal(path)
        with pytest.raises(FileFormatError):
            read_image(f"{path}:arr_0")
    assert not (tmp_path / "sprung").exists()


def test_size_in_an_npz_is_not_trusted(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(100))
    assert "shorter than it says" in _refusal(tmp_path / "x.npz")


# --- zarr


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_array_is_opened_and_not_read(tmp_path: Path, version: Any) -> None:
    data = _ramp(4, 40, 50)
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=data, chunks=(1, 16, 16), zarr_format=version)
    image = read_image(path)
    assert not isinstance(image.array, np.ndarray)
    assert image.array.chunks == (1, 16, 16)
    np.testing.assert_array_equal(image.array[1, 3:5, slice(2, 9)], data[1, 3:5, 2:9])
    _check(path, data, "ZYX")


def test_zarr_array_with_named_dimensions_gives_its_axes(tmp_path: Path) -> None:
    data = _ramp(4, 40, 50)
    zarr.create_array(tmp_path / "new.zarr", data=data, dimension_names=["t", "y", "x"])
    _check(tmp_path / "new.zarr", data, "TYX")
    old = zarr.create_array(tmp_path / "old.zarr", data=data, zarr_format=2)
    old.attrs["_ARRAY_DIMENSIONS"] = ["C", "Y", "X"]
    _check(tmp_path / "old.zarr", data, "CYX")
    zarr.create_array(tmp_path / "odd.zarr", data=data, dimension_names=["depth", "row", "column"])
    _check(tmp_path / "odd.zarr", data, "ZYX")


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_group_with_one_array_is_that_array_and_with_several_asks(tmp_path: Path, version: Any) -> None:
    data = _ramp(40, 50)
    path = tmp_path / "x.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("raw", data=data)
    _check(path, data, "YX")
    group.create_array("mask", data=data * 0)
    assert "x.zarr/mask, x.zarr/raw" in _refusal(path)
    np.testing.assert_array_equal(np.asarray(read_image(path / "raw").array), data)
    zarr.open_group(tmp_path / "empty.zarr", mode="w")
    assert "no array" in _refusal(tmp_path / "empty.zarr")


def _multiscale(path: Path, data: npt.NDArray[Any], version: int, axes: Any, level: Any, whole: Any) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=version)  # type: ignore[arg-type]
    group.create_array("s0", data=data)
    group.create_array("s1", data=data[..., ::2, ::2])
    described = {"axes": axes, "datasets": [{"path": "s0", **level}, {"path": "s1"}], **whole}
    if version == 2:
        group.attrs["multiscales"] = [described]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [described]}


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_gives_full_resolution_axes_and_pixel_size(tmp_path: Path, version: int) -> None:
    data = _ramp(2, 3, 40, 50)
    axes = [
        {"name": "c", "type": "channel"},
        {"name": "z", "type": "space", "unit": "micrometer"},
        {"name": "y", "type": "space", "unit": "nanometer"},
        {"name": "x", "type": "space", "unit": "nanometer"},
    ]
    level = {"coordinateTransformations": [{"type": "scale", "scale": [1, 1.5, 250, 250]}]}
    whole = {"coordinateTransformations": [{"type": "scale", "scale": [1, 2, 1, 1]}]}
    _multiscale(tmp_path / "x.zarr", data, version, axes, level, whole)
    _check(tmp_path / "x.zarr", data, "CZYX", (3.0, 0.25, 0.25))


def test_ome_zarr_of_old_versions_gives_what_it_knows(tmp_path: Path) -> None:
    data = _ramp(4, 40, 50)
    _multiscale(tmp_path / "v3.zarr", data, 2, ["t", "y", "x"], {}, {})
    _check(tmp_path / "v3.zarr", data, "TYX")
    group = zarr.open_group(tmp_path / "v1.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=data[None, None])
    group.attrs["multiscales"] = [{"datasets": [{"path": "0"}]}]
    _check(tmp_path / "v1.zarr", data[None, None], "TCZYX")


def test_first_image_of_a_bioformats2raw_folder_is_taken(tmp_path: Path) -> None:
    data = _ramp(40, 50)
    root = zarr.open_group(tmp_path / "x.zarr", mode="w")
    root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    write_image(tmp_path / "inner.zarr", data, "YX", (0.5, 0.5))
    (tmp_path / "inner.zarr").rename(tmp_path / "x.zarr" / "0")
    _check(tmp_path / "x.zarr", data, "YX", (0.5, 0.5))


def test_damaged_chunk_is_told_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=_ramp(40, 50))
    chunk = next(file for file in (path / "c").rglob("*") if file.is_file())
    chunk.write_bytes(chunk.read_bytes()[:20])
    assert "may be damaged" in _refusal(path)
