"""Which objects of a new result were there before, so that each of them keeps its id, and hence its colour.

An object is the one before with which it shares most pixels. Where an object falls apart, or several become one, the
larger part keeps the id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SameObjects"]

Labels = npt.NDArray[Any]
_Integers = npt.NDArray[np.int64]
_SHIFT, _LOW = 32, 0xFFFFFFFF  # two ids of 32 bits in one number


class SameObjects:
    """Counts, block by block, the pixels that objects share with those that were shown before.

    Examples
    --------
    >>> same = SameObjects()
    >>> same.add(np.array([1, 1, 0, 2, 2, 2, 3]), np.array([7, 7, 7, 5, 5, 7, 0]))
    >>> same.ids(3).tolist()
    [0, 7, 5, 0]
    """

    def __init__(self) -> None:
        self._pairs: list[_Integers] = []
        self._sizes: list[_Integers] = []
        self._cut: list[_Integers] = []
        self._touching: list[_Integers] = []

    def add(self, found: Labels, before: Labels, margins: Sequence[tuple[int, int]] = ()) -> None:
        """Count what is shared in a block.

        Parameters
        ----------
        found : numpy.ndarray
            (\\*block) objects 0 (none), 1, 2, ...
        before : numpy.ndarray
            The ids shown until now, in the block and in the margins.
        margins : sequence of (int, int)
            How many pixels `before` is larger at both ends of each axis. Objects are not found anew in these: an object
            before that is cut by the block goes on there, so that only one that touches it may have its id.
        """
        margins = margins or ((0, 0),) * found.ndim
        inside = tuple(slice(low, low + size) for (low, _), size in zip(margins, found.shape, strict=True))
        pairs, sizes = _count_pairs(found, before[inside])
        self._pairs.append(pairs)
        self._sizes.append(sizes)
        for axis, (low, high) in enumerate(margins):
            for wanted, outer, inner in ((low, low - 1, 0), (high, low + found.shape[axis], -1)):
                if wanted:
                    face = (*inside[:axis], outer, *inside[axis + 1 :])
                    self._add_face(np.take(found, inner, axis), before[face])

    def add_counts(self, found: Labels, before: Labels, sizes: Labels) -> None:
        """Take what was counted elsewhere: objects, ids shown until now, and how many pixels they share; (n,) each."""
        self._pairs.append(found.astype(np.int64) << _SHIFT | before.astype(np.int64))
        self._sizes.append(sizes.astype(np.int64))

    def _add_face(self, found: Labels, beyond: Labels) -> None:
        pairs, _ = _count_pairs(found, beyond)
        self._touching.append(pairs)
        self._cut.append(np.unique(beyond).astype(np.int64))

    def ids(self, count: int, part_of: Labels | None = None, taken: Labels | None = None) -> Labels:
        """Return the ids that objects keep.

        The pair of objects that shares most comes first; of two that share the same, that with the lower id before.

        Parameters
        ----------
        count : int
            How many objects there are.
        part_of : numpy.ndarray or None
            Which object each of those that were counted is part of, for 0 (none), 1, 2, ...; None: all are whole.
        taken : numpy.ndarray or None
            Ids that none may keep.

        Returns
        -------
        numpy.ndarray
            (1 + count,) int64: for each object 0 (none), 1, ..., `count` its id, 0 where it was not there before.
        """
        table = np.zeros(count + 1, np.int64)
        if not self._pairs:
            return table
        pairs, where = np.unique(_mapped(np.concatenate(self._pairs), part_of), return_inverse=True)
        sizes = np.bincount(where, np.concatenate(self._sizes), len(pairs))
        found, before = pairs >> _SHIFT, pairs & _LOW
        free = np.ones(len(pairs), bool) if taken is None else ~np.isin(before, taken)
        if self._cut:
            touching = _mapped(np.concatenate(self._touching), part_of)
            free &= ~np.isin(before, np.concatenate(self._cut)) | np.isin(pairs, touching)
        order = np.lexsort((found, before, -sizes))
        given: set[int] = set()
        for number, old in zip(found[order[free[order]]].tolist(), before[order[free[order]]].tolist(), strict=True):
            if not table[number] and old not in given:
                table[number] = old
                given.add(old)
        return table


def _mapped(pairs: _Integers, part_of: Labels | None) -> _Integers:
    """Let the first of each pair be the whole object that it is part of."""
    return pairs if part_of is None else part_of.astype(np.int64)[pairs >> _SHIFT] << _SHIFT | pairs & _LOW


def _count_pairs(found: Labels, before: Labels) -> tuple[_Integers, _Integers]:
    """Return which objects share pixels, as one number for each pair, and how many.

    Along a row the pair seldom changes, so that it is enough to look at where it does.
    """
    first, second = found.ravel(), before.ravel()
    if not first.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    changes = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    lengths = np.diff(starts, append=first.size)
    one, other = first[starts].astype(np.int64), second[starts].astype(np.int64)
    both = (one > 0) & (other > 0)
    pairs, where = np.unique(one[both] << _SHIFT | other[both], return_inverse=True)
    return pairs, np.bincount(where, lengths[both], len(pairs)).astype(np.int64)
