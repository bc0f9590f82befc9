"""DICOM series become volumes in the right order and place, and unusable ones are told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from napari_unet.data.files import find_images, read_image, write_labels
from napari_unet.errors import FileFormatError

SERIES = generate_uid()


def write_slice(path: Path, pixels: npt.NDArray[Any], **tags: Any) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = pixels.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
    for name, value in ({"SeriesInstanceUID": SERIES} | tags).items():
        setattr(file, name, value)
    file.PixelData = pixels.astype(np.int16).tobytes()
    path.parent.mkdir(exist_ok=True)
    file.save_as(path, enforce_file_format=True)


@pytest.fixture
def write_series(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an oblique series of slices, not in order, and returns its folder."""

    def write(volume: npt.NDArray[Any], places: Sequence[int] | None = None, **tags: Any) -> Path:
        folder = tmp_path / "series"
        tilt = 0.2
        row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
        normal = np.cross(row, column)
        for number in np.random.default_rng(0).permutation(len(volume)):
            place = number if places is None else places[number]
            described = {
                "ImageOrientationPatient": [*row, *column],
                "ImagePositionPatient": list(np.array([10.0, -20, 30]) + 2.5 * place * normal),
                "PixelSpacing": [0.8, 0.5],
                "RescaleSlope": 2,
                "RescaleIntercept": -1000,
            }
            write_slice(folder / f"{len(volume) - number:03}", volume[number], **(described | tags))
        return folder

    return write


def _volume() -> npt.NDArray[np.int16]:
    return np.random.default_rng(1).integers(0, 2000, (5, 12, 16), dtype=np.int16)


def test_series_is_a_volume_in_order_with_size_and_place(tmp_path: Path, write_series: Callable[..., Path]) -> None:
    volume = _volume()
    folder = write_series(volume)
    assert find_images([folder]) == find_images([tmp_path]) == find_images([tmp_path / "*"]) == [folder]
    image = read_image(folder)
    assert (image.axes, image.name, image.calibration.unit) == ("ZYX", "series", "mm")
    assert not isinstance(image.array, np.ndarray)
    np.testing.assert_array_equal(np.asarray(image.array), 2.0 * volume - 1000)
    np.testing.assert_array_equal(image.array[1:3, 2, ::2], (2.0 * volume - 1000)[1:3, 2, ::2])
    np.testing.assert_array_equal(image.array[-1], 2.0 * volume[-1] - 1000)
    assert image.spacing == pytest.approx((2500, 800, 500))
    # a point given by DICOM's own rule (PS3.3, C.7.6.2.1.1), turned from left-posterior to right-anterior
    file = pydicom.dcmread(next(f for f in folder.iterdir() if f.name == f"{5 - 3:03}"))
    row, column = np.array(file.ImageOrientationPatient[:3]), np.array(file.ImageOrientationPatient[3:])
    point = np.array(file.ImagePositionPatient) + 7 * 0.5 * row + 4 * 0.8 * column
    assert image.calibration.affine is not None
    found = image.calibration.affine @ [7, 4, 3, 1]
    np.testing.assert_allclose(found[:3] / 1000, point * [-1, -1, 1], rtol=1e-6)
    write_labels(tmp_path / "y.nii.gz", volume > 1000, "ZYX", calibration=image.calibration)
    np.testing.assert_allclose(nibabel.load(tmp_path / "y.nii.gz").affine @ [7, 4, 3, 1], found / [1e3, 1e3, 1e3, 1])


def test_missing_slice_is_told(write_series: Callable[..., Path]) -> None:
    folder = write_series(_volume(), places=[0, 1, 2, 4, 5])
    with pytest.raises(FileFormatError, match="series can't be used: slices are missing"):
        read_image(folder)


def test_slices_of_different_size_are_told(write_series: Callable[..., Path]) -> None:
    folder = write_series(_volume())
    write_slice(folder / "900", np.zeros((4, 4)))
    with pytest.raises(FileFormatError, match="differ in size"):
        read_image(folder)


def test_several_series_in_a_folder_are_images_of_their_own(write_series: Callable[..., Path]) -> None:
    folder = write_series(_volume())
    other = generate_uid()
    for number in range(2):
        write_slice(folder / f"z{number}", np.full((6, 7), number), SeriesInstanceUID=other, InstanceNumber=2 - number)
    found = find_images([folder])
    assert sorted(path.name for path in found) == sorted([f"series::{SERIES}", f"series::{other}"])
    image = read_image(f"{folder}::{other}")
    assert (image.array.shape, image.spacing) == ((2, 6, 7), None)
    np.testing.assert_array_equal(image.array[:, 0, 0], [1, 0])
    with pytest.raises(FileFormatError, match="holds 2 series"):
        read_image(folder)


def test_single_files_are_a_slice_or_a_stack(tmp_path: Path) -> None:
    volume = _volume()
    write_slice(tmp_path / "one.dcm", volume[0], PixelSpacing=[0.8, 0.5])
    image = read_image(tmp_path / "one.dcm")
    assert (image.axes, image.spacing) == ("YX", (800, 500))
    np.testing.assert_array_equal(image.array, volume[0])
    measures, group = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SpacingBetweenSlices = [0.8, 0.5], 3
    group.PixelMeasuresSequence = Items([measures])
    shared = {"NumberOfFrames": 5, "SharedFunctionalGroupsSequence": Items([group])}
    write_slice(tmp_path / "many.dcm", volume, **shared)
    image = read_image(tmp_path / "many.dcm")
    assert (image.axes, image.spacing) == ("ZYX", (3000, 800, 500))
    np.testing.assert_array_equal(image.array, volume)


@pytest.mark.parametrize("content", [b"", bytes(128) + b"DICM", bytes(128) + b"DICM" + b"hello" * 30])
def test_damaged_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"x\.dcm"):
        read_image(tmp_path / "x.dcm")
