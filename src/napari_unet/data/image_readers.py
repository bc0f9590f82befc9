"""One reader for each image format: from a file to an array, its axes and the size of its pixels.

What can be huge is opened lazily: NPY as a memory map, zarr and large TIFF as arrays that read what is asked for.
"""

from __future__ import annotations

import math
import struct
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import guess_axes
from napari_unet.errors import FileFormatError, InputError

__all__ = ["Content", "FileArray", "read_numpy", "read_picture", "read_tiff", "read_zarr", "reports_damage"]

Spacing = tuple[float, ...] | None
Content = tuple[Any, str, Spacing]

_LAZY_FROM_BYTES = 500_000_000
_MICROMETRES = {
    "m": 1e6, "meter": 1e6, "cm": 1e4, "centimeter": 1e4, "mm": 1e3, "millimeter": 1e3,
    "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "nm": 1e-3, "nanometer": 1e-3,
    "pm": 1e-6, "picometer": 1e-6, "å": 1e-4, "angstrom": 1e-4,
}  # fmt: skip
_DAMAGE = (
    OSError, ValueError, KeyError, IndexError, TypeError, EOFError, RuntimeError, AttributeError, ArithmeticError,
    struct.error, zlib.error, zipfile.BadZipFile, ElementTree.ParseError,
)  # fmt: skip


@contextmanager
def reports_damage(name: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one sentence about that file."""
    try:
        yield
    except (FileFormatError, FileNotFoundError):
        raise
    except InputError as error:
        raise FileFormatError(f"{name} can't be used: {error}") from error
    except MemoryError as error:
        raise FileFormatError(
            f"{name} does not fit into memory; save it as zarr, which is read piece by piece."
        ) from error
    except ImportError as error:
        raise FileFormatError(
            f"{name} can't be read: {error}. Save it uncompressed, or install that package."
        ) from error
    except PermissionError as error:
        raise FileFormatError(f"{name} can't be read: you have no permission.") from error
    except _DAMAGE as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise FileFormatError(f"{name} can't be read, it may be damaged: {words[:200].rstrip('.')}.") from error


class FileArray:
    """An array in a file that is read piece by piece; damage found on the way is told as a `FileFormatError`.

    Parameters
    ----------
    array : array-like
        A zarr array.
    name : str
        What messages call the file.
    close : callable, optional
        Called when the array is no longer used.
    """

    def __init__(self, array: Any, name: str, close: Callable[[], None] | None = None) -> None:
        self._array = array
        self._name = name
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize
        self.chunks: tuple[int, ...] = tuple(array.chunks)
        if close is not None:
            weakref.finalize(self, close)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        with reports_damage(self._name):
            return np.asarray(self._array[index])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[...].astype(dtype or self.dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"FileArray({self._name!r}, shape={self.shape}, dtype={self.dtype})"


def read_tiff(path: Path) -> Content:
    """Read the first series of a TIFF, at full resolution: plain, ImageJ hyperstack or OME-TIFF."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        if not file.series:
            raise FileFormatError(f"{path.name} holds no image.")
        series = file.series[0]
        rgb = series.keyframe.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
        shape, letters = tuple(series.shape), str(series.axes)
        sizes = _ome_sizes(file) if file.is_ome else _imagej_sizes(file) if file.is_imagej else {}
        lazy = series.nbytes > _LAZY_FROM_BYTES
        array: Any = None if lazy else series.asarray()
    if lazy:
        import zarr

        store = tifffile.imread(path, aszarr=True, series=0, level=0)
        array = FileArray(zarr.open_array(store, mode="r"), path.name, close=store.close)
    if tuple(array.shape) != shape:
        raise FileFormatError(f"{path.name} is damaged: its pages do not fit together.")
    array, axes = _settle_axes(array, letters, rgb)
    return array, axes, _spacing(sizes, axes)


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


def _ome_sizes(file: Any) -> dict[str, float]:
    root = ElementTree.fromstring(file.ome_metadata)
    pixels = next((element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return {}
    sizes = {}
    for letter in "ZYX":
        size = _micrometres(
            pixels.get(f"PhysicalSize{letter}"), pixels.get(f"PhysicalSize{letter}Unit", "um"), if_unknown=None
        )
        if size is not None:
            sizes[letter] = size
    return sizes


def _imagej_sizes(file: Any) -> dict[str, float]:
    """ImageJ keeps pixels per unit in the resolution tags, and the unit and the distance of slices in its own text."""
    metadata = file.imagej_metadata or {}
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "u")
    tags = file.pages[0].tags
    sizes = {}
    for letter, tag in (("Y", "YResolution"), ("X", "XResolution")):
        count, per = tags[tag].value if tag in tags else (0, 1)
        size = _micrometres(per / count if count else None, unit, if_unknown=None)
        if size is not None:
            sizes[letter] = size
    size = _micrometres(metadata.get("spacing"), unit, if_unknown=None)
    return sizes if size is None else {**sizes, "Z": size}


def _micrometres(value: Any, unit: Any, *, if_unknown: float | None) -> float | None:
    """Convert a length; `if_unknown` is the factor for a unit that says nothing (None: no length then)."""
    word = str(unit or "").strip().lower().replace("\u00b5", "u").replace("\u03bc", "u").replace("metre", "meter")
    factor = _MICROMETRES.get(word, if_unknown)
    try:
        length = float(value) * factor if factor is not None else 0.0
    except (TypeError, ValueError):
        return None
    return float(f"{length:.9g}") if math.isfinite(length) and length > 0 else None


def _spacing(sizes: Mapping[str, float | None], axes: str) -> Spacing:
    known = [sizes.get(letter) for letter in "ZYX" if letter in axes]
    return None if None in known else tuple(size for size in known if size is not None)


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
    return array, "YXS" if array.ndim == 3 else "YX", None


def read_numpy(path: Path, key: str | None = None) -> Content:
    """Open an NPY as a memory map, or read one array of an NPZ; never anything that would run code."""
    if path.suffix.lower() == ".npy":
        array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    else:
        with zipfile.ZipFile(path) as archive:
            array = _read_npz(archive, path.name, key)
    return array, guess_axes(array.shape), None


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


def read_zarr(path: Path) -> Content:
    """Open a zarr array, the only array of a group, or the full resolution of a multiscale OME-Zarr; lazily."""
    import zarr

    node = zarr.open(str(path), mode="r")
    if isinstance(node, zarr.Group):
        return _read_group(node, path.name)
    attributes: dict[str, Any] = dict(node.attrs)
    names: Any = getattr(node.metadata, "dimension_names", None) or attributes.get("_ARRAY_DIMENSIONS")
    axes = "".join(str(name).upper() for name in names) if names and None not in names else ""
    usable = len(axes) == node.ndim == len(set(axes)) and set("YX") <= set(axes) <= set("TCZYXS")
    return FileArray(node, path.name), axes if usable else guess_axes(node.shape), None


def _read_group(group: Any, name: str) -> Content:
    attributes: dict[str, Any] = dict(group.attrs)
    attributes = attributes.get("ome", attributes)
    multiscales = attributes.get("multiscales")
    if multiscales:
        return _read_multiscale(group, multiscales[0], name)
    if "bioformats2raw.layout" in attributes:
        return _read_group(group["0"], name)
    arrays = dict(group.arrays())
    if len(arrays) == 1:
        (array,) = arrays.values()
        return FileArray(array, name), guess_axes(array.shape), None
    inside = sorted([*arrays, *dict(group.groups())])
    listed = ", ".join(f"{name}/{entry}" for entry in inside[:12])
    raise FileFormatError(
        f"{name} holds {'several arrays' if inside else 'no array'}" + (f"; name one: {listed}." if inside else ".")
    )


def _read_multiscale(group: Any, multiscale: Mapping[str, Any], name: str) -> Content:
    level = multiscale["datasets"][0]
    array = group[level["path"]]
    axes, units = _ngff_axes(multiscale.get("axes"))
    if len(axes) != array.ndim:
        return FileArray(array, name), guess_axes(array.shape), None
    scale = np.ones(array.ndim)
    given = [*level.get("coordinateTransformations", ()), *multiscale.get("coordinateTransformations", ())]
    for step in given:
        if step.get("type") == "scale":
            scale = scale * np.asarray(step["scale"], float)
    stated = any(step.get("type") == "scale" for step in given)
    sizes = {
        letter: _micrometres(size, unit, if_unknown=1.0)
        for letter, size, unit in zip(axes, scale.tolist(), units, strict=True)
    }
    return FileArray(array, name), axes, _spacing(sizes, axes) if stated else None


def _ngff_axes(axes: Sequence[Any] | None) -> tuple[str, list[Any]]:
    """Axes of OME-Zarr: dicts with name, type and unit since 0.4, names in 0.3, always TCZYX before."""
    if axes is None:
        return "TCZYX", [None] * 5
    letters, units = "", []
    for axis in axes:
        entry = axis if isinstance(axis, Mapping) else {"name": axis}
        kind = {"channel": "C", "time": "T"}.get(str(entry.get("type")))
        letters += kind or str(entry["name"])[-1:].upper()
        units.append(entry.get("unit"))
    return letters, units
