"""What a person settled by corrections: painted pixels with which a result agrees, whatever the network sees there.

Where background is painted there is background, what is painted as one object is one object, and a class is that class.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.data.strokes import BACKGROUND

__all__ = ["ObjectStrokes", "SettledStrokes", "hold"]

_FOREGROUND = 2  # label of strokes; higher ones are those of single objects

Labels = npt.NDArray[Any]
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SettledStrokes:
    """Painted pixels of an image, as they were at one moment.

    Attributes
    ----------
    indices : tuple of numpy.ndarray
        Where, one array (n,) for each axis of the labels.
    values : numpy.ndarray
        (n,) uint32: 1 background, 2, 3, ... classes or objects.

    Examples
    --------
    >>> settled = SettledStrokes((np.array([0, 1]), np.array([2, 0])), np.array([1, 2], np.uint32))
    >>> settled.read((slice(0, 2), slice(1, 3))).tolist()
    [[0, 1], [0, 0]]
    >>> settled.amend(np.full((2, 1, 3), 0.5, np.float32), (slice(0, 1), slice(0, 3)), "objects").tolist()
    [[[0.5, 0.5, 1.0]], [[0.5, 0.5, 0.0]]]
    """

    indices: tuple[npt.NDArray[np.intp], ...]
    values: npt.NDArray[np.uint32]

    @property
    def checksum(self) -> int:
        """A number that is another one where anything else is settled."""
        found = zlib.crc32(np.ascontiguousarray(self.values).data)
        for axis in self.indices:
            found = zlib.crc32(np.ascontiguousarray(axis, np.int64).data, found)
        return found

    def read(self, box: Box) -> Labels | None:
        """Return what is settled in a box (\\*box), 0 elsewhere; None where nothing is."""
        inside = np.logical_and.reduce(
            [(axis >= part.start) & (axis < part.stop) for axis, part in zip(self.indices, box, strict=True)]
        )
        if not inside.any():
            return None
        found = np.zeros([part.stop - part.start for part in box], np.uint32)
        places = tuple(axis[inside] - part.start for axis, part in zip(self.indices, box, strict=True))
        found[places] = self.values[inside]
        return found

    def amend(self, probabilities: Probabilities, box: Box, task: str) -> Probabilities:
        """Return probabilities (class, \\*box) that agree with what is settled for a task, "objects" or "classes"."""
        strokes = self.read(box)
        if strokes is None:
            return probabilities
        labels = np.arange(1, 1 + len(probabilities)).reshape(-1, *(1,) * strokes.ndim)
        wanted = np.minimum(strokes, _FOREGROUND) if task == "objects" else strokes
        return np.where(strokes > 0, (wanted == labels).astype(np.float32), probabilities)


def hold(foreground: npt.NDArray[np.float32], strokes: Labels) -> npt.NDArray[np.float32]:
    """Return a probability of foreground that agrees with strokes of the same shape.

    Examples
    --------
    >>> hold(np.float32([0.5, 0.5, 0.5]), np.array([0, 1, 4])).tolist()
    [0.5, 0.0, 1.0]
    """
    painted = np.where(strokes == BACKGROUND, np.float32(0), np.float32(1))
    return np.where(strokes > 0, painted, foreground)


class ObjectStrokes:
    """Tells which objects are one, since they touch the strokes of one object and of no other.

    Examples
    --------
    >>> strokes = ObjectStrokes()
    >>> strokes.add(np.array([1, 2, 3, 3]), np.array([7, 7, 0, 8]))
    >>> strokes.joined(3).tolist()
    [0, 1, 1, 2]
    """

    def __init__(self) -> None:
        self._pairs: list[Labels] = []

    def add(self, objects: Labels, strokes: Labels) -> None:
        """Take note of what lies in a block: objects 0 (none), 1, 2, ... and strokes, of one shape."""
        painted = (strokes > _FOREGROUND) & (objects > 0)
        self._pairs.append(np.stack([objects[painted], strokes[painted]]).astype(np.int64))

    def joined(self, count: int) -> Labels:
        """Return for each of the objects 0 (none), 1, ..., `count` which of those that are left it is part of."""
        part_of = np.arange(count + 1)
        pairs = np.unique(np.concatenate([np.zeros((2, 0), np.int64), *self._pairs], axis=1), axis=1)
        numbers, times = np.unique(pairs[0], return_counts=True)
        single = np.isin(pairs[0], numbers[times == 1])
        for label in np.unique(pairs[1, single]):
            members = pairs[0, single & (pairs[1] == label)]
            part_of[members] = members.min()
        whole: Labels = np.unique(part_of, return_inverse=True)[1]
        return whole
