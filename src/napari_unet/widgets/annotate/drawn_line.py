"""The line that follows the mouse while a tool is drawn with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Labels, Vectors

from napari_unet.widgets.parts.layer_tools import alignment_of

__all__ = ["DrawnLine"]

_NAME = "drawing"
_COLOUR = "#ffffff"
_PIXELS = 2.0  # width on the screen


class DrawnLine:
    """Shows a line over a labels layer, in a layer of its own that is there only while a tool is in hand.

    Parameters
    ----------
    viewer : ViewerModel
        Gets the layer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.layer: Vectors | None = None

    def prepare(self, target: Labels) -> None:
        """Make the layer over `target`, and leave the active layer as it is."""
        self.remove()
        active = self.viewer.layers.selection.active
        layer = Vectors(
            np.zeros((0, 2, target.ndim)),
            ndim=target.ndim,
            name=_NAME,
            vector_style="line",
            edge_color=_COLOUR,
            **alignment_of(target),
        )
        self.layer = layer
        self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = active

    def show(self, points: Sequence[npt.NDArray[np.float64]]) -> None:
        """Show the line through some places in the target's own pixels."""
        if self.layer is None or len(points) < 2:
            return
        places = np.stack(points)
        finest = float(np.min(np.abs(self.layer.scale)))
        self.layer.edge_width = _PIXELS / max(1e-9, float(self.viewer.scene.camera.zoom) * finest)
        self.layer.data = np.stack([places[:-1], np.diff(places, axis=0)], axis=1)

    def clear(self) -> None:
        """Show no line."""
        if self.layer is not None and len(self.layer.data):
            self.layer.data = np.zeros((0, 2, self.layer.ndim))

    def remove(self) -> None:
        """Take the layer away."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self.viewer.layers:
            self.viewer.layers.remove(layer)
