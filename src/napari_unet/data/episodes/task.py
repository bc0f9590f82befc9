"""What shall be told apart in an image: drawn at random among the things that are in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["BORDER", "common_things", "draw_classes", "mark_borders"]

BORDER = 255  # number of the borders of objects where these are a thing of their own

_SEVERAL = 0.12  # share of tasks with more than one class beside the background
_JOINED = 0.2  # share of the others whose foreground is two things
_LEAST = 0.004  # share of an image's pixels that makes a thing worth to be looked for


def mark_borders(
    regions: npt.NDArray[np.uint8], objects: npt.NDArray[np.uint16], *, wide: bool
) -> npt.NDArray[np.uint8]:
    """Make the outlines of objects a thing of their own, `BORDER`; one pixel wide, or three."""
    outline = np.zeros(objects.shape, bool)
    for axis in range(objects.ndim):
        ends = [slice(None)] * objects.ndim
        ends[axis] = slice(1, None)
        outline[tuple(ends)] |= np.diff(objects.astype(np.int32), axis=axis) != 0
    if wide:
        outline = ndimage.binary_dilation(outline)
    return np.where(outline, np.uint8(BORDER), regions)


def common_things(maps: Sequence[npt.NDArray[np.uint8]], least: float = _LEAST) -> list[int]:
    """List the things that make up more than the share `least` of every map."""
    shares = [np.bincount(m.ravel(), minlength=256) / m.size for m in maps]
    return np.flatnonzero(np.min(shares, axis=0) > least).tolist()


def draw_classes(
    rng: np.random.Generator, maps: Sequence[npt.NDArray[np.uint8]]
) -> tuple[list[npt.NDArray[Any]], int] | None:
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
