"""What the correction tools painted holds in later results, too.

A network that has taken a correction in does not always see it in the same way, least of all at once. Where a tool
painted background there is background, what it painted as one object is one object, and what it cut stays cut.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.predict.settled import SettledStrokes
from napari_unet.widgets.annotate.label_storage import find_label, new_label_array

__all__ = ["HeldPixels"]

Indices = tuple[npt.NDArray[np.intp], ...]
Labels = npt.NDArray[Any]


class _HasData(Protocol):
    @property
    def data(self) -> Any:
        """The strokes."""


class HeldPixels:
    """The pixels of an image that corrections painted, and what its strokes say there now.

    What is undone, erased or painted over counts no more, or as it is now. Each strokes layer has a mask, of which
    memory is only taken where something was corrected.
    """

    def __init__(self) -> None:
        self._masks: list[tuple[_HasData, Any]] = []

    def add(self, strokes: _HasData, indices: Indices) -> None:
        """Take note of the pixels that a correction painted in a strokes layer."""
        if not indices[0].size:
            return
        mask = self.mask_of(strokes)
        if mask is None:
            mask = new_label_array(strokes.data.shape, np.uint8)
            self.put(strokes, mask)
        if isinstance(mask, np.ndarray):
            mask[indices] = 1
        else:
            mask.vindex[indices] = 1

    def put(self, strokes: _HasData, mask: Any) -> None:
        """Take a mask of what corrections painted in a strokes layer: 1 where they did, 0 elsewhere."""
        self._masks = [pair for pair in self._masks if pair[0] is not strokes] + [(strokes, mask)]

    def mask_of(self, strokes: _HasData) -> Any | None:
        """Return the mask of a strokes layer; None where nothing was corrected in it, as it is now."""
        for layer, mask in self._masks:
            if layer is strokes and mask.shape == tuple(strokes.data.shape):
                return mask
        return None

    def read(self, box: Box) -> Labels | None:
        """Return the strokes of corrections in a box (\\*box), 0 elsewhere; None where there are none.

        It may be called in a worker.
        """
        found: Labels | None = None
        for strokes, mask in tuple(self._masks):
            if mask.shape != tuple(strokes.data.shape):
                continue  # the layer was given other data
            inside = np.asarray(mask[box]) > 0
            if inside.any():
                values = np.where(inside, np.asarray(strokes.data[box]), 0).astype(np.uint32)
                found = values if found is None else np.where(inside, values, found)
        return found if found is not None and found.any() else None

    def settled(self) -> SettledStrokes | None:
        """Return all that counts now, as it is at this moment; None where nothing does. Call it in a worker."""
        found: list[tuple[Indices, Labels]] = []
        for strokes, mask in tuple(self._masks):
            if mask.shape == tuple(strokes.data.shape):
                places = [part for part in find_label(mask, 1) if part is not None]
                found.extend((part, _read_at(strokes.data, part)) for part in places)
        if not found:
            return None
        indices = tuple(np.concatenate(axes) for axes in zip(*(part for part, _ in found), strict=True))
        values = np.concatenate([part for _, part in found]).astype(np.uint32)
        flat = np.ravel_multi_index(indices, [int(axis.max()) + 1 for axis in indices])
        _, last = np.unique(flat[::-1], return_index=True)  # of two layers the later one counts, as in `read`
        kept = len(flat) - 1 - last
        kept = kept[values[kept] > 0]
        return SettledStrokes(tuple(axis[kept] for axis in indices), values[kept]) if kept.size else None


def _read_at(array: Any, places: Indices) -> Labels:
    return np.asarray(array[places] if isinstance(array, np.ndarray) else array.vindex[places])
