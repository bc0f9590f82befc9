"""Reading zarr: plain arrays, and OME-Zarr of all versions at full resolution; nothing is read before it is indexed.

OME-Zarr 0.4 (in zarr v2) and 0.5 (in zarr v3) are described at https://ngff.openmicroscopy.org/specifications.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_unet.data.axes import guess_axes
from napari_unet.data.calibration import Calibration, in_micrometres, in_seconds, length_unit, place_in_micrometres
from napari_unet.data.file_array import Content, FileArray
from napari_unet.errors import FileFormatError

__all__ = ["read_zarr"]


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
    return FileArray(node, path.name), axes if usable else guess_axes(node.shape), Calibration()


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
        return FileArray(array, name), guess_axes(array.shape), Calibration()
    inside = sorted([*arrays, *dict(group.groups())])
    listed = ", ".join(f"{name}/{entry}" for entry in inside[:12])
    raise FileFormatError(
        f"{name} holds {'several arrays' if inside else 'no array'}" + (f"; name one: {listed}." if inside else ".")
    )


def _read_multiscale(group: Any, multiscale: Mapping[str, Any], name: str) -> Content:
    level = multiscale["datasets"][0]
    array = group[level["path"]]
    axes, units = _read_axes(multiscale.get("axes"))
    if len(axes) != array.ndim:
        return FileArray(array, name), guess_axes(array.shape), Calibration()
    scale, shift, stated = np.ones(array.ndim), np.zeros(array.ndim), False
    for step in [*level.get("coordinateTransformations", ()), *multiscale.get("coordinateTransformations", ())]:
        if step.get("type") == "scale":
            factors = np.asarray(step["scale"], float)
            scale, shift, stated = scale * factors, shift * factors, True
        elif step.get("type") == "translation":
            shift = shift + np.asarray(step["translation"], float)
    if not stated:
        return FileArray(array, name), axes, Calibration()
    known = [unit or "micrometer" for unit in units]  # a scale without a unit is commonly one of micrometres
    sizes = dict(zip(axes, map(in_micrometres, scale.tolist(), known), strict=True))
    origin = {
        letter: place_in_micrometres(place, unit)
        for letter, place, unit in zip(axes, shift.tolist(), known, strict=True)
        if letter in "ZYX"
    }
    interval = in_seconds(scale[axes.index("T")], units[axes.index("T")]) if "T" in axes else None
    unit = length_unit(known[axes.index("X")]) if "X" in axes else None
    return (
        FileArray(array, name),
        axes,
        Calibration.from_sizes(sizes, axes, unit=unit, origin=origin, interval=interval),
    )


def _read_axes(axes: Sequence[Any] | None) -> tuple[str, list[Any]]:
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
