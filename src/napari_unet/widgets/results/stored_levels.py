"""A stored array with its smaller versions, as a layer shows them while tiles are being written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_unet.data.axes import Box
from napari_unet.widgets.results.arrays import LazyArray

__all__ = ["StoredLevels"]


@dataclass(frozen=True, eq=False)
class StoredLevels:
    """What a layer is given of a stored array.

    Of a flat image napari reads the smallest version only once, for the view from afar and the thumbnail. So that one
    is kept in memory, and `update` brings it up to date.

    Attributes
    ----------
    arrays : tuple of array-like
        For the layer: the array, and versions of half, a quarter, ... the size.
    smallest : array-like
        The stored array behind the last of them.

    Examples
    --------
    >>> stored = np.zeros((6, 8), np.uint8)
    >>> half = np.zeros((3, 4), np.uint8)
    >>> levels = StoredLevels.of((stored, half))
    >>> half[1:, :2] = 7
    >>> levels.update((slice(2, 6), slice(0, 4)))
    >>> levels.arrays[1].tolist()
    [[0, 0, 0, 0], [7, 7, 0, 0], [7, 7, 0, 0]]
    """

    arrays: tuple[Any, ...]
    smallest: Any

    @classmethod
    def of(cls, levels: Sequence[Any]) -> StoredLevels:
        """Read the smallest version, where that is to be kept; call it in a worker."""
        lazy: list[Any] = [LazyArray(level) for level in levels]
        if len(lazy) > 1 and lazy[-1].ndim == 2:
            lazy[-1] = np.array(lazy[-1])
        return cls(tuple(lazy), levels[-1])

    def update(self, box: Box) -> None:
        """Read a box of the array, which was written, from the smallest version."""
        kept, step = self.arrays[-1], 2 ** (len(self.arrays) - 1)
        if isinstance(kept, np.ndarray):
            part = tuple(slice(span.start // step, -(-span.stop // step)) for span in box)
            kept[part] = self.smallest[part]

    def behind(self, shown: Any) -> StoredLevels:
        """Return the same for a layer that shows this array already."""
        return StoredLevels(tuple(shown), self.smallest) if len(self.arrays) > 1 else self
