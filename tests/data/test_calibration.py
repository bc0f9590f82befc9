"""Axes, pixel size, unit, affine and time interval go from file to file; other programs' readers find them, too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import yaozarrs
import zarr
from yaozarrs import v05

from napari_unet.data import nifti
from napari_unet.data.calibration import Calibration, in_micrometres, in_seconds, length_unit
from napari_unet.data.files import read_annotation, read_image, write_image, write_labels
from napari_unet.errors import FileFormatError, InputError


def _ramp(*shape: int, dtype: Any = np.uint16) -> npt.NDArray[Any]:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def _placed(unit: str, interval: float | None = None) -> Calibration:
    origin = {"Z": -7000.0, "Y": 12.5, "X": 250.0}
    return Calibration.from_sizes({"Z": 2.0, "Y": 0.5, "X": 0.25}, "ZYX", unit=unit, origin=origin, interval=interval)


def _same(one: Calibration, other: Calibration) -> bool:
    assert one.spacing is not None
    assert other.spacing is not None
    places = [calibration.affine for calibration in (one, other)]
    assert (places[0] is None) == (places[1] is None)
    return (
        (one.unit, one.interval) == (other.unit, other.interval)
        and np.allclose(one.spacing, other.spacing, rtol=1e-6)
        and (places[0] is None or places[1] is None or np.allclose(places[0], places[1], rtol=1e-6))
    )


@pytest.mark.parametrize(
    ("word", "unit"), [("um", "µm"), ("μm", "µm"), ("\\u00B5m", "µm"), ("millimetre", "mm"), ("Å", "Å"), ("px", None)]
)
def test_words_for_units_are_understood(word: str, unit: str | None) -> None:
    assert length_unit(word) == unit


def test_lengths_and_times_are_converted_and_nonsense_is_none() -> None:
    assert in_micrometres("0.65", "nm") == pytest.approx(0.00065)
    assert [in_micrometres(value, "mm") for value in (0, -1, "x", None, float("nan"), float("inf"))] == [None] * 6
    assert (in_seconds(250, "ms"), in_seconds(2, "min"), in_seconds(2, "fortnight")) == (0.25, 120.0, None)


def test_turned_affine_has_sizes_but_no_origin() -> None:
    affine = np.diag([0.0, 0.0, 2.0, 1.0])
    affine[0, 1], affine[1, 0] = -0.5, 0.25
    calibration = Calibration.from_affine(affine, "ZYX", "mm")
    assert calibration.lengths("ZYX") == (2.0, 0.5, 0.25)
    assert calibration.origin("ZYX") is None


@pytest.mark.parametrize("unit", ["µm", "nm", "mm"])
@pytest.mark.parametrize("ending", [".tif", ".zarr"])
def test_calibration_comes_back_from_tiff_and_zarr(tmp_path: Path, ending: str, unit: str) -> None:
    placed = _placed(unit, interval=2.5)
    path = tmp_path / f"x{ending}"
    write_labels(path, _ramp(3, 4, 20, 30), "TZYX", calibration=placed)
    image = read_image(path)
    assert image.axes == "TZYX"
    assert _same(image.calibration, placed)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_calibration_comes_back_from_nifti(tmp_path: Path, ending: str) -> None:
    placed = _placed("mm", interval=2.5)
    labels = _ramp(3, 4, 20, 30)
    write_labels(tmp_path / f"x{ending}", labels, "TZYX", calibration=placed)
    image = read_annotation(tmp_path / f"x{ending}")
    assert image.axes == "TZYX"
    np.testing.assert_array_equal(image.array, labels)
    assert _same(image.calibration, placed)


def test_ome_tiff_says_sizes_positions_and_times_in_its_xml(tmp_path: Path) -> None:
    write_labels(tmp_path / "x.tif", _ramp(2, 3, 20, 30), "TZYX", calibration=_placed("nm", interval=2.5))
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        root = ElementTree.fromstring(str(file.ome_metadata))
        assert file.pages[0].tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        count, per = file.pages[0].tags["XResolution"].value
    assert count / per == pytest.approx(1e4 / 0.25)
    names = {element.tag.rpartition("}")[2]: element for element in root.iter()}
    pixels = names["Pixels"]
    assert [float(pixels.get(f"PhysicalSize{letter}", 0)) for letter in "ZYX"] == [2000.0, 500.0, 250.0]
    assert (pixels.get("PhysicalSizeXUnit"), pixels.get("TimeIncrement"), pixels.get("SizeT")) == ("nm", "2.5", "2")
    planes = [element for element in pixels if element.tag.endswith("Plane")]
    assert len(planes) == 6
    for plane in planes:
        depth = -7_000_000 + 2000 * int(plane.get("TheZ", -1))
        assert float(plane.get("PositionZ", 0)) == depth
        assert (float(plane.get("PositionY", 0)), plane.get("PositionXUnit")) == (12500.0, "nm")


def test_hyperstack_of_imagej_stays_one(tmp_path: Path) -> None:
    calibration = Calibration((2.0, 0.5, 0.25), interval=0.5)
    write_labels(tmp_path / "x.tif", _ramp(3, 4, 20, 30), "TZYX", calibration=calibration, imagej=True)
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        assert file.is_imagej
        assert file.series[0].axes == "TZYX"
        assert file.imagej_metadata is not None
        assert {key: file.imagej_metadata[key] for key in ("unit", "spacing", "finterval", "frames", "slices")} == {
            "unit": "micron", "spacing": 2.0, "finterval": 0.5, "frames": 3, "slices": 4,
        }  # fmt: skip
    assert _same(read_image(tmp_path / "x.tif").calibration, calibration)
    with pytest.raises(InputError, match="ImageJ can't hold"):
        write_labels(tmp_path / "y.tif", np.full((4, 5), 70_000, np.uint32), "YX", imagej=True)


# --- OME-Zarr


def test_label_zarr_keeps_to_the_specification_with_labels_and_resolutions(tmp_path: Path) -> None:
    labels = _ramp(2, 1101, 600)
    path = tmp_path / "x.zarr"
    write_labels(path, labels, "ZYX", calibration=_placed("µm"))
    for group in (path, path / "labels", path / "labels" / "segmentation"):
        yaozarrs.validate_zarr_store(group)
    root = zarr.open_group(path, mode="r")
    assert root["labels"].attrs["ome"]["labels"] == ["segmentation"]
    described = yaozarrs.open_group(path / "labels" / "segmentation").ome_metadata()
    assert isinstance(described, v05.LabelImage)
    assert described.image_label is not None
    (multiscale,) = described.multiscales
    assert [axis.unit for axis in multiscale.axes] == ["micrometer"] * 3
    assert [dataset.path for dataset in multiscale.datasets] == ["0", "1", "2"]
    for level, dataset in enumerate(multiscale.datasets):
        step = 2**level
        stored = root[f"labels/segmentation/{dataset.path}"]
        np.testing.assert_array_equal(stored[...], labels[:, ::step, ::step])
        scale, translation = dataset.coordinateTransformations
        assert scale.scale == [2.0, 0.5 * step, 0.25 * step]
        assert translation.translation == [-7000.0, 12.5, 250.0]
    np.testing.assert_array_equal(np.asarray(read_image(path).array), labels)


def test_image_zarr_has_means_as_smaller_resolutions(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((3, 700, 601)).astype(np.float32)
    write_image(tmp_path / "x.zarr", image, "CYX", (0.5, 0.25))
    yaozarrs.validate_zarr_store(tmp_path / "x.zarr")
    half = zarr.open_array(tmp_path / "x.zarr" / "1", mode="r")
    assert half.shape == (3, 350, 301)
    blocks = image[:, :, :600].reshape(3, 350, 2, 300, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(half[:, :, :300], blocks, rtol=1e-6)
    (multiscale,) = yaozarrs.open_group(tmp_path / "x.zarr").ome_metadata().multiscales
    scale, translation = multiscale.datasets[1].coordinateTransformations
    assert (scale.scale, translation.translation) == ([1.0, 1.0, 0.5], [0.0, 0.25, 0.125])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_of_others_is_opened_with_its_place_and_times(tmp_path: Path, version: str) -> None:
    data = _ramp(2, 40, 50)
    old = version == "0.4"
    group = zarr.open_group(tmp_path / "x.ome.zarr", mode="w", zarr_format=2 if old else 3)
    names = None if old else ["t", "y", "x"]
    group.create_array("full", data=data, chunks=(1, 16, 16), dimension_names=names)
    axes = [{"name": "t", "type": "time", "unit": "minute"}]
    axes += [{"name": letter, "type": "space", "unit": "millimeter"} for letter in "yx"]
    steps = [{"type": "scale", "scale": [2, 0.5, 0.25]}, {"type": "translation", "translation": [0, -3, 4]}]
    scales = [{"name": "x", "version": version, "axes": axes, "datasets": [{"path": "full"}]}]
    scales[0]["datasets"][0]["coordinateTransformations"] = steps  # type: ignore[index]
    group.attrs.update({"multiscales": scales} if old else {"ome": {"version": version, "multiscales": scales}})
    yaozarrs.validate_zarr_store(tmp_path / "x.ome.zarr")
    image = read_image(tmp_path / "x.ome.zarr")
    assert not isinstance(image.array, np.ndarray)
    calibration = image.calibration
    assert (image.axes, calibration.lengths("YX"), calibration.origin("YX")) == ("TYX", (0.5, 0.25), (-3.0, 4.0))
    assert (calibration.unit, calibration.interval, calibration.spacing) == ("mm", 120.0, (500.0, 250.0))


# --- NIfTI


def _oblique() -> npt.NDArray[np.float64]:
    """Return an affine that is turned about two axes, as scanners give them."""
    a, b = 0.3, -0.2
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, 0.9, 3.0])
    affine[:3, 3] = [90.5, -126.0, -72.25]
    return affine


@pytest.mark.parametrize("sheared", [False, True])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_of_a_scanner_keeps_its_affine(tmp_path: Path, ending: str, sheared: bool) -> None:
    volume, affine = _ramp(30, 20, 10, dtype=np.int16), _oblique()
    if sheared:
        affine[0, 1] += 0.5
    nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / f"x{ending}")
    image = read_image(tmp_path / f"x{ending}")
    assert (image.axes, image.array.shape, image.name) == ("ZYX", (10, 20, 30), f"x{ending}")
    np.testing.assert_array_equal(np.asarray(image.array), volume.T)
    assert image.spacing == pytest.approx(1000 * np.linalg.norm(affine[:3, :3], axis=0)[::-1], rel=1e-6)
    write_labels(tmp_path / f"y{ending}", np.asarray(image.array) > 100, image.axes, calibration=image.calibration)
    written = nibabel.load(tmp_path / f"y{ending}")
    source = nibabel.load(tmp_path / f"x{ending}")
    np.testing.assert_array_equal(np.asarray(written.dataobj), volume > 100)
    np.testing.assert_array_equal(written.affine, source.affine)
    np.testing.assert_allclose(written.header.get_zooms(), source.header.get_zooms(), rtol=1e-6)
    assert written.header.get_xyzt_units()[0] == "mm"
    assert int(written.header["sform_code"]) == 1
    assert int(written.header["qform_code"]) == (0 if sheared else 1)


def test_nifti_is_read_piece_by_piece_with_its_values_scaled(tmp_path: Path) -> None:
    volume = _ramp(6, 5, 4, 3, dtype=np.int16)
    image = nibabel.Nifti1Image(volume, np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    nibabel.save(image, tmp_path / "x.nii")
    opened = read_image(tmp_path / "x.nii")
    assert (opened.axes, opened.array.dtype) == ("TZYX", np.float32)
    expected = np.asarray(nibabel.load(tmp_path / "x.nii").dataobj).T
    for index in [np.s_[1], np.s_[..., 2:5], np.s_[0, 1:3, 2], np.s_[-1, ..., ::2], np.s_[:, 2, 1:, :4]]:
        np.testing.assert_allclose(opened.array[index], expected[index])


def test_picture_becomes_a_flat_nifti_with_its_pixel_size(tmp_path: Path) -> None:
    write_labels(tmp_path / "x.nii.gz", _ramp(20, 30), "YX", (0.5, 0.25))
    written = nibabel.load(tmp_path / "x.nii.gz")
    assert (written.shape, written.header.get_zooms()) == ((30, 20), (0.25, 0.5))
    assert written.header.get_xyzt_units()[0] == "micron"


def test_a_compressed_nifti_that_the_memory_does_not_hold_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labels(tmp_path / "x.nii.gz", _ramp(20, 30), "YX", (0.5, 0.25))
    free = SimpleNamespace(available=700)
    monkeypatch.setattr(nifti.psutil, "virtual_memory", lambda: free)
    with pytest.raises(FileFormatError, match=r"x\.nii\.gz .* 1\.2 kB of memory, and 0\.7 kB are free; decompress it"):
        read_image(tmp_path / "x.nii.gz")
    free.available = 10_000_000
    assert read_image(tmp_path / "x.nii.gz").array.shape == (20, 30)
