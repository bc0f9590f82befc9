"""What the dock asks the person to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_unet.errors import UNetError
from napari_unet.widgets.annotate.annotation import check_shape

if TYPE_CHECKING:
    from napari_unet.widgets.segment.dock import SegmentDock

__all__ = ["next_step"]


def next_step(dock: SegmentDock) -> str:
    """Say what comes next: an image, strokes of which class, Train, or corrections."""
    strokes, source = dock.strokes, dock.source
    if dock.image is None or source is None:
        return "Open an image to begin, or try one of File > Open Sample > U-Net."
    if strokes is None:
        return "Choose a labels layer to paint on."
    try:
        check_shape(strokes, source)
    except UNetError:
        return f"'{strokes.name}' has another shape than the image; choose the strokes that belong to it."
    return _strokes_to_paint(dock) or _after_painting(dock)


def _strokes_to_paint(dock: SegmentDock) -> str:
    """Name the classes that are still to be painted; nothing if there are enough for a training."""
    names, keys = dock.class_names(), [*dock.desk.class_keys, *[""] * 300]
    missing = [index for index in range(len(names)) if index + 1 not in dock.desk.painted]
    if len(missing) == len(names):
        first, second = f"{names[0]} (key {keys[0]})", f"{names[1]} (key {keys[1]})"
        then = ": they are learnt from at once." if dock.live.training else ", then press Train."
        return f"Paint a few strokes of {first} and of {second}{then}"
    if missing and (0 in missing or len(missing) == len(names) - 1):
        wanted = missing[0]
        return f"Now paint a few strokes of {names[wanted]}" + (f" (key {keys[wanted]})." if keys[wanted] else ".")
    return ""


def _after_painting(dock: SegmentDock) -> str:
    if dock.live.training:
        return "Where the result is wrong, paint a few more strokes: they are taken up at once."
    if dock.runner.model is not None:
        return "Where the result is wrong, paint a few more strokes and press Train again."
    if dock.task == "objects" and dock.desk.next_key:
        return f"Press Train. Before painting an object that touches a painted one, press {dock.desk.next_key}."
    return "Press Train."
