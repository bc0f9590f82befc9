"""Metrics that compare a segmentation with a reference object by object.

Objects are matched by their overlap; their ids need not agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from napari_unet.assess.inputs import Overlaps, as_labels, overlaps
from napari_unet.errors import InputError

__all__ = ["average_precision", "precision_at", "seg", "seg_of"]


@overload
def average_precision(
    predicted: Any, reference: Any, threshold: float = 0.5, *, valid: Any = None
) -> float: ...  # pragma: no cover


@overload
def average_precision(
    predicted: Any, reference: Any, threshold: Sequence[float], *, valid: Any = None
) -> tuple[float, ...]: ...  # pragma: no cover


def average_precision(
    predicted: Any, reference: Any, threshold: float | Sequence[float] = 0.5, *, valid: Any = None
) -> float | tuple[float, ...]:
    """Average precision of objects: TP / (TP + FP + FN), matched at an intersection over union of at least `threshold`.

    Parameters
    ----------
    predicted, reference : array-like of int
        Of one shape; 0 = background, otherwise one id for each object.
    threshold : float or sequence of float
        From 0.5 (exclusive of ties) to 1: there a match is unique.
    valid : array-like, optional
        Of the same shape; what is 0 does not count.

    Returns
    -------
    float or tuple of float
        0 to 1, for each threshold; 1 if there is no object in either.

    Raises
    ------
    InputError
        If the shapes differ, the labels are no whole numbers or a threshold is below 0.5.

    References
    ----------
    Caicedo et al. 2019, Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl, Nature Methods
    16, 1247.

    Examples
    --------
    >>> average_precision([1, 1, 0, 2, 2], [7, 7, 0, 0, 0])
    0.5
    >>> average_precision([1, 1, 1, 2, 2], [7, 7, 0, 9, 9], (0.5, 0.75))
    (1.0, 0.3333333333333333)
    """
    one = np.ndim(threshold) == 0
    cuts: Any = [threshold] if one else threshold
    for cut in cuts:
        if not 0.5 <= cut <= 1:
            raise InputError(f"Expected `threshold` to be from 0.5 to 1, but got {cut}.")
    met = overlaps(*as_labels(predicted, reference, valid))
    values = tuple(precision_at(met, float(cut)) for cut in cuts)
    return values[0] if one else values


def precision_at(met: Overlaps, threshold: float) -> float:
    """Return `average_precision` from overlaps that were counted already."""
    shares = intersections_over_unions(met)
    hits = int((shares > threshold if threshold == 0.5 else shares >= threshold).sum())
    total = met.predicted_objects + met.reference_objects - hits
    return hits / total if total else 1.0


def intersections_over_unions(met: Overlaps) -> npt.NDArray[np.float64]:
    """Return the intersection over union of each pair of objects that meet."""
    pairs = met.between_objects
    shared = met.counts[pairs]
    sizes = met.predicted_sizes[met.rows[pairs]] + met.reference_sizes[met.columns[pairs]]
    return np.asarray(shared / (sizes - shared), np.float64)


def seg(predicted: Any, reference: Any, *, valid: Any = None) -> float:
    """SEG of the Cell Tracking Challenge: the mean Jaccard index of the reference objects with their matches.

    A predicted object matches the reference object of which it covers more than half; a reference object without a
    match counts 0. Objects that are predicted where there are none cost nothing.

    Parameters
    ----------
    predicted, reference : array-like of int
        Of one shape; 0 = background, otherwise one id for each object.
    valid : array-like, optional
        Of the same shape; what is 0 does not count.

    Returns
    -------
    float
        0 to 1; NaN if the reference has no object.

    Raises
    ------
    InputError
        If the shapes differ or the labels are no whole numbers.

    References
    ----------
    Maska et al. 2014, A benchmark for comparison of cell tracking algorithms, Bioinformatics 30, 1609.

    Examples
    --------
    >>> seg([1, 1, 1, 0, 2], [7, 7, 0, 0, 9])
    0.8333333333333333
    """
    return seg_of(overlaps(*as_labels(predicted, reference, valid)))


def seg_of(met: Overlaps) -> float:
    """Return `seg` from overlaps that were counted already."""
    if not met.reference_objects:
        return math.nan
    pairs = met.between_objects
    covers = 2 * met.counts[pairs] > met.reference_sizes[met.columns[pairs]]
    return float(intersections_over_unions(met)[covers].sum() / met.reference_objects)
