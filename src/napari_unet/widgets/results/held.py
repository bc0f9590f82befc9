"""What the correction tools painted holds in later results, too.

A network that has taken a correction in does not always see it in the same way, least of all at once. Where a tool
painted background there is background, what it painted as one object is one object, and what it cut stays cut.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.widgets.annotate.label_storage import new_label_array

__all__ = ["HeldPixels", "ObjectStrokes", "hold"]

_BACKGROUND, _FOREGROUND = 1, 2  # labels of strokes; higher ones are those of single objects

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


def hold(foreground: npt.NDArray[np.float32], strokes: Labels) -> npt.NDArray[np.float32]:
    """Return a probability of foreground that agrees with strokes of the same shape.

    Examples
    --------
    >>> hold(np.float32([0.5, 0.5, 0.5]), np.array([0, 1, 4])).tolist()
    [0.5, 0.0, 1.0]
    """
    painted = np.where(strokes == _BACKGROUND, np.float32(0), np.float32(1))
    return np.where(strokes > 0, painted, foreground)


class ObjectStrokes:
    """Tells which objects are one, since they touch the strokes of one object and of no other.

    Examples
    --------
    >>> strokes = ObjectStrokes()
    >>> strokes.add(np.array([1, 2, 3, 3]), np.array([7, 7, 0, 8]))
    >>> strokes.joined(3).tolist()
    [0, 1, 1, 2]
    """

    def __init__(self) -> None:
        self._pairs: list[Labels] = []

    def add(self, objects: Labels, strokes: Labels) -> None:
        """Take note of what lies in a block: objects 0 (none), 1, 2, ... and strokes, of one shape."""
        painted = (strokes > _FOREGROUND) & (objects > 0)
        self._pairs.append(np.stack([objects[painted], strokes[painted]]).astype(np.int64))

    def joined(self, count: int) -> Labels:
        """Return for each of the objects 0 (none), 1, ..., `count` which of those that are left it is part of."""
        part_of = np.arange(count + 1)
        pairs = np.unique(np.concatenate([np.zeros((2, 0), np.int64), *self._pairs], axis=1), axis=1)
        numbers, times = np.unique(pairs[0], return_counts=True)
        single = np.isin(pairs[0], numbers[times == 1])
        for label in np.unique(pairs[1, single]):
            members = pairs[0, single & (pairs[1] == label)]
            part_of[members] = members.min()
        whole: Labels = np.unique(part_of, return_inverse=True)[1]
        return whole
