"""Where in a frame a pixel lies, as a few smooth functions: what tells an organ from what looks like it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CENTRES", "PlaceLogits", "place_basis"]

CENTRES = {2: 7, 3: 5}  # along each axis, by dimensions
FloatArray = npt.NDArray[np.float32]


def place_basis(pixels: npt.NDArray[np.integer[Any]], shape: tuple[int, ...], centres: int) -> FloatArray:
    """Evaluate Gaussians whose centres lie on an even grid over a frame, from its first pixel to its last.

    Their standard deviation is the distance between two centres. A frame of another size has the same functions at
    the same relative places.

    Parameters
    ----------
    pixels : numpy.ndarray
        (n,) numbers of pixels in the flattened frame.
    shape : tuple of int
        Size of the frame.
    centres : int
        Centres along each axis.

    Returns
    -------
    numpy.ndarray
        (n, centres ** axes) float32, the first axis' centres changing slowest.

    Examples
    --------
    >>> place_basis(np.array([0, 4]), (3, 3), 3).argmax(axis=1).tolist()  # a corner and the middle
    [0, 4]
    """
    columns = np.ones((len(pixels), 1), np.float32)
    for places, size in zip(np.unravel_index(pixels, shape), shape, strict=True):
        columns = (columns[:, :, None] * _bumps(places, size, centres)[:, None, :]).reshape(len(pixels), -1)
    return columns


def _bumps(places: npt.NDArray[Any], size: int, centres: int) -> FloatArray:
    """Return (n, centres) of places along an axis."""
    relative = np.asarray(places, np.float32)[:, None] / max(size - 1, 1) * (centres - 1)
    bumps: FloatArray = np.exp(-0.5 * (relative - np.arange(centres, dtype=np.float32)) ** 2)
    return bumps


@dataclass(frozen=True, eq=False)
class PlaceLogits:
    """What the place alone says of the classes, to be added to the logits of a network.

    Attributes
    ----------
    coefficients : numpy.ndarray
        (K, \\*centres) float32, of the functions of `place_basis`.
    """

    coefficients: FloatArray

    def box(self, start: tuple[int, ...], stop: tuple[int, ...], shape: tuple[int, ...]) -> FloatArray:
        """Return the logits of a box that may reach beyond a frame.

        Parameters
        ----------
        start, stop : tuple of int
            The box, in pixels of the frame.
        shape : tuple of int
            Size of the frame.

        Returns
        -------
        numpy.ndarray
            (K, \\*(stop - start)) float32.
        """
        logits = self.coefficients
        for a, b, size in zip(start, stop, shape, strict=True):
            bumps = _bumps(np.arange(a, b), size, logits.shape[1])
            logits = np.tensordot(logits, bumps, axes=(1, 1))  # the axis that is done goes to the end
        return np.ascontiguousarray(logits, np.float32)
