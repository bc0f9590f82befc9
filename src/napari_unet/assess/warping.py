"""The warping error: how many pixels of a boundary are wrong in a way that no shift of the boundary explains.

The reference is warped towards the prediction by flipping pixels one at a time, only such that no object or hole
appears, vanishes, is split or merged. What then still differs are errors of topology.
"""

from __future__ import annotations

import heapq
from array import array
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.assess.inputs import as_masks, as_probabilities, as_thresholds, as_valid, each_frame
from napari_unet.assess.topology import neighbour_offsets, neighbourhoods, object_pieces, simple_points
from napari_unet.errors import InputError

__all__ = ["Warping", "warp", "warping_error"]

_RADIUS = 20  # pixels around an error in which the challenge looked whether an object falls apart


@dataclass(frozen=True, eq=False)
class Warping:
    """A reference warped towards a prediction.

    Attributes
    ----------
    warped : numpy.ndarray
        (\\*space) bool, the warped reference; it has the topology of the reference.
    mismatches : numpy.ndarray
        (\\*space) bool, where it still differs from the prediction.
    splits : numpy.ndarray
        (\\*space) bool, those mismatches at which the prediction has background that splits an object.
    merges : numpy.ndarray
        (\\*space) bool, those at which the prediction has object that links two objects.
    """

    warped: npt.NDArray[np.bool_]
    mismatches: npt.NDArray[np.bool_]
    splits: npt.NDArray[np.bool_]
    merges: npt.NDArray[np.bool_]


def warping_error(
    predicted: Any,
    reference: Any,
    thresholds: Any = None,
    *,
    errors: Literal["splits and merges", "all"] = "splits and merges",
    ndim: int | None = None,
    valid: Any = None,
) -> float:
    """Warping error: the share of the pixels at which topology differs; the lowest over some thresholds.

    The reference is warped towards the prediction, the surest pixels first, by flipping simple points only; there are
    no limits to how far. The pixels that still differ are counted and divided by all pixels. Jain et al. count them all
    (``errors="all"``); the ISBI 2012 challenge, whose published figures are of the order of 0.0004, counts the pixels
    that split an object or merge two. The fewest possible mismatches are approached from one side: the flips are made
    in one order, none is taken back.

    Parameters
    ----------
    predicted : array-like
        Without `thresholds` a mask: what is not 0 is the inside of an object. With them how likely each pixel is that
        (1 - the probability of membrane).
    reference : array-like
        Of the same shape; what is not 0 is the inside of an object. Objects that touch need background between them.
    thresholds : float or sequence of float, optional
        For probabilities; the challenge took `CHALLENGE_THRESHOLDS`.
    errors : {"splits and merges", "all"}
        Which of the remaining pixels are counted.
    ndim : int, optional
        How many of the last axes make up a frame: 2 for a stack of slices, 3 for volumes. All where not given.
    valid : array-like, optional
        Of the same shape; where it is 0 nothing is flipped or counted.

    Returns
    -------
    float
        0 to 1; 0 if the topology is the same at a threshold.

    Raises
    ------
    InputError
        If the shapes differ, or frames have not 2 or 3 axes.

    References
    ----------
    Jain et al. 2010, Boundary learning by optimization with topological constraints, CVPR, 2488.
    Arganda-Carreras et al. 2015, Crowdsourcing the creation of image segmentation algorithms for connectomics,
    Frontiers in Neuroanatomy 9, 142; and the challenge's page on evaluation.

    Examples
    --------
    Two cells with a membrane between them. Cells of another shape are no error. A membrane across a cell is one pixel
    wrong: all but the last link of it is a change of shape. A gap in the membrane is as many pixels wrong as it is
    long.

    >>> reference = np.zeros((9, 13), bool)
    >>> reference[1:8, 1:6] = reference[1:8, 7:12] = True
    >>> predicted = np.zeros((9, 13), bool)
    >>> predicted[2:8, 1:5] = predicted[3:9, 6:12] = True
    >>> warping_error(predicted, reference)
    0.0
    >>> predicted[5, 1:5] = False
    >>> round(warping_error(predicted, reference) * predicted.size)
    1
    >>> reference_without = reference.copy()
    >>> reference_without[3:6, 6] = True
    >>> round(warping_error(reference_without, reference) * reference.size)
    3
    """
    if errors not in ("splits and merges", "all"):
        raise InputError(f"Expected `errors` to be 'splits and merges' or 'all', but got {errors!r}.")
    truth = np.asarray(reference) != 0
    values: npt.NDArray[Any]
    if thresholds is None:
        values, _ = as_masks(predicted, reference)
        cuts: tuple[float, ...] = (0.5,)
    else:
        values, cuts = as_probabilities(predicted, reference), as_thresholds(thresholds)
    mask = as_valid(valid, truth.shape)
    wrong = dict.fromkeys(cuts, 0)
    for value, frame, allowed in each_frame(values, truth, mask, ndim):
        for cut in cuts:
            sure = None if thresholds is None else np.abs(value - cut)
            done = warp(value > cut, frame, sureness=sure, valid=allowed, classify=errors != "all")
            counted = done.mismatches if errors == "all" else done.splits | done.merges
            wrong[cut] += int(np.count_nonzero(counted))
    pixels = truth.size if mask is None else int(np.count_nonzero(mask))
    return min(wrong.values()) / pixels if pixels else 0.0


def warp(
    predicted: Any,
    reference: Any,
    *,
    sureness: Any = None,
    valid: Any = None,
    radius: int | None = _RADIUS,
    classify: bool = True,
) -> Warping:
    """Warp a reference towards a prediction without changing its topology, and say what remains.

    Parameters
    ----------
    predicted, reference : array-like
        (\\*space) masks of one shape in 2D or 3D; what is not 0 is object.
    sureness : array-like, optional
        (\\*space) the pixels with the highest values are flipped first; where it is the same, those that could be
        flipped first.
    valid : array-like, optional
        (\\*space) where it is 0 nothing is flipped, and nothing is a mismatch.
    radius : int or None
        Background that the prediction has within an object splits it if its two sides do not meet within so many
        pixels; None: if they do not meet at all.
    classify : bool
        Whether splits and merges are looked for; otherwise both are empty.

    Raises
    ------
    InputError
        If the shapes differ or have not 2 or 3 axes.
    """
    target, source = as_masks(predicted, reference)
    if source.ndim not in (2, 3):
        raise InputError(f"Expected frames with 2 or 3 axes, but got {source.ndim}.")
    allowed = as_valid(valid, source.shape)
    order = np.zeros(source.shape) if sureness is None else np.asarray(sureness, np.float64)
    warped = _flip(source, target, order, allowed)
    mismatches = warped != target if allowed is None else (warped != target) & allowed
    splits, merges = np.zeros_like(mismatches), np.zeros_like(mismatches)
    if classify and mismatches.any():
        _classify(warped, mismatches, radius, splits, merges)
    return Warping(warped, mismatches, splits, merges)


def _flip(
    source: npt.NDArray[np.bool_],
    target: npt.NDArray[np.bool_],
    sureness: npt.NDArray[np.float64],
    allowed: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.bool_]:
    """Flip pixels of `source` that differ from `target` and are simple, the surest first, until there are none."""
    ndim = source.ndim
    differs = source != target if allowed is None else (source != target) & allowed
    if not differs.any():
        return source.copy()
    simple = simple_points(ndim)
    padded, margin = np.pad(source, 1), np.pad(differs, 1)  # with a margin, so that a step never leads around the edge
    codes: Any = neighbourhoods(padded)
    codes = bytearray(codes.astype(np.uint8).tobytes()) if ndim == 2 else array("i", codes.astype(np.intc).tobytes())
    pending, waits = bytearray(margin.tobytes()), bytearray(margin.size)
    places = np.flatnonzero(margin).tolist()
    keys = dict(zip(places, (-sureness[differs]).tolist(), strict=True))
    strides = [int(np.prod(padded.shape[axis + 1 :])) for axis in range(ndim)]
    steps = [sum(s * n for s, n in zip(step, strides, strict=True)) for step in neighbour_offsets(ndim)]
    around = [(step, 1 << (len(steps) - 1 - k)) for k, step in enumerate(steps)]  # its bit as seen from there

    waiting = [(keys[i], i, i) for i in places if simple[codes[i]]]
    for _, _, i in waiting:
        waits[i] = 1
    heapq.heapify(waiting)
    count = len(pending)
    while waiting:
        i = heapq.heappop(waiting)[2]
        waits[i] = 0
        if not simple[codes[i]]:
            continue  # what lies around it has changed; if it changes back, it comes again
        pending[i] = 0
        for step, bit in around:
            j = i + step
            if pending[j]:
                codes[j] ^= bit  # kept right for pending pixels only
                if not waits[j] and simple[codes[j]]:
                    waits[j] = 1
                    heapq.heappush(waiting, (keys[j], count, j))
                    count += 1
    left = np.frombuffer(pending, np.uint8).reshape(padded.shape)[(slice(1, -1),) * ndim] != 0
    return np.asarray(source ^ (differs & ~left))


def _classify(
    warped: npt.NDArray[np.bool_],
    mismatches: npt.NDArray[np.bool_],
    radius: int | None,
    splits: npt.NDArray[np.bool_],
    merges: npt.NDArray[np.bool_],
) -> None:
    """Mark the mismatches whose flip would link two objects, and those whose flip would take an object apart."""
    ndim = warped.ndim
    objects = np.pad(ndimage.label(warped)[0], 1)
    gaps = np.argwhere(mismatches & ~warped)
    beside = np.sort(np.stack([objects[tuple((gaps + step).T)] for step in _sides(ndim)]), axis=0)
    different = (beside[1:] != beside[:-1]) & (beside[:-1] > 0)
    merges[tuple(gaps[different.any(axis=0)].T)] = True

    links = mismatches & warped
    codes = neighbourhoods(warped)[links].tolist()
    for place, code in zip(np.argwhere(links), codes, strict=True):
        if object_pieces(code, ndim) > 1:
            splits[tuple(place)] = _falls_apart(warped, place, radius)


def _sides(ndim: int) -> list[npt.NDArray[np.int64]]:
    """Return the places beside a pixel over its sides, in an array that is padded by 1."""
    unit = np.eye(ndim, dtype=np.int64)
    return [1 + sign * step for step in unit for sign in (-1, 1)]


def _falls_apart(warped: npt.NDArray[np.bool_], place: npt.NDArray[np.int64], radius: int | None) -> bool:
    """Whether the object at a place falls apart without its pixel there, as far as the eye reaches."""
    reach = max(warped.shape) if radius is None else radius
    low = np.maximum(place - reach, 0)
    window = warped[tuple(slice(a, b + reach + 1) for a, b in zip(low, place, strict=True))].copy()
    centre = place - low
    window[tuple(centre)] = False
    pieces = np.pad(ndimage.label(window)[0], 1)
    beside = {int(pieces[tuple(centre + step)]) for step in _sides(warped.ndim)} - {0}
    return len(beside) > 1
