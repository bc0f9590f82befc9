"""Holding out a part of the strokes, so that the score is of places that were not trained on.

What is held out are whole connected strokes, never single pixels of one. Where a stroke covers much of the frame, as
when a whole image is annotated, it falls into square regions, and these are held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.crops import AnnotatedFrame

__all__ = ["Holdout", "count_strokes", "hold_out", "number_regions", "number_strokes"]

_LARGE = 0.1  # share of the painted part from which on a stroke is cut into regions
_REGIONS = 6  # regions along the longest side of the painted part


@dataclass(frozen=True, eq=False)
class Holdout:
    """The strokes to train on and the strokes to score on.

    Attributes
    ----------
    train, score : tuple of AnnotatedFrame
        The same frames with other weights set to 0; `score` is empty where too little is painted.
    note : str
        Why nothing is held out, in words for the person; empty otherwise.
    """

    train: tuple[AnnotatedFrame, ...]
    score: tuple[AnnotatedFrame, ...]
    note: str = ""


def hold_out(frames: Sequence[AnnotatedFrame], share: float, class_names: Sequence[str], seed: int = 0) -> Holdout:
    """Hold out about `share` of the strokes of each class.

    Parameters
    ----------
    frames : sequence of AnnotatedFrame
        All that is painted.
    share : float
        Share of the painted pixels of each class, 0 to below 1.
    class_names : sequence of str
        For the note.
    seed : int
        Start of the random choice.

    Returns
    -------
    Holdout
        Every class that is painted stays in `train`. Nothing is held out where a class has only one stroke.
    """
    rng = np.random.default_rng(seed)
    units = [_units(frame) for frame in frames]
    held = [np.zeros(unit.shape, bool) for unit in units]
    lacking = []
    for index in sorted({int(i) for frame in frames for i in np.unique(frame.classes[frame.weights > 0])}):
        strokes = [
            (number, int(unit), int(count))
            for number, frame in enumerate(frames)
            for unit, count in _sizes(units[number], (frame.weights > 0) & (frame.classes == index))
        ]
        if len(strokes) < 2:
            lacking.append(class_names[index])
            continue
        total = sum(count for *_, count in strokes)
        wanted = share * total
        taken = 0
        for number, unit, count in (strokes[i] for i in rng.permutation(len(strokes))):
            if taken + count > (1.5 * wanted if taken > 0 else 0.6 * total) or taken + count == total:
                continue
            held[number] |= (units[number] == unit) & (frames[number].classes == index)
            taken += count
            if taken >= wanted:
                break
        if taken == 0:
            lacking.append(class_names[index])
    if share == 0:
        return Holdout(tuple(frames), (), "No strokes are held out, so there is no score.")
    if lacking:
        words = " and ".join(lacking)
        return Holdout(
            tuple(frames), (), f"Too little to hold out a part for the score: paint one more stroke of {words}."
        )
    train = tuple(frame.keep(~mask) for frame, mask in zip(frames, held, strict=True))
    score = tuple(frame.keep(mask) for frame, mask in zip(frames, held, strict=True) if mask.any())
    return Holdout(train, score)


def count_strokes(frames: Sequence[AnnotatedFrame]) -> int:
    """Return how many strokes, or regions of large ones, there are of the class that has the fewest of those painted.

    Examples
    --------
    >>> count_strokes([])
    0
    """
    units = [(frame, _units(frame)) for frame in frames]
    kinds = {int(kind) for frame in frames for kind in np.unique(frame.classes[frame.weights > 0])}
    return min(
        (
            sum(len(_sizes(unit, (frame.weights > 0) & (frame.classes == kind))) for frame, unit in units)
            for kind in kinds
        ),
        default=0,
    )


def _units(frame: AnnotatedFrame) -> npt.NDArray[np.int64]:
    """Give each stroke of a frame a number; large ones fall into regions. 0 = not painted."""
    painted = frame.weights > 0
    kinds = np.where(painted, frame.classes + np.uint8(1), np.uint8(0))
    return number_strokes(
        kinds, _LARGE * painted.size, number_regions(np.indices(painted.shape, sparse=True), painted.shape)
    )


def number_strokes(
    kinds: npt.NDArray[np.uint8], most_pixels: float, regions: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Give each stroke, connected pixels of one class, a number.

    Parameters
    ----------
    kinds : numpy.ndarray
        (\\*part) 0 = not painted, otherwise 1 more than the index of the class.
    most_pixels : float
        A stroke of more pixels falls into its parts in each region.
    regions : numpy.ndarray
        (\\*part) number of the region of each pixel, from 0 on.

    Returns
    -------
    numpy.ndarray
        (\\*part) int64; 0 = not painted.

    Examples
    --------
    >>> number_strokes(np.array([[1, 1, 0, 2, 2, 2]], np.uint8), 2, np.array([[0, 0, 0, 0, 1, 1]])).tolist()
    [[1, 1, 0, 5, 6, 6]]
    """
    structure = ndimage.generate_binary_structure(kinds.ndim, kinds.ndim)
    units = np.zeros(kinds.shape, np.int64)
    offset = 0
    for kind in np.unique(kinds[kinds > 0]):
        strokes, count = ndimage.label(kinds == kind, structure)
        sizes = np.bincount(strokes.ravel(), minlength=count + 1)
        large = (sizes > most_pixels) & (np.arange(count + 1) > 0)
        number = np.where(large[strokes], count + 1 + strokes * (regions.max() + 1) + regions, strokes)
        units = np.where(strokes > 0, number + offset, units)
        offset = int(units.max())
    return units


def number_regions(places: Sequence[npt.NDArray[np.integer[Any]]], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Give each pixel the number of the square region that it lies in, about `_REGIONS` along the longest side.

    Parameters
    ----------
    places : sequence of numpy.ndarray
        For each axis where the pixels lie; they are broadcast.
    shape : tuple of int
        Size of what falls into regions.

    Examples
    --------
    >>> number_regions([np.array([0, 7, 8, 47])], (48,)).tolist()
    [0, 0, 1, 5]
    """
    side = max(8, -(-max(shape) // _REGIONS))
    counts = tuple(-(-n // side) for n in shape)
    return np.asarray(np.ravel_multi_index(tuple(at // side for at in places), counts), np.int64)


def _sizes(units: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    numbers, counts = np.unique(units[mask], return_counts=True)
    return list(zip(numbers.tolist(), counts.tolist(), strict=True))
