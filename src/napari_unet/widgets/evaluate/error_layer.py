"""The labels layer that shows where a result is wrong, and in what way; each kind of error has a colour and a name."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer
from napari.utils.colormaps import DirectLabelColormap

from napari_unet.assess.object_errors import ERROR_KINDS
from napari_unet.widgets.parts.layer_tools import alignment_of, find_marked, give_away, mark_layer, read_role

__all__ = ["ERROR_COLOURS", "ERROR_MEANINGS", "is_error_layer", "show_errors"]

# Told apart also by people who see few colours (Okabe and Ito)
ERROR_COLOURS = {"missed": "#56b4e9", "false": "#e69f00", "split": "#f0e442", "merged": "#cc79a7"}
ERROR_MEANINGS = {
    "missed": "Background where the reference has an object or a class.",
    "false": "An object where the reference has background, or another class than the reference's.",
    "split": "One object of the reference fell apart into several.",
    "merged": "Several objects of the reference became one.",
}
_ROLE = "errors"


def is_error_layer(layer: Layer) -> bool:
    """Whether a layer was made to show errors."""
    return read_role(layer) == _ROLE


def show_errors(viewer: ViewerModel, predicted: Labels, errors: Any) -> Labels:
    """Put errors into the layer that shows those of a result; make it if there is none.

    A layer that the person has painted on is left alone.

    Parameters
    ----------
    viewer : ViewerModel
        Gets the layer, on top.
    predicted : napari.layers.Labels
        The result that was scored; gives the layer its place in space.
    errors : array-like
        uint8, 0 = right, 1, 2, ... the kinds of `ERROR_KINDS`.
    """
    found = find_marked(viewer.layers, _ROLE, predicted)
    if isinstance(found, Labels) and tuple(found.data.shape) == tuple(errors.shape):
        if isinstance(found.data, np.ndarray) and isinstance(errors, np.ndarray):
            np.copyto(found.data, errors)  # much quicker to draw than another array
            found.refresh(thumbnail=False, highlight=False, extent=False)
        else:
            found.data = errors
        return found
    shades: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    layer = Labels(
        errors,
        name=f"errors: {predicted.name}",
        opacity=0.8,
        colormap=DirectLabelColormap(
            color_dict=shades | {number: ERROR_COLOURS[kind] for number, kind in enumerate(ERROR_KINDS, start=1)}
        ),
        features={"index": np.arange(len(ERROR_KINDS) + 1), "error": ["none", *ERROR_KINDS]},
        **alignment_of(predicted),
    )
    mark_layer(layer, _ROLE, predicted)
    layer.events.paint.connect(_on_person_painted)
    active = viewer.layers.selection.active
    viewer.add_layer(layer)
    if active is not None and active in viewer.layers:
        viewer.layers.selection.active = active
    return layer


def _on_person_painted(event: Any) -> None:
    """Leave a layer that a person has painted on to the person."""
    if is_error_layer(event.source):
        give_away(event.source)
