"""Finding, reading and writing images and labels, whatever the format."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import guess_axes
from napari_unet.data.image_readers import Content, read_numpy, read_picture, read_tiff, read_zarr, reports_damage
from napari_unet.data.image_writers import WRITERS
from napari_unet.data.storage import atomic_path, is_zarr_folder, restore_interrupted
from napari_unet.errors import FileFormatError, InputError

__all__ = ["READABLE", "ImageFile", "find_images", "read_annotation", "read_image", "write_image", "write_labels"]

READABLE = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".npy", ".npz", ".zarr")
_KINDS = "TIFF, PNG, JPEG, NPY, NPZ and zarr"
_INSIDE_NPZ = re.compile(r"(?P<file>.*\.npz)::?(?P<key>.+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What a file holds.

    Attributes
    ----------
    array : array-like
        The pixels; numpy, memory-mapped or read from the file when indexed.
    axes : str
        One letter of TCZYXS for each axis; a guess where the file does not say.
    spacing : tuple of float or None
        Distance of pixels along the spatial axes (ZYX order) in micrometres; None: the file does not say.
    name : str
        What messages call it.
    """

    array: Any
    axes: str
    spacing: tuple[float, ...] | None
    name: str


def read_image(path: str | os.PathLike[str]) -> ImageFile:
    """Read or open an image.

    Parameters
    ----------
    path : path-like
        TIFF (plain, ImageJ, OME), PNG, JPEG, NPY, NPZ with one image (or ``file.npz:name``), or a zarr array or group
        (or an array in it). Of several series or resolutions the first is taken.

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
    return ImageFile(array, axes, file.spacing, file.name)


def _read(path: str | os.PathLike[str], *, keep_palette: bool) -> ImageFile:
    file, key = _split_key(Path(path).expanduser())
    name = file.name if key is None else f"{file.name}:{key}"
    restore_interrupted(file)
    try:
        with reports_damage(name):
            array, axes, spacing = _read_content(file, key, keep_palette)
    except FileNotFoundError:
        raise FileFormatError(f"{path} does not exist; check the name.") from None
    if np.dtype(array.dtype).kind not in "buif":
        raise FileFormatError(f"{name} holds values of type {array.dtype}; an image needs real numbers.")
    if 0 in array.shape or array.ndim < 2:
        raise FileFormatError(f"{name} holds no image: its shape is {tuple(array.shape)}.")
    return ImageFile(array, axes, spacing, name)


def _split_key(path: Path) -> tuple[Path, str | None]:
    match = _INSIDE_NPZ.fullmatch(str(path))
    if match is None or path.exists():
        return path, None
    return Path(match["file"]), match["key"]


def _read_content(file: Path, key: str | None, keep_palette: bool) -> Content:
    suffix = file.suffix.lower()
    if file.is_dir():
        if is_zarr_folder(file):
            return read_zarr(file)
        raise FileFormatError(f"{file} is a folder without an image of its own (no zarr); choose the files in it.")
    if not file.exists():
        raise FileNotFoundError(file)
    if suffix in READABLE and suffix != ".zarr" and not file.stat().st_size:
        raise FileFormatError(f"{file.name} is empty; copy or save it again.")
    if suffix in (".tif", ".tiff"):
        return read_tiff(file)
    if suffix in (".png", ".jpg", ".jpeg"):
        return read_picture(file, keep_palette=keep_palette)
    if suffix in (".npy", ".npz"):
        return read_numpy(file, key)
    raise FileFormatError(f"{file.name} is of a kind that can't be read; there are {_KINDS}: save it as TIFF, say.")


def find_images(patterns: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """List the images that files, folders and patterns stand for.

    Parameters
    ----------
    patterns : iterable of path-like
        Files, ``file.npz:name``, folders (their images, not those of folders in them; a zarr counts as one image) and
        patterns with ``*``, ``?``, ``[...]`` and ``**``.

    Returns
    -------
    list of pathlib.Path
        In the order of the patterns, within each in natural order (``cell2`` before ``cell10``), each once.

    Raises
    ------
    FileFormatError
        If a pattern stands for nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        found |= dict.fromkeys(_matches(Path(pattern).expanduser()))
    return list(found)


def _matches(pattern: Path) -> list[Path]:
    restore_interrupted(pattern)
    if pattern.is_dir() and not is_zarr_folder(pattern):
        images = [entry for entry in pattern.iterdir() if _looks_readable(entry)]
        if not images:
            raise FileFormatError(f"The folder {pattern} holds no image that can be read ({_KINDS}).")
    elif _split_key(pattern)[0].exists():
        return [pattern]
    elif glob.has_magic(str(pattern)):
        images = [path for path in map(Path, glob.glob(str(pattern), recursive=True)) if _looks_readable(path)]
        if not images:
            raise FileFormatError(f"No image matches {pattern}; check the folder and the pattern.")
    else:
        raise FileFormatError(f"{pattern} does not exist; check the name.")
    return sorted(images, key=_natural_order)


def _looks_readable(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return is_zarr_folder(path) if path.is_dir() else path.suffix.lower() in READABLE


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def write_labels(
    path: str | os.PathLike[str], labels: Any, axes: str | None = None, spacing: Sequence[float] | None = None
) -> None:
    """Write a label image in one step; the old file stays until the new one is whole.

    Parameters
    ----------
    path : path-like
        The ending decides: ``.tif`` (OME-TIFF, compressed, with the axes in ImageJ's order), ``.png`` (2D, up to 65535
        labels), ``.npy`` or ``.zarr`` (OME-Zarr).
    labels : array-like
        Whole numbers from 0 on; stored as uint8, uint16 or uint32.
    axes : str, optional
        One letter of TZYX for each axis; a guess where not given.
    spacing : sequence of float, optional
        Distance of pixels along the spatial axes (ZYX order) in micrometres.

    Raises
    ------
    InputError
        If the format can't hold the array.
    napari_unet.data.storage.StorageError
        If the file can't be written.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "bui" or (array.dtype.kind == "i" and array.size and array.min() < 0):
        raise InputError(f"Expected labels to be whole numbers from 0 on, but got values of type {array.dtype}.")
    if array.dtype not in (np.uint8, np.uint16, np.uint32):
        smallest = np.min_scalar_type(int(array.max(initial=0)))
        array = array.astype(smallest)
    write_image(path, array, guess_axes(array.shape, rgb=False) if axes is None else axes, spacing)


def write_image(
    path: str | os.PathLike[str], array: Any, axes: str | None = None, spacing: Sequence[float] | None = None
) -> None:
    """Write an image in one step; parameters and errors as for `write_labels`, with the axes TCZYXS."""
    pixels: npt.NDArray[Any] = np.asarray(array)
    axes = guess_axes(pixels.shape) if axes is None else axes.upper()
    if len(axes) != pixels.ndim or len(set(axes)) != len(axes) or not set(axes) <= set("TCZYXS"):
        raise InputError(f"Expected one letter of TCZYXS for each of {pixels.ndim} axes, but got {axes!r}.")
    steps = None if spacing is None else tuple(float(step) for step in spacing)
    if steps is not None and len(steps) != sum(letter in "ZYX" for letter in axes):
        raise InputError(f"Expected one pixel size for each spatial axis of {axes!r}, but got {steps}.")
    writer = WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        raise InputError(f"{Path(path).name} has no ending that can be written; use one of {', '.join(WRITERS)}.")
    if pixels.dtype.kind == "b":
        pixels = pixels.astype(np.uint8)
    elif pixels.dtype == np.float16:
        pixels = pixels.astype(np.float32)
    with atomic_path(path) as temporary:
        writer(temporary, pixels.astype(pixels.dtype.newbyteorder("="), copy=False), axes, steps)
