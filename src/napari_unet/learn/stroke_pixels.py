"""Which painted pixels a last layer is solved from, and which stroke each of them belongs to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.crops import AnnotatedFrame
from napari_unet.learn.holdout import number_regions

__all__ = ["choose_pixels", "is_small", "most_around", "pixels_around", "strokes_of_pixels"]

_MOST_PIXELS = 10_000  # of one class in one frame
_MOST_CELLS = 500_000  # of a frame in which strokes are told apart
_THROUGHOUT = 0.5  # painted share of a frame above which it is told apart by regions, not by strokes
_MOST_AROUND = 3_000  # pixels that are looked at around the strokes of a part of a frame,
_MOST_AROUND_ALL = 12_000  # and of all parts together
_SMALL = {2: 2**20, 3: 2**17}  # pixels of a frame, by its axes, of which all is looked at
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: its multiples are evenly spread


def choose_pixels(
    parts: Sequence[AnnotatedFrame], classes: int
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    """Choose painted pixels of a frame, evenly spread where they are many.

    Those chosen before stay chosen, or go, when strokes are added, so that their features are known.

    Parameters
    ----------
    parts : sequence of AnnotatedFrame
        All that is painted on one frame.
    classes : int
        Number of classes.

    Returns
    -------
    list of tuple
        For each part:

        - pixels (n,) numbers in the flattened frame, sorted,
        - kinds (n,) their classes,
        - weights (n,) how many painted pixels each stands for,
        - strokes (n,) which stroke of the frame each belongs to, see `strokes_of_pixels`.
    """
    painted = [part.painted for part in parts]
    pixels = np.concatenate([own for own, _ in painted])
    kinds = np.concatenate([own for _, own in painted]).astype(np.int64)
    rank = pixels.astype(np.uint64) * _SPREAD
    chosen, weights = [], np.ones(len(pixels), np.float32)
    for kind in range(classes):
        own = np.flatnonzero(kinds == kind)
        if len(own) > _MOST_PIXELS:
            weights[own] = len(own) / _MOST_PIXELS
            own = own[np.argpartition(rank[own], _MOST_PIXELS)[:_MOST_PIXELS]]
        chosen.append(own)
    kept = np.sort(np.concatenate(chosen))
    strokes = _strokes_of_parts(painted, parts[0].reader.layout.frame_shape)
    ends = np.cumsum([len(own) for own, _ in painted])
    rows = np.split(kept, np.searchsorted(kept, ends[:-1]))
    return [(pixels[own], kinds[own], weights[own], strokes[own]) for own in rows]


def _strokes_of_parts(
    painted: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]], shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Tell the strokes of a frame apart, whose parts (pixels, kinds) are far from each other."""
    if sum(len(pixels) for pixels, _ in painted) > _THROUGHOUT * np.prod(shape, dtype=np.float64):
        places = np.unravel_index(np.concatenate([pixels for pixels, _ in painted]), shape)
        return number_regions(places, shape)
    numbers: list[npt.NDArray[np.int64]] = []
    known = 0
    for pixels, kinds in painted:
        numbers.append(known + strokes_of_pixels(pixels, kinds, shape))
        known = int(numbers[-1].max(initial=known - 1)) + 1
    return np.concatenate(numbers)


def strokes_of_pixels(
    pixels: npt.NDArray[np.int64], kinds: npt.NDArray[np.integer[Any]], shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Tell connected strokes of each class apart, in cells of some pixels where the frame is large.

    A frame of which most is painted has no strokes: it falls into square regions, whatever their classes.

    Parameters
    ----------
    pixels : numpy.ndarray
        (n,) numbers in the flattened frame.
    kinds : numpy.ndarray
        (n,) their classes.
    shape : tuple of int
        Size of the frame.

    Returns
    -------
    numpy.ndarray
        (n,) int64, 0 and up: the same for pixels of the same stroke or region.

    Examples
    --------
    >>> strokes_of_pixels(np.array([0, 1, 3, 9]), np.array([0, 0, 0, 1]), (2, 5)).tolist()
    [0, 0, 1, 2]
    """
    number = np.zeros(len(pixels), np.int64)
    if len(pixels) == 0:
        return number
    places = np.stack(np.unravel_index(pixels, shape))
    if len(pixels) > _THROUGHOUT * np.prod(shape, dtype=np.float64):
        return number_regions(list(places), shape)
    places -= places.min(axis=1, keepdims=True)
    extent = places.max(axis=1) + 1
    side = max(1, int(np.ceil((np.prod(extent, dtype=np.float64) / _MOST_CELLS) ** (1 / len(shape)))))
    cells = tuple(places // side)
    known = 0
    for kind in np.unique(kinds):
        own = kinds == kind
        painted = np.zeros(tuple(-(-extent // side)), bool)
        painted[tuple(axis[own] for axis in cells)] = True
        labels, count = ndimage.label(painted, np.ones((3,) * len(shape)))
        number[own] = known + labels[tuple(axis[own] for axis in cells)] - 1
        known += count
    return number


def is_small(shape: tuple[int, ...]) -> bool:
    """Whether a frame is so small that all of it may be looked at, and not only what is around its strokes."""
    return math.prod(shape) <= _SMALL[len(shape)]


def most_around(parts: int) -> int:
    """Return how many pixels may be looked at around each of so many painted parts.

    Examples
    --------
    >>> most_around(3), most_around(50)
    (3000, 240)
    """
    return max(1, min(_MOST_AROUND, _MOST_AROUND_ALL // max(1, parts)))


def pixels_around(
    pixels: npt.NDArray[np.int64], shape: tuple[int, ...], side: tuple[int, ...], *, whole: bool,
    most: int = _MOST_AROUND,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Choose pixels of a frame, whether they are painted or not: of all of it, or of its painted part.

    They lie on a lattice that stays the same, or becomes twice as coarse, when strokes are added; of the painted part
    inside of the box around all strokes and of those tiles that hold one, whose features are known.

    Parameters
    ----------
    pixels : numpy.ndarray
        (n,) numbers of the painted pixels in the flattened frame.
    shape : tuple of int
        Size of the frame.
    side : tuple of int
        Size of a tile.
    whole : bool
        Whether all of the frame is looked at, see `is_small`.
    most : int
        How many pixels at most, see `most_around`.

    Returns
    -------
    numpy.ndarray
        (m,) int64 numbers in the flattened frame, sorted.

    Examples
    --------
    >>> pixels_around(np.array([1, 7]), (3, 5), (8, 8), whole=False).tolist()
    [1, 2, 6, 7]
    >>> pixels_around(np.array([1]), (2, 3), (8, 8), whole=True).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    if len(pixels) == 0:
        return np.zeros(0, np.int64)
    if whole:
        pixels = np.array([0, math.prod(shape) - 1])
        side = shape
    places = np.stack(np.unravel_index(pixels, shape))
    low, high = places.min(axis=1), places.max(axis=1) + 1
    area = float(np.prod(high - low, dtype=np.float64))
    step = 1
    while area / step ** len(shape) > most:
        step *= 2
    axes = [np.arange(-(-int(a) // step) * step, b, step) for a, b in zip(low, high, strict=True)]
    cells = np.array([-(-n // s) for n, s in zip(shape, side, strict=True)])
    painted = np.zeros(tuple(cells), bool)
    painted[tuple(places // np.array(side)[:, None])] = True
    kept = painted[np.ix_(*(axis // s for axis, s in zip(axes, side, strict=True)))]
    numbers = np.ravel_multi_index(np.meshgrid(*axes, indexing="ij", sparse=True), shape)
    return np.asarray(numbers[kept], np.int64)
