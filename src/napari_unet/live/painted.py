"""The painted parts of one frame: copies of its labels, and what is known of each pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.data.painted_area import find_boxes, join_boxes
from napari_unet.data.strokes import Targets, decode_strokes
from napari_unet.learn.holdout import number_strokes

__all__ = ["FREE", "HELD", "LEARNT", "PaintedPart", "ReadStrokes", "put_into"]

ReadStrokes = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

FREE, LEARNT, HELD = 0, 1, 2  # fate of a pixel: not used yet, trained on, held out for the score

_LARGE = 0.1  # share of the frame from which on a stroke falls into regions
_REGIONS = 6  # along the longest side of the frame


class PaintedPart:
    r"""A copy of what is painted in a box of a frame.

    Parameters
    ----------
    frame_shape : tuple of int
        Size of the frame.
    box : tuple of slice
        The box; nothing is painted in it yet.

    Attributes
    ----------
    origin : tuple of int
        Corner of the box in the frame.
    boxes : list of tuple of slice
        Smallest boxes of the frame, far apart, that hold all that is painted here; see
        `napari_unet.data.painted_area.find_boxes`.
    labels : numpy.ndarray
        (\*part) what was painted.
    born : numpy.ndarray
        (\*part) uint32, number of the change that painted each pixel.
    kinds : numpy.ndarray
        (\*part) uint8, 0 = not painted, otherwise 1 more than the index of the class; see `decode`.
    fate : numpy.ndarray
        (\*part) uint8: `FREE`, `LEARNT` or `HELD`.
    places : numpy.ndarray
        (n,) numbers of the painted pixels in the flattened part, sorted; see `decode`.
    strokes : numpy.ndarray
        (n,) number of the stroke of each of them, from 0 on; see `decode`.
    targets : Targets or None
        What the labels mean; None: not decoded since the last change.
    """

    def __init__(self, frame_shape: Sequence[int], box: Box) -> None:
        self.frame_shape = tuple(frame_shape)
        self.origin = tuple(part.start for part in box)
        self.boxes: list[Box] = []
        self.targets: Targets | None = None
        shape = tuple(part.stop - part.start for part in box)
        self.labels: npt.NDArray[Any] = np.zeros(shape, np.uint8)
        self.born: npt.NDArray[np.uint32] = np.zeros(shape, np.uint32)
        self.kinds: npt.NDArray[np.uint8] = np.zeros(shape, np.uint8)
        self.fate: npt.NDArray[np.uint8] = np.zeros(shape, np.uint8)
        self.places: npt.NDArray[np.intp] = np.zeros(0, np.intp)
        self.strokes: npt.NDArray[np.int32] = np.zeros(0, np.int32)

    @property
    def box(self) -> Box:
        """The box of the frame that this is of."""
        return tuple(slice(o, o + n) for o, n in zip(self.origin, self.labels.shape, strict=True))

    def put(self, box: Box, block: npt.NDArray[Any], change: int) -> bool:
        """Take what is now painted in a box of the frame, as far as it lies here; returns whether it is different."""
        met = self._meet(box)
        if met is None:
            return False
        here = self._inside(met)
        block = block[tuple(slice(m.start - a.start, m.stop - a.start) for m, a in zip(met, box, strict=True))]
        if not np.can_cast(block.dtype, self.labels.dtype):
            self.labels = self.labels.astype(np.promote_types(self.labels.dtype, block.dtype))
        other = self.labels[here] != block
        if not other.any():
            return False
        self.labels[here] = block
        self.born[here][other] = change
        self._changed()
        return True

    def copy_from(self, part: PaintedPart) -> None:
        """Take over what another part of the frame has here."""
        met = self._meet(part.box)
        if met is None:
            return
        self.labels = self.labels.astype(np.promote_types(self.labels.dtype, part.labels.dtype), copy=False)
        for name in ("labels", "born", "kinds", "fate"):
            getattr(self, name)[self._inside(met)] = getattr(part, name)[part._inside(met)]
        self._changed()

    def _changed(self) -> None:
        self.targets = None
        self.boxes = [
            tuple(slice(o + side.start, o + side.stop) for o, side in zip(self.origin, box, strict=True))
            for box in find_boxes(self.labels)
        ]

    def _meet(self, box: Box) -> Box | None:
        """Return the part of a box of the frame that lies here; None: nothing."""
        spans = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, self.box, strict=True)]
        return tuple(spans) if all(part.start < part.stop for part in spans) else None

    def _inside(self, box: Box) -> Box:
        """Say where a box of the frame lies in the arrays."""
        return tuple(slice(part.start - o, part.stop - o) for part, o in zip(box, self.origin, strict=True))

    def decode(self, task: Literal["objects", "classes"], classes: int, read: ReadStrokes | None = None) -> Targets:
        """Say what is to be learnt, and number the strokes; a pixel of another class than before is free again.

        `read` changes labels before they are understood, where they do not have the annotation encoding yet.

        Raises
        ------
        AnnotationError
            If there are values that the encoding does not have.
        """
        if self.targets is None:
            targets = decode_strokes(self.labels if read is None else read(self.labels), task, classes)
            kinds = (targets.classes + np.uint8(1)) * targets.valid
            self.fate[kinds != self.kinds] = FREE
            self.kinds = kinds
            self.places = np.flatnonzero(targets.valid)
            pixels = int(np.prod(self.frame_shape, dtype=np.int64))
            self.strokes = number_strokes(kinds, self.places, _LARGE * pixels, self._regions)
            self.targets = targets
        return self.targets

    def _regions(self, places: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
        """Return numbers of the square regions of the frame that pixels are in; they stay while the part grows."""
        side = max(8, -(-max(self.frame_shape) // _REGIONS))
        counts = [-(-n // side) for n in self.frame_shape]
        axes = np.unravel_index(places, self.labels.shape)
        cells = tuple((axis + o) // side for axis, o in zip(axes, self.origin, strict=True))
        return np.asarray(np.ravel_multi_index(cells, counts), np.int64)


def put_into(
    parts: Sequence[PaintedPart], frame_shape: tuple[int, ...], box: Box, block: npt.NDArray[Any], change: int
) -> tuple[list[PaintedPart], bool]:
    """Take what is now painted in a box of a frame.

    Parameters
    ----------
    parts : sequence of PaintedPart
        All that was painted on the frame.
    frame_shape : tuple of int
        Size of the frame.
    box : tuple of slice
        The part of the frame that may have changed.
    block : numpy.ndarray
        (\\*box) labels.
    change : int
        Number of the change.

    Returns
    -------
    parts : list of PaintedPart
        All that is painted now, in the boxes of `napari_unet.data.painted_area.boxes_apart`, sorted by their corners;
        those in which nothing changed are the same as before.
    different : bool
        Whether anything is different.
    """
    painted = [
        tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, inner, strict=True))
        for inner in find_boxes(block)
    ]
    large_enough = _arrange(parts, frame_shape, painted)
    different = [part.put(box, block, change) for part in large_enough]
    return _arrange(large_enough, frame_shape), any(different)


def _arrange(
    parts: Sequence[PaintedPart], frame_shape: tuple[int, ...], painted: Sequence[Box] = ()
) -> list[PaintedPart]:
    """Join, divide, enlarge and crop parts so that they are as they should be with what else is to be painted."""
    known = {_ends(part.box): part for part in parts}
    arranged = []
    wanted = join_boxes([*painted, *(box for part in parts for box in part.boxes)])
    kept = {_ends(box) for box in wanted}
    changed = [part for ends, part in known.items() if ends not in kept]
    for box in wanted:
        part = known.get(_ends(box))
        if part is None:
            part = PaintedPart(frame_shape, box)
            for other in changed:
                part.copy_from(other)
        arranged.append(part)
    return arranged


def _ends(box: Box) -> tuple[tuple[int, int], ...]:
    return tuple((part.start, part.stop) for part in box)
