"""The landscape whose hills are the objects, for any box of a frame: each pixel depends on what is near it alone.

That is what makes objects the same whether a frame is gone through in one piece or in blocks of any size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.axes import Box
from napari_unet.errors import InputError

__all__ = ["read_landscape"]

_SMOOTHING = 1.0  # pixels
_REACH = 4  # pixels that the smoothing looks at on either side
_FARTHEST = {1: 256, 2: 256, 3: 64}  # by dimensions: longer distances to the background count as this, in pixels
_NEAR = {1: 24.0, 2: 24.0, 3: 12.0}  # pixels around a box that are read at first; most objects are thinner


def read_landscape(
    foreground: Any, box: Box, *, threshold: float, spacing: Sequence[float] | None = None
) -> npt.NDArray[np.float32]:
    """Compute the landscape of a box, and of one pixel around it.

    The landscape is the distance to the background times the probability, both smoothed a little. Distances end at
    256 pixels (64 in a volume) of the finest axis, so that no pixel depends on what lies farther away.

    Parameters
    ----------
    foreground : array-like
        (\\*space) probability of the foreground, 0..1; anything that gives an array for ``foreground[box]``. Only the
        box and what is needed around it are read.
    box : tuple of slice
        Part of the frame.
    threshold : float
        Pixels above this probability are foreground.
    spacing : sequence of float or None
        Distance of pixels along each axis; None: equal.

    Returns
    -------
    numpy.ndarray
        (\\*(box + 2)) float32, above 0 in the foreground; 0 in the background and beyond the frame.

    Raises
    ------
    InputError
        If the spacing has another number of axes, or is not above 0.
    """
    shape = tuple(foreground.shape)
    steps = _relative_steps(spacing, len(shape))
    farthest = _FARTHEST[len(shape)]
    smoothed = _grow(box, (1 + _REACH,) * len(shape), shape)
    near, everything = _NEAR[len(shape)], tuple(slice(0, size) for size in shape)
    while True:
        window = _grow(smoothed, [math.ceil(near / step) for step in steps], shape)
        inside = _within(smoothed, window)
        values = np.asarray(foreground[window])
        mask = values > threshold
        if not mask[inside].any():
            return np.zeros([span.stop - span.start + 2 for span in box], np.float32)
        distance = _distance(mask, steps, farthest)[inside]
        longest = float(distance.max())
        if longest <= near or near >= farthest or window == everything:  # no background beyond it can be nearer
            break
        near = longest
    landscape: npt.NDArray[np.float32] = ndimage.gaussian_filter(values[inside].astype(np.float32), _SMOOTHING)
    landscape *= ndimage.gaussian_filter(distance, _SMOOTHING)
    landscape[~mask[inside]] = 0
    kept = _grow(box, (1,) * len(shape), shape)
    beyond = [
        (1 - (span.start - around.start), 1 - (around.stop - span.stop)) for span, around in zip(box, kept, strict=True)
    ]
    return np.pad(landscape[_within(kept, smoothed)], beyond)


def _relative_steps(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Return the distance of pixels in units of the finest axis."""
    if spacing is None:
        return (1.0,) * ndim
    if len(spacing) != ndim or min(spacing) <= 0:
        raise InputError(f"Expected `spacing` to have {ndim} numbers above 0, but got {tuple(spacing)}.")
    return tuple(float(step / min(spacing)) for step in spacing)


def _grow(box: Box, by: Sequence[int], shape: Sequence[int]) -> Box:
    return tuple(
        slice(max(0, span.start - more), min(size, span.stop + more))
        for span, more, size in zip(box, by, shape, strict=True)
    )


def _within(box: Box, window: Box) -> Box:
    """Say where a box lies in a window around it."""
    return tuple(
        slice(span.start - around.start, span.stop - around.start) for span, around in zip(box, window, strict=True)
    )


def _distance(mask: npt.NDArray[np.bool_], steps: tuple[float, ...], farthest: float) -> npt.NDArray[np.float32]:
    """Measure the distance to the background, (\\*space); the frame's border is none."""
    if mask.all():
        return np.full(mask.shape, farthest, np.float32)
    distance: npt.NDArray[np.float32] = ndimage.distance_transform_edt(mask, sampling=steps).astype(np.float32)
    return np.minimum(distance, np.float32(farthest), out=distance)
