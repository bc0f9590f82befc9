"""A class that is removed takes its strokes along, and an undo of the strokes brings it back.

Strokes that were left behind would be of no class. They are erased in the layers that the dock made, in one step of
each layer's undo; a layer of the person's own is not touched.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Labels
from qtpy.QtCore import QTimer

from napari_unet.errors import AnnotationError
from napari_unet.widgets.annotate.annotation import ROLE
from napari_unet.widgets.annotate.class_list import ClassList
from napari_unet.widgets.annotate.class_table import ClassEntry
from napari_unet.widgets.annotate.image_notes import ImageNotes
from napari_unet.widgets.annotate.label_storage import find_label
from napari_unet.widgets.annotate.paint_desk import PaintDesk
from napari_unet.widgets.parts.layer_tools import read_role
from napari_unet.widgets.parts.messages import MessageLine
from napari_unet.widgets.parts.worker import Job, StopCheck

__all__ = ["ClassRemoval"]

_LOOKED_AT = 32  # pixels by which an undo is known

Indices = tuple[npt.NDArray[np.intp], ...]


@dataclass(eq=False)
class _Removed:
    """A class that was removed, and where its strokes were."""

    index: int
    entry: ClassEntry
    strokes: list[tuple[Labels, Indices]]


class ClassRemoval:
    """Removes classes from the list together with their strokes, and brings both back.

    Parameters
    ----------
    classes : ClassList
        Asks for it when the person does.
    notes : ImageNotes
        Knows the strokes layers of all images.
    desk : PaintDesk
        Knows which classes are painted.
    message : MessageLine
        Says what was done, and what can't be.
    """

    def __init__(self, classes: ClassList, notes: ImageNotes, desk: PaintDesk, message: MessageLine) -> None:
        self.classes, self.notes, self.desk, self.message = classes, notes, desk, message
        self._job: Job | None = None  # until the class is off the list
        self._erased: _Removed | None = None
        self._removed: list[_Removed] = []
        classes.on_remove = self.remove

    def remove(self, index: int) -> None:
        """Remove a class, once its strokes are found."""
        if self._job is not None:
            return
        with self.message.reporting("Removing the class"):
            self.classes.table.check_removal(index)
            layers = [layer for _, layer in self.notes.annotated() if not layer.multiscale]
            self._job = Job(
                partial(_find_in_all, [layer.data for layer in layers], index + 1),
                on_event=partial(self._erase, index, layers),
                on_error=partial(self.message.failure, doing="Removing the class"),
                on_finished=self._on_finished,
            )

    def close(self) -> None:
        """Follow nothing any more."""
        if self._job is not None:
            self._job.abort()
        self._erased = None
        for removed in list(self._removed):
            self._forget(removed)

    def _on_finished(self) -> None:
        QTimer.singleShot(0, self._take_off_list)  # once it is seen that the strokes are gone

    def _erase(self, index: int, layers: Sequence[Labels], found: list[Indices]) -> None:
        entry = self.classes.table.entries[index]
        strokes = [(layer, places) for layer, places in zip(layers, found, strict=True) if places[0].size]
        with self.message.reporting("Removing the class"):
            for layer, _ in strokes:
                if read_role(layer) != ROLE:
                    raise AnnotationError(
                        f"'{layer.name}' is your own layer and has strokes of '{entry.name}': erase the label "
                        f"{index + 1} in it first, then remove the class."
                    )
            for layer, places in strokes:
                layer.data_setitem(places, 0)
            self._erased = _Removed(index, entry, strokes)

    def _take_off_list(self) -> None:
        removed, self._erased, self._job = self._erased, None, None
        if removed is None:
            return
        with self.message.reporting("Removing the class"):
            self.classes.remove(removed.index)
            self.desk.painted.discard(removed.index + 1)
            if not removed.strokes:
                return
            self._removed.append(removed)
            for layer, _ in removed.strokes:
                layer.events.set_data.connect(self._on_set_data)
            images = f" in {len(removed.strokes)} images" if len(removed.strokes) > 1 else ""
            self.message.note(
                f"'{removed.entry.name}' was removed and its strokes{images} were erased; Ctrl+Z brings both back."
            )

    def _on_set_data(self, event: Any) -> None:
        for removed in list(self._removed):
            parts = [places for layer, places in removed.strokes if layer is event.source]
            if any(_reads(event.source, places, removed.index + 1) for places in parts):
                self._bring_back(removed, event.source)

    def _bring_back(self, removed: _Removed, undone: Labels) -> None:
        """Put a class on the list again, after those before it, and its strokes where nothing is painted since."""
        earlier = [other for other in self._removed if other.index <= removed.index]
        self._forget(removed)
        for other in sorted(earlier, key=lambda other: other.index):
            if other.index == len(self.classes.table):
                self.classes.add(other.entry)
        for layer, places in removed.strokes:
            empty = np.asarray(layer.data[places]) == 0
            if layer is not undone and empty.any():
                layer.data_setitem(tuple(axis[empty] for axis in places), removed.index + 1)
        self.desk.painted.add(removed.index + 1)
        self.message.note(f"'{removed.entry.name}' is back with its strokes.")

    def _forget(self, removed: _Removed) -> None:
        self._removed.remove(removed)
        followed = {layer for other in self._removed for layer, _ in other.strokes}
        for layer, _ in removed.strokes:
            if layer not in followed:
                layer.events.set_data.disconnect(self._on_set_data)


def _reads(layer: Labels, places: Indices, label: int) -> bool:
    """Whether the label is back where it was erased."""
    some = slice(None, None, max(1, len(places[0]) // _LOOKED_AT))
    return bool((np.asarray(layer.data[tuple(axis[some] for axis in places)]) == label).all())


def _find_in_all(arrays: Sequence[Any], label: int, should_stop: StopCheck) -> Generator[Any, None, None]:
    found = []
    for data in arrays:
        pieces = [(np.zeros(0, np.intp),) * data.ndim]
        for piece in find_label(data, label):
            if should_stop():
                return
            if piece is not None:
                pieces.append(piece)
            yield None
        found.append(tuple(np.concatenate(axis) for axis in zip(*pieces, strict=True)))
    yield found
