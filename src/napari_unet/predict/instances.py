"""From probabilities to separated objects: a watershed on the landscape of the foreground probability."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import label as label_components
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

__all__ = ["separate_objects"]

_SMOOTHING = 1.0  # pixels


def separate_objects(
    foreground: npt.NDArray[np.floating[Any]],
    *,
    threshold: float = 0.5,
    depth: float = 0.25,
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
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    landscape = _landscape(foreground, mask, spacing)
    inside = tuple(slice(1, -1) for _ in mask.shape)
    maxima = local_maxima(np.pad(landscape, 1), connectivity=mask.ndim)[inside]
    tops = label_components(maxima, connectivity=mask.ndim)
    hills = watershed(-landscape, tops, mask=mask, connectivity=mask.ndim)
    heights = np.zeros(int(tops.max()) + 1, landscape.dtype)
    heights[tops.ravel()] = landscape.ravel()  # all pixels of a top have its height
    objects = _merge_hills(heights, *_find_passes(hills, landscape), depth=depth)[hills]
    kept = np.bincount(objects.ravel()) >= max(1, min_size)  # a hill that was joined to another has no pixel
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    result: npt.NDArray[np.int32] = numbers[objects]
    return result


def _landscape(
    foreground: npt.NDArray[np.floating[Any]], mask: npt.NDArray[np.bool_], spacing: Sequence[float] | None
) -> npt.NDArray[np.float32]:
    """Return what is highest in the middle of an object, (\\*space); 0 outside of the mask and above 0 within."""
    probability: npt.NDArray[np.float32] = ndimage.gaussian_filter(foreground.astype(np.float32), _SMOOTHING) * mask
    if mask.all():  # no border to measure the distance from
        return probability
    inside = tuple(slice(1, -1) for _ in mask.shape)
    distance = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"), sampling=spacing)[inside]
    landscape: npt.NDArray[np.float32] = probability * ndimage.gaussian_filter(distance.astype(np.float32), _SMOOTHING)
    return landscape


def _find_passes(
    hills: npt.NDArray[np.int32], landscape: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Find where neighbouring hills meet: pairs (n, 2) of hills and the height (n) at which one crosses between them.

    The highest passes come first.
    """
    pairs, heights = [], []
    for step in product((0, 1, -1), repeat=hills.ndim):
        if step <= (0,) * hills.ndim:
            continue  # each pair of neighbours is looked at once
        here = tuple(slice(max(0, -by), min(n, n - by)) for by, n in zip(step, hills.shape, strict=True))
        there = tuple(slice(max(0, by), min(n, n + by)) for by, n in zip(step, hills.shape, strict=True))
        first, second = hills[here], hills[there]
        meet = (first != second) & (first > 0) & (second > 0)
        pairs.append(np.sort(np.stack([first[meet], second[meet]], axis=1), axis=1).astype(np.int64))
        heights.append(np.minimum(landscape[here][meet], landscape[there][meet]))
    pair, height = np.concatenate(pairs), np.concatenate(heights)
    order = np.argsort(-height, kind="stable")
    pair, height = pair[order], height[order]
    _, highest = np.unique(pair[:, 0] * (int(hills.max()) + 1) + pair[:, 1], return_index=True)
    highest.sort()
    return pair[highest], height[highest]


def _merge_hills(
    heights: npt.NDArray[np.float32],
    pairs: npt.NDArray[np.int64],
    passes: npt.NDArray[np.float32],
    *,
    depth: float,
) -> npt.NDArray[np.int64]:
    """Join the hills whose valley is too shallow, from the highest pass down; returns the object of each hill.

    `ranges` are hills that are connected above the pass that is looked at, joined or not: a small hill on the flank
    of a large object must not hide behind a smaller one in between.
    """
    objects = list(range(len(heights)))
    ranges = list(range(len(heights)))
    tops = heights.tolist()
    for (first, second), height in zip(pairs.tolist(), passes.tolist(), strict=True):
        a, b = _root(ranges, first), _root(ranges, second)
        if a == b:
            continue
        if height > (1 - depth) * min(tops[a], tops[b]):
            objects[_root(objects, second)] = _root(objects, first)
        ranges[b] = a
        tops[a] = max(tops[a], tops[b])
    return np.array([_root(objects, hill) for hill in range(len(objects))], np.int64)


def _root(parents: list[int], node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node
