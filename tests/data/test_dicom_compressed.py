"""Compressed DICOM is read as if it were not compressed, and what can't be read is told in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

from napari_unet.data.files import read_image
from napari_unet.errors import FileFormatError

Encode = Callable[[np.ndarray], bytes]
LOSSLESS: dict[str, tuple[str, Encode]] = {
    "JPEG lossless": (uid.JPEGLosslessSV1, lambda a: bytes(imagecodecs.ljpeg_encode(a, bitspersample=16))),
    "JPEG lossless, any predictor": (uid.JPEGLossless, lambda a: bytes(imagecodecs.ljpeg_encode(a, bitspersample=16))),
    "JPEG-LS": (uid.JPEGLSLossless, lambda a: bytes(imagecodecs.jpegls_encode(a))),
    "JPEG 2000": (
        uid.JPEG2000Lossless,
        lambda a: bytes(imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", reversible=True)),
    ),
}


def write(path: Path, pixels: np.ndarray, syntax: str, frames: list[bytes], bits: int = 0, **tags: Any) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid.generate_uid()
    file = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = pixels.shape[:2]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = 8 * pixels.itemsize
    file.BitsStored = bits or file.BitsAllocated
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, 0
    for name, value in tags.items():
        setattr(file, name, value)
    file.PixelData = encapsulate(frames) if frames else pixels.tobytes()
    if frames:
        file["PixelData"].is_undefined_length = True
    path.parent.mkdir(exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 4000, (24, 20)).astype(np.uint16)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_compressed_file_is_read_as_it_was(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    syntax, encode = LOSSLESS[kind]
    image = read_image(write(tmp_path / "a.dcm", pixels, syntax, [encode(pixels)]))
    np.testing.assert_array_equal(image.array, pixels)
    assert np.asarray(image.array).dtype == np.uint16


def test_run_lengths_are_read(tmp_path: Path, pixels: np.ndarray) -> None:
    import pydicom

    file = pydicom.dcmread(write(tmp_path / "a.dcm", pixels, uid.ExplicitVRLittleEndian, []))
    file.compress(uid.RLELossless)
    file.save_as(tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "b.dcm").array, pixels)


@pytest.mark.parametrize(
    ("syntax", "encode", "bits", "off"),
    [
        (uid.JPEGBaseline8Bit, lambda a: bytes(imagecodecs.jpeg8_encode(a, level=98)), 8, 4),
        (uid.JPEGExtended12Bit, lambda a: bytes(imagecodecs.jpeg8_encode(a, level=98, bitspersample=12)), 12, 40),
        (uid.JPEGLSNearLossless, lambda a: bytes(imagecodecs.jpegls_encode(a, level=3)), 12, 3),
    ],
)
def test_what_was_compressed_with_loss_is_nearly_the_same(
    tmp_path: Path, syntax: str, encode: Encode, bits: int, off: int
) -> None:
    ramp = np.add.outer(np.arange(32), np.arange(40)) * (3 if bits == 8 else 50)
    pixels = ramp.astype(np.uint8 if bits == 8 else np.uint16)
    found = np.asarray(read_image(write(tmp_path / "a.dcm", pixels, syntax, [encode(pixels)], bits)).array)
    assert found.dtype == pixels.dtype
    assert np.abs(found.astype(int) - pixels).max() <= off


def test_a_compressed_series_is_a_volume_in_order(tmp_path: Path, rng: np.random.Generator) -> None:
    volume = rng.integers(0, 4000, (4, 24, 20)).astype(np.uint16)
    series = uid.generate_uid()
    for number, plane in enumerate(volume):
        place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 2.5 * number]}
        spacing = {"PixelSpacing": [0.8, 0.5], "SeriesInstanceUID": series}
        syntax, encode = LOSSLESS["JPEG lossless"]
        write(tmp_path / "series" / f"{9 - number}.dcm", plane, syntax, [encode(plane)], **place, **spacing)
    image = read_image(tmp_path / "series")
    assert image.axes == "ZYX"
    np.testing.assert_array_equal(image.array[:], volume)


def test_what_can_not_be_decoded_is_told_in_one_sentence(tmp_path: Path, pixels: np.ndarray) -> None:
    path = write(tmp_path / "a.dcm", pixels, uid.JPEGLSLossless, [b"no image at all."])
    with pytest.raises(FileFormatError, match=r"a\.dcm is compressed as JPEG-LS Lossless .* save it without"):
        np.asarray(read_image(path).array)
