"""What helps a person beside training and prediction: correction tools, the next place to paint, and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from napari.layers import Image, Labels

from napari_unet.errors import InputError
from napari_unet.widgets.annotate.annotation import check_shape
from napari_unet.widgets.annotate.class_removal import ClassRemoval
from napari_unet.widgets.correct.next_spot import NextSpot, view_middle
from napari_unet.widgets.correct.spot_job import SpotRequest
from napari_unet.widgets.correct.tools import CorrectionTarget, CorrectionTools
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.results.layers import (
    UncertaintyLayer,
    ensure_uncertainty_layer,
    filled_positions,
    find_result_layer,
    shows_uncertainty,
)
from napari_unet.widgets.results.one_shown import is_put_aside, show_answer, show_what_was_below
from napari_unet.widgets.results.stored import goes_to_disk, stored_labels, stored_path, tell_space
from napari_unet.widgets.segment.requests import NO_IMAGE, choose_extent, default_threads
from napari_unet.widgets.segment.window_config import WindowConfig

if TYPE_CHECKING:
    from napari_unet.predict.uncertainty import Measure
    from napari_unet.widgets.segment.dock import SegmentDock

__all__ = ["SegmentTools"]


class SegmentTools:
    """Ties the tools to the dock.

    Parameters
    ----------
    dock : SegmentDock
        Knows the image, the strokes and what is looked for.

    Attributes
    ----------
    corrections : CorrectionTools
        The correction tools.
    spots : NextSpot
        Leads to where to paint next.
    removal : ClassRemoval
        Removes classes with their strokes.
    """

    def __init__(self, dock: SegmentDock) -> None:
        self.dock = dock
        panel, keys = dock.panel, dock.keys
        self.corrections = CorrectionTools(dock.viewer, panel.correct, dock.message, keys, self)
        self.spots = NextSpot(dock.viewer, panel.spot, dock.message, keys, self)
        self.removal = ClassRemoval(dock.classes, dock.notes, dock.desk, dock.message)
        panel.spot.uncertainty.toggled.connect(self._on_uncertainty)
        dock.viewer.layers.events.removed.connect(self._on_layer_removed)
        keys.bind("Shift+T", "train, or stop the training", panel.train.click)
        keys.bind("Shift+W", "segment what is chosen beside Predict", panel.predict.click)
        keys.bind("Shift+H", "show or hide the result", self.toggle_result)
        panel.key_list.show_keys(keys.entries)

    def close(self) -> None:
        """Put the tools away."""
        self.dock.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self.corrections.close()
        self.spots.close()
        self.removal.close()

    def correction_target(self) -> CorrectionTarget:
        """Return what the correction tools work on, and have it shown.

        Raises
        ------
        UNetError
            If something is missing, or does not fit.
        """
        dock = self.dock
        image, strokes, source = self._painted()
        if dock.notes.meaning_of(strokes) == "ground truth":
            raise InputError(f"'{strokes.name}' is read as a ground truth, not as strokes: correct it with the brush.")
        if strokes.multiscale:
            raise InputError(f"The layer '{strokes.name}' is multiscale and can't be painted on; choose another.")
        result = self._result()
        if result is not None and filled_positions(result):
            show_answer(dock.viewer.layers, image)  # that on the disk can't be corrected
        return CorrectionTarget(image, strokes, result, source.layout, dock.task, dock.desk.highest_label)

    def strokes_corrected(self, strokes: Labels, labels: npt.NDArray[Any]) -> None:
        """Take note of the labels that a correction painted."""
        self.dock.desk.take_labels(strokes, labels)

    def spot_request(self, visited: dict[Image, list[tuple[int, ...]]]) -> tuple[SpotRequest, Image, Labels]:
        """Return what is searched for the next place to paint.

        Raises
        ------
        UNetError
            If something is missing, or does not fit.
        """
        dock = self.dock
        image, strokes, source = self._painted()
        window = WindowConfig(**dock.panel.window_form.values())
        others = dock.notes.others_painted(image, source) if window.all_images else []
        request = SpotRequest(
            images=(dock.notes.painted(source, strokes), *others),
            task=dock.task,
            classes=dock.class_names(),
            model=None if dock.runner.model_changes else dock.runner.model,
            focus=view_middle(dock.viewer, strokes),
            visited=tuple(visited.get(image, ())),
            device=window.device,
            threads=window.threads or default_threads(),
            stored=stored_path(dock.viewer, image, dock.task),
            measure=dock.panel.spot.measure,
        )
        return request, image, strokes

    def uncertainty_layer(self, image: Image, source: ImageSource, measure: Measure | None) -> UncertaintyLayer | None:
        """Return where the uncertainty of an image is shown; None if no measure is wanted."""
        return None if measure is None else ensure_uncertainty_layer(self.dock.viewer, image, source, measure)

    def _on_uncertainty(self, wanted: bool) -> None:
        panel, image = self.dock.panel, self.dock.image
        if not wanted or image is None:
            return
        with self.dock.message.reporting("Reading the image"):
            source = self.dock.read_image(image)
            if goes_to_disk(panel, source, choose_extent(panel, source, after_training=False)):
                self.dock.message.note(tell_space(panel, image, source, len(self.dock.class_names())))

    def _on_layer_removed(self, event: Any) -> None:
        """Show the uncertainty no more when its layer was removed, and what was hidden for the sake of a layer."""
        spot = self.dock.panel.spot
        if shows_uncertainty(event.value, spot.shown_measure):
            spot.uncertainty.setChecked(False)
        show_what_was_below(self.dock.viewer.layers, event.value)

    def _painted(self) -> tuple[Image, Labels, ImageSource]:
        dock = self.dock
        image, strokes = dock.image, dock.strokes
        if image is None or strokes is None or strokes not in dock.viewer.layers:
            raise InputError(NO_IMAGE)
        source = dock.read_image(image)
        check_shape(strokes, source)
        return image, strokes, source

    def toggle_result(self) -> None:
        """Show or hide the result of the image."""
        result, dock = self._result(), self.dock
        if result is not None and is_put_aside(result) and dock.image is not None:
            result = stored_labels(dock.viewer, dock.image, dock.task) or result
        if result is not None:
            result.visible = not result.visible

    def _result(self) -> Labels | None:
        dock = self.dock
        if dock.image is None or dock.strokes is None:
            return None
        return find_result_layer(dock.viewer, dock.image, task=dock.task, strokes=dock.strokes)
