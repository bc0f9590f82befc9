"""The layers that a prediction is written into: labels, and if wanted one image of probabilities for each class.

They are aligned with the image and used again by the next prediction, unless the person has painted on them: then they
are the person's, and a new one is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap, DirectLabelColormap, label_colormap

from napari_unet.widgets.label_storage import new_label_array
from napari_unet.widgets.layer_tools import alignment_of, find_marked, give_away, mark_layer, read_role
from napari_unet.widgets.predict_job import PieceReady
from napari_unet.widgets.source import ImageSource

__all__ = [
    "ResultLayers",
    "ensure_probability_layers",
    "ensure_result_layer",
    "filled_positions",
    "find_result_layer",
    "usable_as_source",
]

_NAMES = {"objects": "objects", "classes": "areas"}
_FILLED = "napari-unet filled"


def _role(task: str) -> str:
    return f"result {_NAMES[task]}"


def usable_as_source(layer: Layer) -> bool:
    """Whether a layer is an image that is not a result of the dock's."""
    return isinstance(layer, Image) and read_role(layer) is None


def filled_positions(layer: Layer) -> frozenset[tuple[int, ...]]:
    """Return the positions in the stack at which a result layer holds something."""
    return frozenset(layer.metadata.get(_FILLED, ()))


def find_result_layer(viewer: ViewerModel, image: Image, *, task: str, strokes: Labels) -> Labels | None:
    """Return the labels that a person takes for the result: the dock's own, else the topmost that fit and are shown."""
    own = find_marked(viewer.layers, _role(task), image)
    shape = tuple(strokes.data.shape)
    others = [layer for layer in reversed(viewer.layers) if layer is not strokes and layer.visible]
    for layer in ([] if own is None else [own]) + others:
        if isinstance(layer, Labels) and not layer.multiscale and tuple(layer.data.shape) == shape:
            return layer
    return None


def ensure_result_layer(
    viewer: ViewerModel, image: Image, source: ImageSource, *, task: str, colours: Sequence[str]
) -> Labels:
    """Return the layer that results of this image and task go to; make one below the active layer if there is none.

    A layer that was made for the other task and is still empty is taken.
    """
    found = find_marked(viewer.layers, _role(task), image)
    if not _usable(found, source):
        other = find_marked(viewer.layers, _role("classes" if task == "objects" else "objects"), image)
        found = other if other is not None and not filled_positions(other) and _usable(other, source) else None
    name = f"{_NAMES[task]}: {image.name}"
    dtype = np.dtype(np.uint16 if task == "objects" else np.uint8)
    if isinstance(found, Labels):
        if found.dtype != dtype:
            found.data = new_label_array(source.layout.label_shape, dtype)
            found.name = name
            mark_layer(found, _role(task), image)
        if task == "classes" or found.colormap.__class__ is DirectLabelColormap:
            found.colormap = _result_colormap(task, colours)
        return found
    layer = Labels(
        new_label_array(source.layout.label_shape, dtype),
        name=name,
        opacity=0.5,
        colormap=_result_colormap(task, colours),
        **alignment_of(image, source.label_dims),
    )
    mark_layer(layer, _role(task), image)
    layer.events.paint.connect(_on_person_painted)
    _add_below_active(viewer, layer)
    return layer


def _usable(layer: Layer | None, source: ImageSource) -> bool:
    return isinstance(layer, Labels) and tuple(layer.data.shape) == source.layout.label_shape


def _on_person_painted(event: Any) -> None:
    """Leave a layer that a person has painted on to the person."""
    layer = event.source
    if read_role(layer) is not None:
        give_away(layer)


def _result_colormap(task: str, colours: Sequence[str]) -> Any:
    if task == "objects":
        return label_colormap(49, seed=0.5, background_value=0)
    shades: dict[int | None, Any] = {None: "transparent", 0: "transparent", 1: "transparent"}
    return DirectLabelColormap(color_dict=shades | dict(enumerate(colours[1:], start=2)))


def ensure_probability_layers(
    viewer: ViewerModel, image: Image, source: ImageSource, *, names: Sequence[str], colours: Sequence[str]
) -> list[Image]:
    """Return one image layer for the probability of each foreground class; make those that are missing."""
    layers = []
    for name, colour in zip(names[1:], colours[1:], strict=True):
        role = f"probability {name}"
        layer = find_marked(viewer.layers, role, image)
        if not isinstance(layer, Image) or tuple(layer.data.shape) != source.layout.label_shape:
            layer = Image(
                np.zeros(source.layout.label_shape, np.float32),
                name=f"p({name}): {image.name}",
                contrast_limits=(0, 1),
                colormap=Colormap([(0, 0, 0, 1), colour], name=f"p({name}) {colour}"),
                blending="additive",
                **alignment_of(image, source.label_dims),
            )
            mark_layer(layer, role, image)
            _add_below_active(viewer, layer)
        layers.append(layer)
    return layers


def _add_below_active(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer under the strokes that are being painted, and leave these active."""
    active = viewer.layers.selection.active
    viewer.add_layer(layer)
    if isinstance(active, Labels) and active in viewer.layers:
        viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(active))
        viewer.layers.selection.active = active


class ResultLayers:
    """Writes the pieces of one prediction into its layers, and has them drawn when asked.

    Parameters
    ----------
    viewer : ViewerModel
        Holds the layers; pieces for one that was taken out are dropped.
    labels : napari.layers.Labels
        Gets the labels.
    probabilities : sequence of napari.layers.Image
        One layer for each foreground class, or none.
    """

    def __init__(self, viewer: ViewerModel, labels: Labels, probabilities: Sequence[Image] = ()) -> None:
        self.viewer = viewer
        self.labels = labels
        self.probabilities = tuple(probabilities)
        self._dirty: set[Layer] = set()
        self._written: set[Layer] = set()

    @property
    def is_gone(self) -> bool:
        """Whether the person has taken the labels layer out."""
        return self.labels not in self.viewer.layers

    def write(self, piece: PieceReady) -> None:
        """Put a piece into the arrays of the layers; `draw` shows it."""
        filled = filled_positions(self.labels)
        if piece.position not in filled:
            self.labels.metadata = {**self.labels.metadata, _FILLED: filled | {piece.position}}
        self.labels.data[piece.box] = piece.labels
        self._dirty.add(self.labels)
        if piece.probabilities is not None:
            for layer, block in zip(self.probabilities, piece.probabilities, strict=False):
                layer.data[piece.box] = block
                self._dirty.add(layer)
        self._written |= self._dirty

    def draw(self) -> None:
        """Have the layers drawn that were written into since the last call."""
        for layer in self._dirty:
            if layer in self.viewer.layers and layer.visible:
                layer.refresh(thumbnail=False, highlight=False, extent=False)
        self._dirty.clear()

    def update_thumbnails(self) -> None:
        """Bring the pictures in the list of layers up to date; call it at the end, apart from `draw`."""
        for layer in self._written:
            if layer in self.viewer.layers:
                layer.refresh(data_displayed=False, highlight=False, extent=False)
        self._written.clear()
