"""The labels layer that a person paints strokes on, one for each image layer.

The dock makes it, aligned with the image and ready to paint, finds it again by its mark, and reads it. It never changes
what is painted on it, and never touches a layer that the person made beyond choosing the label to paint with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from scipy import ndimage

from napari_unet.data.strokes import from_ground_truth
from napari_unet.errors import AnnotationError
from napari_unet.widgets.annotate.class_table import PALETTE
from napari_unet.widgets.annotate.label_storage import new_label_array
from napari_unet.widgets.parts.layer_tools import alignment_of, find_marked, mark_layer, read_mark, shape_of
from napari_unet.widgets.parts.source import ImageSource

__all__ = [
    "FIRST_OBJECT",
    "MEANINGS",
    "ROLE",
    "check_shape",
    "colour_strokes",
    "ensure_strokes_layer",
    "interpret",
    "is_own_strokes_layer",
    "next_object_label",
    "select_label",
    "tell_other_shape",
    "usual_brush_size",
]

ROLE = "strokes"
FIRST_OBJECT = 2
MEANINGS = ("strokes", "complete", "ground truth")

_COLOURED_OBJECTS = 200


def ensure_strokes_layer(
    viewer: ViewerModel, image: Image, source: ImageSource, *, task: str, colours: Sequence[str]
) -> Labels:
    """Return the strokes layer of an image; make one, ready to paint, if there is none of its shape.

    Parameters
    ----------
    viewer : ViewerModel
        Gets the layer.
    image : napari.layers.Image
        The image that is painted on.
    source : ImageSource
        What was read off it.
    task : {"objects", "classes"}
        Objects get 16 bits, so that there can be many; classes 8.
    colours : sequence of str
        One colour for each class, background first.
    """
    found = find_marked(viewer.layers, ROLE, image, source.layout.label_shape)
    if isinstance(found, Labels):
        return found
    dtype = np.uint16 if task == "objects" else np.uint8
    layer = Labels(
        new_label_array(source.layout.label_shape, dtype),
        name=f"strokes: {image.name}",
        opacity=0.6,
        **alignment_of(image, source.label_dims),
    )
    mark_layer(layer, ROLE, image)
    layer.brush_size = usual_brush_size(source.layout.frame_shape)
    colour_strokes(layer, colours, task)
    viewer.layers.selection.active = viewer.add_layer(layer)
    layer.selected_label = 1
    layer.mode = "paint"
    return layer


def usual_brush_size(frame_shape: Sequence[int]) -> int:
    """Choose a brush that is visible and still smaller than a cell: about one part in 80 of the image's height."""
    return int(np.clip(round(min(frame_shape[-2:]) / 80), 3, 20))


def is_own_strokes_layer(layer: Labels, image: Image) -> bool:
    """Whether the dock made this layer for that image."""
    return read_mark(layer, ROLE) == str(image.unique_id)


def colour_strokes(layer: Labels, colours: Sequence[str], task: str) -> None:
    """Show a strokes layer in the colours of its classes; objects after the first get shades of their own."""
    shades: dict[int | None, Any] = {None: colours[-1], 0: "transparent"}
    if task == "objects":
        shades |= {1: colours[0], FIRST_OBJECT: colours[1]}
        others = [shade for shade in PALETTE if shade not in colours[:2]]
        for number in range(_COLOURED_OBJECTS):
            shades[FIRST_OBJECT + 1 + number] = others[number % len(others)]
    else:
        shades |= dict(enumerate(colours, start=1))
    layer.colormap = DirectLabelColormap(color_dict=shades)


def select_label(viewer: ViewerModel, layer: Labels, label: int) -> None:
    """Make a labels layer the active one, with the brush in hand and this label on it.

    Raises
    ------
    AnnotationError
        If the layer can't hold the label or can't be painted on.
    """
    if label > np.iinfo(layer.dtype).max:
        raise AnnotationError(f"The layer '{layer.name}' can't hold more labels: it has {layer.dtype} values.")
    if layer.multiscale:
        raise AnnotationError(
            f"The layer '{layer.name}' is multiscale and can't be painted on; choose another for the strokes."
        )
    viewer.layers.selection.active = layer
    layer.selected_label = label
    layer.mode = "paint"


def next_object_label(layer: Labels, used: int) -> int:
    """Return a label that no object has; `used` is the highest one that was handed out so far."""
    return max(FIRST_OBJECT, int(layer.selected_label), used) + 1


def check_shape(layer: Labels, source: ImageSource) -> None:
    """Check that strokes and image have the same shape.

    Raises
    ------
    AnnotationError
        Naming both layers and their shapes.
    """
    shape, wanted = shape_of(layer), source.layout.label_shape
    if shape != wanted:
        raise AnnotationError(
            f"The strokes '{layer.name}' ({_times(shape)}) and the image '{source.name}' ({_times(wanted)}) have "
            "different shapes; choose the strokes layer that belongs to this image."
        )


def tell_other_shape(earlier: Labels, image: Image, strokes: Labels) -> str:
    """Say why strokes go to another layer than those before."""
    return (
        f"'{earlier.name}' has another shape than '{image.name}' now and is kept as it is: paint on '{strokes.name}'."
    )


def _times(shape: Sequence[int]) -> str:
    return " × ".join(str(n) for n in shape)


def interpret(frame: npt.NDArray[Any], meaning: str, task: str) -> npt.NDArray[Any]:
    """Bring the labels of one frame into the annotation encoding; the layer's own array is not changed.

    Separate strokes of the first object label are separate objects, so that a person who paints all objects with
    one label still teaches the gaps between them. Higher labels stay what they are: one object each.

    Parameters
    ----------
    frame : numpy.ndarray
        (\\*space) unsigned integers.
    meaning : {"strokes", "complete", "ground truth"}
        Whether unpainted pixels are ignored, are background, or 0 is background and objects or classes begin at 1.
    task : {"objects", "classes"}
        What the labels above background are.

    Returns
    -------
    numpy.ndarray
        (\\*space) unsigned integers: 0 unlabelled, 1 background, 2, 3, ... classes or objects.

    Examples
    --------
    >>> interpret(np.array([[1, 0, 2, 0, 2]], np.uint8), "strokes", "objects").tolist()
    [[1, 0, 2, 0, 3]]
    """
    if meaning == "ground truth":
        return from_ground_truth(frame)
    if meaning == "complete":
        frame = np.maximum(frame, frame.dtype.type(1))
    if task != "objects":
        return frame
    parts, count = ndimage.label(frame == FIRST_OBJECT, np.ones((3,) * frame.ndim))
    if count < 2:
        return frame
    first_free = max(FIRST_OBJECT, int(frame.max())) + 1
    wide = frame.astype(np.uint32) if first_free + count > np.iinfo(frame.dtype).max else frame.copy()
    others = parts > 1
    wide[others] = parts[others] + (first_free - 2)
    return wide
