"""Pixels of a labels array and what they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.data.drawing import Mask
from napari_unet.data.regions import Plane
from napari_unet.errors import AnnotationError

__all__ = ["Change", "Painting"]


@dataclass(frozen=True, eq=False)
class Change:
    """Pixels of a labels array, and what they become.

    Attributes
    ----------
    indices : tuple of numpy.ndarray
        One array (n,) of whole numbers for each axis of the array.
    values : numpy.ndarray
        (n,) unsigned integers.
    """

    indices: tuple[npt.NDArray[np.intp], ...]
    values: npt.NDArray[Any]


class Painting:
    """Collects what is painted; what comes later covers what was there."""

    def __init__(self) -> None:
        self.pixels: list[npt.NDArray[np.intp]] = []
        self.values: list[npt.NDArray[np.int64]] = []

    def add(self, box: Box, mask: Mask, value: int) -> None:
        """Paint the pixels of a mask (\\*box)."""
        self.add_pixels(np.argwhere(mask) + [part.start for part in box], value)

    def add_pixels(self, pixels: npt.NDArray[np.intp], value: int) -> None:
        """Paint pixels (n, axes)."""
        self.pixels.append(pixels)
        self.values.append(np.full(len(pixels), value, np.int64))

    def change(self, plane: Plane) -> Change:
        """Return all as one change of the array that a plane belongs to.

        Raises
        ------
        AnnotationError
            If a label is too high for the array.
        """
        none = np.zeros((0, len(plane.shape)), np.intp)
        pixels, values = np.concatenate([none, *self.pixels]), np.concatenate([np.zeros(0, np.int64), *self.values])
        dtype = np.dtype(plane.data.dtype)
        if values.size and values.max() > np.iinfo(dtype).max:
            raise AnnotationError(f"The strokes can't hold more labels: they have {dtype} values.")
        flat = np.ravel_multi_index(tuple(pixels.T), plane.shape)
        _, last = np.unique(flat[::-1], return_index=True)
        kept = len(flat) - 1 - last
        return Change(plane.locate(pixels[kept]), values[kept].astype(dtype))
