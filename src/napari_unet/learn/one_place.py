"""Whether what a person looks for is painted in one place alone: an organ, and not whatever looks like it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["in_one_place"]

_CHANCE = 0.005  # probability below which it is no chance that strokes lie so close together
_WIDEST = 0.5  # share of the box around all strokes, along each axis, that they span at most
_FEWEST = 3.0  # strokes that say anything
_MOST = 10.0  # strokes that touching ones count for at most


def in_one_place(
    positions: npt.NDArray[np.floating[Any]],
    kinds: npt.NDArray[np.int64],
    strokes: npt.NDArray[np.int64],
    weights: npt.NDArray[np.floating[Any]],
) -> bool:
    """Tell whether the strokes of each class but the background lie too close together for chance.

    Strokes of cells, or of a tissue, lie anywhere between those of the background; those of an organ lie in it, in one
    image as in another. Of `n` places that are drawn evenly from a box, those along one axis span at most the share `e`
    of it with the probability ``n e**(n - 1) - (n - 1) e**n``. The box is that around all strokes, so that a person who
    looks at a corner of an image says nothing of the rest; an axis across which all strokes lie in one plane says
    nothing. Strokes in a small organ touch, and become one: they count as many as fill their area with strokes of the
    usual area, which is the median of those of the background. Fewer than three of any class say nothing: who fills
    one cell to begin with, and paints one stroke beside it, means them all.

    Parameters
    ----------
    positions : numpy.ndarray
        (n, axis) where the painted pixels lie: in one image in any unit, in several relative to its size.
    kinds, strokes : numpy.ndarray
        (n,) class, 0 = background, and connected stroke of each.
    weights : numpy.ndarray
        (n,) how many painted pixels each stands for.

    References
    ----------
    The range of a sample from a uniform distribution has a beta distribution, with the parameters n - 1 and 2: David
    and Nagaraja 2003, Order Statistics, 3rd edition, chapter 2.

    Examples
    --------
    >>> middle = np.linspace(0.48, 0.52, 4)
    >>> across = np.array([0.0, 0.3, 0.7, 1.0])
    >>> kinds, strokes = np.repeat([0, 1], 4), np.arange(8)
    >>> in_one_place(np.concatenate([across, middle])[:, None], kinds, strokes, np.ones(8))
    True
    >>> in_one_place(np.concatenate([across, across])[:, None], kinds, strokes, np.ones(8))
    False
    """
    positions = positions[:, np.ptp(positions, axis=0) > 0]
    extent = np.ptp(positions, axis=0)
    areas, around = np.bincount(strokes, weights), np.unique(strokes[kinds == 0])
    if len(around) < _FEWEST:
        return False
    usual = np.median(areas[around])
    found = np.unique(kinds[kinds > 0])
    for kind in found:
        own = kinds == kind
        number = min(_MOST, max(len(np.unique(strokes[own])), weights[own].sum() / usual))
        share = np.ptp(positions[own], axis=0) / extent
        chances = number * share ** (number - 1) - (number - 1) * share**number
        if number < _FEWEST or share.max(initial=0.0) > _WIDEST or np.prod(chances) > _CHANCE:
            return False
    return len(found) > 0
