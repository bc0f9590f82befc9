"""What strokes and results need from the image layer they belong to: its place in space, and a mark of whose they are.

Layers may be renamed, and two may end up named alike, so a layer that the dock made is known by a mark in its
metadata. The mark names the layer itself, so that a copy which a person makes of it is the person's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Layer

__all__ = ["alignment_of", "find_marked", "give_away", "mark_layer", "read_mark", "read_role", "shape_of"]

_KEY = "napari-unet"


def alignment_of(layer: Layer, dims: Sequence[int] | None = None) -> dict[str, Any]:
    """Return the arguments that put a new layer where `layer` is.

    Parameters
    ----------
    layer : napari.layers.Layer
        Gives scale, translate, rotate, shear, affine, units and axis labels.
    dims : sequence of int, optional
        The axes that the new layer has, all by default; one that has no channel axis leaves that one out.
    """
    kept = list(range(layer.ndim)) if dims is None else list(dims)
    return {
        "scale": np.asarray(layer.scale)[kept],
        "translate": np.asarray(layer.translate)[kept],
        "rotate": np.asarray(layer.rotate)[np.ix_(kept, kept)],
        "shear": _shear_of(np.asarray(layer.shear), layer.ndim, kept),
        "affine": np.asarray(layer.affine.affine_matrix)[np.ix_([*kept, layer.ndim], [*kept, layer.ndim])],
        "units": tuple(layer.units[i] for i in kept),
        "axis_labels": tuple(layer.axis_labels[i] for i in kept),
    }


def _shear_of(shear: npt.NDArray[Any], ndim: int, kept: Sequence[int]) -> npt.NDArray[Any]:
    """Leave axes out of a shear, given as a matrix or as the part of one above its diagonal."""
    matrix = shear
    if shear.ndim == 1:
        matrix = np.eye(ndim)
        matrix[np.triu_indices(ndim, 1)] = shear
    part = matrix[np.ix_(kept, kept)]
    return np.asarray(part[np.triu_indices(len(kept), 1)] if shear.ndim == 1 else part)


def shape_of(layer: Layer) -> tuple[int, ...]:
    """Return the shape of a layer's data at full resolution, with its colour samples."""
    data = layer.data
    return tuple(int(n) for n in (data[0] if layer.multiscale else data).shape)


def mark_layer(layer: Layer, role: str, image: Layer) -> None:
    """Note in a layer's metadata that the dock made it, as what, and for which image layer."""
    mark = {"role": role, "image": str(image.unique_id), "layer": str(layer.unique_id)}
    layer.metadata = {**layer.metadata, _KEY: mark}


def read_role(layer: Layer) -> str | None:
    """Return what the dock made a layer as, or None if it is the person's own."""
    mark = layer.metadata.get(_KEY)
    if not isinstance(mark, dict) or mark.get("layer") != str(layer.unique_id):
        return None
    return str(mark.get("role"))


def read_mark(layer: Layer, role: str) -> str | None:
    """Return the id of the image layer that a layer was made for in this role, or None if it was not."""
    return str(layer.metadata[_KEY].get("image")) if read_role(layer) == role else None


def give_away(layer: Layer) -> None:
    """Take the mark off a layer: from now on it is the person's."""
    layer.metadata = {key: value for key, value in layer.metadata.items() if not str(key).startswith(_KEY)}


def find_marked(layers: Iterable[Layer], role: str, image: Layer, shape: tuple[int, ...] | None = None) -> Layer | None:
    """Find the layer that the dock made for an image layer in this role; if a shape is given, one that has it.

    There may be several, since an image may be given other data, or its axes another meaning.
    """
    wanted = str(image.unique_id)
    found = (layer for layer in layers if read_mark(layer, role) == wanted)
    return next((layer for layer in found if shape is None or shape_of(layer) == shape), None)
