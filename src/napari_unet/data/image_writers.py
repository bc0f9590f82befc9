"""One writer for each image format. They write to the path that they are given; `files` makes that atomic.

Each but ImageJ's takes a `BoxView` as well as a NumPy array, and writes it piece by piece.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.box_view import BoxView, bands
from napari_unet.data.calibration import Calibration
from napari_unet.data.nifti import write_nifti
from napari_unet.data.zarr_writer import write_image_zarr, write_label_zarr
from napari_unet.errors import InputError

__all__ = ["LABEL_WRITERS", "WRITERS", "Writer", "write_imagej"]

Writer = Callable[[Path, Any, str, Calibration], None]

_BIG_TIFF_FROM_BYTES = 2**32 - 2**26
_CENTIMETRE = 1e4  # in micrometres
_TILE = 512  # side of the tiles of a TIFF that is written piece by piece


def _arrange(array: Any, axes: str, order: str) -> tuple[Any, str]:
    """Transpose to the order of axes that a format wants."""
    sorted_axes = "".join(sorted(axes, key=order.index))
    return array.transpose([axes.index(letter) for letter in sorted_axes]), sorted_axes


def write_tiff(path: Path, array: npt.NDArray[Any] | BoxView, axes: str, calibration: Calibration) -> None:
    """Write an OME-TIFF with the axes in ImageJ's order, compressed without loss (zlib)."""
    import tifffile

    array, axes = _arrange(array, axes, "TZCYXS")
    lengths, unit = calibration.lengths(axes), calibration.unit
    metadata: dict[str, Any] = {"axes": axes}
    spatial = [letter for letter in "ZYX" if letter in axes]
    for letter, length in zip(spatial, lengths or (), strict=False):
        metadata |= {f"PhysicalSize{letter}": length, f"PhysicalSize{letter}Unit": unit}
    if calibration.interval is not None and "T" in axes:
        metadata |= {"TimeIncrement": calibration.interval, "TimeIncrementUnit": "s"}
    origin = calibration.origin(axes)
    if origin is not None and lengths is not None:
        metadata["Plane"] = _plane_places(
            array.shape, axes, dict(zip(spatial, zip(origin, lengths, strict=True), strict=True)), unit
        )
    pieces: dict[str, Any]
    if isinstance(array, BoxView):
        pieces = {"data": _tiles(array), "shape": array.shape, "dtype": array.dtype, "tile": (_TILE, _TILE)}
    else:
        pieces = {"data": np.ascontiguousarray(array)}
    tifffile.imwrite(
        path,
        **pieces,
        ome=True,
        bigtiff=array.nbytes > _BIG_TIFF_FROM_BYTES,
        photometric="rgb" if axes.endswith("S") else "minisblack",
        compression="zlib",
        metadata=metadata,
        **_resolution(calibration, axes),
    )


def _tiles(array: BoxView) -> Iterator[npt.NDArray[Any]]:
    """Cut planes into tiles in the order in which a TIFF has them."""
    for band in bands(array, _TILE):
        for left in range(0, band.shape[1], _TILE):
            yield np.ascontiguousarray(band[:, left : left + _TILE])


def _plane_places(
    shape: tuple[int, ...], axes: str, places: dict[str, tuple[float, float]], unit: str
) -> dict[str, list[Any]]:
    """List where each plane of an OME-TIFF lies, in the order in which the planes are written."""
    planes = [n for letter, n in zip(axes, shape, strict=True) if letter not in "YXS"]
    count = int(np.prod(planes, dtype=int))
    listed: dict[str, list[Any]] = {}
    for letter, (start, step) in places.items():
        values = [start] * count
        if letter == "Z":
            depth = np.unravel_index(np.arange(count), planes)[axes.index("Z")]
            values = (start + step * depth).tolist()
        listed |= {f"Position{letter}": values, f"Position{letter}Unit": [unit] * count}
    return listed


def _resolution(calibration: Calibration, axes: str) -> dict[str, Any]:
    """Return the pixel size once more as TIFF's own tags, which programs read that know no OME."""
    if calibration.lengths(axes) is None or calibration.spacing is None:
        return {}
    y, x = calibration.spacing[-2:]
    return {"resolution": (_CENTIMETRE / x, _CENTIMETRE / y), "resolutionunit": "CENTIMETER"}


def write_imagej(path: Path, array: Any, axes: str, calibration: Calibration) -> None:
    """Write a hyperstack as ImageJ does.

    Raises
    ------
    InputError
        If ImageJ does not know the type of the pixels.
    """
    import tifffile

    array, axes = _arrange(array, axes, "TZCYXS")
    if array.dtype not in (np.uint8, np.uint16, np.float32):
        raise InputError(f"ImageJ can't hold values of type {array.dtype}; choose OME-TIFF.")
    metadata: dict[str, Any] = {"axes": axes}
    options: dict[str, Any] = {}
    lengths = calibration.lengths(axes)
    if lengths is not None:
        metadata["unit"] = "micron" if calibration.unit == "µm" else calibration.unit
        metadata |= {"spacing": lengths[0]} if len(lengths) == 3 else {}
        options["resolution"] = (1 / lengths[-1], 1 / lengths[-2])
    if calibration.interval is not None and "T" in axes:
        metadata["finterval"] = calibration.interval
    tifffile.imwrite(path, np.ascontiguousarray(array), imagej=True, metadata=metadata, **options)


def write_png(path: Path, array: npt.NDArray[Any] | BoxView, axes: str, calibration: Calibration) -> None:
    """Write a PNG: 2D grey values or RGB(A)."""
    from PIL import Image

    array, axes = _arrange(array, axes, "TCZYXS")
    if axes not in ("YX", "YXS") or array.dtype not in ((np.uint8, np.uint16) if axes == "YX" else (np.uint8,)):
        raise InputError(f"A PNG can't hold shape {array.shape} and type {array.dtype}; choose a name ending in .tif.")
    if isinstance(array, BoxView):
        _write_grey_png(path, array)
        return
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(content, format="PNG")
    path.write_bytes(content.getvalue())


def _write_grey_png(path: Path, array: BoxView) -> None:
    """Write grey values band by band, as the specification of PNG (ISO/IEC 15948) describes, with unfiltered rows."""
    height, width = array.shape
    with open(path, "wb") as stream:

        def write_chunk(kind: bytes, content: bytes) -> None:
            checksum = zlib.crc32(kind + content)
            stream.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum))

        stream.write(b"\x89PNG\r\n\x1a\n")
        write_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * array.dtype.itemsize, 0, 0, 0, 0))
        packer = zlib.compressobj()
        for band in bands(array):
            rows = band.astype(band.dtype.newbyteorder(">"), copy=False).view(np.uint8)
            unfiltered = np.pad(rows, [(0, 0), (1, 0)])  # each row begins with the number of its filter, 0 for none
            write_chunk(b"IDAT", packer.compress(unfiltered.tobytes()))
        write_chunk(b"IDAT", packer.flush())
        write_chunk(b"IEND", b"")


def write_npy(path: Path, array: npt.NDArray[Any] | BoxView, axes: str, calibration: Calibration) -> None:
    """Write an NPY with the axes as they are; axes and pixel size are not kept by the format."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    with open(path, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for band in bands(array):
            stream.write(band.data)


WRITERS: dict[str, Writer] = {
    ".tif": write_tiff,
    ".tiff": write_tiff,
    ".png": write_png,
    ".npy": write_npy,
    ".zarr": write_image_zarr,
    ".nii": write_nifti,
    ".nii.gz": write_nifti,
}
LABEL_WRITERS: dict[str, Writer] = WRITERS | {".zarr": write_label_zarr}
