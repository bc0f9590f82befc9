"""From probabilities to separated objects: a watershed on the landscape of the foreground probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.errors import InputError
from napari_unet.predict.hills import find_hills, merge_hills
from napari_unet.predict.landscape import read_landscape

__all__ = ["check_separation", "separate_objects"]


def separate_objects(
    foreground: npt.NDArray[np.floating[Any]],
    *,
    threshold: float = 0.5,
    depth: float = 0.25,
    min_size: int = 16,
    spacing: Sequence[float] | None = None,
) -> npt.NDArray[np.int32]:
    """Find the objects of one frame.

    The landscape is the distance to the background times the probability, both smoothed a little, so that a neck in
    the shape and a dip in the probability, as the network learns it for the gap between touching objects, are valleys
    alike. Tops that no valley parts which is deeper than `depth` times the lower top belong to one object. Distances
    end at 256 pixels, 64 in a volume: a neck that is wider than twice that parts nothing.

    `napari_unet.predict.object_blocks.label_objects` finds the same objects in frames that do not fit into memory.

    Parameters
    ----------
    foreground : numpy.ndarray
        (\\*space) probability of the foreground, 0..1.
    threshold : float
        Pixels above this probability are foreground.
    depth : float
        Relative depth of a valley that parts two objects, 0 to 1.
    min_size : int
        Smaller objects are left out, pixels.
    spacing : sequence of float or None
        Distance of pixels along each axis; None: equal.

    Returns
    -------
    numpy.ndarray
        (\\*space) int32, 0 = background, 1, 2, ... one id for each object, in the order of their first tops.

    Raises
    ------
    InputError
        If a setting is out of its range, or the spacing does not fit.

    Examples
    --------
    >>> y, x = np.mgrid[:32, :64]
    >>> two = ((x - 20) ** 2 + (y - 16) ** 2 < 121) | ((x - 40) ** 2 + (y - 16) ** 2 < 121)
    >>> int(separate_objects(two.astype(float)).max())
    2
    """
    check_separation(threshold, depth)
    frame = tuple(slice(0, size) for size in foreground.shape)
    hills = find_hills(read_landscape(foreground, frame, threshold=threshold, spacing=spacing))
    objects = merge_hills(hills.heights, hills.passes, depth=depth)
    numbers = hills.numbers[(slice(1, -1),) * foreground.ndim]
    sizes = np.bincount(objects, np.bincount(numbers.ravel(), minlength=len(objects) + 1)[1:], len(objects))
    kept = sizes >= max(1, min_size)  # a hill that was joined to another has no pixel
    ids = np.where(kept, np.cumsum(kept), 0)[objects].astype(np.int32)
    result: npt.NDArray[np.int32] = np.concatenate([np.zeros(1, np.int32), ids])[numbers]
    return result


def check_separation(threshold: float, depth: float) -> None:
    """Check the settings of `separate_objects`.

    Raises
    ------
    InputError
        Naming the setting that is out of its range.
    """
    for name, value in (("threshold", threshold), ("depth", depth)):
        if not 0 <= value <= 1:
            raise InputError(f"Expected `{name}` to be from 0 to 1, but got {value}.")
