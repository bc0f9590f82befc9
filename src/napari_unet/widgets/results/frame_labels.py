"""From the probabilities of tiles to labels: of each tile at once, and of a whole frame when all its tiles are there.

An object that lies in two tiles is cut at first. It becomes whole when the objects of the frame are found once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.widgets.annotate.label_storage import new_scratch_array
from napari_unet.widgets.parts.worker import StopCheck
from napari_unet.widgets.results.held import hold, joined
from napari_unet.widgets.results.record import PredictionRecord

if TYPE_CHECKING:
    from napari_unet.widgets.results.predict_job import PredictRequest

__all__ = ["FrameLabeller"]

_MOST_IDS = 65535  # of a labels layer with 16 bits
_BLOCK = {2: 1024, 3: 96}  # pixels, by dimensions: objects are found in blocks that take a fraction of a second each

Position = tuple[int, ...]
Labels = npt.NDArray[Any]
Probabilities = npt.NDArray[np.float32]


class FrameLabeller:
    """Writes labels into the result, tile by tile, and keeps the record.

    Parameters
    ----------
    request : PredictRequest
        What is predicted, and where the result goes.
    """

    def __init__(self, request: PredictRequest) -> None:
        self.request = request
        self.layout = request.source.layout
        self.record: PredictionRecord = request.record
        self.note = ""
        few = np.dtype(request.result.levels[0].dtype).itemsize <= 2
        self._ids: _FreeIds | _NewIds = _FreeIds(request) if few else _NewIds(request)
        self._count = 0
        self.joined: int | None = None
        self._finished_frames = 0

    def take(self, box: Box, probabilities: Probabilities) -> bool:
        """Write the labels of a tile, (class, \\*box); returns whether the result still takes them."""
        position, spans = self.layout.split_box(box)
        if self.request.task == "classes":
            labels = np.asarray(probabilities.argmax(axis=0) + 1, np.uint8)
            held = self._read_held(box)
            if held is not None:
                labels = np.where(held > 0, held, labels).astype(np.uint8)
        else:
            foreground = 1 - self.layout.read_labels(probabilities[0], (0,) * len(position))
            held = self._held_in(position, spans)
            if held is not None:
                foreground = hold(foreground, held)
            self._collect(position, spans, foreground)
            objects = self._objects(foreground)
            if held is not None:
                objects = joined(objects, held, int(objects.max(initial=0)))[objects]
            labels = self._in_label_order(self._ids.mark(objects))
        if not self.request.result.write(box, labels):
            return False
        for array, block in zip(self.request.probabilities, probabilities[1:], strict=False):
            array.write(box, block)
        if self.request.uncertainty is not None:
            self.request.uncertainty.take(box, probabilities)
        self.record.add(position, spans)
        return True

    def finish(self, position: Position, spans: Box, should_stop: StopCheck) -> Iterator[float | Box]:
        """Find the objects of a box of a frame as a whole, if that is still to be done.

        It is grown to the whole frame where all of that is predicted.

        Yields
        ------
        float or tuple of slice
            How far the search is, 0 to 1, and the boxes that were written.
        """
        from napari_unet.predict.object_blocks import BlockLabelled, ObjectsCounted, ObjectsFinished, label_blocks

        frame = self.record.frame(position)
        everything = tuple(slice(0, n) for n in self.layout.frame_shape)
        if self.record.has(position, everything):
            spans = everything
        if self.request.task == "classes" or frame.foreground is None or spans in frame.found:
            return
        table: Labels = np.zeros(1, np.uint16)
        held = self._held_in(position, spans)
        corrected: list[tuple[Labels, Labels]] = []  # objects and the strokes of corrections in them
        if held is not None:
            frame.foreground[spans] = hold(frame.foreground[spans], held)
        for event in label_blocks(
            frame.foreground[spans],
            block=_BLOCK[self.layout.ndim],
            spacing=_uneven_spacing(self.request),
            should_stop=should_stop,
        ):
            if isinstance(event, ObjectsFinished):
                if event.stopped:
                    return
            elif isinstance(event, ObjectsCounted):
                table, note = self._ids.choose(event.count, position, spans)
                self.note = self.note or note
            elif isinstance(event, BlockLabelled):
                where = tuple(
                    slice(part.start + span.start, part.stop + span.start)
                    for part, span in zip(event.box, spans, strict=True)
                )
                box = self.layout.label_box(position, where)
                if held is not None:
                    strokes = held[event.box]
                    corrected.append((event.labels[strokes > 0], strokes[strokes > 0]))
                if not self.request.result.write(box, self._in_label_order(table[event.labels])):
                    return
                yield box
            yield event.done / event.total
        self._count += len(table) - 1
        if corrected:
            yield from self._join(position, spans, table, corrected)
        self._finished_frames += 1
        frame.found.append(spans)
        if spans == everything:
            frame.foreground = None

    def _join(
        self, position: Position, spans: Box, table: Labels, corrected: list[tuple[Labels, Labels]]
    ) -> Iterator[Box]:
        """Give objects that corrections made one the same id; yields what was written, if anything was."""
        objects, strokes = (np.concatenate(parts) for parts in zip(*corrected, strict=True))
        part_of = joined(objects, strokes, len(table) - 1)
        others = np.flatnonzero(part_of != np.arange(len(part_of)))
        if not others.size:
            return
        labels = np.array(self.layout.read_labels(self.request.result.levels[0], position)[spans])
        for number in others:
            labels[labels == table[number]] = table[part_of[number]]
        box = self.layout.label_box(position, spans)
        if self.request.result.write(box, self._in_label_order(labels)):
            self._count -= len(others)
            yield box

    def _read_held(self, box: Box) -> Labels | None:
        """Return what corrections painted in a box of the labels."""
        return None if self.request.held is None else self.request.held.read(box)

    def _held_in(self, position: Position, spans: Box) -> Labels | None:
        """Return what corrections painted in a box of a frame, in the order of the network's axes."""
        held = self._read_held(self.layout.label_box(position, spans))
        return None if held is None else self.layout.read_labels(held, (0,) * len(position))

    @property
    def summary(self) -> str:
        """How many objects there are in the frames that were finished."""
        if self.joined is not None:
            return f"{self.joined:,} object{'s' * (self.joined != 1)}, joined over slices"
        if not self._finished_frames:
            return ""
        frames = f" in {self._finished_frames} frames" if self._finished_frames > 1 else ""
        return f"{self._count:,} object{'s' * (self._count != 1)}{frames}"

    def _collect(self, position: Position, spans: Box, foreground: Probabilities) -> None:
        """Keep the probability of the frame's foreground, of which memory is only taken where tiles were."""
        frame = self.record.frame(position)
        if frame.foreground is None:
            frame.foreground = new_scratch_array(self.layout.frame_shape)
        frame.foreground[spans] = foreground

    def _objects(self, foreground: Probabilities) -> Labels:
        """Find objects in a box of a frame; ids from 1 on."""
        from napari_unet.predict.instances import separate_objects

        return separate_objects(foreground, spacing=_uneven_spacing(self.request))

    def _in_label_order(self, labels: Labels) -> Labels:
        return np.asarray(self.layout.to_label_order(labels[np.newaxis])[0])


def _uneven_spacing(request: PredictRequest) -> tuple[float, ...] | None:
    """Return the distance of pixels along the network's axes, or None where they are equal or unknown."""
    spacing = request.source.spacing
    return None if spacing is None or len(set(spacing)) == 1 else spacing


class _NewIds:
    """Hands out ids of 32 bits, each only once."""

    def __init__(self, request: PredictRequest) -> None:
        self.record = request.record

    def mark(self, found: Labels) -> Labels:
        """Give objects that are not final yet an id each."""
        return self.choose(int(found.max(initial=0)), (), ())[0][found]

    def choose(self, count: int, position: Position, spans: Box) -> tuple[Labels, str]:
        """Return the ids of objects 0 (none), 1, 2, ...; there are always enough."""
        table = np.arange(count + 1, dtype=np.uint32) + np.uint32(self.record.last_id)
        table[0] = 0
        self.record.last_id += count
        return table, ""


class _FreeIds:
    """Hands out ids of 16 bits so that no two objects of a stack share one, as long as there are enough."""

    def __init__(self, request: PredictRequest) -> None:
        self.request = request
        self.layout = request.source.layout
        self._used: dict[Position, npt.NDArray[np.bool_]] = {}
        self._read = False
        self._marked = 0

    def mark(self, found: Labels) -> Labels:
        """Give objects that are not final yet an id each, most likely others than the last ones had."""
        self._marked += 1
        return np.where(found > 0, (found + 37 * self._marked) % _MOST_IDS + 1, 0).astype(np.uint16)

    def choose(self, count: int, position: Position, spans: Box) -> tuple[Labels, str]:
        """Return the ids of objects 0 (none), 1, 2, ... of a box, and a note where there are too few.

        Nothing outside of the box has them.
        """
        if not self._read:
            self._read_used()
        outside = self._ids_around(position, spans)
        taken = np.logical_or.reduce([flags for place, flags in self._used.items() if place != position] or [outside])
        free = np.flatnonzero(~(taken | outside))
        free = free[free > 0]
        note = ""
        if free.size < count:
            free = np.arange(count) % _MOST_IDS + 1
            note = f"There are more objects than the layer's {_MOST_IDS:,} labels: some in different places share one."
        table = np.concatenate([[0], free[:count]]).astype(np.uint16)
        flags = outside.copy()
        flags[table] = True
        self._used[position] = flags
        return table, note

    def _read_used(self) -> None:
        """Note the ids of each frame that has some: any of them, where the stack was read in other frames before."""
        self._read = True
        filled = self.request.filled
        if any(len(position) != len(self.layout.stack_shape) for position in filled):
            filled = frozenset(self.layout.frames())
        for position in filled:
            self._used[position] = _flags(self.layout.read_labels(self.request.result.levels[0], position))

    def _ids_around(self, position: Position, spans: Box) -> npt.NDArray[np.bool_]:
        """Flag the ids that the same frame has outside of the box."""
        if all(s.start == 0 and s.stop == n for s, n in zip(spans, self.layout.frame_shape, strict=True)):
            return np.zeros(_MOST_IDS + 1, bool)
        frame = np.array(self.layout.read_labels(self.request.result.levels[0], position))
        frame[spans] = 0
        return _flags(frame)


def _flags(labels: Labels) -> npt.NDArray[np.bool_]:
    return np.bincount(labels.ravel(), minlength=_MOST_IDS + 1)[: _MOST_IDS + 1] > 0
