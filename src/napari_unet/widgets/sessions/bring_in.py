"""Putting a session that was read into the window, beside what is there: no layer of the person's is changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_unet.session.document import ImageEntry, StrokesEntry
from napari_unet.widgets.annotate.annotation import ROLE, colour_strokes, is_own_strokes_layer
from napari_unet.widgets.annotate.class_table import ClassEntry
from napari_unet.widgets.parts.layer_tools import mark_layer, shape_of
from napari_unet.widgets.sessions.layers import make_image, make_strokes
from napari_unet.widgets.sessions.loading import FoundImage, LoadedSession
from napari_unet.widgets.sessions.settings import apply_settings

if TYPE_CHECKING:
    from napari_unet.widgets.segment.dock import SegmentDock
    from napari_unet.widgets.sessions.watch import SessionWatch

__all__ = ["Brought", "bring_in", "put_under"]

_QUICK_LOOK_BYTES = 64_000_000


@dataclass
class Brought:
    """What came into the window.

    Attributes
    ----------
    keys : set of str
        Keys of the strokes in the session of this window.
    missing : list of (ImageEntry, Labels)
        Images that were not found, and the strokes that belong to them.
    notes : list of str
        What is not as it was.
    """

    keys: set[str] = field(default_factory=set)
    missing: list[tuple[ImageEntry, Labels]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def bring_in(dock: SegmentDock, watch: SessionWatch, loaded: LoadedSession) -> Brought:
    """Put a session into the window; classes and settings are taken over where nothing is painted yet.

    Parameters
    ----------
    dock : SegmentDock
        The dock.
    watch : SessionWatch
        Keeps the strokes from now on.
    loaded : LoadedSession
        What was read.
    """
    brought = Brought()
    if dock.desk.painted or any(watch.counts.values()):
        brought.notes.append("Classes and settings are those of this window, since strokes are painted in it already.")
    else:
        _take_choices(dock, loaded)
    entries = {entry.key: entry for entry in loaded.document.images}
    images: dict[str, Image] = {}
    for key, found in loaded.images.items():
        layer = _image_layer(dock, entries[key], found)
        if layer is not None:
            images[key] = layer
        if found.changed:
            brought.notes.append(f"The file of '{entries[key].name}' has changed since its strokes were painted.")
    for entry, array in loaded.strokes:
        image = images.get(entry.image)
        if image is not None:
            strokes = _strokes_on(dock, entry, array, image, brought)
            brought.keys.add(watch.keep(strokes, entry.count))
        else:
            strokes = make_strokes(entry, array)
            dock.viewer.add_layer(strokes)
            brought.keys.add(watch.keep(strokes, entry.count, entries.get(entry.image)))
            if entry.image in entries:
                brought.missing.append((entries[entry.image], strokes))
        if entry.key in loaded.held:
            dock.tools.corrections.held.put(strokes, loaded.held[entry.key], image)
        colour_strokes(strokes, dock.classes.table.colours, dock.task)
        dock.notes.set_meaning(strokes, entry.meaning)
    if loaded.model is not None and dock.runner.model is None and not dock.runner.is_running:
        dock.runner.adopt(loaded.model, loaded.document.model_name)
    _show(dock, images.get(loaded.document.image) or next(iter(images.values()), None))
    return brought


def put_under(dock: SegmentDock, entry: ImageEntry, found: FoundImage, strokes: Labels) -> None:
    """Put an image that was found later under its strokes."""
    image = _image_layer(dock, entry, found)
    if image is None or strokes not in dock.viewer.layers:
        return
    if dock.notes.strokes_of(image) is None:
        mark_layer(strokes, ROLE, image)
    held = dock.tools.corrections.held
    mask = held.mask_of(strokes)
    if mask is not None:
        held.put(strokes, mask, image)
    layers = dock.viewer.layers
    layers.move(layers.index(image), layers.index(strokes))
    _show(dock, image)


def _take_choices(dock: SegmentDock, loaded: LoadedSession) -> None:
    document = loaded.document
    apply_settings(dock.panel, document.settings)
    if len(document.classes) >= 2:
        dock.classes.table.entries[:] = [ClassEntry(name, colour) for name, colour in document.classes]
        dock.classes.rebuild()
    dock.choose_task(dock.task)


def _image_layer(dock: SegmentDock, entry: ImageEntry, found: FoundImage) -> Image | None:
    """Return the layer of an image: the one in the window, or a new one."""
    if found.layer_id:
        return next((layer for layer in dock.viewer.layers if str(layer.unique_id) == found.layer_id), None)
    layer = make_image(entry, found.data, found.path)
    dock.viewer.add_layer(layer)
    if entry.axes:
        dock.notes.set_axes(layer, entry.axes)
    return layer


def _strokes_on(dock: SegmentDock, entry: StrokesEntry, array: Any, image: Layer, brought: Brought) -> Labels:
    """Put strokes on an image: into the empty layer that was made for it, or into a new one."""
    there = dock.notes.strokes_of(image)
    if there is not None and _may_be_filled(dock, there, image, entry):
        there.data = array
        return there
    strokes = make_strokes(entry, array)
    if there is not None:
        strokes.name = f"{entry.name} (restored)"
        brought.notes.append(f"'{image.name}' has strokes in this window; those of the session are '{strokes.name}'.")
    elif entry.made_for_image:
        mark_layer(strokes, ROLE, image)
    else:
        dock.notes.set_strokes(image, strokes)
    dock.viewer.add_layer(strokes)
    return strokes


def _may_be_filled(dock: SegmentDock, strokes: Labels, image: Layer, entry: StrokesEntry) -> bool:
    """Whether a layer is one that the dock made and nobody has painted on; pixels are read where that is quick."""
    if not is_own_strokes_layer(strokes, image) or dock.desk.has_touched(strokes) or shape_of(strokes) != entry.shape:
        return False
    data = strokes.data
    return not (isinstance(data, np.ndarray) and data.nbytes <= _QUICK_LOOK_BYTES and data.any())


def _show(dock: SegmentDock, image: Image | None) -> None:
    """Choose an image with its strokes, brush in hand."""
    dock.image_chooser.update_layers()
    if image is not None:
        dock.image_chooser.choose(image)
        dock.update_image()
    if dock.strokes is not None:
        dock.desk.choose_class(max(0, min(int(dock.strokes.selected_label), dock.classes.shown) - 1))
