"""Prediction of images of any size into a store on the disk, which a killed program completes later."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
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
    work = _Completion(store, began)
    device = choose_device(config.device, precision=config.precision).description
    yield PredictStarted(*work.now(), store.record.result_shape, device)
    wanted = yield from work.begin()
    if work.left and client is not None:
        yield from work.follow(predict_on_cluster(client, model, image, store, wanted, config, should_stop))
    elif work.left:
        to_predict = set(wanted)
        events = predict_tiles(
            model, source.array, store.record.axes, replace(config, tile=store.record.tile),
            focus=focus, skip=lambda box: work.tiles.index(box) not in to_predict, intensity=store.record.intensity,
            blended=False, should_stop=should_stop,
        )  # fmt: skip
        with share_freed_memory(), limit_freed_memory(model.network):
            yield from work.write(events, settled)
    stopped = bool(work.left)
    if work.done < work.total and not stopped:
        yield from work.label_objects(should_stop, settled)
        stopped = bool(store.missing())
    if not stopped:
        store.clean()
    yield PredictFinished(*work.now(), stopped=stopped)


class _Completion:
    """A store that is being completed: the chunks that are still to be predicted, and how far it is."""

    def __init__(self, store: TileStore, began: float) -> None:
        self.store = store
        self.tiles: TileStore | OverlappingTiles = store  # what takes the tiles
        self.left = dict.fromkeys(store.unpredicted())
        count = math.prod(store.grid)
        steps = 3 if store.record.seeks_objects else 1  # each tile is predicted, searched for objects, and labelled
        self.total = count * steps
        self.done = count - len(self.left) if self.left or store.missing() else self.total
        self._began = began

    def now(self) -> tuple[int, int, float]:
        """Return the first fields of an event."""
        return self.done, self.total, time.monotonic() - self._began

    def begin(self) -> Generator[PredictEvent, None, list[Index]]:
        """Complete what was predicted before a kill, and return the tiles that are to be predicted."""
        if not self.left or not self.store.record.overlap:
            return list(self.left)
        overlapping = self.tiles = OverlappingTiles(self.store)
        yield from self._count(overlapping.complete(list(self.left)))
        return overlapping.unpredicted(self.left)

    def write(self, events: Iterator[PredictEvent], settled: SettledStrokes | None) -> Iterator[PredictEvent]:
        """Write what is predicted while the next tiles are predicted."""
        with TileWriter(self.tiles) as writer:
            for event in events:
                if isinstance(event, PredictRecovered):
                    yield PredictRecovered(*self.now(), event.message)
                elif isinstance(event, TilePredicted):
                    if settled is not None:
                        task = "objects" if self.store.record.seeks_objects else "classes"
                        event = replace(event, probabilities=settled.amend(event.probabilities, event.box, task))
                    writer.add(event)
                yield from self._count(writer.written(wait_for_all=isinstance(event, PredictFinished)))

    def follow(self, written: Iterator[tuple[Index, tuple[str, ...]]]) -> Iterator[PredictEvent]:
        """Tell of the tiles that the workers of a cluster have written."""
        for index, messages in written:
            for message in messages:
                yield PredictRecovered(*self.now(), message)
            tiles = self.tiles
            whole = tiles.complete(tiles.around(index)) if isinstance(tiles, OverlappingTiles) else [index]
            yield from self._count(whole)

    def label_objects(
        self, should_stop: Callable[[], bool] | None, settled: SettledStrokes | None
    ) -> Iterator[PredictEvent]:
        """Find and label the objects, when all is predicted."""
        for index in label_stored_objects(self.store, should_stop, settled):
            self.done += 1
            yield PredictEvent(*self.now()) if index is None else TileStored(*self.now(), self.store.box(index))

    def _count(self, written: Iterable[Index]) -> Iterator[TileStored]:
        """Tell of the chunks that are written, and take them out of those that are left."""
        for index in written:
            del self.left[index]
            self.done += 1
            yield TileStored(*self.now(), self.store.box(index), labelled=not self.store.record.seeks_objects)
