"""Strokes that stand for a person's, drawn from a known truth: demos, tests and benchmarks paint with them.

A stroke is a curved line of one brush width that starts well inside a region, wanders through it and never leaves it;
for objects it stays inside one object. So what is learnt from them is what could be learnt from a person's strokes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.errors import InputError

__all__ = ["add_stroke", "simulate_strokes", "stroke_path"]

Mask = npt.NDArray[np.bool_]
Path = npt.NDArray[np.float64]
Position = tuple[int, ...]

_BENDING = 0.25  # standard deviation of the change of direction from one pixel to the next, in radians
_TURNS = np.array([0, 0.4, -0.4, 0.9, -0.9, 1.5, -1.5, 2.2, -2.2])  # tried in this order where the way ahead is barred
_TRIES = 4  # walks, of which the longest becomes the stroke


def simulate_strokes(
    labels: npt.NDArray[Any],
    *,
    task: Literal["objects", "classes"] = "objects",
    strokes_per_class: int = 8,
    length: float = 40.0,
    width: float = 3.0,
    slices: Sequence[int | Position] | None = None,
    seed: int = 0,
) -> npt.NDArray[Any]:
    """Paint a few strokes on an image whose truth is known.

    Parameters
    ----------
    labels : numpy.ndarray
        (\\*stack, Y, X) integers, the truth: 0 background, 1, 2, ... one id for each object, or classes.
    task : {"objects", "classes"}
        What the numbers from 1 on are. ``"objects"``: each stroke lies in an object of its own and gets its id.
        ``"classes"``: each class gets its strokes.
    strokes_per_class : int
        Strokes for each class, for the objects and for the background, in each slice that is painted. Fewer where there
        is no room or there are fewer objects.
    length : float
        Length of a stroke in pixels, where the region leaves room for it.
    width : float
        Width of the brush in pixels.
    slices : sequence of int or tuple of int, or None
        Which slices of a stack are painted: positions along the axes before Y and X. None: the one image, or the middle
        of the stack.
    seed : int
        Start of the random numbers; the same seed gives the same strokes.

    Returns
    -------
    numpy.ndarray
        An annotation of the same shape, uint8 or the next larger unsigned type that holds all values: 0 unlabelled,
        1 background, 2, 3, ... what is 1, 2, ... in `labels`.

    Raises
    ------
    InputError
        If the truth is no array of whole numbers from 0 on, a number is out of range or a slice is not there.

    Examples
    --------
    >>> truth = np.zeros((64, 64), int)
    >>> truth[8:30, 8:30], truth[34:60, 34:60] = 1, 2
    >>> strokes = simulate_strokes(truth, strokes_per_class=2, length=15)
    >>> np.unique(strokes).tolist()
    [0, 1, 2, 3]
    >>> bool((strokes == 3)[truth == 2].sum() == (strokes == 3).sum() > 30)
    True
    """
    labels = np.asarray(labels)
    _check(labels, task, strokes_per_class, length, width)
    rng = np.random.default_rng(seed)
    annotation = np.zeros(labels.shape, np.min_scalar_type(int(labels.max(initial=0)) + 1))
    for position in _positions(labels.shape[:-2], slices):
        truth, painted = labels[position], annotation[position]
        for region, room, value, count in _regions(truth, task, strokes_per_class, width, rng):
            for _ in range(count):
                _brush(painted, value, _longest_walk(room, length, rng), region, width)
    return annotation


def add_stroke(
    annotation: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    place: tuple[int, int],
    rng: np.random.Generator,
    *,
    length: float = 40.0,
    width: float = 3.0,
) -> None:
    """Paint one stroke of the true class, beginning at a place or as near to it as the brush fits.

    Parameters
    ----------
    annotation : numpy.ndarray
        (Y, X) is painted on; gets the value of `truth` plus 1.
    truth : numpy.ndarray
        (Y, X) integers, the class of each pixel from 0 on.
    place : tuple of int
        Row and column.
    rng : numpy.random.Generator
        Source of the numbers.
    length, width : float
        See `simulate_strokes`.

    Examples
    --------
    >>> truth = np.zeros((40, 40), int); truth[10:30, 10:30] = 1
    >>> strokes = np.zeros((40, 40), np.uint8)
    >>> add_stroke(strokes, truth, (20, 20), np.random.default_rng(0), length=10)
    >>> int(strokes[20, 20]), np.unique(strokes).tolist()
    (2, [0, 2])
    """
    box = _around(truth.shape, place, length, width)
    corner = np.array([part.start for part in box])
    path = stroke_path(truth, place, rng, length=length, width=width) - corner
    value = int(truth[place])
    _brush(annotation[box], value + 1, path, truth[box] == value, width)


def stroke_path(
    truth: npt.NDArray[Any], place: tuple[int, int], rng: np.random.Generator, *, length: float = 40.0,
    width: float = 3.0,
) -> Path:  # fmt: skip
    """Return the way of a brush that stays in the class of a place, beginning there or as near as the brush fits.

    Parameters
    ----------
    truth : numpy.ndarray
        (Y, X) integers, the class of each pixel.
    place : tuple of int
        Row and column.
    rng : numpy.random.Generator
        Source of the numbers.
    length, width : float
        See `simulate_strokes`.

    Returns
    -------
    numpy.ndarray
        (n, 2) float64 rows and columns, one pixel apart.

    Examples
    --------
    >>> truth = np.zeros((40, 40), int); truth[10:30, 10:30] = 1
    >>> path = stroke_path(truth, (12, 20), np.random.default_rng(0), length=10)
    >>> path.shape, path[0].tolist(), bool(truth[tuple(np.rint(path).astype(int).T)].all())
    ((10, 2), [12.0, 20.0], True)
    """
    box = _around(truth.shape, place, length, width)
    corner = np.array([part.start for part in box])
    start = np.array(place) - corner
    pieces, _ = ndimage.label(truth[box] == truth[place])
    room = _room(pieces == pieces[tuple(start)], width)
    free = np.argwhere(room)
    begin = free[((free - start) ** 2).sum(axis=1).argmin()]
    path: Path = max((_walk(room, begin, length, rng) for _ in range(_TRIES)), key=len) + corner
    return path


def _around(shape: tuple[int, ...], place: tuple[int, int], length: float, width: float) -> tuple[slice, ...]:
    """Return the part of an image that a stroke from a place can reach."""
    reach = int(2 * length + width)
    return tuple(slice(max(0, at - reach), min(n, at + reach + 1)) for at, n in zip(place, shape, strict=True))


def _check(labels: npt.NDArray[Any], task: str, strokes: int, length: float, width: float) -> None:
    if labels.ndim < 2 or labels.dtype.kind not in "bui" or (labels.dtype.kind == "i" and labels.min(initial=0) < 0):
        raise InputError("Expected the truth as an array of whole numbers from 0 on, with at least two axes.")
    if task not in ("objects", "classes"):
        raise InputError(f"Expected `task` to be 'objects' or 'classes', but got {task!r}.")
    for name, value in (("strokes_per_class", strokes), ("length", length), ("width", width)):
        if not value >= 1:
            raise InputError(f"Expected `{name}` to be at least 1, but got {value!r}.")


def _positions(stack: tuple[int, ...], slices: Sequence[int | Position] | None) -> Iterator[Position]:
    """Yield the positions that are painted; one empty position for an image without a stack."""
    if slices is None:
        yield tuple(n // 2 for n in stack)
        return
    for chosen in slices:
        position = (chosen,) if isinstance(chosen, int | np.integer) else tuple(chosen)
        if len(position) != len(stack) or any(not -n <= i < n for i, n in zip(position, stack, strict=True)):
            raise InputError(f"There is no slice {chosen!r} in a stack of the shape {stack}.")
        yield position


def _regions(
    truth: npt.NDArray[Any], task: str, strokes: int, width: float, rng: np.random.Generator
) -> Iterator[tuple[Mask, Mask, int, int]]:
    """Yield (where the brush may paint, where its centre may go, value, number of strokes) for all that is painted."""
    values, sizes = np.unique(truth[truth > 0], return_counts=True)
    if task == "objects":
        values = rng.permutation(values[sizes >= min(width, 3) ** 2])[:strokes]
    for value in values.tolist():
        region = truth == value
        yield region, _room(region, width), value + 1, 1 if task == "objects" else strokes
    background = truth == 0
    if background.any():
        room = _room(background, width)
        # As a person does, half of the strokes go along what they are to be told from.
        beside = room & (ndimage.distance_transform_edt(background) <= 4 * width) if values.size else room
        yield background, beside if beside.any() else room, 1, (strokes + 1) // 2
        if strokes > 1:
            yield background, room, 1, strokes // 2


def _room(region: Mask, width: float) -> Mask:
    """Say where the brush's centre may go, so that the brush stays inside; the region's middle where it is too thin."""
    (box,) = ndimage.find_objects(region.astype(np.uint8))
    depth = ndimage.distance_transform_edt(np.pad(region[box], 1))[1:-1, 1:-1]
    room = np.zeros_like(region)
    room[box] = depth > min(width / 2, 0.75 * depth.max())
    return room


def _longest_walk(room: Mask, length: float, rng: np.random.Generator) -> Path:
    starts = np.argwhere(room)
    walks = [_walk(room, starts[rng.integers(len(starts))], length, rng) for _ in range(_TRIES)]
    return max(walks, key=len)


def _walk(room: Mask, start: npt.NDArray[np.int_], length: float, rng: np.random.Generator) -> Path:
    """Return (n, 2) points one pixel apart, curving at random and turning away where the room ends."""
    point = start.astype(np.float64)
    heading = rng.uniform(0, 2 * np.pi)
    points = [point]
    for _ in range(int(length) - 1):
        heading += rng.normal(0, _BENDING)
        for turn in _TURNS:
            ahead = point + np.array([np.sin(heading + turn), np.cos(heading + turn)])
            y, x = np.rint(ahead).astype(int)
            if 0 <= y < room.shape[0] and 0 <= x < room.shape[1] and room[y, x]:
                point, heading = ahead, heading + turn
                points.append(point)
                break
        else:
            break
    return np.stack(points)


def _brush(painted: npt.NDArray[Any], value: int, path: Path, region: Mask, width: float) -> None:
    """Paint what the brush touches of the region, but nothing that it could reach only across another one."""
    points = np.rint(path).astype(int)
    low, high = points.min(axis=0) - int(width) - 1, points.max(axis=0) + int(width) + 2
    box = tuple(slice(max(a, 0), b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    line = np.zeros(region[box].shape, bool)
    line[tuple((points - np.maximum(low, 0)).T)] = True
    pieces, _ = ndimage.label(region[box] & (ndimage.distance_transform_edt(~line) <= width / 2))
    painted[box][np.isin(pieces, np.unique(pieces[line]))] = value
