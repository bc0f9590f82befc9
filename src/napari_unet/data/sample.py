"""One annotated image: what a training is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Sample"]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and the strokes that a person painted on it.

    Attributes
    ----------
    image : array-like
        Image with the axes `axes`, of any real dtype; numpy, dask, zarr or memory-mapped.
    annotation : array-like
        Unsigned integers of the image's shape without its channel axis. 0 is unlabelled (ignored), 1 background,
        2, 3, ... are classes (``task="classes"``) or one id for each object (``task="objects"``).
    axes : str
        One letter for each axis of `image`: any of T, C, Z, Y, X, and S for RGB(A) samples.
    spacing : tuple of float or None
        Distance of pixels along the spatial axes (ZYX order) in any one unit; None: unknown, taken as equal.
    name : str
        What messages call the image.
    """

    image: Any
    annotation: Any
    axes: str = "YX"
    spacing: tuple[float, ...] | None = None
    name: str = ""
