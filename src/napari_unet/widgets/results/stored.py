"""When a result goes to the disk instead of the memory, where, and the layer that shows it piece by piece."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_unet.data.zarr_writer import OME_AXES
from napari_unet.predict.config import PredictConfig
from napari_unet.widgets.parts.layer_tools import alignment_of, find_marked, give_away, mark_layer
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.results.arrays import LazyArray
from napari_unet.widgets.results.layers import result_colormap, result_name
from napari_unet.widgets.results.predict_job import PieceReady
from napari_unet.widgets.results.store_job import StoreOpened, StoreRequest
from napari_unet.widgets.results.view_region import Look
from napari_unet.widgets.segment.panel import SegmentPanel
from napari_unet.widgets.segment.requests import default_threads
from napari_unet.widgets.segment.window_config import WindowConfig

if TYPE_CHECKING:
    from napari_unet.models.model import Model

__all__ = ["StoredLayer", "goes_to_disk", "store_request"]

_PATH = "napari-unet store"


def goes_to_disk(panel: SegmentPanel, source: ImageSource, model: Model, extent: str) -> bool:
    """Whether a result is written to the disk: all of an image is wanted, and it is large.

    Networks whose tiles are blended, and axes in an unusual order, are for the memory in any case.
    """
    from napari_unet.predict.runner import tile_geometry

    layout = source.layout
    if extent == "view" or (extent == "frame" and layout.stack_letters):
        return False
    most = 1_000_000 * WindowConfig(**panel.window_form.values()).most_in_memory
    usual = list(layout.label_axes) == sorted(layout.label_axes, key=OME_AXES.index)
    return math.prod(layout.label_shape) > most and usual and not tile_geometry(model.network, model.config).overlap


def store_request(panel: SegmentPanel, image: Image, source: ImageSource, model: Model, look: Look) -> StoreRequest:
    """Put a prediction into a store together.

    Raises
    ------
    InputError
        If a field holds what can't be.
    """
    window = WindowConfig(**panel.window_form.values())
    path = Path(image.source.path) if image.source.path else None
    beside = path.parent if path is not None and path.exists() else None
    stem = path.name.split(".")[0] if path is not None else "".join(c if c.isalnum() else "_" for c in image.name)
    return StoreRequest(
        source=source,
        model=model,
        task=panel.task.value,
        look=look,
        folder=Path(window.result_folder).expanduser() if window.result_folder.strip() else beside,
        stem=f"{stem}.{result_name(panel.task.value)}",
        config=PredictConfig(**panel.predict_form.values(), device=window.device),
        threads=window.threads or default_threads(),
    )


class StoredLayer:
    """The layer of a result on the disk; it is made when the store is there.

    Parameters
    ----------
    viewer : ViewerModel
        Gets the layer.
    image : napari.layers.Image
        What is predicted.
    source : ImageSource
        What was read off it.
    task : {"objects", "classes"}
        What the labels are.
    colours : sequence of str
        Of the classes.

    Attributes
    ----------
    labels : napari.layers.Labels or None
        The layer; it can't be painted on.
    """

    def __init__(
        self, viewer: ViewerModel, image: Image, source: ImageSource, *, task: str, colours: Sequence[str]
    ) -> None:
        self.viewer, self.image, self.source, self.task, self.colours = viewer, image, source, task, colours
        self.labels: Labels | None = None
        self._new = False

    @property
    def lost(self) -> str:
        """Why the result can't be shown any more, in a sentence; empty as long as it can."""
        if self.labels is None or self.labels in self.viewer.layers:
            return ""
        path = self.labels.metadata[_PATH]
        return f"The result layer was removed, so the prediction was stopped; what is done of it stays in {path}."

    def open(self, event: StoreOpened) -> None:
        """Show a store: in the layer that shows it already, or in a new one above the image."""
        role = f"stored {result_name(self.task)}"
        known = find_marked(self.viewer.layers, role, self.image)
        if isinstance(known, Labels):
            if known.metadata.get(_PATH) == str(event.path):
                self.labels = known
                return
            known.visible = False
            give_away(known)
        levels = [LazyArray(level) for level in event.levels]
        active = self.viewer.layers.selection.active
        self.labels = Labels(
            levels if len(levels) > 1 else levels[0],
            multiscale=len(levels) > 1,
            name=f"{result_name(self.task)} on disk: {self.image.name}",
            opacity=0.5,
            colormap=result_colormap(self.task, self.colours),
            metadata={_PATH: str(event.path)},
            **alignment_of(self.image, self.source.label_dims),
        )
        self.labels.editable = False
        mark_layer(self.labels, role, self.image)
        self.viewer.add_layer(self.labels)
        if active in self.viewer.layers:
            self.viewer.layers.move(self.viewer.layers.index(self.labels), self.viewer.layers.index(active))
            self.viewer.layers.selection.active = active

    def note(self, piece: PieceReady) -> None:
        """Note that a piece was written; `draw` shows it."""
        self._new = True

    def draw(self) -> None:
        """Have the layer drawn if something was written since the last call."""
        new, self._new = self._new, False
        if new and self.labels is not None and self.labels.visible and not self.lost:
            self.labels.refresh(thumbnail=False, highlight=False, extent=False)

    def finish(self) -> None:
        """Show the last pieces."""
        self.draw()

    def update_thumbnails(self) -> None:
        """Bring the picture in the list of layers up to date."""
        if self.labels is not None and not self.lost:
            self.labels.refresh(data_displayed=False, highlight=False, extent=False)
