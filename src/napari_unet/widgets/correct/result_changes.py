"""Corrections in their layers: the strokes with napari's undo, the shown result in step with them.

A result is the dock's own layer, which the next prediction writes anew, so that it has no undo of its own: what a
correction changed in it goes back when napari's undo takes back the strokes, unless something else was written there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Labels

from napari_unet.data.changes import Change
from napari_unet.data.corrections import Correction
from napari_unet.widgets.parts.layer_tools import read_role
from napari_unet.widgets.results.layers import record_of

if TYPE_CHECKING:
    from napari_unet.widgets.correct.tools import CorrectionTarget

__all__ = ["ResultChanges"]

_MOST = 100  # as many as napari remembers
_LOOKED_AT = 32  # pixels by which an undone correction is known


@dataclass(eq=False)
class _Made:
    """A correction that was made."""

    strokes: Labels
    strokes_change: Change
    strokes_before: npt.NDArray[Any]
    result: Labels
    result_change: Change
    result_before: npt.NDArray[Any]
    undone: bool = False


class ResultChanges:
    """Makes corrections and follows undo and redo.

    Parameters
    ----------
    viewer : ViewerModel
        Has the layers.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self._made: deque[_Made] = deque(maxlen=_MOST)
        self._followed: WeakSet[Labels] = WeakSet()

    def make(self, target: CorrectionTarget, correction: Correction) -> None:
        """Paint the strokes, as one step of their undo, and show what becomes of the result."""
        strokes, result = target.strokes, target.result
        change = _only_new(strokes, correction.strokes)
        before = np.array(strokes.data[change.indices])
        strokes.data_setitem(change.indices, change.values)
        if correction.result is None or result is None or read_role(result) is None or result not in self.viewer.layers:
            return
        shown = _only_new(result, correction.result)
        made = _Made(strokes, change, before, result, shown, np.array(result.data[shown.indices]))
        _write(result, shown.indices, shown.values)
        record_of(result).new_ids.leave_out(np.unique(shown.values))
        self._made.append(made)
        if strokes not in self._followed:
            self._followed.add(strokes)
            strokes.events.set_data.connect(self._on_set_data)

    def close(self) -> None:
        """Follow nothing any more."""
        for layer in self._followed:
            layer.events.set_data.disconnect(self._on_set_data)
        self._followed.clear()
        self._made.clear()

    def _on_set_data(self, event: Any) -> None:
        for made in reversed(self._made):
            if made.strokes is event.source and not made.undone and _reads(made, made.strokes_before):
                made.undone = True
                _replace(made, made.result_change.values, made.result_before)
        for made in self._made:
            if made.strokes is event.source and made.undone and _reads(made, made.strokes_change.values):
                made.undone = False
                _replace(made, made.result_before, made.result_change.values)


def _only_new(layer: Labels, change: Change) -> Change:
    """Leave out what is so already."""
    new = np.asarray(layer.data[change.indices]) != change.values
    return Change(tuple(axis[new] for axis in change.indices), change.values[new])


def _reads(made: _Made, values: npt.NDArray[Any]) -> bool:
    """Whether the strokes are now `values` where a correction painted them."""
    some = slice(None, None, max(1, len(values) // _LOOKED_AT))
    places = tuple(axis[some] for axis in made.strokes_change.indices)
    return len(values) > 0 and bool(np.array_equal(made.strokes.data[places], values[some]))


def _replace(made: _Made, old: npt.NDArray[Any], new: npt.NDArray[Any]) -> None:
    """Write `new` into the result where it is still `old`."""
    indices = made.result_change.indices
    same = np.asarray(made.result.data[indices]) == old
    _write(made.result, tuple(axis[same] for axis in indices), new[same])


def _write(layer: Labels, indices: tuple[npt.NDArray[np.intp], ...], values: npt.NDArray[Any]) -> None:
    if values.size:
        layer.data[indices] = values
        layer.refresh(thumbnail=False, highlight=False, extent=False)
