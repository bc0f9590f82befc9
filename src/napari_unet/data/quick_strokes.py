"""Strokes on a known truth, thousands a second: a training that looks at new ones in each step paints with them.

`napari_unet.data.simulated_strokes` paints more carefully, and slower: its strokes turn away from what bars their way,
where those here end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["quick_strokes"]

_BENDING = 0.25  # standard deviation of the change of direction from one pixel to the next, in radians
_TRIES = 3  # walks, of which the longest becomes the stroke
_BESIDE = 4  # brush widths: how near to another class half of the background's strokes begin


def quick_strokes(
    truth: npt.NDArray[Any],
    counts: Sequence[int],
    rng: np.random.Generator,
    *,
    length: float = 20.0,
    width: float = 3.0,
) -> npt.NDArray[np.uint8]:
    """Paint a few strokes of each class on an image.

    Parameters
    ----------
    truth : numpy.ndarray
        (Y, X) integers, the class of each pixel from 0 on; 0 is the background, of which every other stroke begins
        beside what it is to be told from.
    counts : sequence of int
        Strokes of each class, at most 254 classes.
    rng : numpy.random.Generator
        Source of the numbers.
    length : float
        Most pixels of a stroke's path; it ends where its class ends.
    width : float
        Width of the brush in pixels.

    Returns
    -------
    numpy.ndarray
        (Y, X) uint8: 0 not painted, 1, 2, ... the classes 0, 1, ... A class that is not in the truth is not painted.

    Examples
    --------
    >>> truth = np.zeros((40, 40), int)
    >>> truth[10:30, 10:30] = 1
    >>> strokes = quick_strokes(truth, (3, 2), np.random.default_rng(0))
    >>> bool((strokes[strokes > 0] == truth[strokes > 0] + 1).all()), np.unique(strokes).tolist()
    (True, [0, 1, 2])
    """
    painted = np.zeros(truth.shape, np.uint8)
    for number, count in enumerate(counts):
        region = truth == number
        if count < 1 or not region.any():
            continue
        points = _longest_walks(region, _starts(region, count, width, beside=number == 0, rng=rng), length, rng)
        _brush(painted, region, points, number + 1, width)
    return painted


def _starts(
    region: npt.NDArray[np.bool_], count: int, width: float, *, beside: bool, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Draw `count` flat indices where a stroke begins, inside of the region where it is wide enough."""
    inner = np.flatnonzero(ndimage.binary_erosion(region, iterations=max(1, int(width / 2))))
    places = inner if inner.size else np.flatnonzero(region)
    starts: npt.NDArray[np.intp] = rng.choice(places, count)
    if beside:
        near = ndimage.maximum_filter(~region, 2 * round(_BESIDE * width) + 1).ravel()[places]
        if near.any():
            starts[::2] = rng.choice(places[near], (count + 1) // 2)
    return starts


def _longest_walks(
    region: npt.NDArray[np.bool_], starts: npt.NDArray[np.intp], length: float, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Return the (2, n) pixels of all strokes: of several walks from each start, the one that stays inside longest."""
    height, width = region.shape
    steps = max(4, round(length * float(np.exp(rng.normal(0, 0.3)))))
    shape = (_TRIES, len(starts), steps)
    heading = rng.uniform(0, 2 * np.pi, (*shape[:2], 1)) + np.cumsum(rng.normal(0, _BENDING, shape), -1)
    moves = np.stack([np.sin(heading), np.cos(heading)])
    moves[..., 0] = 0
    first = np.stack(np.unravel_index(starts, region.shape))[:, None, :, None]
    y, x = np.rint(first + np.cumsum(moves, -1)).astype(np.intp)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    inside[inside] = region[y[inside], x[inside]]
    inside = np.logical_and.accumulate(inside, -1)
    longest = inside.sum(-1).argmax(0), np.arange(len(starts))
    kept = inside[longest]
    return np.stack([y[longest][kept], x[longest][kept]])


def _brush(
    painted: npt.NDArray[np.uint8],
    region: npt.NDArray[np.bool_],
    points: npt.NDArray[np.intp],
    value: int,
    width: float,
) -> None:
    """Paint what a disc touches of the region around each point."""
    reach = int(width / 2)
    disc = np.argwhere(np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= width / 2) - reach
    y, x = (points[:, None] + disc.T[:, :, None]).reshape(2, -1)
    y, x = np.clip(y, 0, region.shape[0] - 1), np.clip(x, 0, region.shape[1] - 1)
    touched = region[y, x]
    painted[y[touched], x[touched]] = value
