"""Arrays for strokes and results that cost memory only where something is in them, and copies of what is painted.

A labels array must have the full size of its image, and an image may have tens of gigabytes. Up to a limit the
operating system gives memory only for what is touched; above it the array is kept in blocks, and only blocks that hold
something exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import ImageLayout
from napari_unet.widgets.results.arrays import LazyArray, level_shapes

__all__ = ["PaintedFrames", "find_label", "new_label_array", "new_result_data", "new_scratch_array"]

_MOST_BYTES = 2**30
_BLOCK = 512
_PIECE = 4_000_000  # pixels that are looked through at once

Indices = tuple[npt.NDArray[np.intp], ...]


def new_label_array(shape: Sequence[int], dtype: npt.DTypeLike, *, most_bytes: int = _MOST_BYTES) -> Any:
    """Make an array of zeros that a labels layer can be painted on.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    dtype : dtype
        Unsigned integers; napari is quick with 8 and 16 bits.
    most_bytes : int
        Above this size the array is kept in blocks (zarr, in memory).

    Examples
    --------
    >>> type(new_label_array((4, 5), np.uint8)).__name__
    'ndarray'
    """
    dtype = np.dtype(dtype)
    if int(np.prod(shape, dtype=np.int64)) * dtype.itemsize <= most_bytes:
        return np.zeros(tuple(shape), dtype)
    import zarr
    from zarr.storage import MemoryStore

    chunks = tuple(min(n, _BLOCK) if axis >= len(shape) - 2 else 1 for axis, n in enumerate(shape))
    return zarr.create_array(
        store=MemoryStore(), shape=tuple(shape), chunks=chunks, dtype=dtype, fill_value=0, compressors=None
    )


def new_result_data(layout: ImageLayout, dtype: npt.DTypeLike) -> Any:
    """Make what a result layer shows: an array of zeros, or for a large image a list of arrays, each half the last.

    Parameters
    ----------
    layout : ImageLayout
        The axes of the image.
    dtype : dtype
        Of labels or probabilities.

    Examples
    --------
    >>> [level.shape for level in new_result_data(ImageLayout("YX", (2000, 9000)), np.uint32)]
    [(2000, 9000), (1000, 4500), (500, 2250), (250, 1125), (125, 563)]
    """
    shapes = level_shapes(layout)
    if len(shapes) == 1:
        return new_label_array(shapes[0], dtype)
    levels = [new_label_array(shape, dtype) for shape in shapes]
    return [level if isinstance(level, np.ndarray) or level.ndim == 2 else LazyArray(level) for level in levels]


def new_scratch_array(shape: Sequence[int], *, most_bytes: int = _MOST_BYTES) -> Any:
    """Make an array of zeros for the probabilities of a frame: in memory, or where that is too large on the disk.

    What is on the disk has half the digits, takes room only where something is in it, and vanishes with the array.

    Parameters
    ----------
    shape : sequence of int
        Shape of the array.
    most_bytes : int
        Above this size it goes to the disk.
    """
    if int(np.prod(shape, dtype=np.int64)) * np.dtype(np.float32).itemsize <= most_bytes:
        return np.zeros(tuple(shape), np.float32)
    import zarr

    folder = TemporaryDirectory(prefix="napari-unet-", ignore_cleanup_errors=True)
    chunks = tuple(min(n, _BLOCK if len(shape) == 2 else _BLOCK // 8) for n in shape)
    array = zarr.create_array(store=folder.name, shape=tuple(shape), chunks=chunks, dtype=np.float16, fill_value=0)
    return LazyArray(array, kept=folder)


def find_label(data: Any, label: int) -> Iterator[Indices | None]:
    """Look for a label in an array that need not fit into memory.

    Parameters
    ----------
    data : array-like
        Integers: numpy, dask or zarr.
    label : int
        What is looked for.

    Yields
    ------
    tuple of numpy.ndarray or None
        Piece by piece where it is, one array for each axis; None where it is not.

    Examples
    --------
    >>> list(find_label(np.array([[0, 3], [3, 1]]), 3))
    [(array([0, 1]), array([1, 0]))]
    """
    shape = tuple(int(n) for n in data.shape)
    rows = max(1, _PIECE // max(1, shape[-1]))
    for *place, start in product(*(range(n) for n in shape[:-2]), range(0, shape[-2], rows)):
        box = (*(slice(at, at + 1) for at in place), slice(start, start + rows))
        found = np.nonzero(np.asarray(data[box]) == label)
        corner = (*place, start, 0)
        yield tuple(axis + first for axis, first in zip(found, corner, strict=True)) if found[0].size else None


class PaintedFrames:
    """A copy of the frames of a labels array that hold anything, read like the array itself.

    What is painted after the copy was made does not change it. Make it in a worker: it reads the whole array once.

    Parameters
    ----------
    data : array-like
        Data of a labels layer with the axes ``layout.label_axes``: numpy, dask or zarr.
    layout : ImageLayout
        The axes of the image.

    Attributes
    ----------
    frames : dict
        Position in the stack -> copied frame in the order of the labels' axes.

    Examples
    --------
    >>> stack = np.zeros((9, 4, 4), np.uint8); stack[3, 1, 1] = 2
    >>> painted = PaintedFrames(stack, ImageLayout("ZYX", stack.shape))
    >>> list(painted.frames), int(painted[3, :, :].max()), painted[0, :2, :].shape
    ([(3,)], 2, (2, 4))
    """

    def __init__(self, data: Any, layout: ImageLayout) -> None:
        self.shape: tuple[int, ...] = tuple(int(n) for n in data.shape)
        self.dtype = np.dtype(data.dtype)
        self.ndim = len(self.shape)
        self.frames: dict[tuple[int, ...], npt.NDArray[Any]] = {}
        whole = (slice(None),) * layout.ndim
        self._frame_shape = tuple(
            n for n, letter in zip(layout.label_shape, layout.label_axes, strict=True) if letter in layout.space_letters
        )
        for position in layout.frames():
            frame = np.asarray(data[layout.label_box(position, whole, keep_stack=False)])
            if frame.any():
                self.frames[position] = frame.copy()

    def __getitem__(self, index: tuple[Any, ...]) -> npt.NDArray[Any]:
        """Read a box of one frame: whole numbers along the stack, slices along the frame."""
        position = tuple(int(i) for i in index if not isinstance(i, slice))
        box = tuple(i for i in index if isinstance(i, slice))
        frame = self.frames.get(position)
        if frame is None:
            frame = np.broadcast_to(self.dtype.type(0), self._frame_shape)
        return frame[box]
