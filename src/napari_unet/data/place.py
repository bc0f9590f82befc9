"""Where in a frame a pixel lies, as a few smooth functions: what tells an organ from what looks like it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.errors import InputError

__all__ = ["CENTRES", "PlaceLogits", "place_basis", "places_of_basis", "relative_places"]

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
        both = columns[:, :, None] * _bumps(places, size, centres)[:, None, :]
        columns = both.reshape(len(pixels), columns.shape[1] * centres)
    return columns


def _bumps(places: npt.NDArray[Any], size: int, centres: int) -> FloatArray:
    """Return (n, centres) of places along an axis."""
    relative = np.asarray(places, np.float32)[:, None] / max(size - 1, 1) * (centres - 1)
    bumps: FloatArray = np.exp(-0.5 * (relative - np.arange(centres, dtype=np.float32)) ** 2)
    return bumps


def places_of_basis(basis: npt.NDArray[np.floating[Any]], axes: int) -> FloatArray:
    """Return where the pixels lie at which the functions of `place_basis` have these values.

    Parameters
    ----------
    basis : numpy.ndarray
        (n, centres ** axes) from `place_basis`.
    axes : int
        Axes of the frame.

    Returns
    -------
    numpy.ndarray
        (n, axes) float32: 0 at the first pixel of an axis, 1 at its last.

    Examples
    --------
    >>> places_of_basis(place_basis(np.array([0, 5, 8]), (3, 3), 7), 2).round(3).tolist()
    [[0.0, 0.0], [0.5, 1.0], [1.0, 1.0]]
    """
    centres = round(basis.shape[1] ** (1 / axes))
    steps = np.arange(centres) - (centres - 1) / 2
    grid = basis.reshape(len(basis), *(centres,) * axes)
    places = np.empty((len(basis), axes), np.float32)
    for axis in range(axes):  # the logarithm of neighbouring bumps differs by the distance from between them
        along = np.moveaxis(grid, axis + 1, -1).reshape(len(basis), -1, centres).sum(axis=1, dtype=np.float64)
        logarithm = np.log(np.maximum(along, np.finfo(np.float64).tiny)) + steps**2 / 2
        places[:, axis] = (logarithm @ steps / (steps @ steps)) / (centres - 1) + 0.5
    return places


def relative_places(start: tuple[int, ...], stop: tuple[int, ...], shape: tuple[int, ...]) -> FloatArray:
    """Tell where the pixels of a box lie in a frame, whose first pixel is at 0 and whose last one at 1 of each axis.

    Parameters
    ----------
    start, stop : tuple of int
        The box, in pixels of the frame; it may reach beyond.
    shape : tuple of int
        Size of the frame.

    Returns
    -------
    numpy.ndarray
        (axis, \\*(stop - start)) float32.

    Examples
    --------
    >>> relative_places((0, 1), (2, 3), (3, 3))[1].tolist()
    [[0.5, 1.0], [0.5, 1.0]]
    """
    box = tuple(b - a for a, b in zip(start, stop, strict=True))
    places = np.empty((len(box), *box), np.float32)
    for axis, (a, b, size) in enumerate(zip(start, stop, shape, strict=True)):
        along = np.arange(a, b, dtype=np.float32) / max(size - 1, 1)
        places[axis] = along.reshape(-1, *(1,) * (len(box) - axis - 1))
    return places


@dataclass(frozen=True, eq=False)
class PlaceLogits:
    """What the place alone says of the classes, to be added to the logits of a network.

    Attributes
    ----------
    coefficients : numpy.ndarray
        (K, \\*centres) float32, of the functions of `place_basis`.
    enclosure : numpy.ndarray or None
        (K, E) float32, of how far a pixel is enclosed, see `napari_unet.data.enclosure`; E may be 0.
    """

    coefficients: FloatArray
    enclosure: FloatArray | None = None

    @property
    def looks_at_enclosure(self) -> bool:
        """Whether it counts how far a pixel is enclosed."""
        return self.enclosure is not None and self.enclosure.size > 0

    def box(
        self, start: tuple[int, ...], stop: tuple[int, ...], shape: tuple[int, ...], enclosed: FloatArray | None = None
    ) -> FloatArray:
        """Return the logits of a box that may reach beyond a frame.

        Parameters
        ----------
        start, stop : tuple of int
            The box, in pixels of the frame.
        shape : tuple of int
            Size of the frame.
        enclosed : numpy.ndarray or None
            (E, \\*(stop - start)), how far the pixels are enclosed, where that counts.

        Returns
        -------
        numpy.ndarray
            (K, \\*(stop - start)) float32.

        Raises
        ------
        InputError
            If it counts how far the pixels are enclosed, but that is not given.
        """
        logits = self.coefficients
        for a, b, size in zip(start, stop, shape, strict=True):
            bumps = _bumps(np.arange(a, b), size, logits.shape[1])
            logits = np.tensordot(logits, bumps, axes=(1, 1))  # the axis that is done goes to the end
        if self.enclosure is not None and self.looks_at_enclosure:
            if enclosed is None:
                raise InputError("How far pixels are enclosed counts for this network, but it was not given.")
            logits = logits + np.tensordot(self.enclosure, enclosed, axes=1)
        return np.ascontiguousarray(logits, np.float32)
