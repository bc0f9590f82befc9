"""Progress of long work on the terminal: a bar where there is one, now and then a plain line where there is none.

Both go to the standard error stream, so that results can be piped on.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

from napari_unet.learn.events import FitEvent, FitFinished, FitProgress, FitRecovered, FitScored, FitStarted
from napari_unet.words import clock

__all__ = ["ProgressLine", "TrainingReport", "stop_on_signal"]

_PLAIN_EVERY_SECONDS = 10.0


class ProgressLine:
    """One line of progress, as a context manager.

    Parameters
    ----------
    title : str
        What is being done.
    console : rich.console.Console, optional
        Where to write; the standard error stream where not given.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self.title = title
        self.console = console or Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._last = -math.inf

    def __enter__(self) -> ProgressLine:
        if self.console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
            details = TextColumn("{task.fields[details]}", markup=False)
            self._bar = Progress(*columns, details, console=self.console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=None, details="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, fraction: float | None, details: str) -> None:
        """Show how far it is: `fraction` from 0 to 1 (None: not known), and a few words."""
        if self._bar is not None:
            total = None if fraction is None else 100.0
            done = 100.0 * (fraction or 0.0)
            self._bar.update(self._task, description=self.title, total=total, completed=done, details=details)
        elif time.monotonic() - self._last >= _PLAIN_EVERY_SECONDS:
            self._last = time.monotonic()
            share = "" if fraction is None else f"{100 * fraction:3.0f} %  "
            self.tell(f"{self.title}  {share}{details}")

    def fail(self, message: str) -> None:
        """Write an error as a line that stays."""
        self.tell(f"Error: {' '.join(message.split())}")

    def tell(self, message: str) -> None:
        """Write a line that stays."""
        self.console.print(message, markup=False, soft_wrap=True)


class TrainingReport:
    """Shows the events of a training.

    Parameters
    ----------
    line : ProgressLine
        Where to show them.
    """

    def __init__(self, line: ProgressLine) -> None:
        self.line = line
        self.note = ""
        self.best: float | None = None
        self.steps = 0
        self._score = ""
        self._fraction: float | None = None

    def show(self, event: FitEvent) -> None:
        """Show one event."""
        self.steps = event.step
        if isinstance(event, FitStarted):
            self.note = event.note
            self.line.tell(f"Training on {event.device}. Press Ctrl-C to stop and keep the best model.")
            if event.note:
                self.line.tell(event.note)
        elif isinstance(event, FitRecovered):
            self.line.tell(event.message)
        elif isinstance(event, FitScored):
            self.best = event.best
            self._score = f"  score {event.score:.3f} (best {event.best:.3f})"
        elif isinstance(event, FitFinished):
            self.best = event.best
        elif isinstance(event, FitProgress):
            self._fraction = event.fraction
            self.line.show(event.fraction, self._details(event))

    def _details(self, event: FitProgress) -> str:
        loss = "" if math.isnan(event.loss) else f"  loss {event.loss:.3f}"
        if event.seconds_left is not None:
            left = f"  {clock(event.seconds_left)} left"
        else:
            left = f"  {clock(event.seconds)} so far" if event.fraction is None else ""
        return f"step {event.step}{loss}{self._score}{left}"


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Catch the first Ctrl-C (or a batch system's SIGTERM) as a wish to stop; a second one ends the program.

    Yields
    ------
    callable
        Tells whether to stop.
    """
    wanted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wanted.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if wanted.is_set():
            raise KeyboardInterrupt
        wanted.set()

    before: dict[Any, Any] = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wanted.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
