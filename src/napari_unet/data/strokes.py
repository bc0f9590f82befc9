"""What the strokes of a person mean: for every pixel the class to be learnt, and whether it was painted at all.

The encoding is the same everywhere: 0 is unlabelled, 1 background, 2, 3, ... are classes or one id for each object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.errors import AnnotationError

__all__ = ["BACKGROUND", "UNLABELLED", "Targets", "decode_strokes", "from_ground_truth", "separate_touching"]

UNLABELLED = 0
BACKGROUND = 1

Task = Literal["objects", "classes"]


@dataclass(frozen=True, eq=False)
class Targets:
    """What is to be learnt from the strokes on one frame.

    Attributes
    ----------
    classes : numpy.ndarray
        (\\*space) uint8, index of the class, 0 = background; 0 also where nothing is painted.
    valid : numpy.ndarray
        (\\*space) bool, whether the pixel is painted.
    objects : numpy.ndarray
        (\\*space) of the annotation's dtype, 0 = no object, otherwise the id, after touching objects were separated.
        All 0 for ``task="classes"``.
    """

    classes: npt.NDArray[np.uint8]
    valid: npt.NDArray[np.bool_]
    objects: npt.NDArray[Any]


def decode_strokes(annotation: npt.NDArray[Any], task: Task = "objects", classes: int = 2) -> Targets:
    """Turn an annotation into targets.

    For ``task="objects"`` a thin line of background is put between touching objects, so that the network has
    to learn it (Ronneberger et al. 2015, section 3).

    Parameters
    ----------
    annotation : numpy.ndarray
        (\\*space) integers: 0 unlabelled, 1 background, 2, 3, ... classes or one id for each object.
    task : {"objects", "classes"}
        What the numbers from 2 on are.
    classes : int
        How many classes the model has, background included.

    Raises
    ------
    AnnotationError
        If there are values that the encoding does not have.

    Examples
    --------
    >>> targets = decode_strokes(np.array([[0, 1, 2, 2, 3, 3]], np.uint8))  # objects 2 and 3 touch
    >>> targets.valid.tolist(), targets.classes.tolist()
    ([[False, True, True, True, True, True]], [[0, 0, 1, 0, 0, 1]])
    """
    annotation = np.asarray(annotation)
    if annotation.dtype.kind not in "bui":
        raise AnnotationError(
            f"Expected an annotation of whole numbers, but its values are of type {annotation.dtype}."
        )
    if annotation.size and annotation.dtype.kind == "i" and annotation.min() < 0:
        raise AnnotationError(
            "An annotation must not have negative values: 0 is unlabelled, 1 background, 2 the first class."
        )
    valid = annotation != UNLABELLED
    if task == "classes":
        highest = int(annotation.max(initial=0))
        if highest > classes:
            raise AnnotationError(
                f"The annotation holds the value {highest}, but there are only {classes} classes; "
                "add a class, or erase what has that value."
            )
        index = np.where(valid, annotation, BACKGROUND).astype(np.uint8) - np.uint8(1)
        return Targets(index, valid, np.zeros_like(annotation))
    objects = separate_touching(np.where(annotation > BACKGROUND, annotation, 0))
    return Targets((objects > 0).astype(np.uint8), valid, objects)


def separate_touching(objects: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Take from each object the pixels that touch another one, also over a corner.

    Parameters
    ----------
    objects : numpy.ndarray
        (\\*space) ids, 0 = no object.

    Returns
    -------
    numpy.ndarray
        A copy in which no two objects touch. An object that would vanish keeps its pixels; two such objects, one pixel
        thin side by side, still touch.
    """
    if not ((objects != 0) & (objects != objects.max(initial=0))).any():  # one object at most
        return objects.copy()
    around = ndimage.generate_binary_structure(objects.ndim, objects.ndim)
    highest = ndimage.maximum_filter(objects, footprint=around, mode="nearest")
    ground = objects.max(initial=0)  # high enough not to be the lowest
    lowest = ndimage.minimum_filter(np.where(objects > 0, objects, ground), footprint=around, mode="nearest")
    line = (objects > 0) & ((highest != objects) | (lowest != objects))
    separated = np.where(line, 0, objects)
    vanished = np.setdiff1d(objects[line], separated)
    if vanished.size:
        separated[np.isin(objects, vanished)] = objects[np.isin(objects, vanished)]
    return separated


def from_ground_truth(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bring a ground truth in which 0 means background into the annotation encoding: everything is painted.

    Parameters
    ----------
    labels : numpy.ndarray
        (\\*space) integers, 0 = background, 1, 2, ... objects or classes.

    Returns
    -------
    numpy.ndarray
        uint8, uint16 or uint32, 1 = background, 2, 3, ... what was 1, 2, ...

    Examples
    --------
    >>> from_ground_truth(np.array([0, 0, 1, 7])).tolist()
    [1, 1, 2, 8]
    """
    labels = np.asarray(labels)
    if labels.dtype.kind not in "bui" or (labels.dtype.kind == "i" and labels.size and labels.min() < 0):
        raise AnnotationError("Expected a ground truth of whole numbers from 0 on.")
    highest = int(labels.max(initial=0)) + 1
    dtype = np.min_scalar_type(highest)
    return np.asarray(labels.astype(dtype) + dtype.type(1))
