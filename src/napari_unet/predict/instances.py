"""From probabilities to separated objects: a watershed on the landscape of the foreground probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import label as label_components
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

__all__ = ["separate_objects"]

_SMOOTHING = 1.0  # pixels


def separate_objects(
    foreground: npt.NDArray[np.floating[Any]],
    *,
    threshold: float = 0.5,
    depth: float = 0.35,
    min_size: int = 8,
    spacing: Sequence[float] | None = None,
) -> npt.NDArray[np.int32]:
    """Find the objects of one frame.

    The landscape is the distance to the background times the probability, both smoothed a little, so that a neck in
    the shape and a dip in the probability, as the network learns it for the gap between touching objects, are valleys
    alike. Tops that no valley parts which is deeper than `depth` times the lower top belong to one object.

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
        (\\*space) int32, 0 = background, 1, 2, ... one id for each object.

    Examples
    --------
    >>> y, x = np.mgrid[:32, :64]
    >>> two = ((x - 20) ** 2 + (y - 16) ** 2 < 121) | ((x - 40) ** 2 + (y - 16) ** 2 < 121)
    >>> int(separate_objects(two.astype(float)).max())
    2
    """
    mask = foreground > threshold
    inside = tuple(slice(1, -1) for _ in mask.shape)
    distance = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"), sampling=spacing)[inside]
    landscape = ndimage.gaussian_filter(distance.astype(np.float32), _SMOOTHING)
    landscape *= ndimage.gaussian_filter(foreground.astype(np.float32), _SMOOTHING) * mask
    floor = reconstruction(landscape * np.float32(1 - depth), landscape)
    tops = (landscape > floor) & mask
    markers = label_components(tops, connectivity=mask.ndim)
    objects = watershed(-landscape, markers, mask=mask)
    sizes = np.bincount(objects.ravel())
    kept = sizes >= min_size
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    result: npt.NDArray[np.int32] = numbers[objects]
    return result
