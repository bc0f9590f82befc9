"""Layers as a session keeps them: where they lie in space and how they are shown, as JSON values, and back again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer
from napari.layers._source import layer_source
from napari.utils.colormaps import AVAILABLE_COLORMAPS

from napari_unet.session.document import ImageEntry, StrokesEntry
from napari_unet.session.tiles import Box
from napari_unet.widgets.parts.layer_tools import alignment_of, shape_of

__all__ = ["can_be_kept", "describe_image", "describe_strokes", "make_image", "make_strokes", "painted_box", "plain"]

_IMAGE_LOOK = ("opacity", "blending", "visible", "gamma")
_STROKES_LOOK = ("opacity", "visible", "brush_size", "selected_label", "contour")


def can_be_kept(layer: Labels) -> bool:
    """Whether the labels of a layer are in memory; those in a file are kept by the file."""
    if layer.multiscale:
        return False
    data = layer.data
    if isinstance(data, np.ndarray):
        return not isinstance(data, np.memmap) and data.ndim >= 2
    return type(getattr(data, "store", None)).__name__ == "MemoryStore"


def describe_image(layer: Image, key: str, axes: str) -> ImageEntry:
    """Describe an image layer."""
    array = layer.data[0] if layer.multiscale else layer.data
    path = layer.source.path
    look: dict[str, Any] = {name: plain(getattr(layer, name)) for name in _IMAGE_LOOK}
    if not layer.rgb:
        look["contrast_limits"] = plain(list(layer.contrast_limits))
        look["colormap"] = layer.colormap.name if layer.colormap.name in AVAILABLE_COLORMAPS else "gray"
    return ImageEntry(
        key=key,
        name=str(layer.name),
        shape=shape_of(layer),
        dtype=str(np.dtype(array.dtype)),
        path="" if path is None else path if "://" in path else str(Path(path).absolute()),
        reader=layer.source.reader_plugin or "",
        rgb=bool(layer.rgb),
        axes=axes,
        place=_describe_place(layer),
        display=look,
    )


def describe_strokes(layer: Labels, key: str, **others: Any) -> StrokesEntry:
    """Describe a strokes layer."""
    return StrokesEntry(
        key=key,
        name=str(layer.name),
        shape=shape_of(layer),
        dtype=str(np.dtype(layer.dtype)),
        place=_describe_place(layer),
        display={name: plain(getattr(layer, name)) for name in _STROKES_LOOK},
        **others,
    )


def make_image(entry: ImageEntry, data: Any, path: str) -> Image:
    """Make the layer of an image again; `data` may be multiscale, `path` is where it was read from, if anywhere."""
    source = {"path": path, "reader_plugin": entry.reader or None} if path else {}
    multiscale = isinstance(data, list | tuple)
    with layer_source(**source):
        layer = Image(data, name=entry.name, rgb=entry.rgb, multiscale=multiscale)
    _put_in_place(layer, entry.place)
    _show_as(layer, entry.display, (*_IMAGE_LOOK, "colormap", "contrast_limits"))
    return layer


def make_strokes(entry: StrokesEntry, data: Any) -> Labels:
    """Make a strokes layer again."""
    layer = Labels(data, name=entry.name, opacity=0.6)
    _put_in_place(layer, entry.place)
    _show_as(layer, entry.display, _STROKES_LOOK)
    return layer


def painted_box(event: Any, ndim: int) -> Box | None:
    """Return the box that a stroke changed, read off the event that tells of it; None where it does not say."""
    boxes = [_box_of(atom, ndim) for atom in getattr(event, "value", None) or ()]
    known = [box for box in boxes if box is not None]
    if not known or len(known) < len(boxes):
        return None
    return tuple(
        slice(min(span.start for span in spans), max(span.stop for span in spans)) for spans in zip(*known, strict=True)
    )


def _box_of(atom: Any, ndim: int) -> Box | None:
    """Read one change of napari's undo history: a box with a mask, or the indices of single pixels."""
    spans = getattr(atom, "slice_key", None)
    if spans is None:
        indices = atom[0] if isinstance(atom, tuple) and atom else ()
        if not isinstance(indices, tuple) or not all(isinstance(part, np.ndarray) and part.size for part in indices):
            return None
        spans = tuple(slice(int(part.min()), int(part.max()) + 1) for part in indices)
    complete = len(spans) == ndim and all(isinstance(span, slice) and span.start is not None for span in spans)
    return tuple(spans) if complete else None


def plain(value: Any) -> Any:
    """Turn a value into what JSON can hold; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


def _describe_place(layer: Layer) -> dict[str, Any]:
    place = {name: plain(value) for name, value in alignment_of(layer).items()}
    return {**place, "units": [str(unit) for unit in layer.units]}


def _put_in_place(layer: Layer, place: Mapping[str, Any]) -> None:
    for name in ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels"):
        if name in place:
            value = place[name]
            setattr(layer, name, tuple(value) if name in ("units", "axis_labels") else np.asarray(value, float))


def _show_as(layer: Layer, look: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if look.get(name) is not None and None not in (look[name] if isinstance(look[name], list) else ()):
            setattr(layer, name, look[name])
