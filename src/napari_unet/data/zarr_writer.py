"""Writing OME-Zarr 0.5 (in zarr v3): images and labels with their resolutions.

A label image is an OME-Zarr with the group ``labels/segmentation``, where viewers look for labels. The store itself is
described as an image of the same arrays, so that it also opens as such; nothing is stored twice.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.data.calibration import Calibration

__all__ = ["OME_AXES", "describe_image", "describe_labels", "label_folder", "write_image_zarr", "write_label_zarr"]

_VERSION = "0.5"
_CHUNK = 512
_LABELS = "segmentation"
OME_AXES = "TCZYX"  # the order of the axes, where an image has them
_UNITS = {
    "m": "meter", "cm": "centimeter", "mm": "millimeter", "µm": "micrometer", "nm": "nanometer", "pm": "picometer",
    "Å": "angstrom",
}  # fmt: skip

Shrink = Callable[[Any, Box], npt.NDArray[Any]]


def write_image_zarr(path: Path, array: Any, axes: str, calibration: Calibration) -> None:
    """Write an image; its smaller resolutions are means of 2 x 2 pixels."""
    import zarr

    array, axes = _arrange(array, axes)
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    levels = _write_levels(group, array, axes, _mean)
    describe_image(group, levels, axes, calibration, shift=0.5)


def write_label_zarr(path: Path, array: Any, axes: str, calibration: Calibration) -> None:
    """Write labels; their smaller resolutions take every second pixel."""
    import zarr

    array, axes = _arrange(array, axes)
    root = zarr.open_group(str(path), mode="w", zarr_format=3)
    group = root.create_group(label_folder())
    levels = _write_levels(group, array, axes, _every_second)
    describe_labels(root, levels, axes, calibration)


def describe_image(group: Any, levels: int, axes: str, calibration: Calibration, *, shift: float = 0.0) -> None:
    """Say in a group what the resolutions ``"0"``, ``"1"``, ... in it are, each half as large in Y and X.

    Parameters
    ----------
    group : zarr.Group
        Where the arrays are.
    levels : int
        How many there are.
    axes : str
        Their axes, in the order of `OME_AXES`.
    calibration : Calibration
        Distances and place of the pixels.
    shift : float
        Where in a doubled pixel its value was taken, in pixels: 0.5 for a mean.
    """
    described = _describe(levels, "", axes, calibration, shift=shift)
    group.attrs["ome"] = {"version": _VERSION, "multiscales": [described]}


def describe_labels(root: Any, levels: int, axes: str, calibration: Calibration) -> None:
    """Say in a group what the resolutions in its `label_folder` are, which take every second pixel."""
    described = _describe(levels, "", axes, calibration, shift=0.0)
    source = {"image-label": {"source": {"image": "../../"}}}
    root[label_folder()].attrs["ome"] = {"version": _VERSION, "multiscales": [described], **source}
    root["labels"].attrs["ome"] = {"version": _VERSION, "labels": [_LABELS]}
    above = _describe(levels, f"{label_folder()}/", axes, calibration, shift=0.0)
    root.attrs["ome"] = {"version": _VERSION, "multiscales": [above]}


def label_folder() -> str:
    """Return where the labels of a store are, from its root."""
    return f"labels/{_LABELS}"


def _arrange(array: Any, axes: str) -> tuple[Any, str]:
    axes = axes.replace("S", "C")
    arranged = "".join(sorted(axes, key=OME_AXES.index))
    return (array if arranged == axes else array.transpose([axes.index(letter) for letter in arranged])), arranged


def _write_levels(group: Any, array: Any, axes: str, shrink: Shrink) -> int:
    """Write an array and its halves in Y and X down to one chunk; returns how many there are."""
    shapes: list[tuple[int, ...]] = []
    source: Any = array
    take: Shrink = _as_it_is
    while True:
        shape = tuple(int(n) for n in array.shape) if not shapes else _half(shapes[-1])
        chunks = tuple(min(n, _CHUNK) if letter in "YX" else 1 for letter, n in zip(axes, shape, strict=True))
        stored = group.create_array(
            str(len(shapes)), shape=shape, dtype=array.dtype, chunks=chunks, dimension_names=list(axes.lower())
        )
        # One chunk after the other: of many at once, those still on their way after an error would go on writing.
        for corner in product(*(range(0, n, side) for n, side in zip(shape, chunks, strict=True))):
            box = tuple(slice(at, min(at + side, n)) for at, side, n in zip(corner, chunks, shape, strict=True))
            stored[box] = take(source, box)
        shapes.append(shape)
        if max(shape[-2:]) <= _CHUNK:
            return len(shapes)
        source, take = stored, shrink


def _half(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], *((n + 1) // 2 for n in shape[-2:]))


def _as_it_is(source: Any, box: Box) -> npt.NDArray[Any]:
    return np.asarray(source[box])


def _every_second(source: Any, box: Box) -> npt.NDArray[Any]:
    spans = tuple(slice(2 * side.start, 2 * side.stop) for side in box[-2:])
    return np.asarray(source[(*box[:-2], *spans)])[..., ::2, ::2]


def _mean(source: Any, box: Box) -> npt.NDArray[Any]:
    spans = tuple(slice(2 * side.start, 2 * side.stop) for side in box[-2:])
    block = np.asarray(source[(*box[:-2], *spans)])
    odd = [(0, 0)] * (block.ndim - 2) + [(0, n % 2) for n in block.shape[-2:]]
    even = np.pad(block, odd, mode="edge").astype(np.float64)
    mean = (even[..., ::2, ::2] + even[..., 1::2, ::2] + even[..., ::2, 1::2] + even[..., 1::2, 1::2]) / 4
    rounded = mean if block.dtype.kind == "f" else np.rint(mean)
    return rounded.astype(block.dtype)


def _describe(levels: int, prefix: str, axes: str, calibration: Calibration, *, shift: float) -> dict[str, Any]:
    """Describe the resolutions; `shift` is where in a doubled pixel its value was taken, in pixels."""
    lengths, origin = calibration.lengths(axes), calibration.origin(axes)
    spatial = [letter for letter in "ZYX" if letter in axes]
    steps = dict(zip(spatial, lengths or [1.0] * len(spatial), strict=True))
    places = dict(zip(spatial, origin or [0.0] * len(spatial), strict=True))
    if calibration.interval is not None:
        steps["T"] = calibration.interval
    datasets = []
    for level in range(levels):
        factors = [2**level if letter in "YX" else 1 for letter in axes]
        scale = [float(steps.get(letter, 1.0) * factor) for letter, factor in zip(axes, factors, strict=True)]
        moved = [
            float(places.get(letter, 0.0) + shift * (factor - 1) * steps.get(letter, 1.0))
            for letter, factor in zip(axes, factors, strict=True)
        ]
        steps_taken: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if any(moved):
            steps_taken.append({"type": "translation", "translation": moved})
        datasets.append({"path": f"{prefix}{level}", "coordinateTransformations": steps_taken})
    return {"name": _LABELS, "axes": _describe_axes(axes, calibration, lengths is not None), "datasets": datasets}


def _describe_axes(axes: str, calibration: Calibration, known: bool) -> list[dict[str, str]]:
    described = []
    for letter in axes:
        axis = {"name": letter.lower(), "type": {"T": "time", "C": "channel"}.get(letter, "space")}
        if letter in "ZYX" and known:
            axis["unit"] = _UNITS[calibration.unit]
        elif letter == "T" and calibration.interval is not None:
            axis["unit"] = "second"
        described.append(axis)
    return described
