"""The arrays behind a result layer: one that can be painted on, or for a large image one with smaller copies of it.

napari draws an array of more than 16384 pixels a side coarsely at every zoom, and reads all of it to draw any part.
With copies of half, a quarter, ... the size it reads just what is in view, at the size of the window, so that large
results are sharp when one looks closely, whole from afar, and quick to draw.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Layer

from napari_unet.data.axes import Box, ImageLayout

__all__ = ["LazyArray", "ResultArray", "level_shapes", "needs_levels"]

_LONGEST_SIDE = 8192  # of a frame that is kept in one array
_SHORTEST_SIDE = 1024  # at which there are no smaller copies any more
_PIECE = 2_000_000  # pixels that are written at once

NewArray = Callable[[tuple[int, ...]], Any]


def needs_levels(layout: ImageLayout) -> bool:
    """Whether results of an image are kept with smaller copies, and can't be painted on.

    Examples
    --------
    >>> needs_levels(ImageLayout("YX", (8192, 8192))), needs_levels(ImageLayout("YX", (300, 9000)))
    (False, True)
    """
    return max(layout.frame_shape[-2:]) > _LONGEST_SIDE


def level_shapes(layout: ImageLayout) -> list[tuple[int, ...]]:
    """List the shapes of a result and of its smaller copies, which are halved along Y and X.

    Examples
    --------
    >>> level_shapes(ImageLayout("TYX", (3, 8000, 9001)))
    [(3, 8000, 9001), (3, 4000, 4501), (3, 2000, 2251), (3, 1000, 1126), (3, 500, 563)]
    """
    shapes = [layout.label_shape]
    while needs_levels(layout) and max(_plane(layout, shapes[-1])) > _SHORTEST_SIDE:
        shapes.append(
            tuple(-(-n // 2) if letter in "YX" else n for n, letter in zip(shapes[-1], layout.label_axes, strict=True))
        )
    return shapes


def _plane(layout: ImageLayout, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n, letter in zip(shape, layout.label_axes, strict=True) if letter in "YX")


@dataclass(frozen=True, eq=False)
class ResultArray:
    """An array with its smaller copies, written by a worker while the window reads it.

    Attributes
    ----------
    levels : tuple of array-like
        The array, then its copies of half, a quarter, ... the size along some axes.

    Examples
    --------
    >>> array = ResultArray((np.zeros((5, 8), np.uint8), np.zeros((3, 4), np.uint8)))
    >>> array.write((slice(1, 5), slice(0, 3)), np.arange(12).reshape(4, 3))
    True
    >>> array.levels[1].tolist()
    [[0, 0, 0, 0], [3, 5, 0, 0], [9, 11, 0, 0]]
    """

    levels: tuple[Any, ...]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, layer: Layer) -> ResultArray:
        """Return what is behind a layer."""
        return cls(tuple(layer.data) if layer.multiscale else (layer.data,))

    @property
    def is_closed(self) -> bool:
        """Whether nothing is written any more."""
        return self._closed.is_set()

    def close(self) -> None:
        """Write nothing any more, from this moment on: the person works on the array."""
        with self._lock:
            self._closed.set()

    def write(self, box: Box, block: npt.NDArray[Any]) -> bool:
        """Write a box into all levels; returns whether that was still allowed."""
        for part, where in _bands(block, box):
            with self._lock:
                if self.is_closed:
                    return False
                for level, array in enumerate(self.levels):
                    self._write_level(level, array, where, part)
        return True

    def _write_level(self, level: int, array: Any, box: Box, block: npt.NDArray[Any]) -> None:
        steps = [2**level if n != m else 1 for n, m in zip(array.shape, self.levels[0].shape, strict=True)]
        first = [-(-span.start // step) for span, step in zip(box, steps, strict=True)]
        chosen = tuple(
            slice(a * step - span.start, None, step) for a, span, step in zip(first, box, steps, strict=True)
        )
        part = block[chosen]
        if part.size:
            array[tuple(slice(a, a + n) for a, n in zip(first, part.shape, strict=True))] = part


def _bands(block: npt.NDArray[Any], box: Box) -> Iterator[tuple[npt.NDArray[Any], Box]]:
    """Cut a block into bands along its longest axis, so that nobody has to wait long for one to be written."""
    axis = int(np.argmax(block.shape))
    rows = max(1, _PIECE * block.shape[axis] // max(1, block.size))
    for start in range(0, block.shape[axis], rows):
        part = block[(*(slice(None),) * axis, slice(start, start + rows))]
        first = box[axis].start + start
        yield part, (*box[:axis], slice(first, first + part.shape[axis]), *box[axis + 1 :])


class LazyArray:
    """Part of an array, read only when it is asked for as a NumPy array.

    napari first cuts the part in view out of all frames of a stack and then picks one frame. A zarr array reads at the
    first of these steps, which may be gigabytes.

    Parameters
    ----------
    array : array-like
        What is read from.
    box : tuple of slice or int, optional
        The part; an axis with an integer is left out. All of it by default.
    kept : object, optional
        What must not vanish as long as this or a part of it is used.

    Examples
    --------
    >>> lazy = LazyArray(np.arange(24).reshape(2, 3, 4))[:, 1:, 2:4]
    >>> lazy.shape, lazy[1].shape, np.asarray(lazy[1])
    ((2, 2, 2), (2, 2), array([[18, 19],
           [22, 23]]))
    """

    def __init__(self, array: Any, box: Sequence[slice | int] | None = None, *, kept: Any = None) -> None:
        self.array, self.kept = array, kept
        self.box = tuple(slice(0, n) for n in array.shape) if box is None else tuple(box)
        self.dtype = array.dtype
        self.shape = tuple(part.stop - part.start for part in self.box if isinstance(part, slice))
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> LazyArray:
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        keys += [slice(None)] * (self.ndim - len(keys))
        box: list[slice | int] = []
        for part in self.box:
            if not isinstance(part, slice):
                box.append(part)
                continue
            wanted, size = keys.pop(0), part.stop - part.start
            if isinstance(wanted, slice):
                start, stop, _ = wanted.indices(size)
                box.append(slice(part.start + start, part.start + max(start, stop)))
            else:
                box.append(part.start + range(size)[int(wanted)])
        return LazyArray(self.array, box, kept=self.kept)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.array[self[key].box] = value

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self.array[self.box], dtype)
