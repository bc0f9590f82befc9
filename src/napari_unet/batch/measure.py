"""How much was found in a label image: objects, and areas in the unit of the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.box_view import BoxView, bands
from napari_unet.data.calibration import Calibration

__all__ = ["Found", "measure"]


class Found:
    """What was found.

    Attributes
    ----------
    objects : int or None
        How many objects; None for areas.
    areas : dict of str to float
        Area, or volume, of each class but the background.
    unit : str
        Its unit: ``"um^2"``, ``"pixels"``, ...
    words : str
        The same for a person.
    """

    def __init__(
        self, counts: npt.NDArray[np.int64], task: str, classes: Sequence[str], size: float, unit: str
    ) -> None:
        self.unit = unit
        self.objects = int(np.count_nonzero(counts[1:])) if task == "objects" else None
        if task == "objects":
            pixels = {classes[1]: int(counts[1:].sum())}
            self.words = f"{self.objects} object{'s' * (self.objects != 1)}"
        else:
            pixels = {name: int(counts[2 + place]) for place, name in enumerate(classes[1:])}
            total = max(1, int(counts.sum()))
            self.words = ", ".join(f"{name} {100 * count / total:.1f} %" for name, count in pixels.items())
        self.areas = {name: count * size for name, count in pixels.items()}


def measure(
    labels: npt.NDArray[Any] | BoxView, axes: str, task: str, classes: Sequence[str], calibration: Calibration
) -> Found:
    """Count objects and pixels, piece by piece; the memory does not depend on the size of the image.

    Parameters
    ----------
    labels : numpy.ndarray or BoxView
        As `napari_unet.segment` returns them.
    axes : str
        One letter of TZYX for each axis.
    task : {"objects", "classes"}
        What the labels are.
    classes : sequence of str
        Names of the classes, background first.
    calibration : Calibration
        Size of the pixels.

    Examples
    --------
    >>> labels = np.array([[0, 1, 1], [2, 0, 0]])
    >>> found = measure(labels, "YX", "objects", ("background", "cell"), Calibration((0.5, 0.5)))
    >>> found.objects, found.areas, found.unit
    (2, {'cell': 0.75}, 'um^2')
    """
    counts = np.zeros(len(classes) + 1, np.int64)
    for piece in bands(labels):
        found = np.bincount(piece.reshape(-1), minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    lengths = calibration.lengths(axes)
    dims = sum(letter in "ZYX" for letter in axes)
    if lengths is None:
        return Found(counts, task, classes, 1.0, "pixels" if dims == 2 else "voxels")
    return Found(counts, task, classes, math.prod(lengths), f"{calibration.unit.replace('µ', 'u')}^{dims}")
