"""Boxes around what is painted, read once: what is scored, and what a last layer is solved from and looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch

from napari_unet.data.crops import AnnotatedFrame, same_frames
from napari_unet.learn.stroke_pixels import is_small

__all__ = ["PaintedBox", "boxes_to_look_at", "cover_with_boxes"]

_MOST_BOXES = 24

_Mask = npt.NDArray[np.bool_]
_Part = tuple[AnnotatedFrame, _Mask]  # with the pixels that are not covered yet


@dataclass(frozen=True, eq=False)
class PaintedBox:
    """A piece of an image with the classes that are known in it.

    Attributes
    ----------
    image : torch.Tensor
        (1, C, \\*box) float32.
    classes : torch.Tensor
        (1, \\*box) int64; -1 where nothing is known.
    frame : AnnotatedFrame
        Which frame it is a piece of.
    start : tuple of int
        Its corner in the frame.
    """

    image: torch.Tensor
    classes: torch.Tensor
    frame: AnnotatedFrame
    start: tuple[int, ...]


def cover_with_boxes(
    frames: Sequence[AnnotatedFrame], box: tuple[int, ...], reach: tuple[int, ...], most: int = _MOST_BOXES
) -> list[PaintedBox]:
    """Cover the painted pixels of frames with boxes, each pixel once; the frames give a box in turn.

    Parameters
    ----------
    frames : sequence of AnnotatedFrame
        The frames.
    box, reach : tuple of int
        Size of a box, and of the part in its middle that a network writes.
    most : int
        How many boxes at most; what is painted beyond is left out.

    Returns
    -------
    list of PaintedBox
        The frames with a foreground class come first.
    """
    boxes: list[PaintedBox] = []
    rng = np.random.default_rng(0)
    groups = same_frames(frames)
    waiting = [[(frames[i], frames[i].weights > 0) for i in groups[number]] for number in rng.permutation(len(groups))]
    waiting.sort(key=lambda parts: not any(frame.classes[left].any() for frame, left in parts))
    while waiting and len(boxes) < most:
        parts = [(frame, left) for frame, left in waiting.pop(0) if left.any()]
        if not parts:
            continue
        frame, left, pixel = _draw_pixel(parts, rng)
        centre = [p + o for p, o in zip(pixel, frame.origin, strict=True)]
        start = tuple(c - side // 2 for c, side in zip(centre, box, strict=True))
        image, classes, weights = frame.keep(left).read(start, tuple(map(sum, zip(start, box, strict=True))))
        known = np.where(weights > 0, classes, -1)
        boxes.append(PaintedBox(torch.from_numpy(image[None]), torch.from_numpy(known[None]), frame, start))
        part = []
        for c, o, side in zip(centre, frame.origin, reach, strict=True):
            part.append(slice(max(0, c - side // 2 - o), max(0, c - side // 2 + side - o)))
        left[tuple(part)] = False
        waiting.append(parts)
    return boxes


def _draw_pixel(parts: Sequence[_Part], rng: np.random.Generator) -> tuple[AnnotatedFrame, _Mask, tuple[int, ...]]:
    """Draw one of the pixels that are left in the parts of a frame; a rare class is as likely as a common one."""
    index = rng.choice(np.unique(np.concatenate([np.unique(frame.classes[left]) for frame, left in parts])))
    places = [np.flatnonzero(left & (frame.classes == index)) for frame, left in parts]
    number = int(rng.integers(sum(map(len, places))))
    ends = np.cumsum([len(own) for own in places])
    at = int(np.searchsorted(ends, number, side="right"))
    frame, left = parts[at]
    pixel = places[at][number - ends[at]]  # from behind
    return frame, left, tuple(int(axis) for axis in np.unravel_index(pixel, left.shape))


def boxes_to_look_at(
    frames: Sequence[AnnotatedFrame], box: tuple[int, ...], reach: tuple[int, ...], most: int = _MOST_BOXES
) -> list[PaintedBox]:
    """Cover small frames (`is_small`) with boxes in which nothing counts as painted; of too many some, evenly spread.

    Parameters
    ----------
    frames, box, reach, most
        As in `cover_with_boxes`.
    """
    places = [
        (frame, corner)
        for frame in frames
        if is_small(frame.reader.layout.frame_shape)
        for corner in product(
            *(range(0, n, side) for n, side in zip(frame.reader.layout.frame_shape, reach, strict=True))
        )
    ]
    boxes = []
    for frame, corner in places[:: max(1, -(-len(places) // most))]:
        start = tuple(a - (side - inner) // 2 for a, side, inner in zip(corner, box, reach, strict=True))
        image = frame.reader.read(frame.position, start, tuple(map(sum, zip(start, box, strict=True))))
        boxes.append(PaintedBox(torch.from_numpy(image[None]), torch.full((1, *box), -1), frame, start))
    return boxes
