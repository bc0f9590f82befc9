"""Ids for objects that are new in a result: none that another object of it has."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_FEW", "NewIds"]

MOST_FEW = 65535  # ids of a labels layer with 16 bits
_AT_ONCE = 65536

Labels = npt.NDArray[Any]


class NewIds:
    """Hands out ids, the lowest first; when all were given, those that are no longer used come again.

    It may be asked from several threads.

    Attributes
    ----------
    frames : set of tuple of int
        Positions in the stack at which some were given.

    Examples
    --------
    >>> ids = NewIds()
    >>> ids.take(2, 4, lambda: np.array([0, 2])).tolist(), ids.take(1, 4, lambda: np.array([0, 1, 2])).tolist()
    ([1, 3], [4])
    >>> ids.take(2, 4, lambda: np.array([0, 3, 4])).tolist(), ids.take(1, 4, lambda: np.array([1, 2, 3, 4]))
    ([1, 2], None)
    """

    def __init__(self) -> None:
        self._free: Labels = np.zeros(0, np.int64)
        self._last = 0
        self.frames: set[tuple[int, ...]] = set()
        self._lock = Lock()

    def take(self, count: int, most: int, read_used: Callable[[], Labels]) -> Labels | None:
        """Return ids that were not given yet.

        Parameters
        ----------
        count : int
            How many.
        most : int
            The largest id.
        read_used : callable
            Returns the ids that the result has now; asked seldom.

        Returns
        -------
        numpy.ndarray or None
            (count,) int64; None if there are too few.
        """
        with self._lock:
            if len(self._free) < count:
                self._refill(count, most, read_used)
            if len(self._free) < count:
                return None
            ids, self._free = self._free[:count], self._free[count:]
            return ids

    def leave_out(self, ids: Labels) -> None:
        """Never hand these out: they were given by others."""
        with self._lock:
            self._free = self._free[~np.isin(self._free, ids)]

    def _refill(self, count: int, most: int, read_used: Callable[[], Labels]) -> None:
        if most > MOST_FEW:  # so many that they are never all given
            more = np.arange(1, 1 + max(count, _AT_ONCE), dtype=np.int64) + self._last
            self._free = np.concatenate([self._free, more])
            self._last = int(more[-1])
        else:
            self._free = np.setdiff1d(np.arange(1, most + 1), read_used())
