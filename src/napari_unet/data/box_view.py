"""An array that is never in memory as a whole: its boxes are read, or worked out, when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box

__all__ = ["BoxView", "bands"]

_ROWS = 512


@dataclass(frozen=True, eq=False)
class BoxView:
    """An array that is read box by box.

    Attributes
    ----------
    read : callable
        Returns a box, given one slice for each axis.
    shape : tuple of int
        Shape of the array.
    dtype : numpy.dtype
        Type into which its values are turned.

    Examples
    --------
    >>> numbers = np.arange(6).reshape(2, 3)
    >>> view = BoxView(numbers.__getitem__, (2, 3), np.dtype(np.uint8)).transpose([1, 0])
    >>> view.shape, view[1:3, 0:2].tolist()
    ((3, 2), [[1, 4], [2, 5]])
    """

    read: Callable[[Box], Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, box: Box) -> npt.NDArray[Any]:
        return np.asarray(self.read(box)).astype(self.dtype, copy=False)

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes the whole array has."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def transpose(self, order: Sequence[int]) -> BoxView:
        """Return a view whose axis ``i`` is the axis ``order[i]`` of this one."""

        def read(box: Box) -> npt.NDArray[Any]:
            return self[tuple(box[order.index(axis)] for axis in range(len(order)))].transpose(order)

        return BoxView(read, tuple(self.shape[axis] for axis in order), self.dtype)


def bands(array: Any, rows: int = _ROWS) -> Iterator[npt.NDArray[Any]]:
    """Go through an array in the order of its pixels in C, some rows at a time.

    Parameters
    ----------
    array : numpy.ndarray or BoxView
        With at least two axes.
    rows : int
        At most so many at a time.

    Yields
    ------
    numpy.ndarray
        (rows, length of the last axis), contiguous, in native byte order or that of the array.

    Examples
    --------
    >>> [band.tolist() for band in bands(np.arange(6).reshape(3, 2), rows=2)]
    [[[0, 1], [2, 3]], [[4, 5]]]
    """
    *leading, height, width = array.shape
    for position in product(*map(range, leading)):
        for top in range(0, height, rows):
            box = (*(slice(i, i + 1) for i in position), slice(top, min(top + rows, height)), slice(0, width))
            yield np.ascontiguousarray(array[box]).reshape(-1, width)
