"""Reading and writing images and labels, whatever the format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import guess_axes
from napari_unet.data.box_view import BoxView
from napari_unet.data.calibration import Calibration
from napari_unet.data.dicom import is_dicom_file, read_dicom
from napari_unet.data.file_array import Content, reports_damage
from napari_unet.data.image_readers import read_numpy, read_picture, read_tiff
from napari_unet.data.image_search import KINDS, READABLE, ending_of, find_images, split_key
from napari_unet.data.image_writers import LABEL_WRITERS, WRITERS, Writer, write_imagej
from napari_unet.data.nifti import read_nifti
from napari_unet.data.storage import atomic_path, is_zarr_folder, restore_interrupted
from napari_unet.data.zarr_reader import read_zarr
from napari_unet.errors import FileFormatError, InputError

__all__ = ["READABLE", "ImageFile", "find_images", "read_annotation", "read_image", "write_image", "write_labels"]


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What a file holds.

    Attributes
    ----------
    array : array-like
        The pixels; numpy, memory-mapped or read from the file when indexed.
    axes : str
        One letter of TCZYXS for each axis; a guess where the file does not say.
    name : str
        What messages call it.
    calibration : Calibration
        Distances, unit and place of the pixels, as far as the file says them.
    """

    array: Any
    axes: str
    name: str
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Distance of pixels along the spatial axes (ZYX order) in micrometres; None: the file does not say."""
        return self.calibration.spacing


def read_image(path: str | os.PathLike[str]) -> ImageFile:
    """Read or open an image.

    Parameters
    ----------
    path : path-like
        TIFF (plain, ImageJ, OME), PNG, JPEG, NPY, NPZ with one image (or ``file.npz:name``), a zarr array or group (or
        an array in it), NIfTI, or DICOM: a file, or the folder of a series (or ``folder::UID``). Of several images or
        resolutions the first is taken.

    Returns
    -------
    ImageFile
        Colour pictures have the axes ``YXS``.

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, of an unknown kind or holds no image of real numbers; naming the file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_image(Path(folder, "cells.tif"), np.zeros((8, 9), np.uint16), "YX", spacing=(0.5, 0.25))
    ...     image = read_image(Path(folder, "cells.tif"))
    >>> image.array.shape, image.axes, image.spacing, image.name
    ((8, 9), 'YX', (0.5, 0.25), 'cells.tif')
    """
    return _read(path, keep_palette=False)


def read_annotation(path: str | os.PathLike[str]) -> ImageFile:
    """Read an annotation or a label image: whole numbers from 0 on, without channels.

    A picture with a palette keeps the numbers of its entries. A grey picture that was saved as RGB is taken as grey.

    Returns
    -------
    ImageFile
        With an array of bool or integers and axes of TZYX.

    Raises
    ------
    FileFormatError
        As `read_image`, and if the file holds colours or numbers that are no labels.
    """
    file = _read(path, keep_palette=True)
    array, axes = np.asarray(file.array), file.axes
    if axes.endswith("S") and Path(path).suffix.lower() in (".npy", ".npz", ".zarr") and array.ndim == 3:
        axes = "ZYX"
    if axes.endswith("S"):
        if (array[..., :1] != array[..., :3]).any():
            raise FileFormatError(
                f"{file.name} is a colour picture; save the annotation as labels, one number for each class or object."
            )
        array, axes = array[..., 0], axes[:-1]
    if "C" in axes:
        place = axes.index("C")
        if array.shape[place] == 1:
            array, axes = array.squeeze(place), axes.replace("C", "")
        elif "Z" not in axes:
            axes = axes.replace("C", "Z")
        elif "T" not in axes:
            axes = axes.replace("C", "T")
    if array.dtype.kind == "f" and np.isfinite(array).all() and np.array_equal(array, np.round(array)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "bui" or (array.dtype.kind == "i" and array.min() < 0):
        raise FileFormatError(f"{file.name} does not hold labels: they must be whole numbers from 0 on.")
    return ImageFile(array, axes, file.name, file.calibration)


def _read(path: str | os.PathLike[str], *, keep_palette: bool) -> ImageFile:
    file, key = split_key(Path(path).expanduser())
    name = file.name if key is None else f"{file.name}:{key}"
    restore_interrupted(file)
    try:
        with reports_damage(name):
            array, axes, calibration = _read_content(file, key, keep_palette)
    except FileNotFoundError:
        raise FileFormatError(f"{path} does not exist; check the name.") from None
    if np.dtype(array.dtype).kind not in "buif":
        raise FileFormatError(f"{name} holds values of type {array.dtype}; an image needs real numbers.")
    if 0 in array.shape or array.ndim < 2:
        raise FileFormatError(f"{name} holds no image: its shape is {tuple(array.shape)}.")
    return ImageFile(array, axes, name, calibration)


def _read_content(file: Path, key: str | None, keep_palette: bool) -> Content:
    ending = ending_of(file)
    if file.is_dir():
        if is_zarr_folder(file):
            return read_zarr(file)
        if any(is_dicom_file(entry) for entry in file.iterdir()):
            return read_dicom(file, key)
        raise FileFormatError(f"{file} is a folder without an image of its own (no zarr); choose the files in it.")
    if not file.exists():
        raise FileNotFoundError(file)
    if ending in READABLE and ending != ".zarr" and not file.stat().st_size:
        raise FileFormatError(f"{file.name} is empty; copy or save it again.")
    if ending in (".tif", ".tiff"):
        return read_tiff(file)
    if ending in (".png", ".jpg", ".jpeg"):
        return read_picture(file, keep_palette=keep_palette)
    if ending in (".npy", ".npz"):
        return read_numpy(file, key)
    if ending in (".nii", ".nii.gz"):
        return read_nifti(file)
    if is_dicom_file(file):
        return read_dicom(file)
    raise FileFormatError(f"{file.name} is of a kind that can't be read; there are {KINDS}: save it as TIFF, say.")


def write_labels(
    path: str | os.PathLike[str],
    labels: Any,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    *,
    calibration: Calibration | None = None,
    imagej: bool = False,
) -> None:
    """Write a label image in one step; the old file stays until the new one is whole.

    Parameters
    ----------
    path : path-like
        The ending decides: ``.tif`` (OME-TIFF, compressed, with the axes in ImageJ's order), ``.png`` (2D, up to 65535
        labels), ``.npy``, ``.zarr`` (OME-Zarr with all resolutions), ``.nii`` or ``.nii.gz``.
    labels : array-like or BoxView
        Whole numbers from 0 on; stored as uint8, uint16 or uint32. A `BoxView` has one of these types, and is written
        piece by piece; a TIFF of it is always an OME-TIFF.
    axes : str, optional
        One letter of TZYX for each axis; a guess where not given.
    spacing : sequence of float, optional
        Distance of pixels along the spatial axes (ZYX order) in micrometres.
    calibration : Calibration, optional
        The same and more, as `read_image` gives it; in place of `spacing`.
    imagej : bool
        Whether a TIFF is written as a hyperstack of ImageJ instead.

    Raises
    ------
    InputError
        If the format can't hold the array.
    napari_unet.data.storage.StorageError
        If the file can't be written.
    """
    array = labels if isinstance(labels, BoxView) else _as_labels(np.asarray(labels))
    axes = guess_axes(array.shape, rgb=False) if axes is None else axes
    _write(path, array, axes, _calibration(spacing, calibration), LABEL_WRITERS, imagej=imagej)


def _as_labels(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype.kind not in "bui" or (array.dtype.kind == "i" and array.size and array.min() < 0):
        raise InputError(f"Expected labels to be whole numbers from 0 on, but got values of type {array.dtype}.")
    if array.dtype in (np.uint8, np.uint16, np.uint32):
        return array
    return array.astype(np.min_scalar_type(int(array.max(initial=0))))


def write_image(
    path: str | os.PathLike[str],
    array: Any,
    axes: str | None = None,
    spacing: Sequence[float] | None = None,
    *,
    calibration: Calibration | None = None,
    imagej: bool = False,
) -> None:
    """Write an image in one step; parameters and errors as for `write_labels`, with the axes TCZYXS."""
    pixels = array if isinstance(array, BoxView) else np.asarray(array)
    axes = guess_axes(pixels.shape) if axes is None else axes
    _write(path, pixels, axes, _calibration(spacing, calibration), WRITERS, imagej=imagej)


def _calibration(spacing: Sequence[float] | None, calibration: Calibration | None) -> Calibration:
    if calibration is not None:
        return calibration
    return Calibration(None if spacing is None else tuple(float(step) for step in spacing))


def _write(
    path: str | os.PathLike[str],
    pixels: npt.NDArray[Any] | BoxView,
    axes: str,
    calibration: Calibration,
    writers: Mapping[str, Writer],
    *,
    imagej: bool,
) -> None:
    axes = axes.upper()
    if len(axes) != pixels.ndim or len(set(axes)) != len(axes) or not set(axes) <= set("TCZYXS"):
        raise InputError(f"Expected one letter of TCZYXS for each of {pixels.ndim} axes, but got {axes!r}.")
    if calibration.spacing is not None and calibration.lengths(axes) is None:
        raise InputError(f"Expected one pixel size for each spatial axis of {axes!r}, but got {calibration.spacing}.")
    ending = ending_of(Path(path))
    writer = writers.get(ending)
    if writer is None:
        raise InputError(f"{Path(path).name} has no ending that can be written; use one of {', '.join(writers)}.")
    if not isinstance(pixels, BoxView):
        if pixels.dtype.kind == "b":
            pixels = pixels.astype(np.uint8)
        elif pixels.dtype == np.float16:
            pixels = pixels.astype(np.float32)
        pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    is_hyperstack = imagej and ending in (".tif", ".tiff") and not isinstance(pixels, BoxView)
    with atomic_path(path) as temporary:
        (write_imagej if is_hyperstack else writer)(temporary, pixels, axes, calibration)
