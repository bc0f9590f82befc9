"""Keeping Python's search for unused objects from stopping the window while something runs.

With napari and PyTorch loaded a full search takes about 0.3 s, in which nothing else runs, and loading PyTorch alone
sets off several. While something runs only the quick searches among young objects go on; the full one follows when
the person's hand rests, or, where something runs for long, has rested for a while.
"""

from __future__ import annotations

import gc
import time
from typing import ClassVar

from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QApplication

__all__ = ["MemoryPauses"]

_NEVER = 1_000_000
_POLL_MS = 400
_REST_SECONDS = 1.5
_LONG_REST_SECONDS = 15.0  # while something runs
_BETWEEN_SECONDS = 120.0  # two full searches while something runs


class MemoryPauses:
    """Puts full searches off from `hold` until some rest after the last `release`; each dock has its own."""

    _usual: ClassVar[tuple[int, int, int]]
    _holding: ClassVar[set[MemoryPauses]] = set()

    def __init__(self) -> None:
        self._holders: set[str] = set()
        self._moved = self._searched = 0.0
        self._cursor = QPoint()
        self._timer = QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self._look)

    def hold(self, holder: str) -> None:
        """Make no full search from now on, until the holder and all others have released it."""
        self._holders.add(holder)
        if self in self._holding:
            return
        self._searched = time.monotonic()
        self._timer.start()
        if not self._holding:
            MemoryPauses._usual = gc.get_threshold()
            gc.set_threshold(*self._usual[:2], _NEVER)
        self._holding.add(self)

    def release(self, holder: str) -> None:
        """Make one as soon as the hand rests, and go on as usual then, if nobody else holds it."""
        self._holders.discard(holder)
        self.touch()

    def touch(self) -> None:
        """Note that the person's hand was at work just now, which the mouse alone may not tell."""
        self._moved = time.monotonic()

    def close(self) -> None:
        """Go on as usual at once, without a search."""
        self._timer.stop()
        self._holders.clear()
        if self in self._holding:
            self._holding.discard(self)
            if not self._holding:
                gc.set_threshold(*self._usual)

    def _look(self) -> None:
        now, cursor = time.monotonic(), QCursor.pos()
        if cursor != self._cursor or QApplication.mouseButtons() != Qt.MouseButton.NoButton:
            self._cursor = cursor
            self.touch()
        rest = now - self._moved
        if self._holders:
            if rest > _LONG_REST_SECONDS and now - self._searched > _BETWEEN_SECONDS:
                gc.collect()
                self._searched = time.monotonic()
        elif rest > _REST_SECONDS:
            self.close()
            gc.collect()
