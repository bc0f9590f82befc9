"""One writer for each image format. They write to the path that they are given; `files` makes that atomic."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.errors import InputError

__all__ = ["WRITERS", "Writer"]

Writer = Callable[[Path, npt.NDArray[Any], str, tuple[float, ...] | None], None]

_BIG_TIFF_FROM_BYTES = 2**32 - 2**26
_CHUNK = 512


def _arrange(array: npt.NDArray[Any], axes: str, order: str) -> tuple[npt.NDArray[Any], str]:
    """Transpose to the order of axes that a format wants."""
    sorted_axes = "".join(sorted(axes, key=order.index))
    return array.transpose([axes.index(letter) for letter in sorted_axes]), sorted_axes


def _sizes(axes: str, spacing: tuple[float, ...] | None) -> dict[str, float]:
    return {} if spacing is None else dict(zip([a for a in "ZYX" if a in axes], spacing, strict=True))


def write_tiff(path: Path, array: npt.NDArray[Any], axes: str, spacing: tuple[float, ...] | None) -> None:
    """Write an OME-TIFF with the axes in ImageJ's order, compressed without loss (zlib)."""
    import tifffile

    array, axes = _arrange(array, axes, "TZCYXS")
    metadata: dict[str, Any] = {"axes": axes}
    for letter, size in _sizes(axes, spacing).items():
        metadata |= {f"PhysicalSize{letter}": size, f"PhysicalSize{letter}Unit": "µm"}
    tifffile.imwrite(
        path,
        np.ascontiguousarray(array),
        ome=True,
        bigtiff=array.nbytes > _BIG_TIFF_FROM_BYTES,
        photometric="rgb" if axes.endswith("S") else "minisblack",
        compression="zlib",
        metadata=metadata,
    )


def write_png(path: Path, array: npt.NDArray[Any], axes: str, spacing: tuple[float, ...] | None) -> None:
    """Write a PNG: 2D grey values or RGB(A)."""
    from PIL import Image

    array, axes = _arrange(array, axes, "TCZYXS")
    if axes not in ("YX", "YXS") or array.dtype not in ((np.uint8, np.uint16) if axes == "YX" else (np.uint8,)):
        raise InputError(f"A PNG can't hold shape {array.shape} and type {array.dtype}; choose a name ending in .tif.")
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(content, format="PNG")
    path.write_bytes(content.getvalue())


def write_npy(path: Path, array: npt.NDArray[Any], axes: str, spacing: tuple[float, ...] | None) -> None:
    """Write an NPY with the axes as they are; axes and pixel size are not kept by the format."""
    with open(path, "wb") as stream:
        header = np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(array))
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(np.ascontiguousarray(array).data)


def write_zarr(path: Path, array: npt.NDArray[Any], axes: str, spacing: tuple[float, ...] | None) -> None:
    """Write an OME-Zarr (0.5, zarr 3) with one resolution."""
    import zarr

    if "S" in axes:
        axes = axes.replace("S", "C")
    array, axes = _arrange(array, axes, "TCZYX")
    chunks = tuple(min(n, _CHUNK) if letter in "YX" else 1 for letter, n in zip(axes, array.shape, strict=True))
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    stored = group.create_array(
        "0", shape=array.shape, dtype=array.dtype, chunks=chunks, dimension_names=list(axes.lower())
    )
    # One chunk after the other: of many at once, those still on their way after an error would go on writing.
    for corner in product(*(range(0, n, side) for n, side in zip(array.shape, chunks, strict=True))):
        box = tuple(slice(start, start + side) for start, side in zip(corner, chunks, strict=True))
        stored[box] = array[box]
    sizes = _sizes(axes, spacing)
    kinds = {"T": "time", "C": "channel"}
    described = []
    for letter in axes:
        axis = {"name": letter.lower(), "type": kinds.get(letter, "space")}
        described.append(axis | ({"unit": "micrometer"} if letter in sizes else {}))
    scale = [float(sizes.get(letter, 1.0)) for letter in axes]
    level: dict[str, Any] = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": described, "datasets": [level]}]}


WRITERS: dict[str, Writer] = {
    ".tif": write_tiff,
    ".tiff": write_tiff,
    ".png": write_png,
    ".npy": write_npy,
    ".zarr": write_zarr,
}
