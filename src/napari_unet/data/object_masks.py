"""Recognises masks of single objects, which are easily taken for something else: a file does not say what it holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["numbers_in_one_piece", "takes_object_for_background"]

_FEWEST = 10  # objects: organs or layers, which are classes in one piece each, are often fewer
_MOST_LOOKED_AT = 200
_NEARLY_ALL = 0.9
_AS_LARGE = 3.0  # times the median size of the others


def numbers_in_one_piece(labels: npt.NDArray[Any], lowest: int = 1) -> int:
    """Return how many numbers a mask holds, if nearly all are in one piece each, as those of objects are; else 0.

    Parameters
    ----------
    labels : numpy.ndarray
        (\\*space) whole numbers from 0 on.
    lowest : int
        The first number that counts.

    Examples
    --------
    >>> mask = np.zeros((4, 40), int); mask[1:3, 1::4] = np.arange(1, 11)
    >>> numbers_in_one_piece(mask), numbers_in_one_piece(np.minimum(mask, 5)), numbers_in_one_piece(mask > 0)
    (10, 0, 0)
    """
    values, _, boxes, numbered = _find(labels, lowest)
    if len(values) < _FEWEST:
        return 0
    chosen = np.unique(np.linspace(0, len(values) - 1, _MOST_LOOKED_AT).astype(int))
    around = ndimage.generate_binary_structure(labels.ndim, labels.ndim)
    single = [ndimage.label(numbered[boxes[at]] == at + 1, around)[1] == 1 for at in chosen]
    return len(values) if np.mean(single) >= _NEARLY_ALL else 0


def takes_object_for_background(annotation: npt.NDArray[Any]) -> bool:
    """Whether the background of an annotation is most likely the first object of a mask in which 0 is background.

    Parameters
    ----------
    annotation : numpy.ndarray
        (\\*space) as an annotation of objects: 0 not painted, 1 background, 2, 3, ... objects.

    Examples
    --------
    >>> mask = np.zeros((4, 40), int); mask[1:3, 1::4] = np.arange(1, 11)
    >>> strokes = mask.copy(); strokes[0] = 1
    >>> takes_object_for_background(mask), takes_object_for_background(strokes)
    (True, False)
    """
    if not numbers_in_one_piece(annotation):
        return False
    values, sizes, boxes, numbered = _find(annotation, 1)
    around = ndimage.generate_binary_structure(annotation.ndim, annotation.ndim)
    pieces = ndimage.label(numbered[boxes[0]] == 1, around)[1]
    return bool(values[0] == 1 and pieces == 1 and sizes[0] <= _AS_LARGE * np.median(sizes[1:]))


def _find(
    labels: npt.NDArray[Any], lowest: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], list[Any], npt.NDArray[Any]]:
    """Return the numbers of a mask, their sizes and boxes, and the mask with the numbers 1, 2, ... in their place."""
    values, where, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    kept = values >= lowest
    numbered = np.where(kept, np.cumsum(kept), 0)[where].reshape(labels.shape)
    return values[kept], sizes[kept], ndimage.find_objects(numbered), numbered
