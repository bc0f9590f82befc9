"""Metrics that compare a segmentation with a reference pixel by pixel.

For all of them what is not 0 is foreground, and pixels at which `valid` is 0 don't count.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from napari_unet.assess.inputs import as_masks, as_probabilities, as_thresholds, as_valid

__all__ = [
    "CHALLENGE_THRESHOLDS",
    "auprc",
    "dice",
    "iou",
    "pixel_accuracy",
    "pixel_error",
    "pixel_f_error",
    "sensitivity",
    "specificity",
]

CHALLENGE_THRESHOLDS = tuple(step / 10 for step in range(10))
"""The thresholds of the ISBI 2012 challenge: 0, 0.1, ..., 0.9. A pixel is foreground where its value is above one."""


class _Counts(NamedTuple):
    """Pixels that are rightly and wrongly foreground, and rightly and wrongly background."""

    tp: int
    fp: int
    tn: int
    fn: int


def _count(predicted: Any, reference: Any, valid: Any) -> _Counts:
    first, second = as_masks(predicted, reference, valid)
    tp = int(np.count_nonzero(first & second))
    fp, fn = int(np.count_nonzero(first)) - tp, int(np.count_nonzero(second)) - tp
    return _Counts(tp, fp, first.size - tp - fp - fn, fn)


def _share(part: int, whole: int, otherwise: float) -> float:
    return part / whole if whole else otherwise


def dice(predicted: Any, reference: Any, *, valid: Any = None) -> float:
    """Dice coefficient of two masks: twice the overlap over the sum of the sizes.

    Parameters
    ----------
    predicted, reference : array-like
        Of one shape; what is not 0 is foreground.
    valid : array-like, optional
        Of the same shape; what is 0 does not count.

    Returns
    -------
    float
        0 to 1; 1 if both are empty.

    Raises
    ------
    InputError
        If the shapes differ.

    References
    ----------
    Dice 1945, Measures of the amount of ecologic association between species, Ecology 26, 297.

    Examples
    --------
    >>> dice([0, 1, 1, 1], [0, 0, 1, 1])
    0.8
    """
    n = _count(predicted, reference, valid)
    return _share(2 * n.tp, 2 * n.tp + n.fp + n.fn, 1.0)


def iou(predicted: Any, reference: Any, *, valid: Any = None) -> float:
    """Intersection over union of two masks (Jaccard index); 1 if both are empty. See `dice` for the parameters.

    Examples
    --------
    >>> iou([0, 1, 1, 1], [0, 0, 1, 0])
    0.3333333333333333
    """
    n = _count(predicted, reference, valid)
    return _share(n.tp, n.tp + n.fp + n.fn, 1.0)


def pixel_error(predicted: Any, reference: Any, *, valid: Any = None) -> float:
    """Share of the pixels on which two masks differ; 0 if there is no pixel. See `dice` for the parameters.

    The ISBI 2012 challenge ranked by another figure under this name: see `pixel_f_error`.

    Examples
    --------
    >>> pixel_error([0, 1, 1, 1], [0, 0, 1, 1])
    0.25
    """
    n = _count(predicted, reference, valid)
    return _share(n.fp + n.fn, sum(n), 0.0)


def pixel_accuracy(predicted: Any, reference: Any, *, valid: Any = None) -> float:
    """Share of the pixels on which two label images agree, id for id; for masks 1 - `pixel_error`.

    Parameters
    ----------
    predicted, reference : array-like
        Of one shape: masks, or classes with the same numbers in both.
    valid : array-like, optional
        Of the same shape; what is 0 does not count.

    Returns
    -------
    float
        0 to 1; 1 if there is no pixel.

    Examples
    --------
    >>> pixel_accuracy([0, 1, 2, 2], [0, 1, 1, 2])
    0.75
    """
    first, second = np.asarray(predicted), np.asarray(reference)
    as_masks(first, second, valid)  # for its checks
    same = first == second
    mask = as_valid(valid, same.shape)
    same = same if mask is None else same[mask]
    return float(same.mean()) if same.size else 1.0


def sensitivity(predicted: Any, reference: Any, *, valid: Any = None) -> float:
    """Share of the reference's foreground that was found (recall); NaN if it has none. See `dice` for the parameters.

    Examples
    --------
    >>> sensitivity([0, 1, 1, 0], [0, 0, 1, 1])
    0.5
    """
    n = _count(predicted, reference, valid)
    return _share(n.tp, n.tp + n.fn, math.nan)


def specificity(predicted: Any, reference: Any, *, valid: Any = None) -> float:
    """Share of the reference's background that was left alone; NaN if it has none. See `dice` for the parameters.

    Examples
    --------
    >>> specificity([0, 1, 1, 0], [0, 0, 1, 1])
    0.5
    """
    n = _count(predicted, reference, valid)
    return _share(n.tn, n.tn + n.fp, math.nan)


def auprc(probabilities: Any, reference: Any, *, valid: Any = None) -> float:
    """Area under the precision-recall curve: the sum of precision times the step in recall over all thresholds.

    The curve is not interpolated between its points, which would flatter it (Davis and Goadrich 2006).

    Parameters
    ----------
    probabilities : array-like
        How likely each pixel is foreground; only the order of the values matters.
    reference : array-like
        Of the same shape; what is not 0 is foreground.
    valid : array-like, optional
        Of the same shape; what is 0 does not count.

    Returns
    -------
    float
        0 to 1; NaN if the reference has no foreground.

    Raises
    ------
    InputError
        If the shapes differ or a probability is not finite.

    References
    ----------
    Davis and Goadrich 2006, The relationship between precision-recall and ROC curves, ICML.

    Examples
    --------
    >>> round(auprc([0.9, 0.8, 0.3, 0.2], [1, 0, 1, 0]), 4)
    0.8333
    """
    values, truth = as_probabilities(probabilities, reference), np.asarray(reference) != 0
    mask = as_valid(valid, truth.shape)
    flat, positive = (values.ravel(), truth.ravel()) if mask is None else (values[mask], truth[mask])
    total = int(np.count_nonzero(positive))
    if not total:
        return math.nan
    order = np.argsort(-flat, kind="stable")
    flat, hits = flat[order], np.cumsum(positive[order], dtype=np.int64)
    last = np.append(np.flatnonzero(flat[1:] != flat[:-1]), flat.size - 1)  # one point for each different value
    found = hits[last]
    return float(np.sum(found / (last + 1) * np.diff(found, prepend=0)) / total)


def pixel_f_error(
    probabilities: Any, reference: Any, thresholds: Any = CHALLENGE_THRESHOLDS, *, valid: Any = None
) -> float:
    """Pixel error of the ISBI 2012 challenge: 1 - the highest F-score of the foreground over some thresholds.

    The challenge's foreground is the inside of the cells, not the membrane. The pixels of a whole stack are counted
    together.

    Parameters
    ----------
    probabilities : array-like
        How likely each pixel is foreground.
    reference : array-like
        Of the same shape; what is not 0 is foreground.
    thresholds : float or sequence of float
        A pixel is foreground where its probability is above one of them.
    valid : array-like, optional
        Of the same shape; what is 0 does not count.

    Returns
    -------
    float
        0 to 1; 0 if neither has any foreground at a threshold.

    References
    ----------
    Arganda-Carreras et al. 2015, Crowdsourcing the creation of image segmentation algorithms for connectomics,
    Frontiers in Neuroanatomy 9, 142; and the challenge's page on evaluation.

    Examples
    --------
    >>> pixel_f_error([0.9, 0.8, 0.3, 0.05], [1, 1, 1, 0])
    0.0
    """
    values = as_probabilities(probabilities, reference)
    return 1 - max(dice(values > cut, reference, valid=valid) for cut in as_thresholds(thresholds))
