"""Which objects are missed, false, split or merged, and a picture of it: the errors of a segmentation by their kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.assess.inputs import Overlaps, as_labels, as_valid, overlaps

__all__ = ["ERROR_KINDS", "ObjectErrors", "error_labels", "find_object_errors"]

ERROR_KINDS = ("missed", "false", "split", "merged")
"""Names of the values 1, 2, 3, 4 of error labels."""

_MISSED, _FALSE, _SPLIT, _MERGED = 1, 2, 3, 4


@dataclass(frozen=True, eq=False)
class ObjectErrors:
    """The objects that are wrong, each list in order.

    A predicted object is a part of a reference object if more than half of its pixels lie in it, and the other way
    round.

    Attributes
    ----------
    missed : numpy.ndarray
        Ids of reference objects that are a part of no predicted object and have none as their part.
    false : numpy.ndarray
        Ids of predicted objects of which the same is true.
    split : numpy.ndarray
        Ids of reference objects of which two or more predicted objects are parts.
    merged : numpy.ndarray
        Ids of predicted objects of which two or more reference objects are parts.
    """

    missed: npt.NDArray[Any]
    false: npt.NDArray[Any]
    split: npt.NDArray[Any]
    merged: npt.NDArray[Any]


def _parts(met: Overlaps) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Tell for each pair that meets: the predicted object is a part of the reference object, and the other way."""
    objects = met.between_objects
    predicted_part = objects & (2 * met.counts > met.predicted_sizes[met.rows])
    reference_part = objects & (2 * met.counts > met.reference_sizes[met.columns])
    return predicted_part, reference_part


def find_object_errors(met: Overlaps) -> ObjectErrors:
    """Find the objects that are wrong, from the overlaps of two label images.

    Examples
    --------
    >>> reference = np.array([1, 1, 1, 1, 0, 2, 2, 3, 3])
    >>> predicted = np.array([4, 4, 5, 5, 0, 6, 6, 6, 6])
    >>> errors = find_object_errors(overlaps(predicted, reference))
    >>> errors.split.tolist(), errors.merged.tolist()  # object 1 fell apart; 2 and 3 became one
    ([1], [6])
    """
    predicted_part, reference_part = _parts(met)
    pieces = np.bincount(met.columns[predicted_part], minlength=met.reference_ids.size)
    members = np.bincount(met.rows[reference_part], minlength=met.predicted_ids.size)
    related = predicted_part | reference_part
    lone_reference = ~np.isin(np.arange(met.reference_ids.size), met.columns[related]) & (met.reference_ids != 0)
    lone_predicted = ~np.isin(np.arange(met.predicted_ids.size), met.rows[related]) & (met.predicted_ids != 0)
    return ObjectErrors(
        missed=met.reference_ids[lone_reference],
        false=met.predicted_ids[lone_predicted],
        split=met.reference_ids[pieces > 1],
        merged=met.predicted_ids[members > 1],
    )


def error_labels(predicted: Any, reference: Any, *, valid: Any = None) -> npt.NDArray[np.uint8]:
    """Draw the errors of a segmentation into objects.

    Parameters
    ----------
    predicted, reference : array-like of int
        Of one shape; 0 = background, otherwise one id for each object.
    valid : array-like, optional
        Of the same shape; what is 0 does not count.

    Returns
    -------
    numpy.ndarray
        Of the same shape: 0 = right, 1 = missed (background where the reference has an object), 2 = false (object where
        the reference has background), 3 = split (a reference object fell apart: where its parts are), 4 = merged (a
        predicted object took in several: where these are). Where an object is both split and merged: merged.

    Raises
    ------
    InputError
        If the shapes differ or the labels are no whole numbers from 0 on.

    Examples
    --------
    >>> error_labels([4, 4, 5, 5, 0, 6, 6, 6, 0, 7], [1, 1, 1, 1, 0, 2, 2, 3, 3, 0]).tolist()
    [3, 3, 3, 3, 0, 0, 0, 0, 1, 2]
    """
    first, second = np.asarray(predicted), np.asarray(reference)
    met = overlaps(*as_labels(first, second, valid))
    mask = as_valid(valid, first.shape)
    drawn = np.zeros(first.shape, np.uint8)
    drawn[(first == 0) & (second != 0)] = _MISSED
    drawn[(first != 0) & (second == 0)] = _FALSE
    wrong = find_object_errors(met)
    predicted_part, reference_part = _parts(met)
    kinds = np.zeros(met.counts.size, np.uint8)
    kinds[predicted_part & np.isin(met.reference_ids[met.columns], wrong.split)] = _SPLIT
    kinds[reference_part & np.isin(met.predicted_ids[met.rows], wrong.merged)] = _MERGED
    if kinds.any():
        inside = (first != 0) & (second != 0) if mask is None else (first != 0) & (second != 0) & mask
        drawn[inside] = kinds[met.find_pairs(first[inside], second[inside])]
    if mask is not None:
        drawn[~mask] = 0
    return drawn
