"""Prediction of images of any size into a store on the disk, which a killed program completes later."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from napari_unet.data.tile_array import Index
from napari_unet.nets.allocator import limit_freed_memory, share_freed_memory
from napari_unet.nets.device import choose_device
from napari_unet.nets.registry import SegmentationModel
from napari_unet.predict.cluster import predict_on_cluster
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import (
    PredictEvent,
    PredictFinished,
    PredictRecovered,
    PredictStarted,
    TilePredicted,
    TileStored,
)
from napari_unet.predict.overlapping_tiles import OverlappingTiles
from napari_unet.predict.pending import Focus
from napari_unet.predict.settled import SettledStrokes
from napari_unet.predict.store_objects import label_stored_objects
from napari_unet.predict.store_plan import open_source, prepare_store
from napari_unet.predict.store_writer import TileWriter
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.tiled import predict_tiles

__all__ = ["predict_to_store"]


def predict_to_store(
    model: SegmentationModel,
    image: Any,
    path: str | os.PathLike[str],
    axes: str | None = None,
    config: PredictConfig | None = None,
    *,
    content: Literal["labels", "probabilities"] = "labels",
    task: Literal["objects", "classes"] | None = None,
    spacing: Sequence[float] | None = None,
    overwrite: bool = False,
    keep_probabilities: bool = False,
    keep_entropy: bool = False,
    settled: SettledStrokes | None = None,
    focus: Focus = None,
    client: Any = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[PredictEvent]:
    """Predict an image of any size into an OME-Zarr on the disk, in a fixed amount of memory.

    The chunks of the result are the tiles of the prediction. A tile is absent or whole, whatever happens: where a
    prediction was stopped, killed, or met a full disk, the same call goes on with the tiles that are missing, and the
    result is the same as without the interruption (on another kind of device up to its rounding). What was made from
    another image, by another model or with other settings is never mixed with it. Where the result of a network
    depends on the tile, tiles overlap and are blended; each is kept on the disk until its neighbours are there.

    Parameters
    ----------
    model : Model
        A trained model.
    image : array-like or path-like
        Any real dtype; numpy, memory-mapped, dask or zarr, or the path of a file that `napari-unet` reads.
    path : path-like
        The result, by custom with the ending ``.zarr``.
    axes : str or None
        One letter for each axis of `image`; None: as the file says, or see `napari_unet.data.axes.guess_axes`.
    config : PredictConfig or None
        Settings; None: the defaults.
    content : {"labels", "probabilities"}
        What is stored: integers as from `napari_unet.segment` (objects always as uint32), or (class, \\*space) float32.
    task : {"objects", "classes"} or None
        What labels say; None: what the model was trained for.
    spacing : sequence of float or None
        Distance of pixels along the spatial axes in micrometres; None: as the file says, or unknown.
    overwrite : bool
        Whether to begin anew, where `path` is a zarr already.
    keep_probabilities : bool
        Whether labels come with the probability of each class but background, one byte for each pixel and class; see
        `TileStore.probabilities`.
    keep_entropy : bool
        Whether labels come with the entropy of the probabilities, see `napari_unet.predict.uncertainty`. It is kept of
        the tiles that are still to be predicted; `napari_unet.models.stored_uncertainty` measures it of others.
    settled : SettledStrokes or None
        What corrections painted, which the result agrees with; a store that is gone on with was begun with the same.
        Not for a cluster.
    focus : sequence of float, callable or None
        A point in the space: the nearest tiles come first; see `napari_unet.predict_tiles`.
    client : distributed.Client or None
        A cluster of dask.distributed whose workers predict the tiles; see `napari_unet.predict.cluster`. The image must
        be given as a path then, and `focus` is not followed. None: this program.
    should_stop : callable or None
        Asked before each tile; True ends the prediction.

    Yields
    ------
    PredictEvent
        `PredictStarted`, whose `done` are the tiles that are there already; `TileStored` for each tile, and sometimes
        `PredictRecovered`; `PredictFinished`. Where objects are sought, each tile counts three times, as it is
        predicted, searched and labelled; all tiles are predicted before the first is searched.

    Raises
    ------
    InputError
        If the image does not fit the model, or what is at `path` is something else.
    napari_unet.data.storage.StorageError
        If the disk is full or can't be written for another reason.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import napari_unet as nu
    >>> from napari_unet.predict.tile_store import TileStore
    >>> model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    >>> image = np.random.default_rng(0).random((40, 50))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for event in nu.predict_to_store(model, image, f"{folder}/result.zarr", content="probabilities"):
    ...         pass
    ...     TileStore.open(f"{folder}/result.zarr").levels()[0].compute().shape
    (2, 40, 50)
    """
    began = time.monotonic()
    config = config or PredictConfig()
    source = open_source(image, axes, spacing)
    store = prepare_store(
        model, source, path, config, content, task or model.task,
        overwrite=overwrite, keep_probabilities=keep_probabilities, keep_entropy=keep_entropy,
    )  # fmt: skip
    left = dict.fromkeys(store.unpredicted())
    steps = 3 if store.record.seeks_objects else 1  # each tile is predicted, searched for objects, and labelled
    progress = _Progress(began, math.prod(store.grid) * steps)
    if left or store.missing():
        progress.done = math.prod(store.grid) - len(left)
    else:
        progress.done = progress.total
    device = choose_device(config.device, precision=config.precision).description
    yield PredictStarted(*progress.now(), store.record.result_shape, device)
    tiles = OverlappingTiles(store) if left and store.record.overlap else store
    wanted = list(left)
    if isinstance(tiles, OverlappingTiles):
        yield from _count(store, left, tiles.complete(wanted), progress)  # a kill came before this
        wanted = tiles.unpredicted(left)
    if left and client is not None:
        written = predict_on_cluster(client, model, image, store, wanted, config, should_stop)
        yield from _follow_cluster(store, tiles, left, written, progress)
    elif left:
        to_predict = set(wanted)
        events = predict_tiles(
            model, source.array, store.record.axes, replace(config, tile=store.record.tile),
            focus=focus, skip=lambda box: tiles.index(box) not in to_predict, intensity=store.record.intensity,
            blended=False, should_stop=should_stop,
        )  # fmt: skip
        with share_freed_memory(), limit_freed_memory(model.network):
            yield from _write_tiles(store, tiles, left, events, progress, settled)
    stopped = bool(left)
    if progress.done < progress.total and not stopped:
        for index in label_stored_objects(store, should_stop, settled):
            progress.done += 1
            yield PredictEvent(*progress.now()) if index is None else TileStored(*progress.now(), store.box(index))
        stopped = bool(store.missing())
    if not stopped:
        store.clean()
    yield PredictFinished(*progress.now(), stopped=stopped)


@dataclass
class _Progress:
    """Counts tiles and seconds."""

    began: float
    total: int
    done: int = 0

    def now(self) -> tuple[int, int, float]:
        return self.done, self.total, time.monotonic() - self.began


def _write_tiles(
    store: TileStore, tiles: TileStore | OverlappingTiles, left: dict[Index, None], events: Iterator[PredictEvent],
    progress: _Progress, settled: SettledStrokes | None,
) -> Iterator[PredictEvent]:  # fmt: skip
    """Write what is predicted while the next tiles are predicted, and take the tiles that are done out of `left`."""
    with TileWriter(tiles) as writer:
        for event in events:
            if isinstance(event, PredictRecovered):
                yield PredictRecovered(*progress.now(), event.message)
            elif isinstance(event, TilePredicted):
                if settled is not None:
                    task = "objects" if store.record.seeks_objects else "classes"
                    event = replace(event, probabilities=settled.amend(event.probabilities, event.box, task))
                writer.add(event)
            written = writer.written(wait_for_all=isinstance(event, PredictFinished))
            yield from _count(store, left, written, progress)


def _follow_cluster(
    store: TileStore, tiles: TileStore | OverlappingTiles, left: dict[Index, None],
    written: Iterator[tuple[Index, tuple[str, ...]]], progress: _Progress,
) -> Iterator[PredictEvent]:  # fmt: skip
    """Tell of the tiles that workers have written, and take them out of `left`."""
    for index, messages in written:
        for message in messages:
            yield PredictRecovered(*progress.now(), message)
        whole = tiles.complete(tiles.around(index)) if isinstance(tiles, OverlappingTiles) else [index]
        yield from _count(store, left, whole, progress)


def _count(
    store: TileStore, left: dict[Index, None], written: Iterable[Index], progress: _Progress
) -> Iterator[TileStored]:
    """Tell of the chunks that are written, and take them out of `left`."""
    for index in written:
        del left[index]
        progress.done += 1
        yield TileStored(*progress.now(), store.box(index), labelled=not store.record.seeks_objects)
