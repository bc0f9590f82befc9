"""NIfTI: volumes of medical images, with their place in the body; needs the extra ``medical`` (nibabel)."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from napari_unet.data.box_view import BoxView, bands
from napari_unet.data.calibration import MICROMETRES, Calibration, in_seconds
from napari_unet.data.file_array import Content, FileArray
from napari_unet.errors import FileFormatError, InputError, UNetError
from napari_unet.words import disk_size

__all__ = ["read_nifti", "write_nifti"]

_AXES = "XYZTC"  # of a file, the first varies fastest
_LENGTHS = {"meter": "m", "micron": "µm"}  # all others, and files that say nothing, are in millimetres
_SHARE = 0.7  # of the free memory that an image may take
_LARGEST_SIDE = 32767  # of the older form of the format


class _Reversed:
    """An array of nibabel with its axes in reverse order, so that the last varies fastest, as everywhere else."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape = tuple(reversed(array.shape))
        scaled = (array.slope, array.inter) != (1.0, 0.0)
        self.dtype = np.dtype(np.float32) if scaled else array.dtype

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        given = index if isinstance(index, tuple) else (index,)
        if Ellipsis in given:
            place = given.index(Ellipsis)
            filling = (slice(None),) * (len(self.shape) - len(given) + 1)
            given = given[:place] + filling + given[place + 1 :]
        full = given + (slice(None),) * (len(self.shape) - len(given))
        return np.asarray(self._array[full[::-1]]).T.astype(self.dtype, copy=False)


def read_nifti(path: Path) -> Content:
    """Open a NIfTI; lazily, unless it is compressed, which is read as a whole.

    Raises
    ------
    FileFormatError
        If it has more axes than x, y, z, time and channel, is compressed and too large for the memory, or nibabel is
        not installed.
    """
    nibabel = _import_nibabel(path.name, FileFormatError)
    try:
        image = nibabel.load(path)
    except nibabel.filebasedimages.ImageFileError as error:
        raise FileFormatError(f"{path.name} is not a NIfTI image, or it is damaged.") from error
    ndim = len(image.shape)
    if not 2 <= ndim <= len(_AXES):
        raise FileFormatError(f"{path.name} has {ndim} axes; NIfTI images with 2 to 5 can be used.")
    axes = _AXES[:ndim][::-1]
    array: Any = FileArray(_Reversed(image.dataobj), path.name)
    if path.suffix.lower() == ".gz":
        _check_memory(path, array)
        array = np.asarray(array)
    length, time = image.header.get_xyzt_units()
    step = image.header.get_zooms()[3] if ndim > 3 else None
    calibration = Calibration.from_affine(image.affine, axes, _LENGTHS.get(length, "mm"), in_seconds(step, time))
    return array, axes, calibration


def _check_memory(path: Path, array: Any) -> None:
    """Refuse a compressed file whose pixels do not fit into the free memory, before they are read."""
    free = psutil.virtual_memory().available
    needed = math.prod(array.shape) * array.dtype.itemsize
    if needed > _SHARE * free:
        raise FileFormatError(
            f"{path.name} is compressed and can only be read as a whole: that takes {disk_size(needed)} of memory, and "
            f"{disk_size(free)} are free; decompress it (gunzip), and open the .nii, which is read piece by piece."
        )


def write_nifti(path: Path, array: npt.NDArray[Any] | BoxView, axes: str, calibration: Calibration) -> None:
    """Write a NIfTI (compressed where the name ends in ``.gz``) with the affine and the unit of its source."""
    nibabel = _import_nibabel("NIfTI", InputError)
    if "S" in axes:
        axes = axes.replace("S", "C")
    present = [letter for letter in _AXES if letter in axes]
    wanted = _AXES[: _AXES.index(present[-1]) + 1]
    shape = [array.shape[axes.index(letter)] if letter in present else 1 for letter in wanted]
    unit = calibration.unit if calibration.unit in ("m", "mm", "µm") else "mm"
    kind = nibabel.Nifti2Image if max(shape) > _LARGEST_SIDE else nibabel.Nifti1Image
    image = kind(np.broadcast_to(array.dtype.type(0), shape), _affine(calibration, axes, unit))
    image.set_sform(image.affine, code="scanner")
    try:
        image.set_qform(image.affine, code="scanner", strip_shears=False)
    except nibabel.spatialimages.HeaderDataError:
        image.set_qform(None)  # a sheared image has only the one form
    image.header.set_xyzt_units({"m": "meter", "mm": "mm", "µm": "micron"}[unit], "sec")
    if calibration.interval is not None and "T" in axes:
        image.header.set_zooms((*image.header.get_zooms()[:3], calibration.interval, *image.header.get_zooms()[4:]))
    image.update_header()
    image.header.set_slope_inter(1, 0)
    pixels = array.transpose([axes.index(letter) for letter in reversed(present)])
    with open(path, "wb") as raw:
        if path.suffix.lower() != ".gz":
            _write_content(raw, image.header, pixels)
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as stream:
            _write_content(stream, image.header, pixels)


def _write_content(stream: Any, header: Any, pixels: npt.NDArray[Any] | BoxView) -> None:
    """Write the header and behind it the pixels, the last axis fastest."""
    header.write_to(stream)
    for band in bands(pixels):
        stream.write(band.data)


def _affine(calibration: Calibration, axes: str, unit: str) -> npt.NDArray[np.float64]:
    affine = np.eye(4)
    if calibration.affine is not None:
        affine = calibration.affine.copy()
    elif calibration.spacing is not None:
        spatial = [letter for letter in "ZYX" if letter in axes]
        for letter, step in zip(spatial, calibration.spacing, strict=True):
            affine["XYZ".index(letter), "XYZ".index(letter)] = step
    else:
        return affine
    affine[:3] /= MICROMETRES[unit]
    return affine


def _import_nibabel(name: str, error: type[UNetError]) -> Any:
    try:
        import nibabel
    except ImportError:
        raise error(f'{name} needs the package nibabel: pip install "napari-unet[medical]".') from None
    return nibabel
