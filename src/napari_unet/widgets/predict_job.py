"""Prediction as the dock runs it: a generator that turns tiles into small pieces of labels, in a worker.

A tile's labels are shown as soon as it is done. Objects are found once more when all tiles of a frame are there, so
that none is cut at the border of a tile.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.errors import InputError
from napari_unet.predict.config import PredictConfig
from napari_unet.widgets.source import ImageSource
from napari_unet.widgets.torch_loading import load_torch
from napari_unet.widgets.train_job import torch_threads
from napari_unet.widgets.worker import StopCheck

if TYPE_CHECKING:
    from napari_unet.models.model import Model

__all__ = ["PieceReady", "PredictNote", "PredictRequest", "PredictSummary", "predict"]

_MOST_IDS = 65535  # of a labels layer with 16 bits
_PIECE = 2_000_000  # pixels that the window copies at once
_LARGE_FRAME = 100_000_000  # pixels from which on objects are not found once more over the whole frame


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
    region : tuple of slice or None
        Part of the labels' space to predict; None: all.
    focus : tuple of float or None
        A point in that space: what is near comes first.
    config : PredictConfig
        How to predict.
    probabilities : bool
        Whether the pieces carry probabilities.
    result : array-like or None
        The labels so far, read for the ids that other parts use; None: there are none.
    filled : frozenset of tuple of int
        Positions in the stack at which `result` has labels.
    threads : int
        Cores for PyTorch.
    """

    source: ImageSource
    model: Model
    task: str
    region: Box | None = None
    focus: tuple[float, ...] | None = None
    config: PredictConfig = field(default_factory=PredictConfig)
    probabilities: bool = False
    result: Any | None = None
    filled: frozenset[tuple[int, ...]] = frozenset()
    threads: int = 1


@dataclass(frozen=True, eq=False)
class PieceReady:
    """Labels for one box, and how far the prediction is.

    Attributes
    ----------
    box : tuple of slice
        Where, in the labels' space.
    labels : numpy.ndarray
        (\\*box) uint8 (classes) or uint16 (objects).
    probabilities : numpy.ndarray or None
        (foreground class, \\*box) float32 where asked for.
    position : tuple of int
        Position in the stack.
    done, total : int
        Tiles.
    """

    box: Box
    labels: npt.NDArray[Any]
    probabilities: npt.NDArray[np.float32] | None
    position: tuple[int, ...]
    done: int
    total: int


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
    PieceReady, PredictNote or PredictSummary
        Pieces come tile by tile; for objects, each frame comes once more when it is complete. The summary comes last.

    Raises
    ------
    UNetError
        If the image does not fit the model; the message names the layer.
    """
    load_torch()
    yield None
    from napari_unet.predict.events import PredictRecovered, TilePredicted
    from napari_unet.predict.tiled import predict_tiles

    source = request.source
    frames = _FrameLabeller(request)
    with torch_threads(request.threads):
        events = predict_tiles(
            request.model,
            source.array,
            source.axes,
            request.config,
            region=request.region,
            focus=request.focus,
            should_stop=should_stop,
        )
        try:
            for event in events:
                if isinstance(event, TilePredicted):
                    yield from frames.add(event.box, event.probabilities, event.done, event.total)
                elif isinstance(event, PredictRecovered):
                    yield PredictNote(event.message)
        except InputError as error:
            raise InputError(f"Image '{source.name}': {error}") from error
        if not should_stop():
            yield from frames.finish()
    if frames.note:
        yield PredictNote(frames.note)
    yield PredictSummary(frames.summary)


class _FrameLabeller:
    """Collects the tiles of a frame, labels each at once, and the whole frame when the next one begins."""

    def __init__(self, request: PredictRequest) -> None:
        self.request = request
        self.layout: ImageLayout = request.source.layout
        self.ids = _FreeIds(request)
        self.note = ""
        self._count = 0
        self._finished_frames = 0
        self._position: tuple[int, ...] | None = None
        self._frame: npt.NDArray[np.float32] | None = None
        self._corner: list[int] = []
        self._end: list[int] = []
        self._tiles = 0
        self._progress = (0, 0)

    def add(self, box: Box, probabilities: npt.NDArray[np.float32], done: int, total: int) -> Iterator[PieceReady]:
        """Take a tile, (class, \\*box), and yield what can be shown."""
        position = self._position_of(box)
        if position != self._position:
            yield from self.finish()
            self._begin(position)
        self._progress = (done, total)
        self._tiles += 1
        shown = probabilities[1:] if self.request.probabilities else None
        if self.request.task == "classes":
            labels = np.asarray(probabilities.argmax(axis=0) + 1, np.uint8)
            yield PieceReady(box, labels, shown, position, done, total)
            return
        self._collect(box, probabilities)
        found = self._objects(probabilities[0])
        labels = np.where(found > 0, (found + 37 * self._tiles) % _MOST_IDS + 1, 0).astype(np.uint16)
        yield PieceReady(box, labels, shown, position, done, total)

    def finish(self) -> Iterator[PieceReady]:
        """Label the frame as a whole."""
        frame, position = self._frame, self._position
        self._frame = self._position = None
        if frame is None or position is None or self._tiles == 0:
            return
        span = tuple(slice(a, b) for a, b in zip(self._corner, self._end, strict=True))
        box = self.layout.label_box(position, span)
        inside = self.layout.label_box((0,) * len(position), span)
        found = self._objects(frame[inside])
        self._count += int(found.max(initial=0))
        self._finished_frames += 1
        labels, note = self.ids.assign(found, position, box)
        self.note = self.note or note
        for part, where in _bands(labels, box):
            yield PieceReady(where, part, None, position, *self._progress)

    @property
    def summary(self) -> str:
        """How many objects there are in the frames that are complete."""
        if not self._finished_frames:
            return ""
        frames = f" in {self._finished_frames} frames" if self._finished_frames > 1 else ""
        return f"{self._count:,} object{'s' * (self._count != 1)}{frames}"

    def _begin(self, position: tuple[int, ...]) -> None:
        self._position = position
        self._tiles = 0
        self._corner, self._end = [], []
        self._frame = None

    def _collect(self, box: Box, probabilities: npt.NDArray[np.float32]) -> None:
        """Keep the background's probability of the frame, of which memory is only taken where tiles were."""
        layout = self.layout
        spans = [box[layout.label_axes.index(letter)] for letter in layout.space_letters]
        starts, stops = [s.start for s in spans], [s.stop for s in spans]
        self._corner = starts if not self._corner else [min(a, b) for a, b in zip(self._corner, starts, strict=True)]
        self._end = stops if not self._end else [max(a, b) for a, b in zip(self._end, stops, strict=True)]
        if int(np.prod(layout.frame_shape, dtype=np.int64)) > _LARGE_FRAME:
            self.note = "The image is very large: objects are cut where two tiles meet."
            return
        if self._frame is None:
            shape = [size if letter in layout.space_letters else 1 for letter, size in self._label_sizes()]
            self._frame = np.zeros(shape, np.float32)
        self._frame[layout.label_box((0,) * len(layout.stack_letters), tuple(spans))] = probabilities[0]

    def _label_sizes(self) -> list[tuple[str, int]]:
        return list(zip(self.layout.label_axes, self.layout.label_shape, strict=True))

    def _objects(self, background: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Find objects in a box of a frame, (\\*box) in the order of the labels' axes; ids from 1 on."""
        from napari_unet.predict.instances import separate_objects

        layout = self.layout
        foreground = 1 - layout.read_labels(background, (0,) * len(layout.stack_letters))
        found = separate_objects(foreground, spacing=_uneven_spacing(self.request))
        return np.asarray(layout.to_label_order(found[np.newaxis])[0])

    def _position_of(self, box: Box) -> tuple[int, ...]:
        return tuple(int(box[self.layout.label_axes.index(letter)].start) for letter in self.layout.stack_letters)


def _uneven_spacing(request: PredictRequest) -> tuple[float, ...] | None:
    """Return the distance of pixels along the network's axes, or None where they are equal or unknown."""
    spacing = request.source.spacing
    return None if spacing is None or len(set(spacing)) == 1 else spacing


class _FreeIds:
    """Hands out ids so that no two objects of a stack share one, as long as there are enough."""

    def __init__(self, request: PredictRequest) -> None:
        self.request = request
        self.layout = request.source.layout
        self._used: dict[tuple[int, ...], npt.NDArray[np.bool_]] = {}
        self._read = False

    def assign(
        self, found: npt.NDArray[Any], position: tuple[int, ...], box: Box
    ) -> tuple[npt.NDArray[np.uint16], str]:
        """Give the objects of a box ids that nothing outside of it has; also returns a note if there are too few."""
        if not self._read:
            self._read_used()
        outside = self._ids_around(position, box)
        taken = np.logical_or.reduce([flags for place, flags in self._used.items() if place != position] or [outside])
        count = int(found.max(initial=0))
        free = np.flatnonzero(~(taken | outside))
        free = free[free > 0]
        note = ""
        if free.size < count:
            free = np.arange(count) % _MOST_IDS + 1
            note = f"There are more objects than the layer's {_MOST_IDS:,} labels: some in different places share one."
        table = np.concatenate([[0], free[:count]]).astype(np.uint16)
        labels = table[found]
        flags = outside.copy()
        flags[table] = True
        self._used[position] = flags
        return labels, note

    def _read_used(self) -> None:
        self._read = True
        if self.request.result is None:
            return
        for position in self.request.filled:
            self._used[position] = _flags(self.layout.read_labels(self.request.result, position))

    def _ids_around(self, position: tuple[int, ...], box: Box) -> npt.NDArray[np.bool_]:
        """Flag the ids that the same frame has outside of the box."""
        if self.request.result is None or position not in self.request.filled:
            return np.zeros(_MOST_IDS + 1, bool)
        spans = [box[self.layout.label_axes.index(letter)] for letter in self.layout.space_letters]
        if all(s.start == 0 and s.stop == n for s, n in zip(spans, self.layout.frame_shape, strict=True)):
            return np.zeros(_MOST_IDS + 1, bool)
        frame = np.array(self.layout.read_labels(self.request.result, position))
        frame[tuple(spans)] = 0
        return _flags(frame)


def _flags(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.bincount(labels.ravel(), minlength=_MOST_IDS + 1)[: _MOST_IDS + 1] > 0


def _bands(labels: npt.NDArray[Any], box: Box) -> Iterator[tuple[npt.NDArray[Any], Box]]:
    """Cut labels into bands along their longest axis, small enough for the window to copy at once."""
    axis = int(np.argmax(labels.shape))
    rows = max(1, _PIECE * labels.shape[axis] // max(1, labels.size))
    for start in range(0, labels.shape[axis], rows):
        part = labels.take(range(start, min(start + rows, labels.shape[axis])), axis=axis)
        first = box[axis].start + start
        yield part, (*box[:axis], slice(first, first + part.shape[axis]), *box[axis + 1 :])
