"""What stands between those who say what was painted, in any thread, and the one thread that learns from it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

__all__ = ["Calls"]

Call = Callable[[], None]


class Calls:
    """Calls that wait, in order, until the stepping thread takes them.

    `put`, `wait` and `is_behind` are for any thread, all else is for the one that takes them.

    Attributes
    ----------
    unanswered : bool
        Whether what was taken is still to be answered; set by `take`, and taken back by who answers.

    Examples
    --------
    >>> calls, said = Calls(), []
    >>> calls.put(lambda: said.append("a stroke"))
    >>> calls.wait(0), calls.is_behind
    (True, True)
    >>> for call in calls.take():
    ...     call()
    >>> said, calls.wait(0), calls.is_behind
    (['a stroke'], False, True)
    >>> calls.unanswered = False
    >>> calls.is_behind
    False
    """

    def __init__(self) -> None:
        self.unanswered = False
        self._waiting: deque[Call] = deque()
        self._came = threading.Event()

    def put(self, call: Call) -> None:
        """Leave a call; returns at once."""
        self._waiting.append(call)
        self._came.set()

    def wait(self, seconds: float) -> bool:
        """Wait for the next call, at most so long; returns whether there is one."""
        return self._came.wait(seconds)

    @property
    def is_behind(self) -> bool:
        """Whether calls have come that are not answered yet."""
        return bool(self._waiting) or self.unanswered

    def take(self) -> Iterator[Call]:
        """Yield all calls, those too that come meanwhile."""
        self._came.clear()
        while self._waiting:
            self.unanswered = True
            yield self._waiting.popleft()
