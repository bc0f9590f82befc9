"""From the probabilities of tiles to labels: of each tile at once, and of a whole frame when all its tiles are there.

An object that lies in two tiles is cut at first. It becomes whole when the objects of the frame are found once more.
An object that was shown before keeps its id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.predict.same_objects import SameObjects
from napari_unet.predict.settled import ObjectStrokes, hold
from napari_unet.widgets.annotate.label_storage import new_scratch_array
from napari_unet.widgets.parts.worker import StopCheck
from napari_unet.widgets.results.record import PredictionRecord
from napari_unet.widgets.results.shown_ids import ShownIds

if TYPE_CHECKING:
    from napari_unet.widgets.results.predict_job import PredictRequest

__all__ = ["FrameLabeller"]

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
        self._ids = ShownIds(request)
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
            labels = self._in_label_order(self._mark(self._objects(foreground), position, spans, held))
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
        from napari_unet.predict.object_blocks import (
            BlockCounted,
            BlockLabelled,
            ObjectsCounted,
            ObjectsFinished,
            label_blocks,
        )

        frame = self.record.frame(position)
        everything = tuple(slice(0, n) for n in self.layout.frame_shape)
        if self.record.has(position, everything):
            spans = everything
        if self.request.task == "classes" or frame.foreground is None or spans in frame.found:
            return
        held = self._held_in(position, spans)
        if held is not None:
            frame.foreground[spans] = hold(frame.foreground[spans], held)
        same, strokes = SameObjects(), ObjectStrokes()
        for event in label_blocks(
            frame.foreground[spans],
            block=_BLOCK[self.layout.ndim],
            spacing=_uneven_spacing(self.request),
            should_stop=should_stop,
            counting=True,
        ):
            if isinstance(event, ObjectsFinished):
                if event.stopped:
                    return
            elif isinstance(event, BlockCounted):
                same.add(event.labels, *self._ids.around(position, _within(event.box, spans), spans))
                if held is not None:
                    strokes.add(event.labels, held[event.box])
            elif isinstance(event, ObjectsCounted):
                part_of = strokes.joined(event.count)
                frame.ids = table = self._ids.choose(same, part_of, self._ids_of_others(position))
            elif isinstance(event, BlockLabelled):
                box = self.layout.label_box(position, _within(event.box, spans))
                if not self.request.result.write(box, self._in_label_order(table[event.labels])):
                    return
                yield box
            yield event.done / event.total
        self._count += int(part_of.max())
        self._finished_frames += 1
        frame.found.append(spans)
        if spans == everything:
            frame.foreground = None

    def _mark(self, found: Labels, position: Position, spans: Box, held: Labels | None) -> Labels:
        """Give the objects of a tile the ids that they had, or new ones."""
        same, strokes = SameObjects(), ObjectStrokes()
        same.add(found, *self._ids.around(position, spans, spans))
        if held is not None:
            strokes.add(found, held)
        return self._ids.choose(same, strokes.joined(int(found.max(initial=0))))[found]

    def _ids_of_others(self, position: Position) -> Labels | None:
        """Return the ids of the objects of other frames, where none of a stack may share one."""
        if self.request.region is not None or self.request.join is not None:
            return None
        others = [frame.ids for at, frame in self.record.frames.items() if at != position and frame.ids is not None]
        return np.concatenate(others) if others else None

    def _read_held(self, box: Box) -> Labels | None:
        """Return what corrections painted in a box of the labels."""
        return None if self.request.held is None else self.request.held.read(box)

    def _held_in(self, position: Position, spans: Box) -> Labels | None:
        """Return what corrections painted in a box of a frame, in the order of the network's axes."""
        held = self._read_held(self.layout.label_box(position, spans))
        return None if held is None else self.layout.read_labels(held, (0,) * len(position))

    def choose_joined(self, count: int, same: SameObjects) -> Labels:
        """Return the ids of objects that are joined over slices; the first entry is for what is none."""
        return self._ids.choose(same, np.arange(count + 1))

    @property
    def note(self) -> str:
        """What the person should know of the ids; empty where there is nothing."""
        return self._ids.note

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


def _within(box: Box, spans: Box) -> Box:
    """Return where a box of a part of a frame lies in the frame."""
    return tuple(slice(a.start + b.start, a.stop + b.start) for a, b in zip(box, spans, strict=True))
