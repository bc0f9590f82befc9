"""Keeping Python's search for unused objects from stopping the window while something runs.

With napari and PyTorch loaded a full search takes about 0.3 s, in which nothing else runs, and loading PyTorch alone
sets off several. While a job runs only the quick searches among young objects go on; the full one follows when the
person's hand rests.
"""

from __future__ import annotations

import gc
import time

from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QApplication

__all__ = ["MemoryPauses"]

_NEVER = 1_000_000
_POLL_MS = 400
_REST_SECONDS = 1.5


class MemoryPauses:
    """Puts full searches off from `hold` until some rest after `release`."""

    def __init__(self) -> None:
        self._thresholds: tuple[int, int, int] | None = None
        self._held = False
        self._moved = 0.0
        self._cursor = QPoint()
        self._timer = QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.timeout.connect(self._look)

    def hold(self) -> None:
        """Make no full search from now on."""
        self._held = True
        self._timer.stop()
        if self._thresholds is None:
            self._thresholds = gc.get_threshold()
            gc.set_threshold(*self._thresholds[:2], _NEVER)

    def release(self) -> None:
        """Make one as soon as the mouse rests, and go on as usual then."""
        self._held = False
        self._moved = time.monotonic()
        if self._thresholds is not None:
            self._timer.start()

    def close(self) -> None:
        """Go on as usual at once, without a search."""
        self._timer.stop()
        self._held = False
        if self._thresholds is not None:
            gc.set_threshold(*self._thresholds)
            self._thresholds = None

    def _look(self) -> None:
        cursor = QCursor.pos()
        if cursor != self._cursor or QApplication.mouseButtons() != Qt.MouseButton.NoButton:
            self._cursor, self._moved = cursor, time.monotonic()
        if not self._held and time.monotonic() - self._moved > _REST_SECONDS:
            self.close()
            gc.collect()
