"""Prediction as the dock runs it: a generator that writes labels into a result, tile by tile, in a worker.

A tile's labels are shown as soon as it is done. Objects are found once more when all tiles of a frame are there, so
that none is cut at the border of a tile. What is done is kept in a record, with which a prediction goes on where it was
stopped.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_unet.data.axes import Box
from napari_unet.errors import InputError
from napari_unet.predict.config import PredictConfig
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.parts.torch_loading import load_torch
from napari_unet.widgets.parts.worker import StopCheck
from napari_unet.widgets.results.arrays import ResultArray
from napari_unet.widgets.results.frame_labels import FrameLabeller
from napari_unet.widgets.results.held import HeldPixels
from napari_unet.widgets.results.record import PredictionRecord
from napari_unet.widgets.results.stitched import join_slices
from napari_unet.widgets.results.tile_order import predict_view_first
from napari_unet.widgets.results.uncertainty import UncertaintyTarget
from napari_unet.widgets.results.view_region import Look
from napari_unet.widgets.training.train_job import torch_threads

if TYPE_CHECKING:
    from napari_unet.data.intensity import IntensityRange
    from napari_unet.models.model import Model

__all__ = ["FindingObjects", "PieceReady", "PredictNote", "PredictRequest", "PredictSummary", "predict"]


@dataclass(frozen=True, eq=False)
class PredictRequest:
    """All that a prediction needs to know, taken from the window before it starts.

    Attributes
    ----------
    source : ImageSource
        The image, seen by the model's network.
    model : Model
        A trained model.
    task : {"objects", "classes"}
        What the labels are.
    result : ResultArray
        Where the labels go: uint8 (classes), uint16 or uint32 (objects); read for the ids that other parts use.
    record : PredictionRecord
        What is done of the result already.
    look : Look
        What the person looks at, now and while the prediction runs.
    region : tuple of slice or None
        Part of the labels' space to predict; None: all.
    config : PredictConfig
        How to predict.
    probabilities : tuple of ResultArray
        Where the probability of each foreground class goes, float32; empty: nowhere.
    filled : frozenset of tuple of int
        Positions in the stack at which `result` has labels.
    threads : int
        Cores for PyTorch.
    uncertainty : UncertaintyTarget or None
        Where the uncertainty goes; None: nowhere.
    join : float or None
        Intersection over union from which on objects of neighbouring slices are one, when all slices are predicted;
        None: each slice has objects of its own.
    held : HeldPixels or None
        What the correction tools painted, which the result agrees with.
    may_go_on : callable or None
        See `napari_unet.predict.tiled.predict_tiles`.
    """

    source: ImageSource
    model: Model
    task: str
    result: ResultArray
    record: PredictionRecord
    look: Look
    region: Box | None = None
    config: PredictConfig = field(default_factory=PredictConfig)
    probabilities: tuple[ResultArray, ...] = ()
    filled: frozenset[tuple[int, ...]] = frozenset()
    threads: int = 1
    uncertainty: UncertaintyTarget | None = None
    join: float | None = None
    held: HeldPixels | None = None
    may_go_on: StopCheck | None = None


@dataclass(frozen=True, eq=False)
class PieceReady:
    """Something new was written into the result.

    Attributes
    ----------
    box : tuple of slice
        Where, in the labels' space.
    position : tuple of int
        Position in the stack.
    share : float
        How much of what was asked for is predicted, 0 to 1.
    seconds_left : float or None
        How long the rest will take; None where that is not known yet.
    doing : str
        What goes on, in words.
    """

    box: Box
    position: tuple[int, ...]
    share: float
    seconds_left: float | None
    doing: str = "predicting"


@dataclass(frozen=True)
class FindingObjects:
    """The objects of a frame, of which all tiles are there, are being found.

    Attributes
    ----------
    share : float
        How far that is, 0 to 1.
    """

    share: float


@dataclass(frozen=True)
class PredictNote:
    """Something to tell the person.

    Attributes
    ----------
    text : str
        A sentence.
    """

    text: str


@dataclass(frozen=True)
class PredictSummary:
    """What was found, when all is done.

    Attributes
    ----------
    text : str
        A few words.
    """

    text: str


def predict(request: PredictRequest, should_stop: StopCheck) -> Generator[Any, None, None]:
    """Predict; call it in a worker.

    Yields
    ------
    PieceReady, FindingObjects, PredictNote or PredictSummary
        Pieces come tile by tile; for objects, each frame comes once more when it is complete. The summary comes last.

    Raises
    ------
    UNetError
        If the image does not fit the model; the message names the layer.
    """
    load_torch()
    yield None
    try:
        with torch_threads(request.threads):
            yield from _predict(request, should_stop)
    except InputError as error:
        raise InputError(f"Image '{request.source.name}': {error}") from error


def _predict(request: PredictRequest, should_stop: StopCheck) -> Iterator[Any]:
    from napari_unet.data.intensity import measure_range
    from napari_unet.predict.events import PredictRecovered, TilePredicted
    from napari_unet.predict.tiled import image_layout

    config, layout = request.model.config, request.source.layout
    image_layout(request.model, request.source.array, layout.axes)
    intensity = measure_range(
        request.source.array, layout, low_percentile=config.low_percentile, high_percentile=config.high_percentile
    )
    yield _begin(request, intensity)
    frames, progress = FrameLabeller(request), _Progress(request)
    for event in predict_view_first(request, intensity, should_stop):
        if isinstance(event, TilePredicted):
            if not frames.take(event.box, event.probabilities):
                return
            position, _ = layout.split_box(event.box)
            yield progress.piece(event.box)
            if progress.is_complete(position):
                yield from _find_objects(frames, progress, position, should_stop)
        elif isinstance(event, PredictRecovered):
            yield PredictNote(event.message)
    for position in progress.positions:  # of which the tiles were there already
        if progress.is_complete(position):
            yield from _find_objects(frames, progress, position, should_stop)
    if request.join is not None:
        frames.joined = yield from _join(request, request.join, frames, progress, should_stop)
    if frames.note:
        yield PredictNote(frames.note)
    elif not progress.pieces and not should_stop():
        yield PredictNote("All of this is predicted already by this model, and nothing has changed since.")
    yield PredictSummary(frames.summary)


def _join(
    request: PredictRequest, overlap: float, frames: FrameLabeller, progress: _Progress, should_stop: StopCheck
) -> Generator[Any, None, int | None]:
    """Join objects over slices, and have them drawn; returns how many there are, None if they were not joined."""
    layout, count = request.source.layout, None
    try:
        for news in join_slices(request.result, request.record, layout, overlap, should_stop, frames.choose_joined):
            if isinstance(news, int):
                count = news
            else:
                yield FindingObjects(news)
    except InputError:
        yield PredictNote("There are more objects than the layer can tell apart, so they are not joined over slices.")
    if count is not None:
        for position in progress.positions:
            yield progress.piece(layout.label_box(position, progress.spans))
    return count


def _find_objects(
    frames: FrameLabeller, progress: _Progress, position: tuple[int, ...], should_stop: StopCheck
) -> Iterator[PieceReady | FindingObjects]:
    for news in frames.finish(position, progress.spans, should_stop):
        yield FindingObjects(news) if isinstance(news, float) else progress.piece(news)


def _begin(request: PredictRequest, intensity: IntensityRange) -> PredictNote | None:
    """Go on with what is done, or begin anew; return what to tell of it."""
    record, known = request.record, request.record.key
    if request.region is None and record.joined not in (None, request.join):
        record.key = None  # the objects of each slice are not known any more
    cell = cast("int", request.model.network.divisor)
    goes_on = record.begin(_key(request, intensity), request.source.layout, cell)
    if request.uncertainty is not None:
        request.uncertainty.begin(record.key, request.source.layout, cell)
    done = _Progress(request).share
    if goes_on and 0 < done < 1:
        return PredictNote(f"The prediction goes on where it was stopped, at {100 * done:.0f} %.")
    if known is not None and not goes_on and request.filled:
        return PredictNote("Model, image or settings have changed since the last prediction: it begins anew.")
    return None


def _key(request: PredictRequest, intensity: IntensityRange) -> Hashable:
    """Return all that the result depends on."""
    from napari_unet.predict.fingerprint import image_checksum, model_checksum

    source, config = request.source, request.config
    return (
        model_checksum(request.model),
        image_checksum(source.array, source.layout),
        intensity,
        request.task,
        source.spacing,
        config.averaging,
        config.precision,
        config.tile,
        id(request.result.levels[0]),
    )


class _Progress:
    """How much of what was asked for is done, and how long the rest takes."""

    def __init__(self, request: PredictRequest) -> None:
        self.record, self.layout = request.record, request.source.layout
        self.positions, self.spans = self.layout.frames_in(request.region)
        self._frame_pixels = int(np.prod([span.stop - span.start for span in self.spans], dtype=np.int64))
        self._counts = {position: self._count(position) for position in self.positions}
        self._total = sum(self._counts.values())
        self._began, self._at_first = time.monotonic(), self.share
        self.pieces = 0

    @property
    def share(self) -> float:
        """How much is predicted, 0 to 1."""
        return min(1.0, self._total / max(1, self._frame_pixels * len(self.positions)))

    def is_complete(self, position: tuple[int, ...]) -> bool:
        """Whether all tiles that were asked for of a frame are there."""
        return self.record.has(position, self.spans)

    def piece(self, box: Box) -> PieceReady:
        """Tell that a box was written."""
        self.pieces += 1
        position, _ = self.layout.split_box(box)
        if position in self._counts:
            count = self._count(position)
            self._total += count - self._counts[position]
            self._counts[position] = count
        gone, new = time.monotonic() - self._began, self.share - self._at_first
        left = gone * (1 - self.share) / new if new > 0 else None
        return PieceReady(box, position, self.share, left)

    def _count(self, position: tuple[int, ...]) -> int:
        return self.record.count(position, self.spans)
