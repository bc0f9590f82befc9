"""What shall be told apart in an image: drawn at random among the things that are in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["BORDER", "LARGE", "RIM", "common_things", "draw_classes", "draw_things", "mark_borders"]

RIM, LARGE, BORDER = 253, 254, 255  # numbers of what becomes a thing of its own; scenes and sets use lower ones

Things = npt.NDArray[np.uint8]
Objects = npt.NDArray[np.uint16]

_MARKED = 0.5  # share of the tasks in which a part of what is in the images becomes a thing of its own
_RIMS = (2.0, 3.0, 5.0, 8.0)  # widths in pixels
_INSIDE = 0.6  # share of the rims that lie inside of their thing
_SMALLEST = 12  # pixels of an object that counts among large and small ones
_FEWEST = 5  # of these that make a middle
_SEVERAL = 0.12  # share of tasks with more than one class beside the background
_JOINED = 0.2  # share of the others whose foreground is two things
_LEAST = 0.004  # share of an image's pixels that makes a thing worth to be looked for


def draw_things(rng: np.random.Generator, maps: Sequence[Things], objects: Sequence[Objects] | None) -> list[Things]:
    """Draw what counts as a thing: all that is in the images, and often a part of it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    maps : sequence of numpy.ndarray
        The things in the images that belong together.
    objects : sequence of numpy.ndarray or None
        (\\*space) 0, or the number of an object; None where nothing is countable.

    Returns
    -------
    list of numpy.ndarray
        `maps` as they are, or with one more thing: the outlines of the objects (`BORDER`), the larger half of these
        (`LARGE`), or what lies along the edge of a thing (`RIM`). Of one thing alone the outlines of its objects are
        always marked, if it has any.
    """
    things = common_things(maps)
    alone = len(things) < 2
    if (alone and objects is None) or (not alone and rng.random() >= _MARKED):
        return list(maps)
    kind = rng.integers(4)
    if objects is not None and (alone or kind < 2):
        wide = bool(rng.random() < 0.5)
        return [mark_borders(m, o, wide=wide) for m, o in zip(maps, objects, strict=True)]
    if objects is not None and kind == 2:
        return _mark_large(maps, objects)
    thing, width, inside = int(rng.choice(things)), float(rng.choice(_RIMS)), bool(rng.random() < _INSIDE)
    return [_mark_rim(m, thing, width, inside=inside) for m in maps]


def mark_borders(regions: Things, objects: Objects, *, wide: bool) -> Things:
    """Make the outlines of objects a thing of their own, `BORDER`; one pixel wide, or three."""
    outline = np.zeros(objects.shape, bool)
    for axis in range(objects.ndim):
        ends = [slice(None)] * objects.ndim
        ends[axis] = slice(1, None)
        outline[tuple(ends)] |= np.diff(objects.astype(np.int32), axis=axis) != 0
    if wide:
        outline = ndimage.binary_dilation(outline)
    return np.where(outline, np.uint8(BORDER), regions)


def _mark_large(maps: Sequence[Things], objects: Sequence[Objects]) -> list[Things]:
    """Make the objects that are larger than most a thing of their own; where there are too few to say, none."""
    sizes = [np.bincount(o.ravel()) for o in objects]
    countable = np.concatenate([s[1:][s[1:] >= _SMALLEST] for s in sizes])
    if len(countable) < _FEWEST:
        return list(maps)
    middle = np.median(countable)
    parts = zip(maps, objects, sizes, strict=True)
    return [np.where((o > 0) & (s[o] > middle), np.uint8(LARGE), m) for m, o, s in parts]


def _mark_rim(regions: Things, thing: int, width: float, *, inside: bool) -> Things:
    """Make what lies along the edge of a thing one of its own, in pixels inside or outside of it."""
    depth = ndimage.distance_transform_edt((regions == thing) == inside)
    return np.where((depth > 0) & (depth <= width), np.uint8(RIM), regions)


def common_things(maps: Sequence[Things], least: float = _LEAST) -> list[int]:
    """List the things that make up more than the share `least` of every map."""
    shares = [np.bincount(m.ravel(), minlength=256) / m.size for m in maps]
    return np.flatnonzero(np.min(shares, axis=0) > least).tolist()


def draw_classes(rng: np.random.Generator, maps: Sequence[Things]) -> tuple[list[npt.NDArray[Any]], int] | None:
    """Draw which things are foreground.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    maps : sequence of numpy.ndarray
        The things in the images that belong together.

    Returns
    -------
    tuple of (list of numpy.ndarray, int) or None
        The classes of each image, uint8 with 0 for all that is not looked for, and their number; None where the images
        have not two things in common.
    """
    common = common_things(maps)
    if len(common) < 2:
        return None
    several = rng.random() < _SEVERAL and len(common) > 2
    count = min(2 + int(rng.random() < 0.25), len(common) - 1) if several else 1
    joined = not several and len(common) > 2 and rng.random() < _JOINED
    picked = rng.permutation(common)[: 2 if joined else count]
    table = np.zeros(256, np.uint8)
    table[picked] = 1 if joined else np.arange(1, count + 1)
    return [table[m] for m in maps], count + 1
