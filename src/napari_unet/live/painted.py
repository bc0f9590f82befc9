"""The painted part of one frame: a copy of its labels, and what is known of each pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.data.strokes import Targets, decode_strokes
from napari_unet.learn.holdout import number_strokes
from napari_unet.learn.prepare import bounding_box

__all__ = ["FREE", "HELD", "LEARNT", "PaintedPart", "ReadStrokes"]

ReadStrokes = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

FREE, LEARNT, HELD = 0, 1, 2  # fate of a pixel: not used yet, trained on, held out for the score

_LARGE = 0.1  # share of the frame from which on a stroke falls into regions
_REGIONS = 6  # along the longest side of the frame


class PaintedPart:
    r"""A copy of what is painted on a frame.

    It holds the smallest box around all strokes, so that memory is taken only there, and can be given changes.

    Parameters
    ----------
    frame_shape : tuple of int
        Size of the frame.

    Attributes
    ----------
    origin : tuple of int
        Corner of the box in the frame.
    labels : numpy.ndarray
        (\*part) what was painted.
    born : numpy.ndarray
        (\*part) uint32, number of the change that painted each pixel.
    kinds : numpy.ndarray
        (\*part) uint8, 0 = not painted, otherwise 1 more than the index of the class; see `decode`.
    fate : numpy.ndarray
        (\*part) uint8: `FREE`, `LEARNT` or `HELD`.
    strokes : numpy.ndarray
        (\*part) int64, number of the stroke of each pixel; 0 = not painted.
    targets : Targets or None
        What the labels mean; None: not decoded since the last change.
    """

    def __init__(self, frame_shape: Sequence[int]) -> None:
        self.frame_shape = tuple(frame_shape)
        self.targets: Targets | None = None
        self.origin = (0,) * len(self.frame_shape)
        empty = (0,) * len(self.frame_shape)
        self.labels: npt.NDArray[Any] = np.zeros(empty, np.uint8)
        self.born: npt.NDArray[np.uint32] = np.zeros(empty, np.uint32)
        self.kinds: npt.NDArray[np.uint8] = np.zeros(empty, np.uint8)
        self.fate: npt.NDArray[np.uint8] = np.zeros(empty, np.uint8)
        self.strokes: npt.NDArray[np.int64] = np.zeros(empty, np.int64)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is painted."""
        return self.labels.size == 0

    def put(self, box: Box, block: npt.NDArray[Any], change: int) -> bool:
        """Take what is now painted in a box of the frame; returns whether anything is different."""
        if not block.any():
            box = self._meet(box)
            block = np.zeros([part.stop - part.start for part in box], self.labels.dtype)
        else:
            inner = bounding_box(block != 0)
            self._grow(tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, inner, strict=True)))
            met = self._meet(box)
            block = block[tuple(slice(m.start - a.start, m.stop - a.start) for m, a in zip(met, box, strict=True))]
            box = met
        if block.size == 0:
            return False
        here = tuple(slice(part.start - o, part.stop - o) for part, o in zip(box, self.origin, strict=True))
        if np.can_cast(block.dtype, self.labels.dtype):
            other = self.labels[here] != block
        else:
            self.labels = self.labels.astype(np.promote_types(self.labels.dtype, block.dtype))
            other = self.labels[here] != block
        if not other.any():
            self._crop()
            return False
        self.labels[here] = block
        self.born[here][other] = change
        self.targets = None
        self._crop()
        return True

    def _meet(self, box: Box) -> Box:
        """Return the part of a box of the frame that lies in the painted part."""
        spans = []
        for part, o, n in zip(box, self.origin, self.labels.shape, strict=True):
            low = max(part.start, o)
            spans.append(slice(low, max(low, min(part.stop, o + n))))
        return tuple(spans)

    def _grow(self, box: Box) -> None:
        """Make the part hold a box, too."""
        if self.is_empty:
            low, high = [part.start for part in box], [part.stop for part in box]
        else:
            ends = [o + n for o, n in zip(self.origin, self.labels.shape, strict=True)]
            low = [min(o, part.start) for o, part in zip(self.origin, box, strict=True)]
            high = [max(end, part.stop) for end, part in zip(ends, box, strict=True)]
        self._reshape(tuple(low), tuple(high))

    def _crop(self) -> None:
        painted = self.labels != 0
        if not painted.any():
            self._reshape(self.origin, self.origin)
            return
        box = bounding_box(painted)
        low = tuple(o + part.start for o, part in zip(self.origin, box, strict=True))
        self._reshape(low, tuple(o + part.stop for o, part in zip(self.origin, box, strict=True)))

    def _reshape(self, low: tuple[int, ...], high: tuple[int, ...]) -> None:
        """Let all arrays reach from `low` to `high` in the frame."""
        shape = tuple(b - a for a, b in zip(low, high, strict=True))
        if low == self.origin and shape == self.labels.shape:
            return
        there, here = [], []
        for a, b, o, n in zip(low, high, self.origin, self.labels.shape, strict=True):
            first = max(a, o)
            last = max(first, min(b, o + n))
            there.append(slice(first - o, last - o))
            here.append(slice(first - a, last - a))
        for name in ("labels", "born", "kinds", "fate", "strokes"):
            old = getattr(self, name)
            new = np.zeros(shape, old.dtype)
            new[tuple(here)] = old[tuple(there)]
            setattr(self, name, new)
        self.origin = low
        self.targets = None

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
            kinds = np.where(targets.valid, targets.classes + np.uint8(1), np.uint8(0))
            self.fate[kinds != self.kinds] = FREE
            self.kinds = kinds
            pixels = int(np.prod(self.frame_shape, dtype=np.int64))
            self.strokes = number_strokes(kinds, _LARGE * pixels, self._regions())
            self.targets = targets
        return self.targets

    def _regions(self) -> npt.NDArray[np.int64]:
        """Return numbers of square regions of the frame, which stay where they are while the part grows."""
        side = max(8, -(-max(self.frame_shape) // _REGIONS))
        counts = [-(-n // side) for n in self.frame_shape]
        axes = [(np.arange(n) + o) // side for n, o in zip(self.labels.shape, self.origin, strict=True)]
        places = tuple(np.meshgrid(*axes, indexing="ij"))
        numbers: npt.NDArray[np.int64] = np.asarray(np.ravel_multi_index(places, counts), np.int64)
        return numbers
