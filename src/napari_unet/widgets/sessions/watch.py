"""Follows what happens in the window and has it saved: strokes, layers, classes, settings and the model.

Painting costs the window nothing here but a note of where it was; all reading and writing is the recorder's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QTimer

from napari_unet.session.document import ImageEntry, SessionDocument, StrokesEntry
from napari_unet.session.library import SessionLibrary
from napari_unet.session.recorder import Recorder, RecorderEvent
from napari_unet.session.state import ModelToKeep, SessionState, held_key
from napari_unet.session.tiles import Box
from napari_unet.session.writer import SessionWriter
from napari_unet.widgets.annotate.annotation import ROLE
from napari_unet.widgets.parts.layer_tools import read_mark
from napari_unet.widgets.parts.worker import let_window_go_first
from napari_unet.widgets.sessions.layers import can_be_kept, describe_image, describe_strokes, painted_box
from napari_unet.widgets.sessions.settings import autosave_wanted, read_settings

if TYPE_CHECKING:
    from napari_unet.widgets.segment.dock import SegmentDock

__all__ = ["RemovedStrokes", "SessionWatch"]

_POLL_MS = 1000
_SOON_MS = 50
_CLOSING_SECONDS = 2.0  # layers that vanish so shortly before the window's end were not removed by the person
_MOST_REMOVED = 3


@dataclass(frozen=True, eq=False)
class RemovedStrokes:
    """A strokes layer that was taken out of the window.

    Attributes
    ----------
    layer : napari.layers.Labels
        The layer.
    image : Layer or None
        What it belonged to.
    entry : StrokesEntry
        What the session says of it.
    at : float
        When, on the monotonic clock.
    """

    layer: Labels
    image: Layer | None
    entry: StrokesEntry
    at: float


class SessionWatch:
    """Keeps the recorder informed.

    Parameters
    ----------
    dock : SegmentDock
        Has the layers, classes, settings and the model.
    library : SessionLibrary
        Where sessions are kept.
    on_event : callable
        Called in the recorder's thread with each of its events.
    on_removed : callable
        Called when a strokes layer was taken out that something was painted on.
    """

    def __init__(
        self,
        dock: SegmentDock,
        library: SessionLibrary,
        on_event: Callable[[RecorderEvent], None],
        on_removed: Callable[[RemovedStrokes], None],
    ) -> None:
        self.dock = dock
        self.library = library
        self.on_event = on_event
        self.on_removed = on_removed
        self.recorder: Recorder | None = None
        self.last: Recorder | None = None  # the one that was closed last
        self.removed: list[RemovedStrokes] = []
        self.counts: WeakKeyDictionary[Labels, int] = WeakKeyDictionary()
        self._kept: WeakKeyDictionary[Labels, str] = WeakKeyDictionary()  # layers brought in, with their image's key
        self._keys: WeakKeyDictionary[Layer, str] = WeakKeyDictionary()
        self._made = 0
        self._followed: dict[Labels, tuple[Layer | None, StrokesEntry]] = {}
        self._images: dict[str, ImageEntry] = {}
        self._owner_keys: dict[str, str] = {}  # unique id of an image layer -> its key, also when it is gone
        self._settings: dict[str, Any] = {}
        self._model: ModelToKeep | None = None
        self._model_of: tuple[Any, Any] = (None, None)
        self._timer = QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self.look)
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self.look)
        self._held = dock.tools.corrections.held
        self._held.on_added = self._on_corrected
        self._layers = dock.viewer.layers
        self._layers.events.inserted.connect(self._on_layers)
        self._layers.events.removed.connect(self._on_layers)
        self._timer.start()

    def look(self) -> None:
        """Tell the recorder what there is; called every second, and soon after each stroke."""
        state = self.state()
        if not autosave_wanted():
            if self.recorder is not None:
                self._end_recorder()
            return
        if self.recorder is None:
            if not state.document.strokes:
                return
            writer = SessionWriter(self.library.new_folder())
            self.recorder = Recorder(writer, self.on_event, in_thread=let_window_go_first)
        self.recorder.update(state)

    def look_soon(self) -> None:
        """Look in a moment, once for many calls."""
        if not self._soon.isActive():
            self._soon.start(_SOON_MS)

    def state(self) -> SessionState:
        """Return all that belongs to the session, as it is now."""
        self._follow_layers()
        now = time.monotonic()
        pairs = [(layer, image, entry) for layer, (image, entry) in self._followed.items()]
        pairs += [(gone.layer, gone.image, gone.entry) for gone in self.removed if now - gone.at < _CLOSING_SECONDS]
        strokes, labels, images = [], {}, {}
        for layer, image, entry in pairs:
            strokes.append(entry)
            labels[entry.key] = layer.data
            mask = self._held.mask_of(layer)
            if mask is not None:
                labels[held_key(entry.key)] = mask
            if isinstance(image, Image):
                images[entry.image] = image.data[0] if image.multiscale else image.data
        self._read_settings()
        wanted = {entry.image for entry in strokes}
        chosen = self.dock.image
        document = SessionDocument(
            images=tuple(entry for key, entry in self._images.items() if key in wanted),
            strokes=tuple(strokes),
            classes=tuple((entry.name, entry.colour) for entry in self.dock.classes.table.entries),
            settings=self._settings,
            image="" if chosen is None else self._keys.get(chosen, ""),
        )
        return SessionState(document, labels, images, self._find_model(), bool(self._settings.get("keep_images", True)))

    def keep(self, layer: Labels, count: int, entry: ImageEntry | None = None) -> str:
        """Keep a layer that was brought in from a session, also where its image is missing; return its key."""
        self.counts[layer] = count
        key = ""
        if entry is not None:
            key = self._next_key("i")
            self._images[key] = replace(entry, key=key, copy="")
        self._kept[layer] = key
        return self._key_of(layer, "s")

    def close(self) -> None:
        """Have the rest saved and stop following the window; returns at once."""
        if self._layers is None:
            return
        self._timer.stop()
        self._soon.stop()
        self._layers.events.inserted.disconnect(self._on_layers)
        self._layers.events.removed.disconnect(self._on_layers)
        self._layers = None
        self._held.on_added = None
        if self.recorder is not None:
            self.recorder.update(self.state())
            self.recorder.on_event = None  # nobody is there to hear it
            self._end_recorder()
        for layer in list(self._followed):
            self._let_go(layer)
        self.removed.clear()

    def _end_recorder(self) -> None:
        if self.recorder is not None:
            self.recorder.close()
            self.last, self.recorder = self.recorder, None

    # ---- layers

    def _on_layers(self, event: Any = None) -> None:
        gone = [layer for layer in self._followed if layer not in self.dock.viewer.layers]
        for layer in gone:
            image, entry = self._followed[layer]
            self._let_go(layer)
            entry = replace(entry, count=self.counts.get(layer, 0))
            removed = RemovedStrokes(layer, image, entry, time.monotonic())
            self.removed = [*self.removed, removed][-_MOST_REMOVED:]
            if self.counts.get(layer, 0):
                self.on_removed(removed)
        self.look_soon()

    def _follow_layers(self) -> None:
        found = self.dock.notes.annotated()
        found += [(None, layer) for layer in self._kept if layer not in {strokes for _, strokes in found}]
        found = [pair for pair in found if pair[1] in self.dock.viewer.layers and can_be_kept(pair[1])]
        for layer in set(self._followed) - {strokes for _, strokes in found}:
            self._let_go(layer)
        for image, layer in found:
            if layer not in self._followed:
                layer.events.paint.connect(self._on_paint)
                layer.events.set_data.connect(self._on_set_data)
                layer.events.data.connect(self._on_data)
            entry = describe_strokes(
                layer,
                self._key_of(layer, "s"),
                image=self._image_key(image, layer),
                made_for_image=read_mark(layer, ROLE) is not None,
                meaning=self.dock.notes.meaning_of(layer),
                count=self.counts.get(layer, 0),
            )
            self._followed[layer] = image, entry

    def _let_go(self, layer: Labels) -> None:
        layer.events.paint.disconnect(self._on_paint)
        layer.events.set_data.disconnect(self._on_set_data)
        layer.events.data.disconnect(self._on_data)
        self._followed.pop(layer, None)

    def _image_key(self, image: Layer | None, layer: Labels) -> str:
        """Return the key of a layer's image, which is known also when the image is gone."""
        if isinstance(image, Image):
            key = self._key_of(image, "i")
            self._owner_keys[str(image.unique_id)] = key
            self._images[key] = describe_image(image, key, self.dock.notes.axes_of(image))
            return key
        owner = read_mark(layer, ROLE)
        return self._owner_keys.get(owner, "") if owner is not None else self._kept.get(layer, "")

    def _key_of(self, layer: Layer, letter: str) -> str:
        if layer not in self._keys:
            self._keys[layer] = self._next_key(letter)
        return self._keys[layer]

    def _next_key(self, letter: str) -> str:
        self._made += 1
        return f"{letter}{self._made}"

    def _on_paint(self, event: Any) -> None:
        layer = event.source
        self.counts[layer] = self.counts.get(layer, 0) + 1
        if self.recorder is not None:
            self.recorder.touch(self._keys[layer], painted_box(event, layer.ndim))
        self.look_soon()

    def _on_corrected(self, strokes: Labels, box: Box) -> None:
        if self.recorder is not None and strokes in self._keys:
            self.recorder.touch(held_key(self._keys[strokes]), box)
        self.look_soon()

    def _on_set_data(self, event: Any) -> None:
        if self.recorder is not None:
            self.recorder.suspect(self._keys[event.source])

    def _on_data(self, event: Any) -> None:
        if self.recorder is not None:
            self.recorder.touch(self._keys[event.source])
        self.look_soon()

    # ---- the rest

    def _read_settings(self) -> None:
        try:
            self._settings = read_settings(self.dock.panel)
        except RuntimeError:
            return  # the window is going and its parts are gone: what was read last holds

    def _find_model(self) -> ModelToKeep | None:
        """Return the model as of the end of its last training; one that learns at the moment is changing."""
        runner = self.dock.runner
        model, status = runner.model, runner.status
        if model is None:
            self._model, self._model_of = None, (None, None)
        elif not runner.model_changes and (model is not self._model_of[0] or status is not self._model_of[1]):
            self._model_of = model, status
            version = 1 if self._model is None else self._model.version + 1
            self._model = ModelToKeep(
                version,
                runner.model_name,
                model.save,
                lambda: runner.model is model and runner.status is status and not runner.model_changes,
            )
        return self._model
