"""How far a pixel is enclosed by brighter or darker ones: what tells the air in a lung from that around the body.

The grey-scale filling of holes raises a pixel to the lowest grey value over which a way leads from it to the border of
the image; how much that raises it says how deep it lies in a hole. The same upside down says how high it lies on a
hill. Both are properties of the whole frame, so they are measured on a smaller copy of it and interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["ENCLOSURES", "EnclosureMap", "measure_enclosure", "shrink_frame"]

ENCLOSURES = 2  # by brighter ones, by darker ones
_LONGEST_SIDE = 256  # of the smaller copy, pixels of a plane
_MOST_COPIED = 2_000_000  # pixels of the smaller copy of a volume: less than a second
_MOST_PIXELS = 4_000_000  # that are read at once
_LOW, _HIGH = -0.5, 1.5  # normalised grey values beyond are outliers, which would be walls

FloatArray = npt.NDArray[np.float32]


def measure_enclosure(image: FloatArray) -> FloatArray:
    """Measure how far each pixel is enclosed, in each plane of an image by itself.

    Parameters
    ----------
    image : numpy.ndarray
        (\\*space) float32, normalised grey values.

    Returns
    -------
    numpy.ndarray
        (2, \\*space) float32, at least 0: how much higher the lowest way to the border leads, and how much lower the
        highest one.

    References
    ----------
    Soille 2003, "Morphological Image Analysis", section 6.3: filling holes by reconstruction.

    Examples
    --------
    >>> image = np.zeros((5, 5), np.float32); image[1:4, 1:4] = 1; image[2, 2] = 0.25
    >>> hole, hill = measure_enclosure(image)
    >>> hole[2, 2], hole.sum(), hill[1, 1], hill[2, 2]
    (np.float32(0.75), np.float32(0.75), np.float32(1.0), np.float32(0.25))
    """
    from skimage.morphology import reconstruction  # slow to import

    found = np.zeros((ENCLOSURES, *image.shape), np.float32)
    for index in np.ndindex(image.shape[:-2]):
        plane = image[index]
        if min(plane.shape) < 3:
            continue  # all of it is border
        for number, sign in enumerate((1.0, -1.0)):
            mask = sign * plane
            seed = mask.copy()
            seed[1:-1, 1:-1] = mask.max()
            found[(number, *index)] = reconstruction(seed, mask, method="erosion") - mask
    return found


def shrink_frame(read: Callable[[tuple[slice, ...]], FloatArray], shape: tuple[int, ...], factor: int) -> FloatArray:
    """Read a frame in bands and average squares of its planes.

    Parameters
    ----------
    read : callable
        From a box of the frame to (C, \\*box) float32.
    shape : tuple of int
        Size of the frame.
    factor : int
        Side of a square, pixels; those at the far border may be smaller.

    Returns
    -------
    numpy.ndarray
        (\\*shape), its last two sides divided by `factor` and rounded up; the mean over the channels, smoothed over
        3 x 3 pixels.
    """
    *others, height, width = shape
    result = np.empty((*others, -(-height // factor), -(-width // factor)), np.float32)
    starts = np.arange(0, width, factor)
    counts = np.diff([*starts, width])
    rows = max(1, _MOST_PIXELS // max(1, width * factor)) * factor
    for index in np.ndindex(*others):
        plane = tuple(slice(i, i + 1) for i in index)
        for top in range(0, height, rows):
            bottom = min(height, top + rows)
            band = np.clip(read((*plane, slice(top, bottom), slice(0, width))).mean(axis=0), _LOW, _HIGH)
            band = band.reshape(bottom - top, width)
            tops = np.arange(0, bottom - top, factor)
            sums = np.add.reduceat(np.add.reduceat(band, tops, axis=0), starts, axis=1)
            sizes = np.diff([*tops, bottom - top])[:, None] * counts
            result[(*index, slice(top // factor, top // factor + len(tops)))] = sums / sizes
    smoothed: FloatArray = ndimage.uniform_filter(result, (*(1,) * len(others), 3, 3), mode="nearest")
    return smoothed


class EnclosureMap:
    """How far the pixels of one frame are enclosed.

    Parameters
    ----------
    read : callable
        From a box of the frame to its normalised grey values (C, \\*box).
    shape : tuple of int
        Size of the frame.
    """

    def __init__(self, read: Callable[[tuple[slice, ...]], FloatArray], shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.factor = math.ceil(max(max(shape[-2:]) / _LONGEST_SIDE, math.sqrt(math.prod(shape) / _MOST_COPIED)))
        self.values = measure_enclosure(shrink_frame(read, shape, self.factor))

    def box(self, spans: list[npt.NDArray[np.intp]]) -> FloatArray:
        """Return the values (2, \\*box) where the rows, columns, ... of a box are, one array for each axis."""
        *planes, rows, columns = spans
        values = self.values[np.ix_(np.arange(ENCLOSURES), *planes)]
        for axis, places in ((-2, rows), (-1, columns)):
            low, share = self._between(places, values.shape[axis])
            share = share.reshape(-1, *(1,) * (-1 - axis))
            values = values.take(low, axis) * (1 - share) + values.take(low + 1, axis, mode="clip") * share
        return np.ascontiguousarray(values, np.float32)

    def at(self, pixels: npt.NDArray[np.integer[Any]]) -> FloatArray:
        """Return the values (n, 2) at pixels (n,) of the flattened frame."""
        *planes, rows, columns = np.unravel_index(pixels, self.shape)
        (top, down), (left, right) = (
            self._between(places, size) for places, size in zip((rows, columns), self.values.shape[-2:], strict=True)
        )
        below, beyond = np.minimum(top + 1, self.values.shape[-2] - 1), np.minimum(left + 1, self.values.shape[-1] - 1)
        corners = [self.values[(slice(None), *planes, y, x)] for y in (top, below) for x in (left, beyond)]
        first, second = (corners[i] * (1 - right) + corners[i + 1] * right for i in (0, 2))
        found: FloatArray = (first * (1 - down) + second * down).T.astype(np.float32)
        return found

    def _between(self, places: npt.NDArray[np.intp], size: int) -> tuple[npt.NDArray[np.intp], FloatArray]:
        """Return the pixel of the copy before each place, and how far the place lies towards the next."""
        exact = np.clip((places + 0.5) / self.factor - 0.5, 0, size - 1)
        low = np.floor(exact).astype(np.intp)
        return low, (exact - low).astype(np.float32)
