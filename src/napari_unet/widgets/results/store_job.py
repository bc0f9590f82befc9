"""Prediction of an image that is too large to keep its result in memory: a generator that writes a store on the disk.

The name of the store tells what it was made from, so that the same prediction, also after a restart, completes it, and
no other is ever written over it.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from napari_unet.data.storage import StorageError, check_writable
from napari_unet.errors import InputError
from napari_unet.predict.config import PredictConfig
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.parts.torch_loading import load_torch
from napari_unet.widgets.parts.worker import StopCheck
from napari_unet.widgets.results.held import HeldPixels
from napari_unet.widgets.results.predict_job import FindingObjects, PieceReady, PredictNote, PredictSummary
from napari_unet.widgets.results.stored_levels import StoredLevels
from napari_unet.widgets.results.uncertainty_job import UncertaintyReady
from napari_unet.widgets.results.view_region import Look
from napari_unet.widgets.training.train_job import torch_threads
from napari_unet.words import disk_size

if TYPE_CHECKING:
    from napari_unet.data.tile_array import TileArray
    from napari_unet.models.model import Model
    from napari_unet.predict.events import PredictEvent
    from napari_unet.predict.settled import SettledStrokes
    from napari_unet.predict.uncertainty import Measure

__all__ = ["StoreOpened", "StoreRequest", "describe_space", "predict_into_store"]

_CACHE_BYTES = 64 * 2**20  # of features, which tiles of the store rarely share


@dataclass(frozen=True, eq=False)
class StoreRequest:
    """All that a prediction into a store needs to know, taken from the window before it starts.

    Attributes
    ----------
    source : ImageSource
        The image, seen by the model's network.
    model : Model
        A trained model.
    task : {"objects", "classes"}
        What the labels are.
    look : Look
        What the person looks at, now and while the prediction runs.
    folder : Path or None
        Where the store goes; None: a folder for temporary files.
    stem : str
        With what its name begins.
    config : PredictConfig
        How to predict.
    threads : int
        Cores for PyTorch.
    probabilities : bool
        Whether they are stored, too.
    measure : {"entropy", "disagreement"} or None
        Of the uncertainty that is stored, too; None: of none.
    held : HeldPixels or None
        What the correction tools painted, which the result agrees with as it is when the prediction begins.
    unmeasured : threading.Event
        Set when the uncertainty is wanted no longer: what is not measured yet is left out.
    """

    source: ImageSource
    model: Model
    task: str
    look: Look
    folder: Path | None
    stem: str
    config: PredictConfig = field(default_factory=PredictConfig)
    threads: int = 1
    probabilities: bool = False
    measure: Measure | None = None
    held: HeldPixels | None = None
    unmeasured: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, eq=False)
class StoreOpened:
    """The store is there, and its result can be shown.

    Attributes
    ----------
    path : Path
        The store.
    levels : StoredLevels
        The result; tiles that are not there yet read as 0.
    probabilities : tuple of StoredLevels
        The probability of each class but background, 0 to 1; empty where it is not stored.
    uncertainty : StoredLevels or None
        The uncertainty that is wanted, 0 to 1.
    """

    path: Path
    levels: StoredLevels
    probabilities: tuple[StoredLevels, ...] = ()
    uncertainty: StoredLevels | None = None


def predict_into_store(request: StoreRequest, should_stop: StopCheck) -> Generator[Any, None, None]:
    """Predict into a store; call it in a worker.

    Yields
    ------
    PredictNote, StoreOpened, PieceReady, FindingObjects, PredictSummary or UncertaintyReady
        The summary comes when all is predicted; then the uncertainty that the tiles did not tell.

    Raises
    ------
    UNetError
        If the image does not fit the model, or the disk can't be written.
    """
    load_torch()
    yield None
    try:
        with torch_threads(request.threads):
            yield from _predict(request, should_stop)
    except InputError as error:
        raise InputError(f"Image '{request.source.name}': {error}") from error


def _predict(request: StoreRequest, should_stop: StopCheck) -> Iterator[Any]:
    from napari_unet.predict.events import PredictFinished, PredictRecovered, PredictStarted, TileStored
    from napari_unet.predict.store import predict_to_store

    settled = None if request.held is None else request.held.settled()
    path, note = _choose_path(request, settled)
    if note:
        yield PredictNote(note)
    source, at_first = request.source, 0
    if request.probabilities or request.measure:
        yield PredictNote(
            describe_space(
                source, len(request.model.config.classes), request.task, path.parent,
                probabilities=request.probabilities, uncertainty=request.measure is not None,
            )
        )  # fmt: skip
    events = predict_to_store(
        request.model, source.array, path, source.axes, request.config,
        task=cast("Literal['objects', 'classes']", request.task), spacing=source.spacing,
        keep_probabilities=request.probabilities, keep_entropy=request.measure == "entropy",
        settled=settled, focus=request.look.focus, should_stop=should_stop,
    )  # fmt: skip
    for event in events:
        share = event.done / max(1, event.total)
        if isinstance(event, PredictStarted):
            at_first = event.done
            yield _opened(path, request.measure)
            if 0 < share < 1:
                yield PredictNote(f"The prediction {path.name} goes on where it was stopped, at {100 * share:.0f} %.")
        elif isinstance(event, TileStored):
            position, _ = source.layout.split_box(event.box)
            yield PieceReady(event.box, position, share, _seconds_left(event, at_first))
        elif isinstance(event, PredictRecovered):
            yield PredictNote(event.message)
        elif isinstance(event, PredictFinished):
            if not event.stopped:
                yield PredictSummary(f"saved as {path.name}")
                if request.measure is not None:
                    yield from _measure(request, path, request.measure, should_stop)
        else:
            yield FindingObjects(share)


def _measure(request: StoreRequest, path: Path, measure: Measure, should_stop: StopCheck) -> Iterator[UncertaintyReady]:
    """Measure the uncertainty of the tiles that did not bring it along."""
    from napari_unet.models.adapt import Adapter
    from napari_unet.models.stored_uncertainty import measure_stored
    from napari_unet.predict.feature_cache import FeatureCache
    from napari_unet.predict.tile_store import TileStore

    began, layout = time.monotonic(), request.source.layout
    adapter = Adapter(request.model, request.config.device, cache=FeatureCache(_CACHE_BYTES))
    for part in measure_stored(
        adapter, request.source.array, TileStore.open(path), measure,
        focus=request.look.focus, should_stop=lambda: should_stop() or request.unmeasured.is_set(),
    ):  # fmt: skip
        yield UncertaintyReady.of(part, layout, began)


def describe_space(
    source: ImageSource, classes: int, task: str, folder: Path, *, probabilities: bool, uncertainty: bool
) -> str:
    """Say how much disk a result takes with what is kept beside it, and how much is free where it goes."""
    from napari_unet.predict.stored_probabilities import store_bytes

    most = store_bytes(source.layout, classes, task, probabilities=probabilities, uncertainty=uncertainty)
    beside = " and ".join(["its probabilities"] * probabilities + ["its uncertainty"] * uncertainty)
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(there).free
    text = f"The result with {beside} takes up to {disk_size(most)} on the disk, where {disk_size(free)} are free"
    return f"{text}." if most < free else f"{text}: it may not fit; choose another folder for results under Advanced."


def _seconds_left(event: PredictEvent, at_first: int) -> float | None:
    new = event.done - at_first
    return event.seconds * (event.total - event.done) / new if new > 0 else None


def _opened(path: Path, measure: Measure | None) -> StoreOpened:
    from napari_unet.predict.stored_probabilities import StepView
    from napari_unet.predict.stored_uncertainty import add_uncertainty
    from napari_unet.predict.tile_store import TileStore

    def shown(array: TileArray) -> StoredLevels:
        return StoredLevels.of([StepView(level) for level in array.levels])

    store = TileStore.open(path)
    if measure is not None:
        store = add_uncertainty(store, measure)
    return StoreOpened(
        path,
        StoredLevels.of(store.tiles.levels),
        tuple(map(shown, store.probabilities)),
        None if measure is None else shown(store.uncertainty[measure]),
    )


def _choose_path(request: StoreRequest, settled: SettledStrokes | None) -> tuple[Path, str]:
    """Return where the store goes, and what to tell of it."""
    name = f"{request.stem}.{_fingerprint(request, settled)}.zarr"
    elsewhere = Path(tempfile.gettempdir(), "napari-unet-results", name)
    if request.folder is None:
        why = f"'{request.source.name}' comes from no file"
    else:
        try:
            check_writable(request.folder / name)
        except StorageError:
            why = f"{request.folder} can't be written"
        else:
            return request.folder / name, ""
    advice = "choose a folder for results under Advanced to keep it"
    return elsewhere, f"{why}, so the result goes to {elsewhere}, a place for temporary files: {advice}."


def _fingerprint(request: StoreRequest, settled: SettledStrokes | None) -> str:
    """Return a few letters that stand for all that the result depends on."""
    from napari_unet.predict.fingerprint import image_checksum, model_checksum

    source, config = request.source, request.config
    parts = (
        model_checksum(request.model), image_checksum(source.array, source.layout), source.layout.ndim, source.spacing,
        request.task, config.averaging, config.precision, config.tile, *(["probabilities"] * request.probabilities),
        *([] if settled is None else [settled.checksum]),
    )  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]
