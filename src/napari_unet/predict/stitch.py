"""Objects of a volume from the objects of its planes: those that overlap enough from plane to plane are one."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import ImageLayout
from napari_unet.errors import InputError
from napari_unet.predict.object_blocks import check_ids, choose_block
from napari_unet.predict.same_objects import SameObjects

__all__ = ["check_stitching", "stitch_planes", "stitch_stack", "stitching_steps"]

ChooseIds = Callable[[int, SameObjects], npt.NDArray[Any]]
_Integers = npt.NDArray[np.int64]


def stitch_planes(labels: npt.NDArray[np.integer[Any]], *, iou: float = 0.1) -> npt.NDArray[np.uint32]:
    """Join the objects of the planes of a volume.

    Two objects of neighbouring planes are one if their intersection over union is at least `iou`. Each goes on in at
    most one object of the next plane; the largest intersection over union is served first. An object that is missing
    in a plane begins anew after it.

    Parameters
    ----------
    labels : numpy.ndarray
        (Z, Y, X) integers, 0 = background; each object of a plane has an id of its own in that plane.
    iou : float
        Intersection over union from which on two objects are one, above 0 and up to 1. Round objects grow and shrink
        fast at their ends: a high value cuts off their caps, a low one joins objects that lie upon each other.

    Returns
    -------
    numpy.ndarray
        (Z, Y, X) uint32, 0 = background, 1, 2, ... one id for each object, in the order of the planes.

    Raises
    ------
    InputError
        If `labels` are not (Z, Y, X), or `iou` is out of its range.

    Examples
    --------
    >>> labels = np.zeros((3, 8, 20), int)
    >>> labels[0, :, :8], labels[1, :, 2:8], labels[1, :, 12:18], labels[2, :, 12:19] = 5, 9, 3, 7
    >>> stitch_planes(labels)[:, 0, ::4].tolist()
    [[1, 1, 0, 0, 0], [0, 1, 0, 2, 2], [0, 0, 0, 2, 2]]
    """
    if labels.ndim != 3:
        raise InputError(f"Expected `labels` to have the axes (Z, Y, X), but got the shape {labels.shape}.")
    stitched = np.array(labels, np.uint32)
    stitch_stack(stitched, ImageLayout("ZYX", labels.shape, 2), iou)
    return stitched


def check_stitching(iou: float, layout: ImageLayout) -> None:
    """Check that the planes of an image can be stitched.

    Raises
    ------
    InputError
        If `iou` is out of its range, or the network does not go through the planes of a Z axis.
    """
    if not 0 < iou <= 1:
        raise InputError(f"Expected the intersection over union for stitching to be above 0 and up to 1, got {iou}.")
    if "Z" not in layout.stack_letters:
        raise InputError(
            "Only the planes of a volume that a 2D model goes through can be stitched: "
            + ("this model sees the volume as a whole." if layout.ndim == 3 else "the image has no Z axis.")
        )


def stitch_stack(labels: Any, layout: ImageLayout, iou: float) -> int:
    """Join the objects of the planes of each volume of a stack, in place and block by block.

    Parameters
    ----------
    labels : array-like
        Integers with the axes `layout.label_axes`, 0 = background; each object of a plane has an id of its own in that
        plane. Anything that is read by ``labels[box]`` and written by ``labels[box] = block``.
    layout : ImageLayout
        The axes, seen by a 2D network.
    iou : float
        As in `stitch_planes`.

    Returns
    -------
    int
        How many objects there are; their ids are 1, 2, ... up to it.

    Raises
    ------
    InputError
        See `check_stitching`; and if the type of `labels` does not hold the ids.
    """
    steps = stitching_steps(labels, layout, iou)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return int(end.value)


def stitching_steps(
    labels: Any, layout: ImageLayout, iou: float, choose: ChooseIds | None = None
) -> Generator[float, None, int]:
    """Do the same plane by plane; see `stitch_stack`.

    Parameters
    ----------
    labels, layout, iou
        As there.
    choose : callable or None
        Is given how many objects there are and what they share with the ids of the planes, and returns the id of each
        object, that of 0 first; None: they are numbered through.

    Yields
    ------
    float
        How far it is, 0 to 1. Up to the half of it nothing is written, and it may be left.
    """
    check_stitching(iou, layout)
    along = layout.stack_letters.index("Z")
    boxes = _boxes(layout, getattr(labels, "chunks", None))
    tables: dict[tuple[int, ...], npt.NDArray[np.uint32]] = {}
    count, frames, same = 0, math.prod(layout.stack_shape), SameObjects()
    for position in sorted(layout.frames(), key=lambda at: (at[:along], at[along + 1 :], at[along])):
        before = (*position[:along], position[along] - 1, *position[along + 1 :])
        pairs, ids, sizes = _compare(labels, layout, before if position[along] > 0 else None, position, boxes)
        table = np.zeros(int(ids.max(initial=0)) + 1, np.uint32)
        for first, second in _match(*pairs, iou):
            table[second] = tables[before][first]
        new = ids[table[ids] == 0]
        table[new] = np.arange(count + 1, count + len(new) + 1)
        count += len(new)
        tables[position] = table
        same.add_counts(table[ids], ids, sizes)
        yield len(tables) / (2 * frames)
    if choose is None:
        check_ids(labels, count)
    else:
        chosen = choose(count, same)
        tables = {position: chosen[table] for position, table in tables.items()}
    for number, (position, box) in enumerate(product(tables, boxes), start=1):
        block = tables[position][layout.read_labels(labels, position, box)]
        labels[layout.label_box(position, box)] = layout.to_label_order(block[np.newaxis])[0]
        yield 0.5 + number / (2 * frames * len(boxes))
    return count


def _boxes(layout: ImageLayout, chunks: tuple[int, ...] | None) -> list[tuple[slice, ...]]:
    """Cut a plane into blocks."""
    sides = choose_block(layout.frame_shape, [chunks[place] for place in layout.space_axes] if chunks else None)
    return [
        tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True))
        for corner in product(*(range(0, size, side) for size, side in zip(layout.frame_shape, sides, strict=True)))
    ]


_Overlaps = tuple[_Integers, _Integers, npt.NDArray[np.float64]]


def _compare(
    labels: Any, layout: ImageLayout, before: tuple[int, ...] | None, position: tuple[int, ...], boxes: list[Any]
) -> tuple[_Overlaps, _Integers, npt.NDArray[np.float64]]:
    """Return which objects of two planes overlap, by what intersection over union; ids and sizes of the second."""
    found: dict[int, int] = {}
    for box in boxes:
        here = layout.read_labels(labels, position, box).ravel().astype(np.int64)
        there = np.zeros_like(here)
        if before is not None:
            there = layout.read_labels(labels, before, box).ravel().astype(np.int64)
        codes, sizes = np.unique(there << 32 | here, return_counts=True)
        for code, size in zip(codes.tolist(), sizes.tolist(), strict=True):
            found[code] = found.get(code, 0) + size
    codes = np.array(list(found), np.int64)
    pairs = np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1)
    sizes = np.array(list(found.values()), np.float64)
    areas = [np.bincount(side, sizes) for side in pairs.T]
    both = (pairs > 0).all(axis=1)
    first, second, shared = pairs[both, 0], pairs[both, 1], sizes[both]
    ids = np.unique(pairs[:, 1])
    ids = ids[ids > 0]
    return (first, second, shared / (areas[0][first] + areas[1][second] - shared)), ids, areas[1][ids]


def _match(first: _Integers, second: _Integers, ratios: npt.NDArray[np.float64], iou: float) -> list[tuple[int, int]]:
    """Choose the pairs that are one object, the best first."""
    order = np.lexsort((second, first, -ratios))
    order = order[ratios[order] >= iou]
    matches: list[tuple[int, int]] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for one, other in zip(first[order].tolist(), second[order].tolist(), strict=True):
        if one not in taken[0] and other not in taken[1]:
            matches.append((one, other))
            taken[0].add(one)
            taken[1].add(other)
    return matches
