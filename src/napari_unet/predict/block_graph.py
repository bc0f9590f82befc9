"""What is known of one block of a frame, and how the blocks' hills are put together to objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_unet.data.axes import Box
from napari_unet.predict.hills import Hills, Passes, find_hills, merge_hills

__all__ = ["BlockGrid", "Part", "Parts", "find_part", "number_objects"]

_Integers = npt.NDArray[np.int64]
Part = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class BlockGrid:
    """A frame cut into blocks, which are counted in the order of an array.

    Attributes
    ----------
    shape : tuple of int
        Size of the frame.
    sides : tuple of int
        Size of a block; the last ones of an axis may be smaller.
    """

    shape: tuple[int, ...]
    sides: tuple[int, ...]

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Blocks along each axis."""
        return tuple(-(-size // side) for size, side in zip(self.shape, self.sides, strict=True))

    @property
    def count(self) -> int:
        """Blocks in all."""
        return int(np.prod(self.counts, dtype=np.int64))

    def box(self, number: int) -> Box:
        """Say where a block lies."""
        places = np.unravel_index(number, self.counts)
        return tuple(
            slice(int(place) * side, min(size, (int(place) + 1) * side))
            for place, side, size in zip(places, self.sides, self.shape, strict=True)
        )

    def order(self, focus: Sequence[float] | None) -> list[int]:
        """List the blocks, those nearest to a point first."""
        numbers = list(range(self.count))
        if focus is None:
            return numbers
        middles = {n: [(span.start + span.stop) / 2 for span in self.box(n)] for n in numbers}
        return sorted(numbers, key=lambda n: sum((at - to) ** 2 for at, to in zip(middles[n], focus, strict=True)))

    def owners(self, pixels: _Integers) -> _Integers:
        """Return the block of each pixel of the frame, (n)."""
        places = np.unravel_index(pixels, self.shape)
        blocks = tuple(place // side for place, side in zip(places, self.sides, strict=True))
        numbers: _Integers = np.ravel_multi_index(blocks, self.counts)
        return numbers

    def frame_pixels(self, number: int, window_pixels: _Integers) -> _Integers:
        """Turn pixels of the window of a block, with one pixel around it, into pixels of the frame; (...) int64."""
        box = self.box(number)
        places = np.unravel_index(window_pixels, [span.stop - span.start + 2 for span in box])
        moved = tuple(place + span.start - 1 for place, span in zip(places, box, strict=True))
        pixels: _Integers = np.ravel_multi_index(moved, self.shape)
        return pixels


class Parts(Protocol):
    """Where the parts of all blocks are kept."""

    def get(self, number: int, name: str) -> npt.NDArray[Any]:
        """Return one array of the part of a block."""


def find_part(landscape: npt.NDArray[np.float32], grid: BlockGrid, number: int, *, depth: float, min_size: int) -> Part:
    """Find the objects and open hills of one block.

    Hills that hang together with one that may go on in a neighbour are open, and are named by their tops. A top around
    the block stands for the neighbour's hill that the pixel belongs to.

    Parameters
    ----------
    landscape : numpy.ndarray
        (\\*(block + 2)) float32, of the block and one pixel around it.
    grid : BlockGrid
        The blocks of the frame.
    number : int
        Which block.
    depth, min_size : float, int
        See `napari_unet.predict.instances.separate_objects`.

    Returns
    -------
    dict of str to numpy.ndarray
        ``labels`` (\\*block): 0, then the k finished objects from 1 on, then the m open hills from k + 1 on.
        ``objects`` (k): the first top of each object, a pixel of the frame. ``tops``, ``heights``, ``sizes`` (m): of
        the open hills. ``pass_hills`` (p, 2), ``pass_heights`` (p), ``pass_pixels`` (p, 2): `Passes` between them.
        ``rim_pixels``, ``rim_hills`` (r): the open hill of each foreground pixel that neighbours may ask for.
    """
    hills = find_hills(landscape)
    inside = hills.numbers[(slice(1, -1),) * landscape.ndim]
    sizes = np.bincount(inside.ravel(), minlength=len(hills.tops) + 1)[1:]
    groups = _components(len(hills.tops), hills.passes.hills)
    goes_on = np.bincount(groups, hills.around)[groups] > 0
    closed = np.flatnonzero(~goes_on)
    objects = merge_hills(hills.heights[closed], _between(hills.passes, closed, len(sizes)), depth=depth)
    kept = np.bincount(objects, sizes[closed], len(closed)) >= max(1, min_size)
    first = closed[kept]
    passes = _own_passes(hills, grid, number)
    used = (sizes > 0) & goes_on
    used[passes.hills[goes_on[passes.hills[:, 0]]]] = True
    opened = np.flatnonzero(used)
    table = np.zeros(len(sizes) + 1, np.uint32)
    table[1 + closed] = np.where(kept, np.cumsum(kept), 0)[objects]
    table[1 + opened] = len(first) + 1 + np.arange(len(opened))
    labels = table[inside]
    passes = _between(passes, opened, len(sizes))
    rim = _rim(grid, number, labels > len(first))
    return {
        "labels": labels.astype(np.min_scalar_type(len(first) + len(opened))),
        "objects": grid.frame_pixels(number, hills.tops[first]),
        "tops": grid.frame_pixels(number, hills.tops[opened]),
        "heights": hills.heights[opened],
        "sizes": sizes[opened],
        "pass_hills": passes.hills,
        "pass_heights": passes.heights,
        "pass_pixels": grid.frame_pixels(number, passes.pixels),
        "rim_pixels": _pixels_of(grid, number, rim),
        "rim_hills": labels[rim].astype(np.int64) - len(first) - 1,
    }


def _components(count: int, pairs: _Integers) -> _Integers:
    """Return the group of each thing, (count), where pairs of things, (n, 2), hang together."""
    graph = sparse.coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    numbers: _Integers = sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers


def _between(passes: Passes, hills: _Integers, count: int) -> Passes:
    """Keep the passes between some of `count` hills, which are counted anew."""
    numbers = np.full(count, -1, np.int64)
    numbers[hills] = np.arange(len(hills))
    renamed = numbers[passes.hills]
    kept = (renamed >= 0).all(axis=1)
    return Passes(renamed[kept], passes.heights[kept], passes.pixels[kept])


def _own_passes(hills: Hills, grid: BlockGrid, number: int) -> Passes:
    """Leave out the passes over the faces to blocks before this one, which know them too."""
    passes = hills.passes
    kept = (grid.owners(grid.frame_pixels(number, passes.pixels)) >= number).all(axis=1)
    return Passes(passes.hills[kept], passes.heights[kept], passes.pixels[kept])


def _rim(grid: BlockGrid, number: int, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Keep those of the chosen pixels, (\\*block), that lie at a face to another block."""
    rim = np.zeros(chosen.shape, bool)
    for axis, (span, size) in enumerate(zip(grid.box(number), grid.shape, strict=True)):
        faces = np.moveaxis(rim, axis, 0)
        if span.start > 0:
            faces[0] = True
        if span.stop < size:
            faces[-1] = True
    return rim & chosen


def _pixels_of(grid: BlockGrid, number: int, chosen: npt.NDArray[np.bool_]) -> _Integers:
    """List the chosen pixels of a block, (\\*block), as pixels of the frame, in order."""
    places = tuple(at + span.start for at, span in zip(np.nonzero(chosen), grid.box(number), strict=True))
    pixels: _Integers = np.ravel_multi_index(places, grid.shape)
    return pixels


def number_objects(
    parts: Parts, grid: BlockGrid, *, depth: float, min_size: int
) -> tuple[list[npt.NDArray[np.uint32]], int]:
    """Put the open hills of all blocks together, and number all objects in the order of their first tops.

    Returns
    -------
    list of numpy.ndarray, int
        For each block the id of each of its ``labels``; and how many objects there are.
    """
    numbers = range(grid.count)
    starts = np.cumsum([0, *(len(parts.get(number, "tops")) for number in numbers)])
    tops = np.concatenate([parts.get(number, "tops") for number in numbers])
    own = np.concatenate([grid.owners(parts.get(number, "tops")) == number for number in numbers])
    links, passes = _join(parts, grid, starts)
    groups = _components(len(tops), links)
    first = np.flatnonzero(own)
    first = first[np.argsort(tops[first])]
    ranks = np.zeros(len(first), np.int64)  # each group of linked hills has one true top
    ranks[groups[first]] = np.arange(len(first))
    hills = ranks[groups]
    heights = np.concatenate([parts.get(number, "heights") for number in numbers])
    sizes = np.bincount(hills, np.concatenate([parts.get(number, "sizes") for number in numbers]), len(first))
    pairs = np.sort(hills[passes.hills], axis=1)
    different = pairs[:, 0] != pairs[:, 1]
    joined = Passes(pairs[different], passes.heights[different], passes.pixels[different]).pick_highest()
    objects = merge_hills(heights[first], joined, depth=depth)
    kept = np.bincount(objects, sizes, len(first)) >= max(1, min_size)
    closed = [parts.get(number, "objects") for number in numbers]
    keys = np.concatenate([*closed, tops[first[kept]]])
    ids = np.empty(len(keys), np.uint32)
    ids[np.argsort(keys)] = np.arange(1, len(keys) + 1)
    ends = np.cumsum([len(found) for found in closed])
    of_hill = np.zeros(len(first), np.uint32)
    of_hill[kept] = ids[ends[-1] :]
    of_hill = of_hill[objects]
    zero = np.zeros(1, np.uint32)
    tables = [
        np.concatenate([zero, ids[end - len(found) : end], of_hill[hills[start:stop]]])
        for found, end, start, stop in zip(closed, ends, starts[:-1], starts[1:], strict=True)
    ]
    return tables, len(keys)


def _join(parts: Parts, grid: BlockGrid, starts: _Integers) -> tuple[_Integers, Passes]:
    """List which open hills of different blocks are one, (n, 2), and all passes; hills are counted over all blocks."""
    links = [np.zeros((0, 2), np.int64)]
    passes = []
    for number in range(grid.count):
        tops = parts.get(number, "tops")
        owners = grid.owners(tops)
        for owner in np.unique(owners[owners != number]).tolist():
            here = np.flatnonzero(owners == owner)
            at = np.searchsorted(parts.get(owner, "rim_pixels"), tops[here])
            there = parts.get(owner, "rim_hills")[at]
            links.append(np.stack([starts[number] + here, starts[owner] + there], axis=1))
        hills = parts.get(number, "pass_hills") + starts[number]
        passes.append(Passes(hills, parts.get(number, "pass_heights"), parts.get(number, "pass_pixels")))
    return np.concatenate(links), Passes(
        np.concatenate([found.hills for found in passes]),
        np.concatenate([found.heights for found in passes]),
        np.concatenate([found.pixels for found in passes]),
    )
