"""What lies between the list of classes and the strokes: which label is on the brush, and the keys that change it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import QTimer

from napari_unet.widgets.annotate.annotation import (
    FIRST_OBJECT,
    ROLE,
    colour_strokes,
    is_own_strokes_layer,
    next_object_label,
    select_label,
)
from napari_unet.widgets.annotate.class_list import ClassList
from napari_unet.widgets.annotate.class_table import choose_keys
from napari_unet.widgets.annotate.label_storage import new_label_array
from napari_unet.widgets.parts.layer_tools import read_role
from napari_unet.widgets.parts.messages import MessageLine
from napari_unet.widgets.parts.window_keys import WindowKeys, taken_keys

__all__ = ["PaintDesk", "usable_for_strokes"]

_NEXT_OBJECT = "N"
_QUICK_LOOK = 2048**2  # pixels that are looked through in a few milliseconds
_SOON_MS = 150  # after the layer was drawn anew: an undo tells nothing else


class PaintDesk:
    """Keeps class list, strokes layer and keys in step.

    Parameters
    ----------
    viewer : ViewerModel
        Has the layers.
    classes : ClassList
        Shows and chooses the class.
    message : MessageLine
        Gets what goes wrong.
    keys : WindowKeys
        Binds the keys of the classes and of the next object.
    on_painted : callable
        Called after each stroke.
    on_missing : callable
        Called when the person wants to paint and there is no layer; may make one.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        classes: ClassList,
        message: MessageLine,
        keys: WindowKeys,
        on_painted: Callable[[], None],
        on_missing: Callable[[], None],
    ) -> None:
        self.viewer = viewer
        self.classes = classes
        self.message = message
        self.on_painted, self.on_missing = on_painted, on_missing
        self.layer: Labels | None = None
        self.image: Image | None = None
        self.task = "objects"
        self.painted: set[int] = set()
        self.strokes_made = 0
        self._touched: WeakSet[Labels] = WeakSet()
        self._highest: WeakKeyDictionary[Labels, int] = WeakKeyDictionary()
        self._soon = QTimer()
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._look_again)
        self.class_keys = choose_keys(taken_keys(viewer))
        for index, key in enumerate(self.class_keys):
            keys.bind(key, f"paint with class {index + 1}", partial(self.choose_class, index))
        self.next_key = keys.bind(_NEXT_OBJECT, "paint another object, which may touch the last", self.next_object)
        classes.set_keys(self.class_keys)
        classes.chosen.connect(self.choose_class)

    def use(self, layer: Labels | None, image: Image | None) -> None:
        """Paint on this layer from now on."""
        self.image = image
        if layer is not self.layer:
            self._let_go()
            self.layer = layer
            self.painted = set()
            if layer is not None:
                layer.events.selected_label.connect(self._on_label)
                layer.events.paint.connect(self._on_paint)
                layer.events.data.connect(self._on_data)
                layer.events.set_data.connect(self._on_set_data)
                self._look()
        self._on_label()

    @property
    def owns_layer(self) -> bool:
        """Whether the strokes layer is one that the dock made for the image."""
        return self.layer is not None and self.image is not None and is_own_strokes_layer(self.layer, self.image)

    def has_touched(self, layer: Labels) -> bool:
        """Whether something was painted on a layer, or loaded into it."""
        return layer in self._touched

    def set_task(self, task: str) -> None:
        """Show one class of objects, or as many classes as there are."""
        self.task = task
        self.classes.show_only(2 if task == "objects" else None)
        self.update_colours()
        layer = self.layer
        if layer is not None and self.owns_layer and layer not in self._touched:
            wanted = np.dtype(np.uint16 if task == "objects" else np.uint8)
            if layer.dtype != wanted and layer.data.dtype.itemsize < wanted.itemsize and not self.painted:
                label = layer.selected_label
                with layer.events.data.blocker(self._on_data):
                    layer.data = new_label_array(layer.data.shape, wanted)
                layer.selected_label = label
        self._on_label()

    def update_colours(self) -> None:
        """Show the strokes in the colours of the list; a layer of the person's own keeps its colours."""
        if self.owns_layer and self.layer is not None:
            colour_strokes(self.layer, self.classes.table.colours, self.task)

    def choose_class(self, index: int) -> None:
        """Put the label of a class on the brush."""
        if self.layer is None:
            self.on_missing()
        if self.layer is None or self.layer not in self.viewer.layers:
            self.message.problem("There is nothing to paint on yet: choose an image first.")
            return
        if index < self.classes.shown:
            with self.message.reporting("Choosing the class"):
                select_label(self.viewer, self.layer, index + 1)

    def next_object(self) -> None:
        """Put a label on the brush that no object has, for one that touches another."""
        if self.layer is None or self.layer not in self.viewer.layers:
            return
        if self.task != "objects":
            self.message.note("In 'areas' all pixels of a class share its label; there are no single objects.")
            return
        with self.message.reporting("Choosing the object"):
            label = next_object_label(self.layer, self.highest_label)
            select_label(self.viewer, self.layer, label)

    def close(self) -> None:
        """Stop following the layer; the list of classes may be gone already."""
        self._let_go()

    def take_labels(self, layer: Labels, labels: npt.NDArray[Any]) -> None:
        """Take note of labels that a tool painted."""
        highest = int(labels.max(initial=0))
        self._highest[layer] = max(self._highest.get(layer, 0), highest)
        self._touched.add(layer)
        self.strokes_made += 1
        if layer is self.layer:
            found = {int(label) for label in labels if label > 0}
            self.painted |= {min(label, FIRST_OBJECT) for label in found} if self.task == "objects" else found
            self.on_painted()

    @property
    def highest_label(self) -> int:
        """The highest label that was handed out on the layer so far."""
        return self._highest.get(self.layer, 0) if self.layer is not None else 0

    def _let_go(self) -> None:
        if self.layer is not None:
            self.layer.events.selected_label.disconnect(self._on_label)
            self.layer.events.paint.disconnect(self._on_paint)
            self.layer.events.data.disconnect(self._on_data)
            self.layer.events.set_data.disconnect(self._on_set_data)
        self._soon.stop()
        self.layer = None

    def _on_label(self, event: Any = None) -> None:
        if self.layer is None:
            self.classes.set_current(-1)
            return
        label = int(self.layer.selected_label)
        known = self._highest.get(self.layer, 0)
        self._highest[self.layer] = max(known, label)
        if self.task == "objects" and label > FIRST_OBJECT:
            self.classes.set_current(1, f"object {label - FIRST_OBJECT + 1}")
        else:
            self.classes.set_current(label - 1)

    def _on_paint(self, event: Any = None) -> None:
        if self.layer is None:
            return
        self._touched.add(self.layer)
        self.strokes_made += 1
        label = int(self.layer.selected_label)
        if label > 0:
            self.painted.add(min(label, FIRST_OBJECT) if self.task == "objects" else label)
        self._soon.start(_SOON_MS)  # it may have erased a class, or painted over it
        self.on_painted()

    def _on_data(self, event: Any = None) -> None:
        """Take strokes that were loaded or pasted, not painted, for a person's as well."""
        if self.layer is not None:
            self._touched.add(self.layer)
            self._look()
            self.on_painted()

    def _on_set_data(self, event: Any = None) -> None:
        """Look at it when the hand rests: strokes may have been undone or erased."""
        self._soon.start(_SOON_MS)

    def _look(self) -> None:
        """Find out which classes are in the layer, where a look is quick."""
        found = self._find()
        if found is None or self.layer is None or not self.layer.data.any():
            return
        self._touched.add(self.layer)
        self.painted |= found

    def _look_again(self) -> None:
        """Find out which classes are in the layer still, where a look is quick."""
        found = self._find()
        if found is not None and found != self.painted:
            self.painted = found
            self.on_painted()

    def _find(self) -> set[int] | None:
        """Return the labels of the classes that are in the layer; None where a look takes long."""
        data = self.layer.data if self.layer is not None else None
        if not isinstance(data, np.ndarray) or data.size > _QUICK_LOOK:
            return None
        found = {label for label in range(1, self.classes.shown + 1) if (data == label).any()}
        if self.task == "objects" and (data >= FIRST_OBJECT).any():
            found.add(FIRST_OBJECT)
        return found


def usable_for_strokes(layer: Any) -> bool:
    """Whether a layer is a labels layer that is not a result of the dock's."""
    return isinstance(layer, Labels) and read_role(layer) in (None, ROLE)
