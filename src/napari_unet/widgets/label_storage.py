"""Arrays for strokes and results that cost memory only where something is in them.

A labels array must have the full size of its image, and an image may have tens of gigabytes. Up to a limit the
operating system gives memory only for what is touched; above it the array is kept in blocks, and only blocks that hold
something exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import MemoryStore

__all__ = ["new_label_array", "snapshot_labels"]

_MOST_BYTES = 2**30
_BLOCK = 512


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
    chunks = tuple(min(n, _BLOCK) if axis >= len(shape) - 2 else 1 for axis, n in enumerate(shape))
    return zarr.create_array(
        store=MemoryStore(), shape=tuple(shape), chunks=chunks, dtype=dtype, fill_value=0, compressors=None
    )


def snapshot_labels(data: Any) -> Any:
    """Copy a labels array, so that strokes that are painted from now on don't change it; call it in a worker.

    Parameters
    ----------
    data : array-like
        Data of a labels layer: numpy, dask, or zarr.

    Returns
    -------
    array-like
        A copy of the same shape; of an array in blocks only those that hold something are copied.
    """
    store = getattr(data, "store", None)
    if isinstance(data, zarr.Array) and isinstance(store, MemoryStore):
        return zarr.open_array(store=MemoryStore(dict(store._store_dict)), path=data.path or None, mode="r")
    return np.array(data)
