"""The layers that a prediction is written into: labels, and if wanted one image of probabilities for each class.

They are aligned with the image and used again by the next prediction, unless the person has painted on them: then they
are the person's, and a new one is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import Colormap, DirectLabelColormap, label_colormap
from napari.utils.colormaps.standardize_color import transform_color

from napari_unet.data.axes import Box
from napari_unet.widgets.annotate.label_storage import new_result_data
from napari_unet.widgets.parts.layer_tools import alignment_of, find_marked, give_away, mark_layer, read_role
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.results.arrays import ResultArray, needs_levels
from napari_unet.widgets.results.predict_job import PieceReady
from napari_unet.widgets.results.record import PredictionRecord
from napari_unet.widgets.results.uncertainty import UncertaintyTarget
from napari_unet.widgets.results.uncertainty_job import UncertaintyReady
from napari_unet.widgets.results.uncertainty_look import uncertainty_image, uncertainty_role

if TYPE_CHECKING:
    from napari_unet.predict.uncertainty import Measure

__all__ = [
    "ResultLayers",
    "UncertaintyLayer",
    "add_below_active",
    "ensure_probability_layers",
    "ensure_result_layer",
    "ensure_uncertainty_layer",
    "filled_positions",
    "find_result_layer",
    "probability_look",
    "record_of",
    "result_colormap",
    "result_name",
    "shows_uncertainty",
    "usable_as_source",
]

_NAMES = {"objects": "objects", "classes": "areas"}
_FILLED = "napari-unet filled"
_RECORDS: WeakKeyDictionary[Layer, PredictionRecord] = WeakKeyDictionary()


def _role(task: str) -> str:
    return f"result {_NAMES[task]}"


def result_name(task: str) -> str:
    """Say in a word what the labels of a task are."""
    return _NAMES[task]


def usable_as_source(layer: Layer) -> bool:
    """Whether a layer is an image that is not a result of the dock's."""
    return isinstance(layer, Image) and read_role(layer) is None


def filled_positions(layer: Layer) -> frozenset[tuple[int, ...]]:
    """Return the positions in the stack at which a result layer holds something."""
    return frozenset(layer.metadata.get(_FILLED, ()))


def find_result_layer(viewer: ViewerModel, image: Image, *, task: str, strokes: Labels) -> Labels | None:
    """Return the labels that a person takes for the result: the dock's own, else the topmost that fit and are shown."""
    shape = tuple(strokes.data.shape)
    own = find_marked(viewer.layers, _role(task), image, shape)
    others = [layer for layer in reversed(viewer.layers) if layer is not strokes and layer.visible]
    for layer in ([] if own is None else [own]) + others:
        if isinstance(layer, Labels) and not layer.multiscale and tuple(layer.data.shape) == shape:
            return layer
    return None


def record_of(layer: Layer) -> PredictionRecord:
    """Return what is done of a result; it is kept as long as the layer."""
    return _RECORDS.setdefault(layer, PredictionRecord())


def ensure_result_layer(
    viewer: ViewerModel, image: Image, source: ImageSource, *, task: str, colours: Sequence[str]
) -> Labels:
    """Return the layer that results of this image and task go to; make one below the active layer if there is none.

    A layer that was made for the other task and is still empty is taken.
    """
    shape = source.layout.label_shape
    found = find_marked(viewer.layers, _role(task), image, shape)
    if found is None:
        other = find_marked(viewer.layers, _role("classes" if task == "objects" else "objects"), image, shape)
        found = other if other is not None and not filled_positions(other) else None
    name = f"{_NAMES[task]}: {image.name}"
    dtype = _dtype(task, source)
    if isinstance(found, Labels):
        if found.dtype != dtype:
            found.data = new_result_data(source.layout, dtype)
            found.name = name
            mark_layer(found, _role(task), image)
        _colour(found, task, colours)
        return found
    layer = Labels(
        new_result_data(source.layout, dtype),
        multiscale=needs_levels(source.layout),
        name=name,
        opacity=0.5,
        colormap=result_colormap(task, colours),
        **alignment_of(image, source.label_dims),
    )
    mark_layer(layer, _role(task), image)
    layer.events.paint.connect(_on_person_painted)
    add_below_active(viewer, layer)
    return layer


def _colour(layer: Labels, task: str, colours: Sequence[str]) -> None:
    """Give a result its colours, unless it has them: napari draws all of it anew."""
    known = layer.colormap
    if not isinstance(known, DirectLabelColormap):
        if task == "classes":
            layer.colormap = result_colormap(task, colours)
        return
    wanted = result_colormap(task, colours)
    shades = wanted.color_dict if isinstance(wanted, DirectLabelColormap) else {}
    if known.color_dict.keys() != shades.keys() or any(
        not np.array_equal(known.color_dict[label], shade) for label, shade in shades.items()
    ):
        layer.colormap = wanted


def _dtype(task: str, source: ImageSource) -> np.dtype[Any]:
    """Choose the type of labels: napari is quick with 16 bits, but a large image has more objects than these can tell.

    Of a result with smaller copies napari draws only what is in view, so that 32 bits are quick enough.
    """
    if task == "classes":
        return np.dtype(np.uint8)
    return np.dtype(np.uint32 if needs_levels(source.layout) else np.uint16)


def _on_person_painted(event: Any) -> None:
    """Leave a layer that a person has painted on to the person."""
    layer = event.source
    if read_role(layer) is not None:
        give_away(layer)


def result_colormap(task: str, colours: Sequence[str]) -> Any:
    """Return the colours of a result: of classes those given, of objects many."""
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
        layer = find_marked(viewer.layers, role, image, source.layout.label_shape)
        if not isinstance(layer, Image):
            layer = Image(
                new_result_data(source.layout, np.float32),
                multiscale=needs_levels(source.layout),
                name=f"p({name}): {image.name}",
                **probability_look(name, colour),
                **alignment_of(image, source.label_dims),
            )
            mark_layer(layer, role, image)
            add_below_active(viewer, layer)
        layers.append(layer)
    return layers


def probability_look(name: str, colour: str) -> dict[str, Any]:
    """Return how a layer shows the probability of a class: what is below shows through, be it dark or bright."""
    (shade,) = transform_color(colour)
    shades = Colormap([(*shade[:3], 0), (*shade[:3], 1)], name=f"p({name}) {colour}")
    return {"contrast_limits": (0, 1), "colormap": shades, "blending": "translucent", "opacity": 0.7}


@dataclass(frozen=True, eq=False)
class UncertaintyLayer:
    """The layer that shows where the model is uncertain.

    Attributes
    ----------
    layer : napari.layers.Image
        The layer.
    target : UncertaintyTarget
        Where a worker writes what it shows.
    """

    layer: Image
    target: UncertaintyTarget


def shows_uncertainty(layer: Layer, measure: Measure | None) -> bool:
    """Whether the dock made a layer for the uncertainty by a measure, in memory or on the disk."""
    return measure is not None and (read_role(layer) or "").endswith(uncertainty_role(measure))


def ensure_uncertainty_layer(
    viewer: ViewerModel, image: Image, source: ImageSource, measure: Measure
) -> UncertaintyLayer:
    """Return the layer for the uncertainty of an image by a measure; make one if there is none."""
    layer = find_marked(viewer.layers, uncertainty_role(measure), image, source.layout.label_shape)
    if not isinstance(layer, Image):
        layer = uncertainty_image(
            new_result_data(source.layout, np.float32),
            measure,
            f": {image.name}",
            multiscale=needs_levels(source.layout),
            **alignment_of(image, source.label_dims),
        )
        mark_layer(layer, uncertainty_role(measure), image)
        add_below_active(viewer, layer)
    return UncertaintyLayer(layer, UncertaintyTarget(measure, ResultArray.of(layer), record_of(layer)))


def add_below_active(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer under the strokes that are being painted, and leave these active."""
    active = viewer.layers.selection.active
    viewer.add_layer(layer)
    if isinstance(active, Labels) and active in viewer.layers:
        viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(active))
        viewer.layers.selection.active = active


class ResultLayers:
    """The layers of one prediction: notices what the person does with them, and has them drawn when asked.

    Parameters
    ----------
    viewer : ViewerModel
        Holds the layers.
    labels : napari.layers.Labels
        Gets the labels.
    probabilities : sequence of napari.layers.Image
        One layer for each foreground class, or none.
    uncertainty : UncertaintyLayer or None
        Where the uncertainty is shown.

    Attributes
    ----------
    result : ResultArray
        Where a worker writes the labels.
    probability_arrays : tuple of ResultArray
        Where it writes the probabilities.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        labels: Labels,
        probabilities: Sequence[Image] = (),
        uncertainty: UncertaintyLayer | None = None,
    ) -> None:
        self.viewer = viewer
        self.labels = labels
        self.probabilities = tuple(probabilities)
        self.result = ResultArray.of(labels)
        self.probability_arrays = tuple(ResultArray.of(layer) for layer in probabilities)
        self.uncertainty = uncertainty
        self._new: list[Box] = []
        self._new_uncertainty = False
        self._written: set[Layer] = set()
        labels.events.paint.connect(self._on_painted)

    @property
    def lost(self) -> str:
        """Why the result can't be written any more, in a sentence; empty as long as it can."""
        if self.labels not in self.viewer.layers:
            return "The result layer was removed, so the prediction was stopped."
        if self.result.is_closed:
            return (
                f"'{self.labels.name}' is yours since you painted on it, so the prediction was stopped. Press Predict "
                "to have it go into a new layer."
            )
        if ResultArray.of(self.labels).levels[0] is not self.result.levels[0]:
            return f"'{self.labels.name}' was given other data, so the prediction was stopped."
        return ""

    def note(self, piece: PieceReady) -> None:
        """Note that a piece was written; `draw` shows it."""
        if isinstance(piece, UncertaintyReady):
            self._new_uncertainty = True
            return
        self._new_uncertainty |= self.uncertainty is not None and self.uncertainty.target.comes_with_tiles
        filled = filled_positions(self.labels)
        if piece.position not in filled:
            self.labels.metadata = {**self.labels.metadata, _FILLED: filled | {piece.position}}
        self._new.append(piece.box)

    def draw(self) -> None:
        """Have the layers drawn if something was written since the last call."""
        boxes, self._new = self._new, []
        if self.uncertainty is not None and self.uncertainty.layer not in self.viewer.layers:
            self.uncertainty.target.array.close()  # it is measured no further
        if self.uncertainty is not None and self._new_uncertainty:
            self._new_uncertainty = False
            self._written.add(self.uncertainty.layer)
            self._refresh(self.uncertainty.layer)
        if not boxes:
            return
        for layer in (self.labels, *self.probabilities):
            self._written.add(layer)
            if layer is not self.labels or not self._draw_parts(boxes):
                self._refresh(layer)

    def _is_shown(self, layer: Layer) -> bool:
        return layer in self.viewer.layers and layer.visible

    def _refresh(self, layer: Layer) -> None:
        if self._is_shown(layer):
            layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _draw_parts(self, boxes: Sequence[Box]) -> bool:
        """Send only what is new of the labels to the screen; returns whether that can be done."""
        labels, dims = self.labels, self.viewer.dims
        plain = labels.ndim == 2 and labels.dtype.itemsize <= 2 and not labels.multiscale and not labels.contour
        if (
            not plain
            or not self._is_shown(labels)
            or not labels.loaded
            or dims.ndisplay != 2
            or tuple(dims.displayed_order) != (0, 1)
        ):
            return False
        if sum(math.prod(span.stop - span.start for span in box) for box in boxes) > labels.data.size // 2:
            return False
        for box in boxes:
            labels.events.labels_update(data=labels.data[box], offset=[span.start for span in box])
        return True

    def finish(self) -> None:
        """Show the last pieces and leave the layers alone from now on."""
        self.labels.events.paint.disconnect(self._on_painted)
        if not self.lost:
            self.draw()

    def update_thumbnails(self) -> None:
        """Bring the pictures in the list of layers up to date; call it at the end, apart from `draw`."""
        for layer in self._written:
            if layer in self.viewer.layers:
                layer.refresh(data_displayed=False, highlight=False, extent=False)
        self._written.clear()

    def _on_painted(self, event: Any) -> None:
        self.result.close()
