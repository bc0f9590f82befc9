"""What a person draws with the mouse, as pixels: lines, brush strokes, and what an outline encloses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.axes import Box

__all__ = ["Mask", "Points", "box_around", "brush_mask", "enclosed_mask", "line_pixels"]

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def line_pixels(points: Points, shape: tuple[int, int]) -> npt.NDArray[np.intp]:
    """Return the pixels that a drawn line goes through.

    Parameters
    ----------
    points : numpy.ndarray
        (n, 2) places (row, column) where the pointer was; a pixel's centre is a whole number.
    shape : tuple of int
        Size of the image; what lies outside is left out.

    Returns
    -------
    numpy.ndarray
        (m, 2) from the line's beginning to its end, each a side or a corner apart from the next.

    Examples
    --------
    >>> line_pixels(np.array([[0.0, 0.0], [1.0, 3.0]]), (5, 5)).tolist()
    [[0, 0], [0, 1], [1, 2], [1, 3]]
    """
    points = np.asarray(points, dtype=float)
    pieces = [points[:1]]
    for begin, end in pairwise(points):
        steps = max(1, int(np.ceil(np.abs(end - begin).max())))
        pieces.append(begin + (end - begin) * (np.arange(1, steps + 1) / steps)[:, None])
    pixels = np.floor(np.concatenate(pieces) + 0.5).astype(np.intp)
    changed = np.ones(len(pixels), bool)
    changed[1:] = (np.diff(pixels, axis=0) != 0).any(axis=1)
    inside = ((pixels >= 0) & (pixels < shape)).all(axis=1)
    found: npt.NDArray[np.intp] = pixels[changed & inside]
    return found


def box_around(pixels: npt.NDArray[np.intp], margin: int, shape: tuple[int, ...]) -> Box:
    """Return the box of some pixels (n, axes) and `margin` around them, inside of an image."""
    low = np.maximum(pixels.min(axis=0) - margin, 0)
    high = np.minimum(pixels.max(axis=0) + margin + 1, shape)
    return tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))


def brush_mask(pixels: npt.NDArray[np.intp], width: float, box: Box) -> Mask:
    """Return what a round brush covers that is led over some pixels.

    Parameters
    ----------
    pixels : numpy.ndarray
        (n, 2); those outside of `box` are left out.
    width : float
        Diameter of the brush; at 1 it covers just the pixels.
    box : tuple of slice
        The part of the image that is looked at.

    Examples
    --------
    >>> brush_mask(np.array([[1, 1]]), 3, (slice(0, 3), slice(0, 4))).astype(int).tolist()
    [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    """
    line = np.zeros([part.stop - part.start for part in box], bool)
    local = pixels - [part.start for part in box]
    local = local[((local >= 0) & (local < line.shape)).all(axis=1)]
    line[tuple(local.T)] = True
    if width <= 1 or not len(local):
        return line
    covered: Mask = ndimage.distance_transform_edt(~line) <= width / 2
    return covered


def enclosed_mask(outline: Points, box: Box) -> Mask:
    """Return what an outline encloses; its end is joined to its beginning.

    A pixel belongs to it if the outline goes through it, or if a ray from its centre crosses the outline an odd number
    of times.

    Parameters
    ----------
    outline : numpy.ndarray
        (n, 2) places (row, column).
    box : tuple of slice
        The part of the image that is looked at.

    Returns
    -------
    numpy.ndarray
        (\\*box) bool.

    Examples
    --------
    >>> square = np.array([[1.0, 1.0], [1.0, 3.0], [3.0, 3.0], [3.0, 1.0]])
    >>> int(enclosed_mask(square, (slice(0, 6), slice(0, 6))).sum())
    9
    """
    corner = np.array([part.start for part in box])
    rows, columns = (part.stop - part.start for part in box)
    closed = np.concatenate([outline, outline[:1]]) - corner
    crossings = np.zeros((rows, columns + 1), bool)
    for begin, end in pairwise(closed):
        upper, lower = sorted((begin, end), key=lambda point: float(point[0]))
        first, last = max(0, int(np.ceil(upper[0]))), min(rows, int(np.ceil(lower[0])))
        crossed = np.arange(first, last)
        if crossed.size:
            slope = (lower[1] - upper[1]) / (lower[0] - upper[0])
            places = np.ceil(upper[1] + slope * (crossed - upper[0]))
            crossings[crossed, np.clip(places, 0, columns).astype(np.intp)] ^= True
    mask: Mask = np.logical_xor.accumulate(crossings, axis=1)[:, :columns]
    border = line_pixels(closed, (rows, columns))
    mask[tuple(border.T)] = True
    return mask
