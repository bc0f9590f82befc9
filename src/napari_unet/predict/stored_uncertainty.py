"""Where a stored prediction is uncertain, seen on the smallest version of its probabilities.

A row of chunks is read at a time, so that the memory that is needed does not grow with the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.data.zarr_writer import OME_AXES
from napari_unet.errors import InputError
from napari_unet.predict.stored_probabilities import ProbabilityView
from napari_unet.predict.uncertainty import entropy

if TYPE_CHECKING:
    from napari_unet.predict.tile_store import TileStore

__all__ = ["uncertainty_by_tile"]

FloatArray = npt.NDArray[np.float32]


def uncertainty_by_tile(
    store: TileStore,
    layout: ImageLayout,
    side: Sequence[int],
    *,
    most_pixels: int = 16_000_000,
    seed: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> FloatArray:
    r"""Say how uncertain a stored prediction is in each tile of a grid over the image.

    Parameters
    ----------
    store : TileStore
        Keeps probabilities beside labels. What is not predicted yet counts as certain.
    layout : ImageLayout
        The axes of the image.
    side : sequence of int
        Sides of a tile in pixels, along the spatial axes of `layout`.
    most_pixels : int
        How much of the smallest version is read; of more, rows of chunks are drawn by chance.
    seed : int
        Other rows are drawn with another number.
    should_stop : callable or None
        Is asked before each row; what was read so far is returned.

    Returns
    -------
    numpy.ndarray
        Along the image's axes but channels, one value for each tile: the mean entropy, 0 to 1 (see
        `napari_unet.predict.uncertainty.entropy`), or 0 where nothing was read.

    Raises
    ------
    InputError
        If the store keeps no probabilities, or belongs to an image of other axes or another shape.
    """
    if not store.probabilities:
        raise InputError(f"{store.path} holds labels without probabilities: predict it with `keep_probabilities`.")
    known = store.record.layout
    if (known.label_axes, known.label_shape) != (layout.label_axes, layout.label_shape):
        raise InputError(f"{store.path} is a prediction of an image of another shape: predict this one.")
    axes = sorted(layout.label_axes, key=OME_AXES.index)
    order = [layout.label_axes.index(letter) for letter in axes]
    tile = [layout.label_tile(tuple(side))[i] for i in order]
    shape = [layout.label_shape[i] for i in order]
    grid = [-(-n // part) for n, part in zip(shape, tile, strict=True)]
    views = [ProbabilityView(array.levels[-1]) for array in store.probabilities]
    steps = [round(n / m) for n, m in zip(store.tiles.tile, store.tiles.levels[-1].chunks, strict=True)]
    sums, counts = np.zeros(np.prod(grid)), np.zeros(np.prod(grid))
    for box in _choose_rows(views[0].shape, store.tiles.levels[-1].chunks, most_pixels, seed):
        if should_stop is not None and should_stop():
            break
        foreground = np.stack([view[box] for view in views])
        background = np.clip(1 - foreground.sum(axis=0), 0, 1)
        places = [
            np.arange(part.start, part.stop) * step // length
            for part, step, length in zip(box, steps, tile, strict=True)
        ]
        numbers = np.ravel_multi_index(np.ix_(*places), grid).ravel()
        sums += np.bincount(numbers, entropy(np.stack([background, *foreground])).ravel(), len(sums))
        counts += np.bincount(numbers, minlength=len(counts))
    means = (sums / np.maximum(counts, 1)).reshape(grid).astype(np.float32)
    return means.transpose(np.argsort(order))


def _choose_rows(shape: Sequence[int], chunks: Sequence[int], most_pixels: int, seed: int) -> list[Box]:
    """Return boxes of one chunk along each axis but the last, which they fill, in the order of their places."""
    spans = [
        [slice(start, min(start + side, n)) for start in range(0, n, side)]
        for n, side in zip(shape, [*chunks[:-1], shape[-1]], strict=True)
    ]
    rows = list(product(*spans))
    most = max(1, most_pixels // int(np.prod([*chunks[:-1], shape[-1]])))
    if len(rows) <= most:
        return rows
    chosen = np.random.default_rng(seed).choice(len(rows), most, replace=False)
    return [rows[number] for number in np.sort(chosen)]
