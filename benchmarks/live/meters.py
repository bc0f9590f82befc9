"""What is read off the window while a person works: when results are shown, how long it is held up, frames, memory."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Drawing", "Frames", "Heartbeat", "LateStacks", "Learning", "Shown", "memory_mb"]

_BEAT_MS = 5


class Drawing:
    """Counts the seconds in which Qt draws the window and hands it to the screen, by the events of the application.

    A request for an update is drawn at once, with all that it takes; the next event that is no part of it tells that it
    is done.
    """

    def __init__(self) -> None:
        from qtpy.QtCore import QEvent, QObject
        from qtpy.QtWidgets import QApplication

        self._seconds = 0.0
        self._began: float | None = None
        parts = (QEvent.Type.UpdateRequest, QEvent.Type.Paint, QEvent.Type.UpdateLater)
        drawing = self

        class Filter(QObject):
            def eventFilter(self, receiver: QObject | None, event: QEvent | None) -> bool:
                kind = None if event is None else event.type()
                if kind not in parts:
                    drawing.seconds()
                elif drawing._began is None:
                    drawing._began = time.perf_counter()
                return False

        self._filter = Filter()
        QApplication.instance().installEventFilter(self._filter)

    def seconds(self) -> float:
        """Return the seconds so far; whoever asks is no part of the drawing."""
        if self._began is not None:
            self._seconds += time.perf_counter() - self._began
            self._began = None
        return self._seconds


class Heartbeat:
    """Counts how long the main thread does not come to its turn.

    Attributes
    ----------
    gaps : list of float
        Seconds between two turns while it was counted.
    drawn : list of float
        Seconds of each of them that were spent on drawing.
    last : float
        When the last turn was.
    is_on : bool
        Whether it counts now.
    """

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.is_on = False
        self.gaps: list[float] = []
        self.drawn: list[float] = []
        self._drawing = Drawing()
        self._drawn_before = 0.0
        self.last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(_BEAT_MS)
        self._timer.timeout.connect(self._beat)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count while the block runs."""
        self.last = time.perf_counter()
        self._drawn_before = self._drawing.seconds()
        self._timer.start()
        self.is_on = True
        try:
            yield
        finally:
            self.is_on = False
            self._timer.stop()
            self._beat()

    def blocks_ms(self) -> dict[str, float]:
        """Return the longest block and the 99th percentile of all turns, with drawing and without; and begin anew."""
        gaps, drawn = np.array([*self.gaps, 0.0]), np.array([*self.drawn, 0.0])
        self.gaps, self.drawn = [], []
        found = {}
        for what, seconds in (("", gaps), (", drawing apart", gaps - drawn)):
            found[f"longest block{what} (ms)"] = 1000 * float(seconds.max())
            found[f"99th percentile{what} (ms)"] = 1000 * float(np.percentile(seconds, 99))
        return found

    def _beat(self) -> None:
        now, drawn = time.perf_counter(), self._drawing.seconds()
        self.gaps.append(now - self.last)
        self.drawn.append(drawn - self._drawn_before)
        self.last, self._drawn_before = now, drawn


class LateStacks:
    """Looks from another thread at what the main thread does when its turn is late.

    Parameters
    ----------
    heartbeat : Heartbeat
        Whose turns are awaited.
    late : float
        Seconds after which a turn is late.
    """

    def __init__(self, heartbeat: Heartbeat, late: float = 0.03) -> None:
        self._heartbeat, self._late = heartbeat, late
        self._found: Counter[str] = Counter()
        self._main = threading.main_thread().ident
        threading.Thread(target=self._watch, daemon=True).start()

    def most_frequent(self, number: int = 6) -> list[tuple[str, int]]:
        """Return where it was most often, and how often, in samples 5 ms apart."""
        return self._found.most_common(number)

    def _watch(self) -> None:
        while True:
            time.sleep(0.005)
            frame = sys._current_frames().get(self._main or 0)
            late = time.perf_counter() - self._heartbeat.last
            if frame is not None and self._heartbeat.is_on and late > self._late:
                stack = traceback.extract_stack(frame)[-14:]
                self._found["\n".join(f"    {Path(at.filename).name}:{at.lineno} {at.name}" for at in stack)] += 1


class Frames:
    """Counts the frames that are drawn on the canvas."""

    def __init__(self, viewer: Any) -> None:
        self.drawn = 0
        self._on_drawn: list[Callable[[float], None]] = []
        viewer.window._qt_viewer.canvas._scene_canvas.events.draw.connect(self._count, position="last")

    def tell(self, listener: Callable[[float], None]) -> None:
        """Call this with the time after each frame."""
        self._on_drawn.append(listener)

    def _count(self, event: Any = None) -> None:
        self.drawn += 1
        for listener in self._on_drawn:
            listener(time.perf_counter())


class Learning:
    """Notes when the learning core tells what; it stays empty where the window does not use it.

    Attributes
    ----------
    events : list of (float, object)
        Time and event.
    """

    def __init__(self) -> None:
        from napari_unet.live.learner import LiveLearner

        self.events: list[tuple[float, Any]] = []
        step = LiveLearner.step

        def noting(learner: LiveLearner) -> tuple[Any, ...]:
            events = step(learner)
            now = time.perf_counter()
            for event in events:
                if type(event).__name__ in ("RegionAnswered", "BetterNetwork", "Problem"):
                    self.events.append((now, _without_arrays(event)))
            return events

        LiveLearner.step = noting  # type: ignore[method-assign]

    @property
    def change(self) -> int:
        """How many changes were answered so far."""
        return max((event[1] for _, event in self.events if event[0] == "RegionAnswered"), default=0)

    def answered_after(self, change: int) -> float | None:
        """Return when a later change was first answered."""
        times = [at for at, event in self.events if event[0] == "RegionAnswered" and event[1] > change]
        return min(times, default=None)

    def better_networks(self) -> list[tuple[float, float]]:
        """Return for each better network when it was found, and when what is in view was next answered by it.

        A network that was overtaken by strokes, which are answered first and alone, or by a better one counts from
        when it was found.
        """
        pairs = []
        found: float | None = None
        change = 0
        for at, event in self.events:
            if event[0] == "BetterNetwork":
                found = at if found is None else found
            elif event[0] == "RegionAnswered":
                if found is not None and event[1] == change:
                    pairs.append((found, at))
                    found = None
                change = event[1]
        return pairs

    def problems(self) -> list[str]:
        """Return what went wrong."""
        return [event[2] for _, event in self.events if event[0] == "Problem"]


def _without_arrays(event: Any) -> tuple[str, int, str]:
    return type(event).__name__, event.change, getattr(event, "message", "")


class Shown:
    """Notes when a new result is on the screen: the first frame after the result layer was given something new.

    Parameters
    ----------
    frames : Frames
        Tells of each frame.
    learning : Learning
        Tells what was answered.

    Attributes
    ----------
    times : list of float
        When there was something new on the screen.
    """

    def __init__(self, frames: Frames, learning: Learning) -> None:
        self.times: list[float] = []
        self._learning = learning
        self._layer: Any = None
        self._new = False
        frames.tell(self._on_frame)

    def follow(self, layer: Any) -> None:
        """Look at this layer from now on."""
        if layer is self._layer:
            return
        if self._layer is not None:
            self._layer.events.set_data.disconnect(self._on_new)
            self._layer.events.labels_update.disconnect(self._on_new)
        self._layer = layer
        if layer is not None:
            layer.events.set_data.connect(self._on_new)
            layer.events.labels_update.connect(self._on_new)

    def after(self, moment: float, change: int) -> float | None:
        """Return when the answer to what was painted was on the screen; None as long as it is not.

        Parameters
        ----------
        moment : float
            When the stroke was finished.
        change : int
            How many changes were answered before it was begun.
        """
        if self._learning.events:
            answered = self._learning.answered_after(change)
            if answered is None:
                return None
            moment = max(moment, answered)
        return next((at for at in self.times if at >= moment), None)

    def _on_new(self, event: Any = None) -> None:
        self._new = True

    def _on_frame(self, now: float) -> None:
        if self._new:
            self._new = False
            self.times.append(now)


def memory_mb() -> float:
    """Return how much memory this process has in use; 0 where that can't be told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
