"""Which painted pixels a last layer is solved from, and which stroke each of them belongs to."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.crops import AnnotatedFrame
from napari_unet.learn.holdout import number_regions

__all__ = ["choose_pixels", "is_small", "painted_pixels", "pixels_around", "strokes_of_pixels"]

_MOST_PIXELS = 10_000  # of one class in one frame
_MOST_CELLS = 500_000  # of a frame in which strokes are told apart
_THROUGHOUT = 0.5  # painted share of a frame above which it is told apart by regions, not by strokes
_MOST_AROUND = 3_000  # pixels of a frame that are looked at around its strokes
_SMALL = {2: 2**20, 3: 2**17}  # pixels of a frame, by its axes, of which all is looked at
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: its multiples are evenly spread


def choose_pixels(
    frame: AnnotatedFrame, classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Choose painted pixels of a frame, evenly spread where they are many.

    Those chosen before stay chosen, or go, when strokes are added, so that their features are known.

    Returns
    -------
    pixels : numpy.ndarray
        (n,) numbers in the flattened frame, sorted.
    kinds : numpy.ndarray
        (n,) their classes.
    weights : numpy.ndarray
        (n,) how many painted pixels each stands for.
    strokes : numpy.ndarray
        (n,) which stroke of the frame each belongs to, see `strokes_of_pixels`.
    """
    pixels, kinds = painted_pixels(frame)
    rank = pixels.astype(np.uint64) * _SPREAD
    chosen, weights = [], np.ones(len(pixels), np.float32)
    for kind in range(classes):
        own = np.flatnonzero(kinds == kind)
        if len(own) > _MOST_PIXELS:
            weights[own] = len(own) / _MOST_PIXELS
            own = own[np.argpartition(rank[own], _MOST_PIXELS)[:_MOST_PIXELS]]
        chosen.append(own)
    kept = np.sort(np.concatenate(chosen))
    strokes = strokes_of_pixels(pixels, kinds, frame.reader.layout.frame_shape)
    return pixels[kept], kinds[kept], weights[kept], strokes[kept]


def painted_pixels(frame: AnnotatedFrame) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return all painted pixels, numbers in the flattened frame (n,) sorted, and their classes (n,)."""
    local = np.nonzero(frame.weights)
    places = tuple(axis + begin for axis, begin in zip(local, frame.origin, strict=True))
    pixels = np.ravel_multi_index(places, frame.reader.layout.frame_shape)
    return np.asarray(pixels, np.int64), frame.classes[local].astype(np.int64)


def strokes_of_pixels(
    pixels: npt.NDArray[np.int64], kinds: npt.NDArray[np.int64], shape: tuple[int, ...]
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


def pixels_around(
    pixels: npt.NDArray[np.int64], shape: tuple[int, ...], side: tuple[int, ...], *, whole: bool
) -> npt.NDArray[np.int64]:
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
    while area / step ** len(shape) > _MOST_AROUND:
        step *= 2
    axes = [np.arange(-(-int(a) // step) * step, b, step) for a, b in zip(low, high, strict=True)]
    cells = np.array([-(-n // s) for n, s in zip(shape, side, strict=True)])
    painted = np.zeros(tuple(cells), bool)
    painted[tuple(places // np.array(side)[:, None])] = True
    kept = painted[np.ix_(*(axis // s for axis, s in zip(axes, side, strict=True)))]
    numbers = np.ravel_multi_index(np.meshgrid(*axes, indexing="ij", sparse=True), shape)
    return np.asarray(numbers[kept], np.int64)
