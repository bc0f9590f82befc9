"""The button "Next uncertain spot": leads the view to where one more stroke would teach most, and says why."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import WeakKeyDictionary

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_unet.data.axes import Box
from napari_unet.widgets.correct.spot_job import SpotFinder, SpotRequest
from napari_unet.widgets.parts.layer_tools import alignment_of
from napari_unet.widgets.parts.messages import MessageLine
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.parts.text_size import TextSize
from napari_unet.widgets.parts.window_keys import WindowKeys
from napari_unet.widgets.parts.worker import Job
from napari_unet.widgets.results.layers import UncertaintyLayer
from napari_unet.widgets.results.predict_job import PredictNote

if TYPE_CHECKING:
    from napari_unet.predict.uncertainty import Measure

__all__ = ["NextSpot", "SpotPanel", "view_middle"]

_TITLE = "Next uncertain spot"
_KEY = "Shift+N"
_LOOKING = "Looking where a stroke would teach most…"
_DRAW_MS = 100
_MEASURES = (
    ("entropy", "mixed probabilities", "Uncertain is where the probabilities of the classes are alike."),
    (
        "disagreement",
        "differs when turned",
        "Uncertain is where the model says something else when the image is turned or mirrored; takes longer.",
    ),
)  # keys, titles and tips
_RING = 24.0  # pixels across
_FINEST = 2.0  # screen pixels that a pixel of the image has at least when it is shown


class SpotPanel(QWidget):
    """The button, what counts as uncertain and whether it is shown, and why the place was chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.button = QPushButton(_TITLE)
        self.button.setToolTip(
            "Move the view to where one more stroke would teach most: uncertain, and unlike what is painted."
        )
        self.measures = QComboBox()
        self.measures.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.measures.setMinimumContentsLength(12)
        for key, title, tip in _MEASURES:
            self.measures.addItem(title, key)
            self.measures.setItemData(self.measures.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.measures.setToolTip("What counts as uncertain.\n\n" + "\n\n".join(f"{a}: {b}" for _, a, b in _MEASURES))
        self.uncertainty = QCheckBox("show")
        self.uncertainty.setToolTip(
            "Also show where the model is uncertain, as an image layer from 0 to 1: with each result and each search."
        )
        self.why = QLabel()
        self.why.setWordWrap(True)
        TextSize(self.why)
        self.why.hide()
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(QLabel("Uncertain"))
        row.addWidget(self.measures, 1)
        row.addWidget(self.uncertainty)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addWidget(self.button)
        column.addLayout(row)
        column.addWidget(self.why)

    @property
    def measure(self) -> Measure:
        """What counts as uncertain."""
        return cast("Measure", self.measures.currentData())

    @property
    def shown_measure(self) -> Measure | None:
        """What is shown as uncertainty; None: nothing."""
        return self.measure if self.uncertainty.isChecked() else None

    def say(self, text: str) -> None:
        """Show a line under the button; nothing hides it."""
        self.why.setText(text)
        self.why.setVisible(bool(text))


class SpotSource(Protocol):
    """What the search asks the dock for; both raise a `UNetError` that says what is amiss."""

    def spot_request(self, visited: dict[Image, list[tuple[int, ...]]]) -> tuple[SpotRequest, Image, Labels]:
        """Return what is searched, its layer and that of its strokes."""

    def uncertainty_layer(self, image: Image, source: ImageSource, measure: Measure | None) -> UncertaintyLayer | None:
        """Return where the uncertainty of an image is shown; None if no measure is wanted."""


class NextSpot:
    """Searches and leads there.

    Parameters
    ----------
    viewer : ViewerModel
        Is moved.
    panel : SpotPanel
        Has the button.
    message : MessageLine
        Says what can't be done.
    keys : WindowKeys
        Binds the key.
    source : SpotSource
        Says what is searched.
    """

    def __init__(
        self, viewer: ViewerModel, panel: SpotPanel, message: MessageLine, keys: WindowKeys, source: SpotSource
    ) -> None:
        self.viewer, self.panel, self.message, self.source = viewer, panel, message, source
        self.visited: WeakKeyDictionary[Image, list[tuple[int, ...]]] = WeakKeyDictionary()
        self.finder = SpotFinder()
        self._job: Job | None = None
        self._found = False
        self._failed = False
        self._ring: Points | None = None
        self._uncertain: UncertaintyLayer | None = None
        self._measure: Measure | None = None
        self._drawing = QTimer()
        self._drawing.setSingleShot(True)
        self._drawing.setInterval(_DRAW_MS)
        self._drawing.timeout.connect(self._draw_uncertainty)
        key = keys.bind(_KEY, "go to the next uncertain spot", self.search)
        self._title = f"{_TITLE}  ({key})" if key else _TITLE
        panel.button.setText(self._title)
        panel.button.clicked.connect(self._on_button)

    @property
    def is_busy(self) -> bool:
        """Whether a search goes on."""
        return self._job is not None

    def search(self) -> None:
        """Look for the next place and go there."""
        if self._job is not None:
            return
        with self.message.reporting("The search"):
            request, image, strokes = self.source.spot_request(dict(self.visited))
            self._found = self._failed = False
            self._uncertain, self._measure = None, self.panel.shown_measure
            self.panel.say(_LOOKING)
            self._job = Job(
                partial(self.finder.find, request),
                on_event=partial(self._on_event, image, strokes, request.images[0].source),
                on_error=self._on_error,
                on_finished=partial(self._on_finished, image),
            )
            self.panel.button.setText("Stop")

    def _on_button(self) -> None:
        if self._job is None:
            self.search()
        else:
            self._job.stop()

    def close(self) -> None:
        """End the search and take the ring away; the panel may be gone already."""
        job, self._job = self._job, None
        if job is not None:
            job.abort()
        self._drawing.stop()
        self._remove_ring()

    def _on_event(self, image: Image, strokes: Labels, source: ImageSource, event: Any) -> None:
        if image not in self.viewer.layers or strokes not in self.viewer.layers:
            return
        if isinstance(event, PredictNote):
            self.message.note(event.text)
            return
        if hasattr(event, "box"):
            self.panel.say(f"{_LOOKING} {100 * event.share:.0f} %")
            self._show_uncertainty(image, source, event.box, event.uncertainty)
            return
        self._found = True
        self.visited.setdefault(image, []).append(event.place)
        self.show_place(strokes, event.place)
        self.panel.say(f"{event.why[0].upper()}{event.why[1:]}: paint here.")

    def _on_error(self, error: Exception) -> None:
        self._failed = True
        self.panel.say("")
        self.message.failure(error, "The search")

    def _on_finished(self, image: Image) -> None:
        stopped = self._job is not None and self._job.stop_requested
        self._job = None
        self.panel.button.setText(self._title)
        if stopped and not self._found:
            self.panel.say("")
        elif not self._found and not self._failed:
            self.visited.pop(image, None)
            self.panel.say("All that is uncertain was shown or is painted. Press again to begin anew.")

    # ---- showing

    def show_place(self, strokes: Labels, place: Sequence[int]) -> None:
        """Move the view to a pixel of the strokes, with the brush in hand, and put a ring around it."""
        viewer, hidden = self.viewer, self.viewer.dims.ndim - strokes.ndim
        world = np.asarray(strokes.data_to_world(place), float)
        displayed = [axis - hidden for axis in viewer.dims.displayed]
        for axis in range(strokes.ndim):
            if axis not in displayed:
                viewer.dims.set_point(axis + hidden, float(world[axis]))
        if viewer.dims.ndisplay == 2:
            camera = viewer.scene.camera
            camera.center = (0.0, *(float(world[axis]) for axis in displayed[-2:]))
            pixel = float(np.abs(np.asarray(strokes.scale)[displayed[-2:]]).min())
            camera.zoom = max(float(camera.zoom), _FINEST / pixel)
        self._put_ring(strokes, place)
        viewer.layers.selection.active = strokes
        if strokes.mode == "pan_zoom" and strokes.mouse_pan:
            strokes.mode = "paint"

    def _put_ring(self, strokes: Labels, place: Sequence[int]) -> None:
        self._remove_ring()
        self._ring = Points(
            np.array([place], float),
            name="next spot",
            size=_RING,
            face_color="transparent",
            border_color="white",
            border_width=0.06,
            **alignment_of(strokes),
        )
        self.viewer.add_layer(self._ring)
        strokes.events.paint.connect(self._remove_ring)

    def _remove_ring(self, event: Any = None) -> None:
        ring, self._ring = self._ring, None
        if event is not None:
            event.source.events.paint.disconnect(self._remove_ring)
        if ring is not None and ring in self.viewer.layers:
            self.viewer.layers.remove(ring)

    def _show_uncertainty(self, image: Image, source: ImageSource, box: Box, values: Any) -> None:
        """Write a part into the layer, which is drawn soon."""
        if self._uncertain is None:
            self._uncertain = self.source.uncertainty_layer(image, source, self._measure)
        if self._uncertain is not None:
            self._uncertain.target.write(box, values)
            self._uncertain.target.outdate()
            if not self._drawing.isActive():
                self._drawing.start()

    def _draw_uncertainty(self) -> None:
        if self._uncertain is not None and self._uncertain.layer in self.viewer.layers:
            self._uncertain.layer.refresh(thumbnail=False, highlight=False, extent=False)


def view_middle(viewer: ViewerModel, strokes: Labels) -> tuple[float, ...]:
    """Return the pixel of a labels layer in the middle of the view, on the slice that is shown."""
    world = np.asarray(viewer.dims.point, float)
    if viewer.dims.ndisplay == 2:
        world[list(viewer.dims.displayed)] = np.asarray(viewer.scene.camera.center, float)[-2:]
    pixel = np.asarray(strokes.world_to_data(world))
    return tuple(np.clip(pixel, 0, np.array(strokes.data.shape) - 1).tolist())
