"""Of results in memory and on the disk, which lie over each other, the one that was made last is seen."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakSet

from napari.layers import Image, Layer

from napari_unet.widgets.parts.layer_tools import read_mark, read_role

__all__ = ["is_put_aside", "show_answer", "show_result", "show_what_was_below"]

_STORED = "stored "
_LABELS = ("objects", "areas")
_ASIDE: WeakSet[Layer] = WeakSet()  # those hidden here; the person may have shown them again since


def show_result(layers: Iterable[Layer], image: Image, *, stored: bool) -> None:
    """Show the result of an image that is on the disk, or the one in memory, and hide the other.

    What the person hid stays hidden, and what the dock did not make stays as it is.

    Parameters
    ----------
    layers : iterable of napari.layers.Layer
        Those in the window.
    image : napari.layers.Image
        The image that the results are of.
    stored : bool
        Whether it is the one on the disk.
    """
    own = _results_of(layers, str(image.unique_id))
    shown = {what for _, is_stored, what in own if is_stored == stored}
    for layer, is_stored, what in own:
        if is_stored != stored and what in shown and layer.visible:
            layer.visible = False
            _ASIDE.add(layer)
    for layer, is_stored, _ in own:
        if is_stored == stored and layer in _ASIDE:
            layer.visible = True
            _ASIDE.discard(layer)


def show_answer(layers: Iterable[Layer], image: Image) -> None:
    """Show the result in memory, which took in a stroke, where the one on the disk is seen that did not.

    Where the person had both shown they stay so, and where they hid both, too.
    """
    own = [entry for entry in _results_of(layers, str(image.unique_id)) if entry[2] == "labels"]
    seen = any(stored and layer.visible for layer, stored, _ in own)
    both = any(layer in _ASIDE and layer.visible for layer, *_ in own)
    if seen and not both:
        show_result(layers, image, stored=False)


def show_what_was_below(layers: Iterable[Layer], removed: Layer) -> None:
    """Show what was hidden for the sake of a layer that was taken out of the window."""
    for layer, stored, what in _results_of(layers, read_mark(removed, read_role(removed) or "")):
        if (not stored, what) == _kind(removed) and layer in _ASIDE:
            layer.visible = True
            _ASIDE.discard(layer)


def is_put_aside(layer: Layer) -> bool:
    """Whether a layer is hidden because another result was made."""
    return layer in _ASIDE and not layer.visible


def _results_of(layers: Iterable[Layer], image: str | None) -> list[tuple[Layer, bool, str]]:
    """List the results of an image by its id: the layer, whether it is on the disk, and of what it is."""
    return [(layer, *_kind(layer)) for layer in layers if read_mark(layer, read_role(layer) or "") == image]


def _kind(layer: Layer) -> tuple[bool, str]:
    role = read_role(layer) or ""
    what = role.removeprefix(_STORED).removeprefix("result ")
    return role.startswith(_STORED), "labels" if what in _LABELS else what
