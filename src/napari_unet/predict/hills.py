"""Hills of a landscape, where they meet, and which of them are one object.

From each pixel one climbs to its highest neighbour; all pixels from which one comes to the same top make a hill. This
is the watershed by steepest ascent, and a pixel needs to know no more than its neighbours. Of equally high pixels the
first in the order of the array counts as the higher one, so that hills do not depend on how a frame is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

__all__ = ["Hills", "Passes", "find_hills", "merge_hills"]

_Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Passes:
    """Where hills meet: for two neighbouring hills the highest way from one to the other.

    Attributes
    ----------
    hills : numpy.ndarray
        (n, 2) int64, the lower number first.
    heights : numpy.ndarray
        (n) float32, the height of the lower of the two pixels between which one crosses.
    pixels : numpy.ndarray
        (n, 2) int64, those two pixels, the lower one first. Passes of one height come in their order.
    """

    hills: _Integers
    heights: npt.NDArray[np.float32]
    pixels: _Integers

    def pick_highest(self) -> Passes:
        """Keep the highest pass of each two hills; the highest passes come first."""
        order = np.lexsort((self.pixels[:, 1], self.pixels[:, 0], -self.heights))
        hills = self.hills[order]
        _, first = np.unique(hills[:, 0] * (hills.max(initial=0) + 1) + hills[:, 1], return_index=True)
        first.sort()
        chosen = order[first]
        return Passes(self.hills[chosen], self.heights[chosen], self.pixels[chosen])


@dataclass(frozen=True, eq=False)
class Hills:
    """The hills of a window: a box with one pixel around it.

    What lies around the box is known by its height only. Each foreground pixel there is a hill of its own, for the
    box beside to say which of its hills it belongs to.

    Attributes
    ----------
    numbers : numpy.ndarray
        (\\*window) int32, the hill of each pixel, from 1 on in the order of the tops; 0 = background.
    tops : numpy.ndarray
        (n) int64, the top of each hill, a pixel of the window counted in the order of the array.
    heights : numpy.ndarray
        (n) float32, the height of each top.
    around : numpy.ndarray
        (n) bool, whether the top lies around the box, where one may climb on.
    passes : Passes
        Where hills meet; hills are counted from 0 on, pixels in the window.
    """

    numbers: npt.NDArray[np.int32]
    tops: _Integers
    heights: npt.NDArray[np.float32]
    around: npt.NDArray[np.bool_]
    passes: Passes


def find_hills(landscape: npt.NDArray[np.float32]) -> Hills:
    """Find the hills of a box.

    Parameters
    ----------
    landscape : numpy.ndarray
        (\\*(box + 2)) float32, with one pixel around the box; 0 = background.

    Returns
    -------
    Hills
        The hills and the passes between them.
    """
    inside = np.zeros(landscape.shape, bool)
    inside[(slice(1, -1),) * landscape.ndim] = True
    heights, inner = landscape.ravel(), inside.ravel()
    pixels = np.flatnonzero((heights > 0) & inner)
    parents = np.arange(heights.size, dtype=np.int64 if heights.size > np.iinfo(np.int32).max else np.int32)
    parents[pixels] = _climb(heights, pixels, _offsets(landscape.shape))
    while True:
        higher = parents[parents[pixels]]
        if np.array_equal(higher, parents[pixels]):
            break
        parents[pixels] = higher
    tops = np.flatnonzero((heights > 0) & (parents == np.arange(heights.size)))
    numbers = np.zeros(heights.size, np.int32)
    numbers[tops] = np.arange(1, len(tops) + 1)
    numbers[pixels] = numbers[parents[pixels]]
    passes = _find_passes(heights, numbers, pixels, inner, _offsets(landscape.shape))
    return Hills(numbers.reshape(landscape.shape), tops, heights[tops], ~inner[tops], passes)


def _offsets(shape: tuple[int, ...]) -> list[int]:
    """List the way from a pixel to each of its neighbours and itself, in the order of the array."""
    strides = [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]
    return [
        sum(by * stride for by, stride in zip(step, strides, strict=True))
        for step in product((-1, 0, 1), repeat=len(shape))
    ]


def _climb(heights: npt.NDArray[np.float32], pixels: _Integers, offsets: list[int]) -> _Integers:
    """Return the highest of each pixel, (n), and its neighbours; the first of equals."""
    best = np.zeros(len(pixels), np.float32)
    way = np.zeros(len(pixels), np.int64)
    for offset in offsets:
        height = heights[pixels + offset]
        better = height > best
        best[better] = height[better]
        way[better] = offset
    return pixels + way


def _find_passes(
    heights: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.int32],
    pixels: _Integers,
    inner: npt.NDArray[np.bool_],
    offsets: list[int],
) -> Passes:
    """Find the passes between the hills of all neighbours of which at least one is in the box."""
    rim = pixels[np.any([~inner[pixels + offset] for offset in offsets], axis=0)]
    hills, ways = [], []
    for offset in offsets[: len(offsets) // 2]:
        both = pixels, pixels + offset
        outside = rim - offset
        outward = ~inner[outside]
        earlier = np.concatenate([both[1], rim[outward]])
        later = np.concatenate([both[0], outside[outward]])
        first, second = numbers[earlier], numbers[later]
        meet = (first != second) & (first > 0) & (second > 0)
        earlier, later = earlier[meet], later[meet]
        hills.append(np.sort(np.stack([first[meet], second[meet]], axis=1), axis=1).astype(np.int64) - 1)
        lower_first = heights[earlier] < heights[later]
        ways.append(np.stack([np.where(lower_first, earlier, later), np.where(lower_first, later, earlier)], axis=1))
    way = np.concatenate(ways)
    return Passes(np.concatenate(hills), heights[way[:, 0]], way).pick_highest()


def merge_hills(heights: npt.NDArray[np.float32], passes: Passes, *, depth: float) -> _Integers:
    """Join the hills whose valley is too shallow, from the highest pass down.

    `ranges` are hills that are connected above the pass that is looked at, joined or not: a small hill on the flank
    of a large object must not hide behind a smaller one in between.

    Parameters
    ----------
    heights : numpy.ndarray
        (n) height of each hill's top.
    passes : Passes
        The highest pass of each two hills, the highest first.
    depth : float
        A valley parts two objects if it is deeper than `depth` times the lower top.

    Returns
    -------
    numpy.ndarray
        (n) int64, the object of each hill: the first of the hills that it is made of.
    """
    objects = list(range(len(heights)))
    ranges = list(range(len(heights)))
    tops = heights.tolist()
    for (first, second), height in zip(passes.hills.tolist(), passes.heights.tolist(), strict=True):
        a, b = _root(ranges, first), _root(ranges, second)
        if a == b:
            continue
        if height >= (1 - depth) * min(tops[a], tops[b]):
            one, other = _root(objects, first), _root(objects, second)
            objects[max(one, other)] = min(one, other)
        ranges[b] = a
        tops[a] = max(tops[a], tops[b])
    return np.array([_root(objects, hill) for hill in range(len(objects))], np.int64)


def _root(parents: list[int], node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node
