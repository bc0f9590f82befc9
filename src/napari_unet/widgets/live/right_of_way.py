"""The person's hand goes first: while it moves, what computes beside the window leaves all cores to the drawing."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["RightOfWay"]

_LONGEST_WAIT = 1.0  # seconds for which a hand that does not rest keeps answers waiting,
_PATIENCE = 5.0  # and all else
_FREE_SECONDS = 0.25  # which it then has, before it waits again
_LONGEST_LOSS = 0.5  # seconds of work that are given up for a hand that begins to move
_LOOK_SECONDS = 0.01


class RightOfWay:
    """Is asked before each part of the work, in the thread that does it, and lets it wait; one for each thread.

    Parameters
    ----------
    hand_moves : callable
        Tells whether the person paints or moves the view at this moment.
    should_stop : callable
        Whether the work is to end, and so need not wait.
    """

    def __init__(self, hand_moves: Callable[[], bool], should_stop: Callable[[], bool]) -> None:
        self._hand_moves, self._should_stop = hand_moves, should_stop
        self._free_until = self._began = 0.0

    def give(self, is_behind: Callable[[], bool] = lambda: False) -> None:
        """Wait while the hand moves, but not for ever: someone who drags the view about wants to see results, too.

        Parameters
        ----------
        is_behind : callable
            Tells whether something is to be answered.
        """
        began = time.monotonic()
        while self._hand_moves() and time.monotonic() > self._free_until and not self._should_stop():
            if time.monotonic() > began + (_LONGEST_WAIT if is_behind() else _PATIENCE):
                self._free_until = time.monotonic() + _FREE_SECONDS
            time.sleep(_LOOK_SECONDS)
        self._began = time.monotonic()

    def is_wanted(self) -> bool:
        """Return whether what goes on since `give` had better be given up; not if that took long already."""
        now = time.monotonic()
        return now - self._began < _LONGEST_LOSS and now > self._free_until and self._hand_moves()
