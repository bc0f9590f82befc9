"""Where on a large frame anything is painted: boxes far apart, so that what lies between them costs nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.axes import Box

__all__ = ["GAPS", "boxes_apart", "find_boxes", "join_boxes", "merge_near"]

GAPS = {2: (256, 256), 3: (64, 128, 128)}  # pixels; as wide as the largest training crop, which so sees one box only
_ONE_BOX = 2**20  # pixels of the box around everything up to which it is not divided
_TILES = 4  # in a gap: what is painted in two of them side by side is near


def boxes_apart(painted: npt.NDArray[Any]) -> list[Box]:
    """Return boxes that hold all that is painted on a frame: one, or where that would be large several far apart.

    Parameters
    ----------
    painted : numpy.ndarray
        (\\*space) bool or whole numbers, 0 = not painted; in 2D or 3D.

    Returns
    -------
    list of tuple of slice
        Sorted by their corners, each as small as it can be. Two of them are `GAPS` apart along at least one axis.

    Examples
    --------
    >>> painted = np.zeros((3000, 2000), bool)
    >>> painted[10:20, 30] = painted[2500, 40:50] = True
    >>> boxes_apart(painted[:200])
    [(slice(10, 20, None), slice(30, 31, None))]
    >>> len(boxes_apart(painted)), boxes_apart(painted[:5])
    (1, [])
    >>> painted[2500, 1900] = True
    >>> [tuple(part.start for part in box) for box in boxes_apart(painted)]
    [(10, 30), (2500, 40), (2500, 1900)]
    """
    return join_boxes(find_boxes(painted))


def join_boxes(boxes: Sequence[Box]) -> list[Box]:
    """Return the box around all boxes if it is small, otherwise boxes far apart; see `boxes_apart`."""
    if not boxes:
        return []
    spans = list(zip(*boxes, strict=True))
    whole = tuple(slice(min(part.start for part in axis), max(part.stop for part in axis)) for axis in spans)
    if math.prod(part.stop - part.start for part in whole) <= _ONE_BOX:
        return [whole]
    return merge_near(boxes, GAPS[len(whole)])


def merge_near(boxes: Sequence[Box], gap: Sequence[int]) -> list[Box]:
    """Join boxes that are less than `gap` apart along all axes, again and again; returns them sorted.

    Examples
    --------
    >>> merge_near([(slice(0, 2), slice(0, 9)), (slice(7, 8), slice(3, 4)), (slice(4, 5), slice(5, 6))], (3, 3))
    [(slice(0, 8, None), slice(0, 9, None))]
    """
    if not boxes:
        return []
    low = np.array([[part.start for part in box] for box in boxes], np.int64)
    high = np.array([[part.stop for part in box] for box in boxes], np.int64)
    at = 0
    while at < len(low):
        near = ((low < high[at] + gap) & (low[at] < high + gap)).all(axis=1)
        low[at], high[at] = low[near].min(axis=0), high[near].max(axis=0)
        near[at] = False
        if not near.any():
            at += 1
            continue
        low, high = low[~near], high[~near]  # the larger box is compared with all the others again
        at -= int(near[:at].sum())
    order = np.lexsort(low.T[::-1])
    return [
        tuple(slice(a, b) for a, b in zip(*ends, strict=True))
        for ends in zip(low[order].tolist(), high[order].tolist(), strict=True)
    ]


def find_boxes(painted: npt.NDArray[Any]) -> list[Box]:
    """Return the boxes of `boxes_apart`, but several where a single one would be small, too.

    A frame is gone through once, in tiles; beyond that only tiles at the edges of boxes are looked at.
    """
    if painted.size == 0:
        return []
    if painted.dtype.kind not in "bui":
        painted = painted != 0
    gap = GAPS[painted.ndim]
    tile = tuple(side // _TILES for side in gap)
    numbers, _ = ndimage.label(_painted_tiles(painted, tile), np.ones((3,) * painted.ndim))
    boxes = []
    for cells in ndimage.find_objects(numbers):
        box = [
            slice(cell.start * side, min(cell.stop * side, n))
            for cell, side, n in zip(cells, tile, painted.shape, strict=True)
        ]
        boxes.append(tuple(_tight_sides(painted, box, tile)))
    return merge_near(boxes, gap)


def _painted_tiles(painted: npt.NDArray[Any], tile: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Say of each tile whether anything in it is painted."""
    rows = []
    for first in range(0, len(painted), tile[0]):
        found = np.bitwise_or.reduce(painted[first : first + tile[0]], axis=0)
        for axis, side in enumerate(tile[1:]):
            found = np.bitwise_or.reduceat(found, range(0, found.shape[axis], side), axis=axis)
        rows.append(found != 0)
    return np.stack(rows)


def _tight_sides(painted: npt.NDArray[Any], box: list[slice], tile: tuple[int, ...]) -> Iterator[slice]:
    """Move the sides of a box to what is painted; along each axis its first and last tiles hold something."""
    for axis, (part, side) in enumerate(zip(box, tile, strict=True)):
        ends = []
        for first in (part.start, (part.stop - 1) // side * side):
            span = slice(first, min(first + side, part.stop))
            slab = painted[tuple(span if i == axis else other for i, other in enumerate(box))] != 0
            ends.append(first + np.flatnonzero(slab.any(axis=tuple(i for i in range(len(box)) if i != axis))))
        yield slice(int(ends[0][0]), int(ends[1][-1]) + 1)
