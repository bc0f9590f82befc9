"""One reader for each of the common image formats: from a file to an array, its axes and where its pixels lie.

What can be huge is opened lazily: NPY as a memory map, large TIFF as an array that reads what is asked for.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import guess_axes
from napari_unet.data.calibration import Calibration, in_micrometres, in_seconds, length_unit, place_in_micrometres
from napari_unet.data.file_array import Content, FileArray
from napari_unet.errors import FileFormatError

__all__ = ["describe_tiff", "is_imagej_file", "read_numpy", "read_picture", "read_tiff"]

_LAZY_FROM_BYTES = 500_000_000


def read_tiff(path: Path) -> Content:
    """Read the first series of a TIFF, at full resolution: plain, ImageJ hyperstack or OME-TIFF."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise FileFormatError(f"{path.name} holds no image.")
        series = file.series[0]
        rgb = series.keyframe.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
        shape, letters = tuple(series.shape), str(series.axes)
        lazy = series.nbytes > _LAZY_FROM_BYTES
        array: Any = _open_lazily(path) if lazy else series.asarray()
        if tuple(array.shape) != shape:
            raise FileFormatError(f"{path.name} is damaged: its pages do not fit together.")
        array, axes = _settle_axes(array, letters, rgb)
        read = _read_ome if file.is_ome else _read_imagej if file.is_imagej else None
        return array, axes, Calibration() if read is None else read(file, axes)


def describe_tiff(path: Path) -> tuple[tuple[int, ...], str, Calibration] | None:
    """Return shape, axes and calibration of an OME-TIFF or a TIFF of ImageJ without its pixels; others do not say."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        read = _read_ome if file.is_ome else _read_imagej if file.is_imagej else None
        if read is None or not file.series:
            return None
        shape, axes = tuple(file.series[0].shape), str(file.series[0].axes)
        return (shape, axes, read(file, axes)) if set(axes) <= set("TCZYX") else None


def is_imagej_file(path: Path) -> bool:
    """Tell whether a file is a TIFF that ImageJ wrote."""
    import tifffile

    if path.suffix.lower() not in (".tif", ".tiff") or not path.is_file():
        return False
    with tifffile.TiffFile(path) as file:
        return bool(file.is_imagej) and not file.is_ome


def _open_lazily(path: Path) -> FileArray:
    import tifffile
    import zarr

    store = tifffile.imread(path, aszarr=True, series=0, level=0)
    return FileArray(zarr.open_array(store, mode="r"), path.name, close=store.close)


def _settle_axes(array: Any, letters: str, rgb: bool) -> tuple[Any, str]:
    """Bring the letters of a TIFF, some of which mean "unknown", to those of TCZYXS; RGB samples go last."""
    if "S" in letters and rgb and not letters.endswith("S"):
        place = letters.index("S")
        array = np.moveaxis(np.asarray(array), place, -1)
        letters = letters.replace("S", "") + "S"
    elif "S" in letters and not rgb:
        letters = letters.replace("S", "C" if "C" not in letters else "Q")
    if not set(letters) & set("TCZ") and set(letters) - set("YXS"):
        return array, guess_axes(array.shape, rgb="S" in letters)
    spare = iter([letter for letter in "ZTC" if letter not in letters])
    settled = "".join(letter if letter in "TCZYXS" else next(spare, "?") for letter in letters)
    return array, settled


def _read_ome(file: Any, axes: str) -> Calibration:
    """Read OME-XML: sizes and the time interval of the pixels, and the position of the first plane."""
    root = ElementTree.fromstring(file.ome_metadata)
    pixels = next((element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return Calibration()
    sizes = {
        letter: in_micrometres(pixels.get(f"PhysicalSize{letter}"), pixels.get(f"PhysicalSize{letter}Unit", "µm"))
        for letter in "ZYX"
    }
    plane = next((element for element in pixels if element.tag.rpartition("}")[2] == "Plane"), None)
    origin = {
        letter: place_in_micrometres(plane.get(f"Position{letter}"), plane.get(f"Position{letter}Unit"))
        for letter in axes
        if plane is not None and letter in "ZYX"
    }
    interval = in_seconds(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    unit = length_unit(pixels.get("PhysicalSizeXUnit", "µm"))
    return Calibration.from_sizes(sizes, axes, unit=unit, origin=origin, interval=interval)


def _read_imagej(file: Any, axes: str) -> Calibration:
    """ImageJ keeps pixels per unit in the resolution tags, and the unit and the distance of slices in its own text."""
    metadata = file.imagej_metadata or {}
    unit = length_unit(metadata.get("unit"))
    tags = file.pages[0].tags
    sizes = {"Z": in_micrometres(metadata.get("spacing"), unit)}
    for letter, tag in (("Y", "YResolution"), ("X", "XResolution")):
        count, per = tags[tag].value if tag in tags else (0, 1)
        sizes[letter] = in_micrometres(per / count if count else None, unit)
    interval = in_seconds(metadata.get("finterval"), metadata.get("tunit") or "s")
    return Calibration.from_sizes(sizes, axes, unit=unit, interval=interval)


def read_picture(path: Path, *, keep_palette: bool = False) -> Content:
    """Read a PNG or JPEG; a palette becomes colours, or with `keep_palette` its numbers are kept as labels."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as file:
                picture: Image.Image = file
                if picture.mode in ("LA", "La"):
                    picture = picture.getchannel(0)
                elif picture.mode in ("P", "PA") and not keep_palette:
                    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
                elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBa", "RGBX"):
                    picture = picture.convert("RGB")
                array = np.array(picture)
    except UnidentifiedImageError:
        raise FileFormatError(f"{path.name} is not a PNG or JPEG picture, or it is damaged.") from None
    except Image.DecompressionBombError:
        raise FileFormatError(f"{path.name} is too large for this format; save it as TIFF or zarr.") from None
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    return array, "YXS" if array.ndim == 3 else "YX", Calibration()


def read_numpy(path: Path, key: str | None = None) -> Content:
    """Open an NPY as a memory map, or read one array of an NPZ; never anything that would run code."""
    if path.suffix.lower() == ".npy":
        array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    else:
        with zipfile.ZipFile(path) as archive:
            array = _read_npz(archive, path.name, key)
    return array, guess_axes(array.shape), Calibration()


def _read_npz(archive: zipfile.ZipFile, name: str, key: str | None) -> npt.NDArray[Any]:
    headers = {}
    for entry in archive.infolist():
        if entry.filename.endswith(".npy"):
            headers[entry.filename.removesuffix(".npy")] = (entry, *_npy_header(archive, entry))
    images = [stem for stem, (_, shape, dtype) in headers.items() if len(shape) >= 2 and dtype.kind in "buif"]
    if key is None and len(images) == 1:
        key = images[0]
    if key is None or key not in headers:
        listed = ", ".join(images[:12]) + (", ..." if len(images) > 12 else "")
        problem = (
            "holds several images" if key is None and images else f"has no array {key!r}" if key else "holds no image"
        )
        advice = f"; name one as {name}:{images[0]} (there are: {listed})" if images else ""
        raise FileFormatError(f"{name} {problem}{advice}.")
    entry, shape, dtype = headers[key]
    if math.prod(shape) * dtype.itemsize > entry.file_size:
        raise FileFormatError(f"{name} is damaged: the array {key!r} is shorter than it says.")
    with archive.open(entry) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _npy_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]]:
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        read: Callable[[Any], Any] = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(stream)
    return tuple(shape), dtype
