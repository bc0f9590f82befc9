"""Metrics that compare two segmentations as partitions: which pixels belong together, and which do not."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.assess.inputs import (
    Overlaps,
    as_labels,
    as_probabilities,
    as_thresholds,
    as_valid,
    each_frame,
    overlaps,
)

__all__ = ["VariationOfInformation", "rand_error", "variation_of_information"]


def rand_error(
    predicted: Any, reference: Any, thresholds: Any = None, *, ndim: int | None = None, valid: Any = None
) -> float:
    """Foreground-restricted Rand error, as in the ISBI 2012 challenge: 1 - the highest F-score over some thresholds.

    Of all pairs of pixels that lie in objects of the reference, precision is the share of those put into one predicted
    object that belong together, recall the share of those which belong together that were put into one. A pixel of the
    predicted background belongs together with no other. The pairs within each frame are counted, and the counts of a
    stack's frames are added up before the F-score is taken.

    Parameters
    ----------
    predicted : array-like
        Without `thresholds` a label image: 0 = background, otherwise one id for each object. With them how likely each
        pixel is the inside of an object (1 - the probability of membrane); objects are then the pieces above a
        threshold that hang together over the sides of pixels (4-connected in 2D, 6-connected in 3D).
    reference : array-like of int
        Of the same shape. Without `thresholds` a label image; with them a mask or a label image, of which the pieces of
        one number that hang together over the sides of pixels are the objects.
    thresholds : float or sequence of float, optional
        For probabilities; the challenge took `CHALLENGE_THRESHOLDS`.
    ndim : int, optional
        How many of the last axes make up a frame; 2 for a stack of slices. All where not given.
    valid : array-like, optional
        Of the same shape; what is 0 does not count.

    Returns
    -------
    float
        0 to 1; 0 if nothing is together in either.

    Raises
    ------
    InputError
        If the shapes differ, or labels are no whole numbers from 0 on.

    References
    ----------
    Rand 1971, Objective criteria for the evaluation of clustering methods, J. Am. Stat. Assoc. 66, 846.
    Arganda-Carreras et al. 2015, Crowdsourcing the creation of image segmentation algorithms for connectomics,
    Frontiers in Neuroanatomy 9, 142.

    Examples
    --------
    One object of four pixels is split in the middle: of its 6 pairs 2 are left, and no pair is wrong.

    >>> rand_error([1, 1, 2, 2], [1, 1, 1, 1])
    0.5
    """
    if thresholds is None:
        first, second = np.asarray(predicted), np.asarray(reference)
        as_labels(first, second, valid)  # for its checks
        mask = as_valid(valid, second.shape)
        return 1 - _f_score(sum((_pairs(*frame) for frame in each_frame(first, second, mask, ndim)), _NO_PAIRS))
    probabilities, truth = as_probabilities(predicted, reference), np.asarray(reference)
    as_labels(truth, truth, valid)
    mask = as_valid(valid, truth.shape)
    cuts = as_thresholds(thresholds)
    found = dict.fromkeys(cuts, _NO_PAIRS)
    for values, frame, counted in each_frame(probabilities, truth, mask, ndim):
        pieces = connected_pieces(frame)
        for cut in cuts:
            found[cut] = found[cut] + _pairs(ndimage.label(values > cut)[0], pieces, counted)
    return 1 - max(_f_score(pairs) for pairs in found.values())


_NO_PAIRS = np.zeros(3)


def _pairs(
    predicted: npt.NDArray[Any], reference: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.float64]:
    """Count the pairs of foreground pixels that are together in both, in the prediction and in the reference."""
    counted = reference != 0 if valid is None else (reference != 0) & valid
    met = overlaps(predicted[counted], reference[counted])
    sizes = met.predicted_sizes[met.predicted_ids != 0]
    together = (met.counts[met.between_objects], sizes, met.reference_sizes)
    return np.array([(n.astype(np.float64) * (n - 1.0)).sum() / 2 for n in together])


def _f_score(pairs: npt.NDArray[np.float64]) -> float:
    in_both, in_predicted, in_reference = pairs
    total = in_predicted + in_reference
    return float(2 * in_both / total) if total else 1.0


def connected_pieces(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give each piece of a label image a number: pixels of one value, not 0, that hang together over their sides."""
    values = np.unique(labels)
    values = values[values != 0]
    if values.size <= 1:
        return np.asarray(ndimage.label(labels)[0])
    from skimage.measure import label

    return np.asarray(label(labels, background=0, connectivity=1))


class VariationOfInformation(NamedTuple):
    """The two parts of a variation of information, in bits.

    Attributes
    ----------
    split : float
        What is not known of the prediction's object when the reference's is known: objects that fell apart.
    merge : float
        What is not known of the reference's object when the prediction's is known: objects that ran together.
    """

    split: float
    merge: float

    @property
    def total(self) -> float:
        """The variation of information itself."""
        return self.split + self.merge


def variation_of_information(
    predicted: Any, reference: Any, *, foreground_only: bool = False, valid: Any = None
) -> VariationOfInformation:
    """Variation of information between two label images, in bits, as its split and its merge part.

    Parameters
    ----------
    predicted, reference : array-like of int
        Of one shape, one id for each object; 0, the background, is taken as one more object.
    foreground_only : bool
        Leave out the pixels that are background in the reference.
    valid : array-like, optional
        Of the same shape; what is 0 does not count.

    Returns
    -------
    VariationOfInformation
        H(predicted | reference) and H(reference | predicted); both 0 if the partitions are the same.

    Raises
    ------
    InputError
        If the shapes differ or the labels are no whole numbers from 0 on.

    References
    ----------
    Meila 2007, Comparing clusterings: an information based distance, Journal of Multivariate Analysis 98, 873.

    Examples
    --------
    >>> variation_of_information([1, 1, 2, 2], [1, 1, 1, 1])
    VariationOfInformation(split=1.0, merge=0.0)
    """
    first, second = as_labels(predicted, reference, valid)
    if foreground_only:
        first, second = first[second != 0], second[second != 0]
    return information_of(overlaps(first, second))


def information_of(met: Overlaps) -> VariationOfInformation:
    """Return `variation_of_information` from overlaps that were counted already."""
    total = met.counts.sum()
    if not total:
        return VariationOfInformation(0.0, 0.0)
    share = met.counts / total
    split = -np.sum(share * np.log2(met.counts / met.reference_sizes[met.columns]))
    merge = -np.sum(share * np.log2(met.counts / met.predicted_sizes[met.rows]))
    return VariationOfInformation(abs(float(split)), abs(float(merge)))  # abs: no -0.0
