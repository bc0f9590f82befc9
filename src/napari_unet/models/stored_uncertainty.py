"""The uncertainty of an image of any size, measured tile by tile into the store of its prediction.

What was stopped or killed goes on with the tiles that are missing, and the memory does not grow with the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.data.tile_array import Index
from napari_unet.errors import InputError
from napari_unet.models.adapt import Adapter
from napari_unet.models.uncertainty import Focus, StopCheck, UncertainPart, uncertainty_parts
from napari_unet.predict.fingerprint import model_checksum
from napari_unet.predict.stored_uncertainty import add_uncertainty
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.uncertainty import Measure

__all__ = ["measure_stored"]


def measure_stored(
    adapter: Adapter,
    image: Any,
    store: TileStore,
    measure: Measure,
    *,
    focus: Focus = None,
    should_stop: StopCheck | None = None,
) -> Iterator[UncertainPart]:
    r"""Measure the uncertainty of those tiles of a store for which it is not there yet.

    Parameters
    ----------
    adapter : Adapter
        Has the model that made the store.
    image : array-like
        The image that the store is a prediction of.
    store : TileStore
        A prediction, as `napari_unet.predict_to_store` makes it, of labels.
    measure : {"entropy", "disagreement"}
        See `napari_unet.models.uncertainty.uncertainty`.
    focus : sequence of float, callable or None
        A pixel: the nearest tiles come first. A function is asked before each tile; it may return None for no change.
    should_stop : callable or None
        Asked before each operation of the network; True ends it, and what is whole is kept.

    Yields
    ------
    UncertainPart
        Each tile of the store once, when it was written.

    Raises
    ------
    InputError
        If the store is of another model, or holds no labels.
    napari_unet.data.storage.StorageError
        If the disk is full or can't be written for another reason.

    Examples
    --------
    >>> import tempfile
    >>> import napari_unet as nu
    >>> model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    >>> image = np.random.default_rng(0).random((40, 50))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for event in nu.predict_to_store(model, image, f"{folder}/result.zarr", task="classes"):
    ...         pass
    ...     store = TileStore.open(f"{folder}/result.zarr")
    ...     for part in measure_stored(Adapter(model), image, store, "disagreement"):
    ...         part.box
    (slice(0, 40, None), slice(0, 50, None))
    """
    if store.record.model != model_checksum(adapter.model):
        raise InputError(f"{store.path} is a prediction by another model: predict with this one first.")
    store = add_uncertainty(store, measure)
    left = [index for index in product(*map(range, store.grid)) if store.lacks_uncertainty(index, measure)]
    total = len(left)
    at: Sequence[float] = [size / 2 for size in store.record.layout.label_shape]
    while left and not (should_stop is not None and should_stop()):
        moved = focus() if callable(focus) else focus
        at = at if moved is None else moved
        index = left.pop(_nearest(store, left, at))
        values = _measure_tile(adapter, image, store, measure, store.box(index), should_stop)
        if values is None:
            return
        store.keep_uncertainty(index, measure, values)
        yield UncertainPart(store.box(index), values, (total - len(left)) / total)


def _nearest(store: TileStore, tiles: Sequence[Index], at: Sequence[float]) -> int:
    sides = np.array(store.record.layout.label_tile(store.record.tile))
    away = (((np.array(tiles) + 0.5) * sides - np.array(at)) ** 2).sum(axis=1)
    return int(np.argmin(away))


def _measure_tile(
    adapter: Adapter, image: Any, store: TileStore, measure: Measure, box: Box, should_stop: StopCheck | None
) -> npt.NDArray[np.float32] | None:
    """Return the uncertainty (\\*box) of a box; None if it was stopped."""
    values, share = np.zeros([span.stop - span.start for span in box], np.float32), 0.0
    for part in uncertainty_parts(
        adapter, image, store.record.axes, measure=measure, region=box, should_stop=should_stop
    ):
        common = [(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(part.box, box, strict=True)]
        here = tuple(slice(a - span.start, b - span.start) for (a, b), span in zip(common, box, strict=True))
        there = tuple(slice(a - span.start, b - span.start) for (a, b), span in zip(common, part.box, strict=True))
        values[here] = part.uncertainty[there]
        share = part.share
    return values if share == 1 else None
