"""The dock "U-Net: Segment": from an open image over a few strokes to a segmented one.

It ties the parts together: what is chosen (`SegmentPanel`), what is painted (`PaintDesk`), what runs (`SegmentRunner`)
and where results go (`ResultLayers`). All long work is in a worker; the dock only takes its events.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog

from napari_unet.errors import InputError
from napari_unet.widgets.annotate.annotation import check_shape, ensure_strokes_layer, tell_other_shape
from napari_unet.widgets.annotate.channels_first import bring_channels_first, tell_of
from napari_unet.widgets.annotate.class_list import ClassList
from napari_unet.widgets.annotate.class_table import ClassTable
from napari_unet.widgets.annotate.image_notes import ImageNotes
from napari_unet.widgets.annotate.paint_desk import PaintDesk, usable_for_strokes
from napari_unet.widgets.guide.guide import Guide
from napari_unet.widgets.live.desk import LiveDesk
from napari_unet.widgets.parts.layer_chooser import LayerChooser
from napari_unet.widgets.parts.progress_and_files import MODEL_FILES
from napari_unet.widgets.parts.scrolling_dock import ScrollingDock
from napari_unet.widgets.parts.source import (
    ImageSource,
    describe_source,
    guess_layer_axes,
    may_be_channels,
    read_source,
)
from napari_unet.widgets.parts.window_keys import WindowKeys
from napari_unet.widgets.results.layers import (
    ResultLayers,
    ensure_probability_layers,
    ensure_result_layer,
    usable_as_source,
)
from napari_unet.widgets.results.one_shown import show_result
from napari_unet.widgets.results.stored import goes_to_disk, stored_prediction, tell_space
from napari_unet.widgets.results.view_region import Look, choose_region, extents_for
from napari_unet.widgets.segment.next_step import next_step
from napari_unet.widgets.segment.panel import SegmentPanel
from napari_unet.widgets.segment.prediction_run import Prediction
from napari_unet.widgets.segment.requests import (
    NO_IMAGE,
    check_channels,
    choose_extent,
    may_join_slices,
    network_fields,
    predict_request,
    train_request,
)
from napari_unet.widgets.segment.runner import SegmentRunner
from napari_unet.widgets.segment.tools import SegmentTools
from napari_unet.widgets.sessions.desk import SessionDesk
from napari_unet.widgets.training.train_job import TrainRequest

if TYPE_CHECKING:
    import napari.viewer

    from napari_unet.models.model import Model

__all__ = ["SegmentDock"]

_WARM_UP_MS = 300  # after the dock has come into view


class SegmentDock(ScrollingDock):
    """The dock.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The window's viewer; given by napari.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.image_chooser = LayerChooser(self.viewer, usable_as_source, "no image is open")
        self.strokes_chooser = LayerChooser(self.viewer, usable_for_strokes, "made for the image")
        self.classes = ClassList(ClassTable())
        self.panel = SegmentPanel(self.image_chooser, self.strokes_chooser, self.classes)
        self._put_into_scroll_area(self.panel)
        self.message = self.panel.message
        self.keys = WindowKeys(self.viewer)
        self.desk = PaintDesk(self.viewer, self.classes, self.message, self.keys, self._on_painted, self.update_image)
        self.runner = SegmentRunner(self.panel, self)
        self.notes = ImageNotes(self.viewer)
        self.tools = SegmentTools(self)
        self._source: ImageSource | None = None
        self._trained_on: Image | None = None
        self.live = LiveDesk(self)
        self.session = SessionDesk(self)
        self.guide = Guide(self)
        self._connect()
        self.desk.set_task(self.task)
        self.image_chooser.update_layers()
        self.update_image()
        QTimer.singleShot(_WARM_UP_MS, self.runner.prepare)

    @property
    def task(self) -> str:
        """``"objects"`` or ``"classes"``."""
        return self.panel.task.value

    @property
    def image(self) -> Image | None:
        """The chosen image layer."""
        layer = self.image_chooser.layer
        return layer if isinstance(layer, Image) else None

    @property
    def source(self) -> ImageSource | None:
        """What was read off the chosen image; None if it can't be used."""
        return self._source

    @property
    def strokes(self) -> Labels | None:
        """The labels layer that is painted on."""
        return self.desk.layer

    # ---- putting it together

    def _connect(self) -> None:
        panel, runner = self.panel, self.runner
        self.image_chooser.layer_chosen.connect(self._on_image_chosen)
        self.image_chooser.shape_changed.connect(self.update_image)
        self.strokes_chooser.layer_chosen.connect(self._on_strokes_chosen)
        self.strokes_chooser.activated.connect(self._on_strokes_picked)
        self.classes.changed.connect(self._on_classes_changed)
        self.classes.problem.connect(self.message.problem)
        panel.task.group.buttonClicked.connect(self._on_task_chosen)
        panel.dims.group.buttonClicked.connect(self.update_image)
        panel.train.clicked.connect(runner.toggle_training)
        panel.predict.clicked.connect(runner.toggle_prediction)
        panel.save.clicked.connect(self._on_save)
        panel.open.clicked.connect(self._on_open)
        panel.start_over.clicked.connect(runner.start_over)
        panel.probabilities.toggled.connect(self._on_probabilities)
        panel.extent.currentIndexChanged.connect(self._show_join)
        panel.window_form.changed.connect(self._on_window_form)
        parts = (self.live, self.session, self.runner, self.tools, self.desk, self.keys)
        self._when_closed(partial(_close_parts, (self.image_chooser, self.strokes_chooser), parts))

    # ---- choosing

    def _on_image_chosen(self, layer: Layer | None) -> None:
        self.message.clear_message()
        self.live.report.tell_found("")  # nothing is known of this image yet
        self.update_image()

    def _use_channels_first(self, image: Image) -> bool:
        """Choose a layer with the channels first, where those of the image are not; returns whether that was so."""
        instead = bring_channels_first(self.viewer, image, self.notes.axes_of(image) or guess_layer_axes(image))
        if instead is None:
            return False
        self.image_chooser.choose(instead)
        self.message.note(tell_of(instead, image))
        return True

    def update_image(self) -> None:
        """Read the chosen image off its layer and make its layers if they are missing."""
        image = self.image
        self._source = None
        if image is None:
            self.panel.info.setText("")
            self.panel.dims.setVisible(False)
            self.panel.dims_label.setVisible(False)
            self.desk.use(None, None)
            self.strokes_chooser.choose(None)
        else:
            with self.message.reporting("Reading the image", otherwise=lambda: self.desk.use(None, image)):
                if self._use_channels_first(image):
                    return
                self._source = self.read_image(image)
                self.panel.info.setText(self._describe(image, self._source))
                self._make_layers(image, self._source)
                self.panel.window_form.set_values({"axes": self.notes.axes_of(image)})
        self._show_extents()
        self.update_hint()
        self.live.look()

    def _describe(self, image: Image, source: ImageSource) -> str:
        words = describe_source(source)
        if not self.notes.axes_of(image) and may_be_channels(image, source):
            words += ". Are these channels? Then write CYX under Advanced > Axes."
        return words

    def read_image(self, image: Image, ndim: int | None = None) -> ImageSource:
        """Describe an image as the network of the dock sees it."""
        axes = self.notes.axes_of(image)
        has_depth = "Z" in (axes or guess_layer_axes(image))
        self.panel.dims.setVisible(has_depth)
        self.panel.dims_label.setVisible(has_depth)
        wanted = int(self.panel.dims.value) if ndim is None else ndim
        return read_source(image, ndim=wanted if has_depth or ndim is not None else 2, axes=axes)

    def _make_layers(self, image: Image, source: ImageSource) -> None:
        colours = self.classes.table.colours
        strokes = self.notes.strokes_of(image, source)
        if strokes is None:
            earlier = self.notes.strokes_of(image)
            ensure_result_layer(self.viewer, image, source, task=self.task, colours=colours)
            strokes = ensure_strokes_layer(self.viewer, image, source, task=self.task, colours=colours)
            if earlier is not None:
                self.message.note(tell_other_shape(earlier, image, strokes))
        self.desk.use(strokes, image)
        self.strokes_chooser.choose(strokes)
        self.desk.update_colours()

    def _on_strokes_chosen(self, layer: Layer | None) -> None:
        self.desk.use(layer if isinstance(layer, Labels) else None, self.image)
        if layer is not None:
            self.panel.window_form.set_values({"meaning": self.notes.meaning_of(layer)})
        self.update_hint()

    def _on_strokes_picked(self) -> None:
        """Remember what the person picked, for when they come back to the image or train on several."""
        if self.image is not None and self.strokes is not None:
            self.notes.set_strokes(self.image, self.strokes)

    def choose_task(self, task: str) -> None:
        """Look for ``"objects"`` or for the areas of ``"classes"``, as if the person had chosen it."""
        self.panel.task.value = task
        self._on_task_chosen()

    def _on_task_chosen(self) -> None:
        self.desk.set_task(self.task)
        if self.image is not None and self._source is not None:
            ensure_result_layer(
                self.viewer, self.image, self._source, task=self.task, colours=self.classes.table.colours
            )
        self._show_join()
        self.update_hint()

    def _on_classes_changed(self) -> None:
        self.desk.update_colours()
        self.update_hint()
        self.live.look()  # before a stroke of a new class can come

    def _on_window_form(self) -> None:
        values = self.panel.window_form.values()
        if self.strokes is not None:
            self.notes.set_meaning(self.strokes, values["meaning"])
        image = self.image
        if image is not None and values["axes"].upper() != self.notes.axes_of(image):
            self.notes.set_axes(image, values["axes"].upper())
            self.update_image()

    def _on_probabilities(self, wanted: bool) -> None:
        image, source, names = self.image, self._source, self.class_names()
        if not wanted or image is None or source is None:
            return
        if goes_to_disk(self.panel, source, choose_extent(self.panel, source, after_training=False)):
            self.message.note(tell_space(self.panel, image, source, len(names)))
        else:
            self.probability_layers(image, source, names)

    def probability_layers(self, image: Image, source: ImageSource, names: tuple[str, ...]) -> list[Image]:
        """Return the layers for probabilities, one for each class but background; none if they are not wanted."""
        if not self.panel.probabilities.isChecked():
            return []
        colours = self.classes.table.colours
        shades = tuple(colours[index % len(colours)] for index in range(len(names)))
        return ensure_probability_layers(self.viewer, image, source, names=names, colours=shades)

    def _show_extents(self) -> None:
        chosen = self.panel.extent.currentData()
        self.panel.extent.clear()
        if self._source is not None:
            for extent in extents_for(self._source):
                self.panel.extent.addItem(extent.title, extent.key)
        self.panel.extent.setCurrentIndex(max(0, self.panel.extent.findData(chosen)))

    def _show_join(self) -> None:
        self.panel.join.setVisible(may_join_slices(self.panel, self._source, self.panel.extent.currentData()))

    def _on_painted(self) -> None:
        self.update_hint()
        self.live.begin()

    def update_hint(self) -> None:
        """Say what to do next."""
        self.panel.hint.setText(next_step(self))
        self.guide.update()

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes that are looked for, background first."""
        return self.classes.table.names[: self.classes.shown]

    # ---- what the runner asks for

    def train_request(self, model: Model | None) -> TrainRequest:
        """Return what a training needs, taken from the window as it is now.

        Raises
        ------
        UNetError
            If something is missing or does not fit; the message names it.
        """
        image = self.image
        if image is None or image not in self.viewer.layers:
            raise InputError(NO_IMAGE)
        source, strokes = self.read_image(image), self.strokes
        if strokes is None or strokes not in self.viewer.layers:
            raise InputError(f"There are no strokes for '{image.name}': choose a labels layer under Strokes.")
        check_shape(strokes, source)
        painted = [self.notes.painted(source, strokes)]
        if self.panel.window_form.values()["all_images"]:
            painted += self.notes.others_painted(image, source)
        request = train_request(self.panel, painted, model, self.class_names())
        self._trained_on = image
        return request

    def prediction(self, model: Model, *, after_training: bool) -> Prediction:
        """Return what a prediction needs, and where its result goes.

        Raises
        ------
        UNetError
            If the image is gone or does not fit the model.
        """
        image = self._trained_on if after_training else self.image
        if image is None or image not in self.viewer.layers:
            if image is None or not after_training:
                raise InputError(NO_IMAGE)
            raise InputError(
                f"The image '{image.name}' was removed during the training. The model is kept: choose an image and "
                "press Predict."
            )
        source = read_source(image, ndim=model.config.ndim, axes=self.notes.axes_of(image))
        check_channels(model, source)
        extent = choose_extent(self.panel, source, after_training=after_training)
        look = Look(self.viewer, image, source)
        colours = self.classes.table.colours
        join = self.panel.join.isChecked() and may_join_slices(self.panel, source, extent)
        held = self.tools.corrections.held_in(image)
        if goes_to_disk(self.panel, source, extent):
            return stored_prediction(self.viewer, self.panel, image, source, model, look, colours, held)
        region = choose_region(look.view, source, extent)
        labels = ensure_result_layer(self.viewer, image, source, task=self.task, colours=colours)
        probabilities = self.probability_layers(image, source, model.config.classes)
        uncertainty = self.tools.uncertainty_layer(image, source, self.panel.spot.shown_measure)
        layers = ResultLayers(self.viewer, labels, probabilities, uncertainty)
        show_result(self.viewer.layers, image, stored=False)
        return predict_request(self.panel, source, model, look, region, layers, join=join, held=held), layers

    def take_model(self, model: Model) -> None:
        """Show the classes, the task and the network of a model that was opened."""
        self.panel.model_form.set_values(network_fields(model))
        self.classes.table.replace_all(model.config.classes)
        self.panel.dims.value = str(model.config.ndim)
        self.choose_task(model.task)
        self.update_image()

    # ---- files

    def _on_save(self) -> None:
        if self.runner.model is None:
            self.message.problem("There is no model to save yet: train one first.")
            return
        name = f"{self.image.name if self.image is not None else 'model'}.unet.safetensors"
        path, _ = QFileDialog.getSaveFileName(self, "Save the model", name, MODEL_FILES)
        if path:
            self.save_model_to(path)

    def save_model_to(self, path: str | Path) -> None:
        """Save the model; the ending is added where there is none."""
        target = Path(path)
        if not target.suffix:
            target = target.with_name(f"{target.name}.unet.safetensors")
        self.runner.save_model(target)

    def _on_open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a model", "", MODEL_FILES)
        if path:
            self.open_model_from(path)

    def open_model_from(self, path: str | Path) -> None:
        """Open a model and go on with it."""
        self.runner.open_model(path)


def _close_parts(choosers: tuple[LayerChooser, ...], parts: tuple[Any, ...]) -> None:
    for part in parts:
        part.close()
    for chooser in choosers:
        chooser.disconnect_viewer()
