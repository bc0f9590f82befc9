"""Holding out a part of the strokes, so that the score is of places that were not trained on.

What is held out are whole connected strokes, never single pixels of one. Where a stroke covers much of the frame, as
when a whole image is annotated, it falls into square regions, and these are held out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.crops import AnnotatedFrame, keep_in_frames, same_frames

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
    units = _units(frames)
    held = [np.zeros(len(unit.places), bool) for unit in units]
    lacking = []
    for index in _painted_classes(units):
        strokes = [
            (number, stroke, count) for number, unit in enumerate(units) for stroke, count in unit.strokes_of(index)
        ]
        if len(strokes) < 2:
            lacking.append(class_names[index])
            continue
        total = sum(count for *_, count in strokes)
        wanted = share * total
        taken = 0
        for number, stroke, count in (strokes[i] for i in rng.permutation(len(strokes))):
            if taken + count > (1.5 * wanted if taken > 0 else 0.6 * total) or taken + count == total:
                continue
            held[number] |= (units[number].strokes == stroke) & (units[number].classes == index)
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
    masks = [np.zeros(frame.weights.shape, bool) for frame in frames]
    for mask, unit, own in zip(masks, units, held, strict=True):
        np.put(mask, unit.places[own], True)
    return Holdout(
        tuple(frame.keep(~mask) for frame, mask in zip(frames, masks, strict=True)), keep_in_frames(frames, masks)
    )


def count_strokes(frames: Sequence[AnnotatedFrame]) -> int:
    """Return how many strokes, or regions of large ones, there are of the class that has the fewest of those painted.

    Examples
    --------
    >>> count_strokes([])
    0
    """
    units = _units(frames)
    return min((sum(len(unit.strokes_of(kind)) for unit in units) for kind in _painted_classes(units)), default=0)


@dataclass(frozen=True, eq=False)
class _Units:
    """The painted pixels of a part of a frame (n,): where each lies in the flattened part, its class and its stroke."""

    places: npt.NDArray[np.intp]
    classes: npt.NDArray[np.uint8]
    strokes: npt.NDArray[np.int32]

    def strokes_of(self, index: int) -> list[tuple[int, int]]:
        """Return the number of each stroke of a class, and of its pixels."""
        numbers, counts = np.unique(self.strokes[self.classes == index], return_counts=True)
        return list(zip(numbers.tolist(), counts.tolist(), strict=True))


def _painted_classes(units: Sequence[_Units]) -> list[int]:
    return sorted({int(index) for unit in units for index in np.unique(unit.classes)})


def _units(frames: Sequence[AnnotatedFrame]) -> list[_Units]:
    """Find the strokes of frames; those that are large in the box around all that is painted on one fall into regions.

    What is in several parts of a frame is not connected.
    """
    found: dict[int, _Units] = {}
    for group in same_frames(frames):
        low = np.min([frames[i].origin for i in group], axis=0)
        high = np.max([np.add(frames[i].origin, frames[i].weights.shape) for i in group], axis=0)
        shape = tuple((high - low).tolist())
        for i in group:
            found[i] = _units_of(frames[i], (np.array(frames[i].origin) - low).tolist(), shape)
    return [found[i] for i in range(len(frames))]


def _units_of(frame: AnnotatedFrame, corner: Sequence[int], whole: tuple[int, ...]) -> _Units:
    painted = frame.weights > 0
    kinds = np.where(painted, frame.classes + np.uint8(1), np.uint8(0))
    places = np.flatnonzero(painted)

    def regions(chosen: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
        local = np.unravel_index(chosen, painted.shape)
        return number_regions([at + a for at, a in zip(local, corner, strict=True)], whole)

    strokes = number_strokes(kinds, places, _LARGE * math.prod(whole), regions)
    return _Units(places, frame.classes.ravel()[places], strokes)


def number_strokes(
    kinds: npt.NDArray[np.uint8],
    places: npt.NDArray[np.intp],
    most_pixels: float,
    regions: Callable[[npt.NDArray[np.intp]], npt.NDArray[np.int64]],
) -> npt.NDArray[np.int32]:
    """Give each stroke, connected pixels of one class, a number.

    Parameters
    ----------
    kinds : numpy.ndarray
        (\\*part) 0 = not painted, otherwise 1 more than the index of the class.
    places : numpy.ndarray
        (n,) numbers of the painted pixels in the flattened part, sorted.
    most_pixels : float
        A stroke of more pixels falls into its parts in each region.
    regions : callable
        Takes some of `places` and returns the number of the region of each, from 0 on.

    Returns
    -------
    numpy.ndarray
        (n,) the number of the stroke of each painted pixel, from 0 on.

    Examples
    --------
    >>> kinds = np.array([[1, 1, 0, 2, 2, 2]], np.uint8)
    >>> number_strokes(kinds, np.flatnonzero(kinds), 2, lambda places: places // 4).tolist()
    [0, 0, 1, 2, 2]
    """
    structure = ndimage.generate_binary_structure(kinds.ndim, kinds.ndim)
    own_kinds = kinds.ravel()[places]
    numbers = np.zeros(len(places), np.int32)
    known = 0
    for kind in np.unique(own_kinds):
        own = np.flatnonzero(own_kinds == kind)
        axes = np.unravel_index(places[own], kinds.shape)
        box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in axes)
        labels, count = ndimage.label(kinds[box] == kind, structure)
        found = labels[tuple(axis - part.start for axis, part in zip(axes, box, strict=True))].astype(np.int64) - 1
        large = (np.bincount(found, minlength=count) > most_pixels)[found]
        if large.any():  # after all others, in the order of strokes and regions
            inside = regions(places[own[large]])
            found[large] = count + found[large] * (inside.max() + 1) + inside
            names, found = np.unique(found, return_inverse=True)
            count = len(names)
        numbers[own] = known + found
        known += count
    return numbers


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
