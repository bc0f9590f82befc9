"""How far every pixel is from its nearest and second nearest object, in the memory of a few images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

try:
    import edt
except ImportError:  # the extra `fast`
    edt = None

__all__ = ["sum_of_two_nearest"]

_MOST_IDS = 2**20  # ids up to here are used as they are
_BOX_GAIN = 2.0  # a transform around one object is that much faster, for each pixel, than one of the whole image
_SLAB = 4  # thickness of a slab, in margins
_LARGE = 30_000  # pixels from which edt is faster than scipy


def sum_of_two_nearest(objects: npt.NDArray[Any], spacing: Sequence[float], reach: float) -> npt.NDArray[np.float32]:
    r"""Add the distance to the nearest object and that to the second nearest.

    Usually each object has a distance transform in its surroundings alone. Where these overlap so much (crowded, long
    or nested objects, a large reach) that it would be more work, the objects are halved again and again, by each
    binary digit of their number: two objects differ in some digit, so the second nearest is the least, over the
    digits, of the greater of the distances to the two halves. Objects that are farther apart than the reach share a
    number. That takes 2 log2(numbers) transforms of the image, slab by slab.

    Parameters
    ----------
    objects : numpy.ndarray
        (\*space) integers, 0 = background, otherwise one id for each object.
    spacing : sequence of float
        Distance of pixels along each axis.
    reach : float
        Sums up to here are exact, others may be anything above, in the unit of `spacing`.

    Returns
    -------
    numpy.ndarray
        (\*space) float32; infinite where there is no second object.

    Examples
    --------
    >>> sum_of_two_nearest(np.array([[1, 0, 0, 2, 0, 0]]), (1, 1), reach=9)
    array([[3., 3., 3., 3., 5., 7.]], dtype=float32)
    """
    objects = _with_small_ids(objects)
    margin = [math.ceil(min(reach / step, size)) for step, size in zip(spacing, objects.shape, strict=True)]
    found = {n: box for n, box in enumerate(ndimage.find_objects(objects), start=1) if box is not None}
    boxes = {number: _grown(box, margin, objects.shape) for number, box in found.items()}
    slabs, around = _slabs(objects.shape, margin[0])
    alone = sum(math.prod(part.stop - part.start for part in box) for box in boxes.values())
    once = sum(part.stop - part.start for part in around) * objects[:1].size
    if alone <= 2 * _BOX_GAIN * once:
        return _object_by_object(objects, boxes, spacing)
    numbers = _numbers_shared_afar(found, margin)
    if alone <= 2 * _BOX_GAIN * once * int(numbers.max()).bit_length():
        return _object_by_object(objects, boxes, spacing)
    total = np.empty(objects.shape, np.float32)
    for slab, part in zip(slabs, around, strict=True):
        start = slab.start - part.start
        total[slab] = _by_halves(objects[part], numbers, spacing)[start : start + slab.stop - slab.start]
    return total


def _with_small_ids(objects: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the objects as native integers, with new ids where a large one would make a long list."""
    if objects.dtype == bool:
        return objects.view(np.uint8)
    if objects.max(initial=0) <= _MOST_IDS:
        return objects.astype(objects.dtype.newbyteorder("="), copy=False)
    ids = np.union1d([0], objects)
    numbered = np.empty(objects.shape, np.int32)
    for new, old in zip(numbered, objects, strict=True):  # plane by plane: places are found as 64-bit integers
        new[...] = np.searchsorted(ids, old)
    return numbered


def _grown(box: tuple[slice, ...], margin: Sequence[int], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(max(0, part.start - more), min(size, part.stop + more))
        for part, more, size in zip(box, margin, shape, strict=True)
    )


def _slabs(shape: tuple[int, ...], margin: int) -> tuple[list[slice], list[slice]]:
    """Cut the first axis: what is written, and what has to be looked at for it."""
    thickness = max(1, _SLAB * margin)
    slabs = [slice(start, min(start + thickness, shape[0])) for start in range(0, shape[0], thickness)]
    return slabs, [_grown((slab,), (margin,), shape[:1])[0] for slab in slabs]


def _object_by_object(
    objects: npt.NDArray[Any], boxes: dict[int, tuple[slice, ...]], spacing: Sequence[float]
) -> npt.NDArray[np.float32]:
    first = np.full(objects.shape, np.inf, np.float32)
    second = np.full(objects.shape, np.inf, np.float32)
    for number, box in boxes.items():
        inside = objects[box]
        outside = inside != number
        if not inside[outside].any():
            continue  # too far from all others to be one of two that matter
        distance = _squared_distance(outside, spacing)
        nearest, next_nearest = first[box], second[box]
        np.minimum(next_nearest, np.maximum(nearest, distance), out=next_nearest)
        np.minimum(nearest, distance, out=nearest)
    return _sum_of_roots(first, second)


def _numbers_shared_afar(found: dict[int, tuple[slice, ...]], margin: Sequence[int]) -> npt.NDArray[np.intp]:
    """Give each id a number, from 0 on, that only objects beyond the margin of each other share; -1 without one."""
    ids = np.array(sorted(found, key=lambda number: found[number][0].start))
    starts = np.array([[part.start for part in found[number]] for number in ids])
    stops = np.array([[part.stop for part in found[number]] for number in ids])
    longest = (stops - starts)[:, 0].max() + margin[0]
    first = np.searchsorted(starts[:, 0], starts[:, 0] - longest)
    chosen = np.zeros(len(ids), np.intp)
    for place in range(len(ids)):
        before = slice(first[place], place)
        near = (starts[place] < stops[before] + margin) & (starts[before] < stops[place] + margin)
        taken = set(chosen[before][near.all(axis=1)].tolist())
        chosen[place] = next(number for number in range(place + 1) if number not in taken)
    numbers = np.full(ids.max() + 1, -1, np.intp)
    numbers[ids] = chosen
    return numbers


def _by_halves(
    objects: npt.NDArray[Any], numbers: npt.NDArray[np.intp], spacing: Sequence[float]
) -> npt.NDArray[np.float32]:
    first = np.full(objects.shape, np.inf, np.float32)
    second = np.full(objects.shape, np.inf, np.float32)
    for digit in range(int(numbers.max()).bit_length()):
        one = (numbers >> digit & 1).astype(bool)
        halves = [(chosen & (numbers >= 0))[objects] for chosen in (one, ~one)]
        if not all(half.any() for half in halves):
            continue
        distances = [_squared_distance(~half, spacing) for half in halves]
        np.minimum(second, np.maximum(*distances), out=second)
        np.minimum(first, np.minimum(*distances), out=first)
    return _sum_of_roots(first, second)


def _sum_of_roots(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    np.sqrt(first, out=first)
    np.sqrt(second, out=second)
    first += second
    return first


def _squared_distance(outside: npt.NDArray[np.bool_], spacing: Sequence[float]) -> npt.NDArray[np.float32]:
    """Squared distance to the nearest pixel that is not outside; there has to be one."""
    if edt is not None and outside.ndim in (2, 3) and outside.size >= _LARGE:
        foreground = outside.view(np.uint8)  # which it goes through faster than through bool
        distance: npt.NDArray[np.float32] = edt.edtsq(foreground, anisotropy=tuple(spacing), black_border=False)
        return distance
    places = ndimage.distance_transform_edt(outside, sampling=spacing, return_distances=False, return_indices=True)
    squared = np.zeros(outside.shape, np.float32)
    for axis, (place, step) in enumerate(zip(places, spacing, strict=True)):
        here = np.arange(outside.shape[axis], dtype=np.int32)
        along = np.subtract(place, here.reshape(-1, *(1,) * (outside.ndim - axis - 1)), dtype=np.float32)
        along *= step
        squared += np.square(along, out=along)
    return squared
