"""When a result goes to the disk instead of the memory, where, and the layer that shows it piece by piece."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_unet.data.axes import Box
from napari_unet.data.zarr_writer import OME_AXES
from napari_unet.errors import InputError
from napari_unet.predict.config import PredictConfig
from napari_unet.widgets.parts.layer_tools import alignment_of, find_marked, give_away, mark_layer
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.results.held import HeldPixels
from napari_unet.widgets.results.layers import add_below_active, probability_look, result_colormap, result_name
from napari_unet.widgets.results.one_shown import show_result
from napari_unet.widgets.results.predict_job import PieceReady
from napari_unet.widgets.results.store_job import StoreOpened, StoreRequest, describe_space
from napari_unet.widgets.results.stored_levels import StoredLevels
from napari_unet.widgets.results.uncertainty_job import UncertaintyReady
from napari_unet.widgets.results.uncertainty_look import uncertainty_image, uncertainty_role
from napari_unet.widgets.results.view_region import Look
from napari_unet.widgets.segment.panel import SegmentPanel
from napari_unet.widgets.segment.requests import default_threads, may_join_slices
from napari_unet.widgets.segment.window_config import WindowConfig

if TYPE_CHECKING:
    from napari_unet.models.model import Model
    from napari_unet.predict.uncertainty import Measure

__all__ = ["StoredLayer", "goes_to_disk", "stored_labels", "stored_path", "stored_prediction", "tell_space"]

_PATH = "napari-unet store"


def goes_to_disk(panel: SegmentPanel, source: ImageSource, extent: str) -> bool:
    """Whether a result is written to the disk: all of an image is wanted, and it is large.

    Axes in an unusual order are for the memory in any case.
    """
    layout = source.layout
    if extent == "view" or (extent == "frame" and layout.stack_letters):
        return False
    most = 1_000_000 * WindowConfig(**panel.window_form.values()).most_in_memory
    usual = list(layout.label_axes) == sorted(layout.label_axes, key=OME_AXES.index)
    return math.prod(layout.label_shape) > most and usual


def stored_prediction(
    viewer: ViewerModel, panel: SegmentPanel, image: Image, source: ImageSource, model: Model, look: Look,
    colours: Sequence[str], held: HeldPixels | None = None,
) -> tuple[StoreRequest, StoredLayer]:  # fmt: skip
    """Put a prediction into a store together, and the layers that show it.

    Raises
    ------
    InputError
        If a field holds what can't be, or objects are to be joined over slices.
    """
    window = WindowConfig(**panel.window_form.values())
    if panel.join.isChecked() and may_join_slices(panel, source, "all"):
        raise InputError(
            "Objects can't be joined over slices in a result on the disk: untick 'join objects over slices', or raise "
            "'To the disk above' under Advanced."
        )
    path = _image_path(image)
    stem = path.name.split(".")[0] if path is not None else "".join(c if c.isalnum() else "_" for c in image.name)
    request = StoreRequest(
        source=source,
        model=model,
        task=panel.task.value,
        look=look,
        folder=_result_folder(panel, image),
        stem=f"{stem}.{result_name(panel.task.value)}",
        config=PredictConfig(**panel.predict_form.values(), device=window.device),
        threads=window.threads or default_threads(),
        probabilities=panel.probabilities.isChecked(),
        measure=panel.spot.shown_measure,
        held=held,
    )
    names, task = model.config.classes, panel.task.value
    shown = StoredLayer(
        viewer, image, source, task=task, names=names, colours=colours, measure=request.measure,
        unmeasured=request.unmeasured,
    )  # fmt: skip
    return request, shown


def tell_space(panel: SegmentPanel, image: Image, source: ImageSource, classes: int) -> str:
    """Say how much disk the result takes with all that is to be shown, before it is written; see `describe_space`."""
    return describe_space(
        source,
        classes,
        panel.task.value,
        _result_folder(panel, image) or Path(tempfile.gettempdir()),
        probabilities=panel.probabilities.isChecked(),
        uncertainty=panel.spot.shown_measure is not None,
    )


def stored_path(viewer: ViewerModel, image: Image, task: str) -> Path | None:
    """Return where the result of an image is on the disk, as far as a layer shows it."""
    layer = stored_labels(viewer, image, task)
    return None if layer is None or _PATH not in layer.metadata else Path(layer.metadata[_PATH])


def stored_labels(viewer: ViewerModel, image: Image, task: str) -> Layer | None:
    """Return the layer that shows the result of an image on the disk."""
    return find_marked(viewer.layers, f"stored {result_name(task)}", image)


def _image_path(image: Image) -> Path | None:
    return Path(image.source.path) if image.source.path else None


def _result_folder(panel: SegmentPanel, image: Image) -> Path | None:
    """Return the chosen folder for results, or that of the image, or None."""
    chosen = WindowConfig(**panel.window_form.values()).result_folder
    if chosen.strip():
        return Path(chosen).expanduser()
    path = _image_path(image)
    return path.parent if path is not None and path.exists() else None


class StoredLayer:
    """The layers of a result on the disk: labels, and what is shown beside them; made when the store is there.

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
    names, colours : sequence of str
        Of the classes.
    measure : {"entropy", "disagreement"} or None
        Of the uncertainty that is shown.
    unmeasured : threading.Event or None
        Is set when the layer of the uncertainty is taken out of the window, so that it is measured no further.

    Attributes
    ----------
    labels : napari.layers.Labels or None
        The layer; it can't be painted on.
    probabilities : list of napari.layers.Image
        One for each class but background.
    uncertainty : napari.layers.Image or None
        That of the measure that is shown.
    """

    def __init__(
        self, viewer: ViewerModel, image: Image, source: ImageSource, *, task: str, names: Sequence[str],
        colours: Sequence[str], measure: Measure | None = None, unmeasured: threading.Event | None = None,
    ) -> None:  # fmt: skip
        self.viewer, self.image, self.source, self.task = viewer, image, source, task
        self.names, self.colours, self.measure = names, colours, measure
        self.labels: Labels | None = None
        self.probabilities: list[Image] = []
        self.uncertainty: Image | None = None
        self._unmeasured = unmeasured or threading.Event()
        self._shown: list[tuple[Layer, StoredLevels]] = []
        self._new: list[Box] = []
        self._measured: list[Box] = []

    @property
    def lost(self) -> str:
        """Why the result can't be shown any more, in a sentence; empty as long as it can."""
        if self.labels is None or self.labels in self.viewer.layers:
            return ""
        path = self.labels.metadata[_PATH]
        return f"The result layer was removed, so the prediction was stopped; what is done of it stays in {path}."

    def open(self, event: StoreOpened) -> None:
        """Show a store: in the layers that show it already, or in new ones above the image."""
        for number, arrays in enumerate(event.probabilities, start=1):
            name, colour = self.names[number], self.colours[number % len(self.colours)]
            make = partial(Image, name=f"p({name}) on disk: {self.image.name}", **probability_look(name, colour))
            self.probabilities.append(self._show(f"probability {name}", arrays, str(event.path), make))
        if event.uncertainty is not None and self.measure is not None:
            make = partial(uncertainty_image, measure=self.measure, of=f" on disk: {self.image.name}")
            role = uncertainty_role(self.measure)
            self.uncertainty = self._show(role, event.uncertainty, str(event.path), make)
        role = f"stored {result_name(self.task)}"
        known = find_marked(self.viewer.layers, role, self.image)
        if isinstance(known, Labels):
            if known.metadata.get(_PATH) == str(event.path):
                self.labels = known
                self._shown.append((known, event.levels.behind(known.data)))
                show_result(self.viewer.layers, self.image, stored=True)
                return
            known.visible = False
            give_away(known)
        levels = event.levels.arrays
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
        self._shown.append((self.labels, event.levels))
        mark_layer(self.labels, role, self.image)
        add_below_active(self.viewer, self.labels)
        show_result(self.viewer.layers, self.image, stored=True)

    def note(self, piece: PieceReady) -> None:
        """Note that a piece was written; `draw` shows it."""
        self._measured.append(piece.box)
        if not isinstance(piece, UncertaintyReady):
            self._new.append(piece.box)

    def draw(self) -> None:
        """Have those layers drawn of which something was written since the last call."""
        if self.uncertainty is not None and self.uncertainty not in self.viewer.layers:
            self._unmeasured.set()
        new, measured = self._new, self._measured
        self._new, self._measured = [], []
        for layer, levels in self._shown:
            boxes = measured if layer is self.uncertainty else new
            for box in boxes:
                levels.update(box)
            if boxes and layer.visible and layer in self.viewer.layers:
                layer.refresh(thumbnail=False, highlight=False, extent=False)

    def finish(self) -> None:
        """Show the last pieces."""
        self.draw()

    def update_thumbnails(self) -> None:
        """Bring the pictures in the list of layers up to date, from what napari holds of the smallest version.

        A refresh would read what is in view once more.
        """
        for layer, _ in self._shown:
            if layer in self.viewer.layers:
                layer.opacity = layer.opacity

    def _show(self, what: str, levels: StoredLevels, path: str, make: Callable[..., Image]) -> Image:
        """Return the layer of what is kept beside the labels; make it where another store is shown, or none."""
        known = find_marked(self.viewer.layers, f"stored {what}", self.image)
        if isinstance(known, Image):
            if known.metadata.get(_PATH) == path:
                self._shown.append((known, levels.behind(known.data)))
                return known
            known.visible = False
            give_away(known)
        arrays = levels.arrays
        layer = make(
            arrays if len(arrays) > 1 else arrays[0],
            multiscale=len(arrays) > 1,
            metadata={_PATH: path},
            **alignment_of(self.image, self.source.label_dims),
        )
        self._shown.append((layer, levels))
        mark_layer(layer, f"stored {what}", self.image)
        add_below_active(self.viewer, layer)
        return layer
