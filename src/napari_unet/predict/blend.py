"""Blending tiles that overlap, for networks whose result depends on the tile.

Instance and group normalisation measure each tile anew, and attention looks at all of it, so two neighbouring tiles do
not agree where they meet. They overlap then, and in the overlap the result goes over gradually from one to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box

__all__ = ["Blender", "box_within", "common_box", "tile_weight"]

FloatArray = npt.NDArray[np.float32]
Place = tuple[int, ...]  # a position in the stack


@dataclass
class Blender:
    """Takes tiles in any order and returns each blended with those before it that it overlaps.

    What is returned last for a pixel is the mean of all tiles there, weighted by how far inside of the tile the pixel
    lies. Only tiles that a later one may still overlap are kept.

    Attributes
    ----------
    overlap : int
        Pixels by which a tile goes beyond its own part of the frame on each side.

    Examples
    --------
    >>> blender = Blender(overlap=1)
    >>> first = blender.add((), (slice(0, 4),), np.zeros((1, 4), np.float32))
    >>> second = blender.add((), (slice(2, 6),), np.ones((1, 4), np.float32))
    >>> second.round(2)
    array([[0.33, 0.67, 1.  , 1.  ]], dtype=float32)
    """

    overlap: int
    _kept: dict[Place, list[tuple[Box, FloatArray, FloatArray]]] = field(default_factory=dict)

    def add(self, place: Place, box: Box, block: FloatArray) -> FloatArray:
        """Return a tile (class, \\*box) blended with the earlier tiles of the same place in the stack."""
        weight = tile_weight(block.shape[1:], (self.overlap,) * len(box))
        own = block * weight
        total, sum_of_weights = own.copy(), weight.copy()
        for other, values, weights in self._kept.get(place, []):
            common = common_box(box, other)
            if common is not None:
                here, there = box_within(common, box), box_within(common, other)
                total[(slice(None), *here)] += values[(slice(None), *there)]
                sum_of_weights[here] += weights[there]
        self._kept.setdefault(place, []).append((box, own, weight))
        result: FloatArray = total / sum_of_weights
        return result

    def forget(self, pending: Iterable[tuple[Place, Box]]) -> None:
        """Let go of the tiles that none of those to come overlaps."""
        boxes: dict[Place, list[Box]] = {}
        for place, box in pending:
            if place in self._kept:
                boxes.setdefault(place, []).append(box)
        for place in list(self._kept):
            to_come = boxes.get(place, [])
            self._kept[place] = [
                entry for entry in self._kept[place] if any(common_box(entry[0], box) is not None for box in to_come)
            ]
            if not self._kept[place]:
                del self._kept[place]


def tile_weight(shape: Sequence[int], overlaps: Sequence[int]) -> FloatArray:
    """Return the weight of each pixel of a tile: 1 in the middle, falling over the overlap towards each end.

    Examples
    --------
    >>> tile_weight((5,), (1,)).round(2)
    array([0.33, 0.67, 1.  , 0.67, 0.33], dtype=float32)
    """
    weight = np.ones(tuple(shape), np.float32)
    for axis, (size, overlap) in enumerate(zip(shape, overlaps, strict=True)):
        steps = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1))
        ramp = np.minimum(steps / (2 * overlap + 1), 1).astype(np.float32)
        weight *= ramp.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return weight


def common_box(a: Box, b: Box) -> Box | None:
    """Return the box that two boxes share, None if there is none."""
    box = tuple(slice(max(p.start, q.start), min(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
    return box if all(part.start < part.stop for part in box) else None


def box_within(box: Box, outer: Box) -> Box:
    """Express a box relative to the corner of another."""
    return tuple(slice(p.start - q.start, p.stop - q.start) for p, q in zip(box, outer, strict=True))
