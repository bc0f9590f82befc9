"""What every metric does first: check that two arrays fit together, and bring them into the form that is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.errors import InputError

__all__ = [
    "Overlaps",
    "as_frames",
    "as_labels",
    "as_masks",
    "as_probabilities",
    "as_thresholds",
    "as_valid",
    "check_shapes",
    "each_frame",
    "overlaps",
]

_DENSE_LIMIT = 4_000_000  # entries of a table of overlaps that is counted directly


def check_shapes(predicted: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
    """Raise InputError if two arrays have different shapes."""
    if predicted.shape != reference.shape:
        raise InputError(f"Expected two arrays of one shape, but got {predicted.shape} and {reference.shape}.")


def as_valid(valid: Any, shape: tuple[int, ...]) -> npt.NDArray[np.bool_] | None:
    """Return which pixels count, or None if all do."""
    if valid is None:
        return None
    mask: npt.NDArray[np.bool_] = np.asarray(valid) != 0
    if mask.shape != shape:
        raise InputError(f"Expected `valid` to have the shape {shape}, but got {mask.shape}.")
    return mask


def as_masks(predicted: Any, reference: Any, valid: Any = None) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return two masks of what is not 0; where `valid` is given, flat and without the pixels that don't count."""
    first, second = np.asarray(predicted), np.asarray(reference)
    check_shapes(first, second)
    mask = as_valid(valid, first.shape)
    return (first != 0, second != 0) if mask is None else (first[mask] != 0, second[mask] != 0)


def as_labels(predicted: Any, reference: Any, valid: Any = None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return two flat arrays of ids, without the pixels that don't count.

    Raises
    ------
    InputError
        If the shapes differ or the values are no whole numbers from 0 on.
    """
    first, second = np.asarray(predicted), np.asarray(reference)
    check_shapes(first, second)
    for array in (first, second):
        if array.dtype.kind not in "bui" or (array.dtype.kind == "i" and array.size and array.min() < 0):
            raise InputError(f"Expected labels to be whole numbers from 0 on, but got values of type {array.dtype}.")
    mask = as_valid(valid, first.shape)
    return (first.ravel(), second.ravel()) if mask is None else (first[mask], second[mask])


def as_probabilities(probabilities: Any, reference: Any) -> npt.NDArray[np.floating[Any]]:
    """Return probabilities as floating-point numbers of the reference's shape.

    Raises
    ------
    InputError
        If the shapes differ or a value is not a finite number.
    """
    array = np.asarray(probabilities)
    if array.dtype.kind not in "f":
        array = array.astype(np.float64)
    check_shapes(array, np.asarray(reference))
    if not np.isfinite(array).all():
        raise InputError("Expected probabilities to be finite, but there are NaN or infinite values among them.")
    return array


def as_thresholds(thresholds: Any) -> tuple[float, ...]:
    """Return thresholds as numbers; one number counts as a list of one."""
    values = tuple(float(value) for value in np.atleast_1d(thresholds))
    if not values:
        raise InputError("Expected at least one threshold, but got none.")
    return values


def as_frames(array: npt.NDArray[Any], ndim: int | None) -> npt.NDArray[Any]:
    """Return an array with the axes (frame, \\*space): the last `ndim` axes are space, None: all of them."""
    space = array.ndim if ndim is None else ndim
    if space < 1 or space > array.ndim:
        raise InputError(f"Expected `ndim` to be from 1 to the {array.ndim} axes of the arrays, but got {ndim}.")
    return array.reshape(-1, *array.shape[array.ndim - space :])


@dataclass(frozen=True, eq=False)
class Overlaps:
    """How many pixels each predicted object shares with each reference object; only pairs that meet.

    Attributes
    ----------
    predicted_ids, reference_ids : numpy.ndarray
        The ids that occur, in order, 0 included if it does.
    predicted_sizes, reference_sizes : numpy.ndarray
        Pixels of each of these ids.
    rows, columns : numpy.ndarray
        Position in `predicted_ids` and in `reference_ids` of both partners of each pair.
    counts : numpy.ndarray
        Pixels that the partners share.
    """

    predicted_ids: npt.NDArray[Any]
    reference_ids: npt.NDArray[Any]
    predicted_sizes: npt.NDArray[np.int64]
    reference_sizes: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    @property
    def between_objects(self) -> npt.NDArray[np.bool_]:
        """Which pairs have no background in them."""
        return np.asarray((self.predicted_ids[self.rows] != 0) & (self.reference_ids[self.columns] != 0))

    @property
    def predicted_objects(self) -> int:
        """How many objects were predicted."""
        return int(np.count_nonzero(self.predicted_ids))

    @property
    def reference_objects(self) -> int:
        """How many objects the reference has."""
        return int(np.count_nonzero(self.reference_ids))

    def find_pairs(self, predicted: npt.NDArray[Any], reference: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the number of the pair at each of some pixels, whose ids must be among those that were counted."""
        width = max(1, self.reference_ids.size)
        rows = np.searchsorted(self.predicted_ids, predicted)
        codes = rows * width + np.searchsorted(self.reference_ids, reference)
        return np.asarray(np.searchsorted(self.rows * width + self.columns, codes))


def overlaps(predicted: npt.NDArray[Any], reference: npt.NDArray[Any]) -> Overlaps:
    """Count the pixels that each pair of ids shares.

    Parameters
    ----------
    predicted, reference : numpy.ndarray
        Flat, as `as_labels` returns them.
    """
    a_ids, a = _ranks(predicted)
    b_ids, b = _ranks(reference)
    codes = a * max(1, b_ids.size) + b
    if a_ids.size * b_ids.size <= _DENSE_LIMIT:
        table = np.bincount(codes)
        pairs = np.flatnonzero(table)
        counts = table[pairs]
    else:
        pairs, counts = np.unique(codes, return_counts=True)
    rows, columns = np.divmod(pairs, max(1, b_ids.size))
    a_sizes = np.bincount(a, minlength=a_ids.size)
    return Overlaps(a_ids, b_ids, a_sizes, np.bincount(b, minlength=b_ids.size), rows, columns, counts)


def _ranks(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return the ids that occur, and for each pixel the position of its id among them."""
    highest = int(labels.max(initial=0))
    if highest > 4 * labels.size + 1000:  # few pixels with huge ids
        ids, ranks = np.unique(labels, return_inverse=True)
        return ids, ranks.reshape(-1)
    occurs = np.zeros(highest + 1, bool)
    occurs[labels.astype(np.intp, copy=False)] = True
    ids = np.flatnonzero(occurs)
    places = np.cumsum(occurs) - 1
    return ids, places[labels.astype(np.intp, copy=False)]


def each_frame(
    first: npt.NDArray[Any], second: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None, ndim: int | None
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_] | None]]:
    """Go through two arrays of one shape, and which of their pixels count, frame by frame; see `as_frames`."""
    firsts, seconds = as_frames(first, ndim), as_frames(second, ndim)
    valids = [None] * len(firsts) if valid is None else as_frames(valid, ndim)
    yield from zip(firsts, seconds, valids, strict=True)
