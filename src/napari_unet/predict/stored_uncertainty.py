"""The uncertainty of a stored prediction: kept beside its labels in the same tiles, or seen on small versions.

It is kept in steps of 1/65535, since the positions of an image rarely disagree by more than a tenth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.data.storage import atomic_path, is_zarr_folder
from napari_unet.data.tile_array import TileArray
from napari_unet.data.zarr_writer import OME_AXES
from napari_unet.errors import InputError
from napari_unet.predict.store_errors import told_as_incomplete
from napari_unet.predict.stored_probabilities import StepView
from napari_unet.predict.uncertainty import MEASURES, Measure, entropy

if TYPE_CHECKING:
    from napari_unet.predict.store_record import StoreRecord
    from napari_unet.predict.tile_store import TileStore

__all__ = ["add_uncertainty", "open_uncertainty", "uncertainty_by_tile"]

_FOLDER = "uncertainty"

FloatArray = npt.NDArray[np.float32]


def add_uncertainty(store: TileStore, measure: Measure) -> TileStore:
    """Return a store that keeps the uncertainty by a measure; its array is made, without any tile, where it is missing.

    Raises
    ------
    InputError
        If the store holds no labels.
    napari_unet.data.storage.StorageError
        If it can't be written.
    """
    import zarr

    if store.record.content != "labels":
        raise InputError(f"{store.path} holds no labels: uncertainty is kept beside labels only.")
    if measure in store.uncertainty:
        return store
    tiles, folder = store.tiles, store.path / _FOLDER / measure
    axes = "".join(sorted(store.record.layout.label_axes, key=OME_AXES.index))
    with told_as_incomplete(store.path), atomic_path(folder) as temporary:
        TileArray.create(
            temporary, store.record.levels, tiles.shape, tile=tiles.tile, dtype=np.uint16,
            halved=[letter in "YX" for letter in axes], axes=axes,
        )  # fmt: skip
        labels = cast(
            "dict[str, Any]", zarr.open_group(tiles.folder, mode="r").attrs["ome"]
        )  # which lie in the same places
        described = {key: labels[key] for key in ("version", "multiscales")}
        zarr.open_group(temporary).attrs["ome"] = described
    return replace(store, uncertainty={**store.uncertainty, measure: TileArray.open(folder, store.record.levels)})


def open_uncertainty(root: Path, record: StoreRecord) -> dict[Measure, TileArray]:
    """Open the arrays of a store, by measure; none if it keeps no uncertainty."""
    folders = {measure: root / _FOLDER / measure for measure in MEASURES}
    return {
        measure: TileArray.open(folder, record.levels) for measure, folder in folders.items() if is_zarr_folder(folder)
    }


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

    It is seen on the smallest version of its entropy or of its probabilities. A row of chunks is read at a time, so
    that the memory that is needed does not grow with the image.

    Parameters
    ----------
    store : TileStore
        Keeps the entropy, or probabilities, beside labels. What is not predicted yet counts as certain.
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
        If the store keeps neither, or belongs to an image of other axes or another shape.
    """
    if not store.probabilities and "entropy" not in store.uncertainty:
        raise InputError(f"{store.path} holds labels without probabilities: predict it with `keep_probabilities`.")
    known = store.record.layout
    if (known.label_axes, known.label_shape) != (layout.label_axes, layout.label_shape):
        raise InputError(f"{store.path} is a prediction of an image of another shape: predict this one.")
    axes = sorted(layout.label_axes, key=OME_AXES.index)
    order = [layout.label_axes.index(letter) for letter in axes]
    tile = [layout.label_tile(tuple(side))[i] for i in order]
    shape = [layout.label_shape[i] for i in order]
    grid = [-(-n // part) for n, part in zip(shape, tile, strict=True)]
    arrays = store.probabilities or (store.uncertainty["entropy"],)
    views = [StepView(array.levels[-1]) for array in arrays]
    steps = [round(n / m) for n, m in zip(store.tiles.tile, store.tiles.levels[-1].chunks, strict=True)]
    sums, counts = np.zeros(np.prod(grid)), np.zeros(np.prod(grid))
    for box in _choose_rows(views[0].shape, store.tiles.levels[-1].chunks, most_pixels, seed):
        if should_stop is not None and should_stop():
            break
        seen = np.stack([view[box] for view in views])
        places = [
            np.arange(part.start, part.stop) * step // length
            for part, step, length in zip(box, steps, tile, strict=True)
        ]
        numbers = np.ravel_multi_index(np.ix_(*places), grid).ravel()
        values = entropy(np.stack([np.clip(1 - seen.sum(axis=0), 0, 1), *seen])) if store.probabilities else seen[0]
        sums += np.bincount(numbers, values.ravel(), len(sums))
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
