"""Which annotation belongs to which image, and what the numbers in an annotation file mean.

A file says neither by itself, so both are settled by plain rules that are told to the person.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.files import read_annotation, read_image
from napari_unet.data.image_search import stem_of
from napari_unet.data.sample import Sample
from napari_unet.data.strokes import from_ground_truth
from napari_unet.errors import AnnotationError, InputError

__all__ = ["LabelsAre", "Pairing", "pair_files", "read_sample", "to_annotation"]

LabelsAre = Literal["annotation", "ground-truth"]

_FILLERS = {
    "annotated", "annotation", "annotations", "gt", "image", "images", "img", "label", "labels", "mask", "masks",
    "ome", "predicted", "prediction", "probabilities", "raw", "reference", "result", "scribbles", "seg", "segmentation",
    "segmented", "strokes", "truth",
}  # fmt: skip


@dataclass(frozen=True)
class Pairing:
    """Images with their annotations.

    Attributes
    ----------
    pairs : tuple of (Path, Path)
        Image and annotation.
    alone : tuple of Path
        Images without an annotation, which are not used.
    by_name : bool
        Whether the names told the pairs; otherwise the order did.
    unused : tuple of Path
        Annotations without an image, where these are allowed.
    """

    pairs: tuple[tuple[Path, Path], ...]
    alone: tuple[Path, ...] = ()
    by_name: bool = True
    unused: tuple[Path, ...] = ()


def pair_files(
    images: Sequence[Path],
    annotations: Sequence[Path],
    *,
    every: bool = True,
    called: tuple[str, str] = ("image", "annotation"),
) -> Pairing:
    """Find the annotation of each image.

    They belong together when their names are the same but for the ending and words like "image", "strokes", "mask" or
    "labels". Where no name fits any other and there are as many of both, the order decides. Annotations that are
    listed among the images, too, are left out of these.

    Parameters
    ----------
    images, annotations : sequence of Path
        The files.
    every : bool
        Whether every annotation must have an image.
    called : tuple of str
        What messages call the two kinds of files.

    Raises
    ------
    InputError
        If it does not come out, naming the file that is left over.

    Examples
    --------
    >>> pairing = pair_files([Path("raw/c1.tif"), Path("raw/c2.tif")], [Path("strokes/c2_strokes.png")])
    >>> [(image.name, annotation.name) for image, annotation in pairing.pairs]
    [('c2.tif', 'c2_strokes.png')]
    """
    one, other = called
    taken = {path.absolute() for path in annotations}
    images = [path for path in images if path.absolute() not in taken]
    if not images or not annotations:
        raise InputError(f"Give at least one {one} and its {other}; there are {len(images)} and {len(annotations)}.")
    image_keys, annotation_keys = [_key(path) for path in images], [_key(path) for path in annotations]
    if len(images) == len(annotations) == 1:
        return Pairing(((images[0], annotations[0]),), by_name=image_keys == annotation_keys)
    shared = set(image_keys) & set(annotation_keys)
    if not shared:
        if len(images) != len(annotations):
            raise InputError(
                f"There are {len(images)} {one}s but {len(annotations)} {other}s, and their names do not tell which "
                f"belong together: give each {other} the name of its {one}."
            )
        return Pairing(tuple(zip(images, annotations, strict=True)), by_name=False)
    by_key = dict(zip(image_keys, images, strict=True))
    for paths, keys in ((images, image_keys), (annotations, annotation_keys)):
        twice = [str(path) for path, key in zip(paths, keys, strict=True) if key in shared and keys.count(key) > 1]
        if twice:
            raise InputError(
                f"The names of {twice[0]} and {twice[1]} are too alike to tell which belongs to which file."
            )
    for path, key in zip(annotations, annotation_keys, strict=True):
        if every and key not in by_key:
            raise InputError(f"There is no {one} for the {other} {path.name}: give both the same name.")
    named = list(zip(annotations, annotation_keys, strict=True))
    pairs = tuple((by_key[key], path) for path, key in named if key in by_key)
    used = {image for image, _ in pairs}
    alone = tuple(path for path in images if path not in used)
    return Pairing(pairs, alone, unused=tuple(path for path, key in named if key not in by_key))


def _key(path: Path) -> tuple[str, ...]:
    """Return the words of a name that tell one image from another."""
    inside = re.fullmatch(r".*\.npz::?(.+)", path.name, re.IGNORECASE)
    stem = inside[1] if inside else stem_of(path)
    words = [word for word in re.split(r"[\W_]+", stem.casefold()) if word]
    return tuple(word for word in words if word not in _FILLERS) or tuple(words)


def read_sample(
    image: Path,
    annotation: Path,
    *,
    task: str = "objects",
    axes: str | None = None,
    labels_are: LabelsAre = "annotation",
    unpainted_is_background: bool = False,
) -> Sample:
    """Read an image and its annotation.

    Parameters
    ----------
    image, annotation : path
        The two files.
    task : {"objects", "classes"}
        What the numbers of a ground truth are.
    axes : str, optional
        Axes of the image where the file does not say them, or says them wrongly.
    labels_are, unpainted_is_background
        See `to_annotation`.

    Raises
    ------
    FileFormatError
        If a file can't be read.
    AnnotationError
        If the numbers make no sense; naming the file.
    """
    pixels = read_image(image)
    labels = read_annotation(annotation)
    try:
        strokes = to_annotation(
            labels.array, labels.axes, task, labels_are=labels_are, unpainted_is_background=unpainted_is_background
        )
    except AnnotationError as error:
        raise AnnotationError(f"{labels.name}: {error}") from error
    return Sample(pixels.array, strokes, (axes or pixels.axes).upper(), pixels.spacing, pixels.name)


def to_annotation(
    labels: npt.NDArray[Any],
    axes: str,
    task: str = "objects",
    *,
    labels_are: LabelsAre = "annotation",
    unpainted_is_background: bool = False,
) -> npt.NDArray[Any]:
    """Bring the numbers of a file into the annotation encoding: 0 unlabelled, 1 background, 2, 3, ... the rest.

    Parameters
    ----------
    labels : numpy.ndarray
        Whole numbers from 0 on.
    axes : str
        Its axes.
    task : {"objects", "classes"}
        What the numbers of a ground truth are. A mask with one number for all objects falls into its connected pieces;
        for classes, numbers with gaps (0 and 255, say) are taken in their order.
    labels_are : {"annotation", "ground-truth"}
        Whether the file has the annotation encoding already, or 0 is background and 1, 2, ... the rest.
    unpainted_is_background : bool
        Whether an annotation's 0 becomes background.

    Returns
    -------
    numpy.ndarray
        Unsigned integers of the same shape.

    Examples
    --------
    >>> to_annotation(np.array([[0, 255], [0, 0]]), "YX", labels_are="ground-truth").tolist()
    [[1, 2], [1, 1]]
    """
    labels = np.asarray(labels)
    if labels_are == "ground-truth":
        values = np.unique(labels)
        values = values[values > 0]
        if values.size == 0:
            raise AnnotationError("It holds nothing but 0, so there is nothing to find in it.")
        if task == "objects" and values.size == 1:
            labels = _pieces(labels > 0, axes)
        elif task == "classes" and values[-1] != values.size:
            labels = np.where(labels > 0, np.searchsorted(values, labels) + 1, 0)
        return from_ground_truth(labels)
    smallest = labels.astype(np.min_scalar_type(int(labels.max(initial=0))), copy=False)
    if unpainted_is_background:
        return np.where(smallest == 0, smallest.dtype.type(1), smallest)
    return smallest


def _pieces(mask: npt.NDArray[np.bool_], axes: str) -> npt.NDArray[Any]:
    """Give each connected piece of a mask a number; what hangs together only over time stays apart."""
    neighbours = ndimage.generate_binary_structure(mask.ndim, 1)
    if "T" in axes and len(axes) == mask.ndim:
        moved = np.moveaxis(neighbours, axes.index("T"), 0)
        moved[0], moved[2] = False, False
    numbered, _ = ndimage.label(mask, structure=neighbours)
    pieces: npt.NDArray[Any] = numbered
    return pieces
