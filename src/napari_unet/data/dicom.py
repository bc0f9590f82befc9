"""DICOM: a series of slices in a folder, or one file with one or many frames; needs the extra ``medical`` (pydicom).

Pixels may be compressed by run lengths, JPEG of any kind, JPEG-LS or JPEG 2000.

Slices are put in order by their position along the normal of the first. Places are turned from DICOM's axes (left,
posterior, superior) to those of NIfTI (right, anterior, superior); see DICOM PS3.3, C.7.6.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.calibration import Calibration
from napari_unet.data.dicom_codecs import add_decoders
from napari_unet.data.file_array import Content, FileArray
from napari_unet.errors import FileFormatError

__all__ = ["is_dicom_file", "list_series", "read_dicom"]

_TO_NIFTI = np.diag([-1.0, -1.0, 1.0])
_UNEVEN = 0.1  # part of the distance of slices by which one may be out of place
_LOOKED_AT = 50  # files of a folder that are opened to find the first slice
_FRAME_PARTS = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "PixelValueTransformationSequence",
)  # fmt: skip
_TAGS = [
    "SeriesInstanceUID", "ImageOrientationPatient", "ImagePositionPatient", "InstanceNumber", "PixelSpacing",
    "SpacingBetweenSlices", "SliceThickness", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "RescaleSlope", "RescaleIntercept", "BitsAllocated", "PixelRepresentation", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


def is_dicom_file(path: Path) -> bool:
    """Tell whether a file is DICOM by its mark, since many have no ending."""
    if path.name.startswith(".") or path.name == "DICOMDIR" or not path.is_file():
        return False
    try:
        with open(path, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def list_series(folder: Path) -> list[str]:
    """List the series in a folder by their UID; empty where it holds no DICOM."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in ("", ".dcm", ".dicom", ".ima")]
    if not any(is_dicom_file(path) for path in files[:_LOOKED_AT]):
        return []
    return list(dict.fromkeys(_series_of(header) for _, header in _headers(files, ["SeriesInstanceUID"])))


def read_dicom(path: Path, series: str | None = None) -> Content:
    """Open the series in a folder, or a file.

    Parameters
    ----------
    path : Path
        The folder or the file.
    series : str or None
        UID of the series; None: the only one.

    Raises
    ------
    FileFormatError
        If slices are missing or do not fit together, there are several series, or pydicom is not installed.
    """
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = list(_headers(files, _TAGS))
    names = list(dict.fromkeys(_series_of(header) for _, header in found))
    if series is None and len(names) > 1:
        raise FileFormatError(f"{path.name} holds {len(names)} series; name one as {path.name}::{names[0]}.")
    chosen = [(file, header) for file, header in found if series in (None, _series_of(header))]
    if not chosen:
        raise FileFormatError(f"{path.name} holds no DICOM series" + (f" {series}." if series else "."))
    if len(chosen) == 1:
        return _read_single(*chosen[0], path.name)
    return _read_slices(chosen, path.name)


def _headers(files: Iterable[Path], tags: list[str]) -> Iterator[tuple[Path, Any]]:
    for file in files:
        if is_dicom_file(file):
            yield file, _import_pydicom(file.name).dcmread(file, stop_before_pixels=True, specific_tags=tags)


def _series_of(header: Any) -> str:
    return str(getattr(header, "SeriesInstanceUID", ""))


def _read_slices(found: Sequence[tuple[Path, Any]], name: str) -> Content:
    first = found[0][1]
    kinds = {(h.Rows, h.Columns, int(getattr(h, "SamplesPerPixel", 1))) for _, h in found}
    if len(kinds) > 1:
        raise FileFormatError(f"{name} can't be used: its slices differ in size; put each series into a folder.")
    step = None
    if all("ImagePositionPatient" in header and "ImageOrientationPatient" in header for _, header in found):
        normal = np.cross(*_directions(first.ImageOrientationPatient))
        if any(np.abs(np.cross(*_directions(h.ImageOrientationPatient)) - normal).max() > 1e-3 for _, h in found):
            raise FileFormatError(f"{name} can't be used: its slices are turned against each other.")
        found = sorted(found, key=lambda entry: float(np.dot(entry[1].ImagePositionPatient, normal)))
        places = np.array([header.ImagePositionPatient for _, header in found], float)
        distances = np.diff(places @ normal)
        middle = float(np.median(distances))
        if not middle > 0 or np.abs(distances - middle).max() > _UNEVEN * middle:
            raise FileFormatError(
                f"{name} can't be used: slices are missing, or there are two at one place; choose one complete series."
            )
        step = (places[-1] - places[0]) / (len(places) - 1)
    else:
        found = sorted(found, key=lambda entry: int(getattr(entry[1], "InstanceNumber", None) or 0))
    array = _Slices([file for file, _ in found], [header for _, header in found])
    axes = "ZYXS" if len(array.shape) == 4 else "ZYX"
    return FileArray(array, name), axes, _calibrate(found[0][1], axes, step)


def _read_single(file: Path, header: Any, name: str) -> Content:
    frames = int(getattr(header, "NumberOfFrames", None) or 1)
    axes = ("Z" if frames > 1 else "") + ("YXS" if int(getattr(header, "SamplesPerPixel", 1)) > 1 else "YX")
    return _pixels(file, *_rescale(header)), axes, _calibrate(header, axes, None)


class _Slices:
    """The slices of a series as an array (z, y, x) that reads the files of those that are asked for."""

    def __init__(self, files: Sequence[Path], headers: Sequence[Any]) -> None:
        self.files = files
        self.rescale = [_rescale(header) for header in headers]
        first = headers[0]
        samples = int(getattr(first, "SamplesPerPixel", 1))
        self.shape = (len(files), int(first.Rows), int(first.Columns), *((samples,) if samples > 1 else ()))
        plain = f"{'i' if getattr(first, 'PixelRepresentation', 0) else 'u'}{int(first.BitsAllocated) // 8}"
        scaled = any(pair != (1.0, 0.0) for pair in self.rescale)
        self.dtype = np.dtype(np.float32 if scaled else plain)
        self.chunks = (1, *self.shape[1:])
        self._read = lru_cache(maxsize=8)(self._read_slice)  # tiles of one slice follow each other

    def _read_slice(self, number: int) -> npt.NDArray[Any]:
        return _pixels(self.files[number], *self.rescale[number]).astype(self.dtype, copy=False)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        given = index if isinstance(index, tuple) else (index,)
        if given[0] is Ellipsis:
            given = (slice(None),)
        first, rest = given[0], tuple(given[1:])
        if not isinstance(first, slice):
            return np.asarray(self._read(int(first) % len(self.files))[rest])
        slices = [self._read(number)[rest] for number in range(*first.indices(len(self.files)))]
        return np.stack(slices) if slices else np.zeros((0, *self.shape[1:]), self.dtype)


def _pixels(file: Path, slope: float, intercept: float) -> npt.NDArray[Any]:
    pydicom = _import_pydicom(file.name)
    add_decoders()
    data = pydicom.dcmread(file)
    try:
        pixels: npt.NDArray[Any] = data.pixel_array
    except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        raise FileFormatError(_why_unreadable(file, data)) from error
    return pixels if (slope, intercept) == (1.0, 0.0) else (pixels * slope + intercept).astype(np.float32)


def _why_unreadable(file: Path, data: Any) -> str:
    kind = data.file_meta.get("TransferSyntaxUID")
    if kind is None or not kind.is_compressed:
        return f"{file.name} is damaged: its pixels can't be read."
    return (
        f"{file.name} is compressed as {kind.name}, and damaged or of a kind that can't be read; save it without "
        "compression and open that."
    )


def _rescale(header: Any) -> tuple[float, float]:
    sources = [header, *_functional_groups(header)]
    return float(_first(sources, "RescaleSlope") or 1), float(_first(sources, "RescaleIntercept") or 0)


def _directions(orientation: Sequence[float]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return where x and y point: along a row and along a column."""
    return np.array(orientation[:3], float), np.array(orientation[3:6], float)


def _calibrate(header: Any, axes: str, step: npt.NDArray[np.float64] | None) -> Calibration:
    """Make the affine of a volume (PS3.3, equation C.7.6.2.1-1), or only sizes where the file says no place."""
    sources = [header, *_functional_groups(header)]
    size = _first(sources, "PixelSpacing")
    if size is None:
        return Calibration(unit="mm")
    between = _first(sources, "SpacingBetweenSlices") or _first(sources, "SliceThickness")
    orientation, place = _first(sources, "ImageOrientationPatient"), _first(sources, "ImagePositionPatient")
    if orientation is None or place is None:
        depth = 1000.0 * float(between) if between is not None else None
        sizes = {"Z": depth, "Y": 1000.0 * float(size[0]), "X": 1000.0 * float(size[1])}
        return Calibration.from_sizes(sizes, axes, unit="mm")
    along_row, along_column = _directions(orientation)
    if step is None:
        step = np.cross(along_row, along_column) * float(between or 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = along_row * float(size[1]), along_column * float(size[0]), step
    affine[:3, 3] = np.array(place, float)
    affine[:3] = _TO_NIFTI @ affine[:3]
    return Calibration.from_affine(affine, axes, "mm")


def _functional_groups(header: Any) -> Iterator[Any]:
    """Go through the parts of a file with many frames that say what the frames have in common, or of the first."""
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(getattr(header, name, None) or [])[:1]:
            for part in _FRAME_PARTS:
                yield from getattr(group, part, None) or []


def _first(sources: Iterable[Any], name: str) -> Any:
    return next((value for source in sources if (value := getattr(source, name, None)) is not None), None)


def _import_pydicom(name: str) -> Any:
    try:
        import pydicom
    except ImportError:
        raise FileFormatError(f'{name} needs the package pydicom: pip install "napari-unet[medical]".') from None
    return pydicom
