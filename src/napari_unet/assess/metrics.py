"""How well a segmentation agrees with a reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.errors import InputError

__all__ = ["average_precision", "dice", "iou", "pixel_error"]


def _masks(predicted: Any, reference: Any) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    first, second = np.asarray(predicted), np.asarray(reference)
    if first.shape != second.shape:
        raise InputError(f"Expected two arrays of one shape, but got {first.shape} and {second.shape}.")
    return first != 0, second != 0


def dice(predicted: Any, reference: Any) -> float:
    """Dice coefficient of two masks: twice the overlap over the sum of the sizes.

    Parameters
    ----------
    predicted, reference : array-like
        Of one shape; what is not 0 is foreground.

    Returns
    -------
    float
        0 to 1; 1 if both are empty.

    Examples
    --------
    >>> dice([0, 1, 1, 1], [0, 0, 1, 1])
    0.8
    """
    first, second = _masks(predicted, reference)
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def iou(predicted: Any, reference: Any) -> float:
    """Intersection over union of two masks (Jaccard index); 1 if both are empty.

    Examples
    --------
    >>> iou([0, 1, 1, 1], [0, 0, 1, 0])
    0.3333333333333333
    """
    first, second = _masks(predicted, reference)
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def pixel_error(predicted: Any, reference: Any) -> float:
    """Share of the pixels on which two masks differ.

    Examples
    --------
    >>> pixel_error([0, 1, 1, 1], [0, 0, 1, 1])
    0.25
    """
    first, second = _masks(predicted, reference)
    return float((first != second).mean()) if first.size else 0.0


def average_precision(predicted: Any, reference: Any, threshold: float = 0.5) -> float:
    """Average precision of objects: TP / (TP + FP + FN), matched at an intersection over union of at least `threshold`.

    Parameters
    ----------
    predicted, reference : array-like of int
        Of one shape; 0 = background, otherwise one id for each object.
    threshold : float
        From 0.5 (exclusive of ties) to 1: there a match is unique.

    Returns
    -------
    float
        0 to 1; 1 if there is no object in either.

    Raises
    ------
    InputError
        If the shapes differ or the threshold is below 0.5.

    References
    ----------
    Caicedo et al. 2019, the 2018 Data Science Bowl, Nature Methods 16, 1247.

    Examples
    --------
    >>> average_precision([1, 1, 0, 2, 2], [7, 7, 0, 0, 0])
    0.5
    """
    if not 0.5 <= threshold <= 1:
        raise InputError(f"Expected `threshold` to be from 0.5 to 1, but got {threshold}.")
    first, second = np.asarray(predicted), np.asarray(reference)
    if first.shape != second.shape:
        raise InputError(f"Expected two arrays of one shape, but got {first.shape} and {second.shape}.")
    ids_a, a = np.unique(first.ravel(), return_inverse=True)
    ids_b, b = np.unique(second.ravel(), return_inverse=True)
    pairs, overlap = np.unique(a * max(1, ids_b.size) + b, return_counts=True)  # only objects that meet: few of all
    a_of, b_of = np.divmod(pairs, max(1, ids_b.size))
    union = np.bincount(a)[a_of] + np.bincount(b)[b_of] - overlap
    share = (overlap / union)[(ids_a[a_of] != 0) & (ids_b[b_of] != 0)]
    hits = int((share > threshold if threshold == 0.5 else share >= threshold).sum())
    total = int((ids_a != 0).sum()) + int((ids_b != 0).sum()) - hits
    return hits / total if total else 1.0
