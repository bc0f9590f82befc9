"""Running long work beside the window: one worker class without the three defects of the usual one.

The generator workers that napari offers lose every `RuntimeError` (and with it most errors of PyTorch), never close
their generator when they are told to quit, and are kept alive, with the arrays in their frames, by the function that
starts them. `JobWorker` reports all errors and always closes its generator; `Job` starts it without that function and
hands its events to listeners in the window's thread.

The work itself goes on in a thread behind the worker, so that the worker has a turn every tenth of a second, and can be
told to quit, however long a single step of the work takes. That thread lets the window go first: a network keeps a core
busy without a pause, and without a graphics card the window is drawn by the same cores.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, QThreadPool
from superqt.utils import GeneratorWorker

__all__ = ["Job", "JobWorker", "StopCheck", "Work", "let_window_go_first", "program_ends"]

StopCheck = Callable[[], bool]
Work = Callable[[StopCheck], Generator[Any, None, None]]

_LOG = logging.getLogger(__name__)
_MOST_WAITING = 32  # events that may wait for the window before the work pauses
_TURN_SECONDS = 0.1
_GRACE_SECONDS = 0.7  # how long a worker that is told to quit waits for the work to end
_NICER = 10  # steps of the system's scale; a thread nicer by so much gets a tenth of a core that is wanted by two


def let_window_go_first() -> None:
    """Have the calling thread, and all that it starts from now on, wait whenever the window's threads need its core.

    It takes nothing from the work while the window rests. Only Linux can do this for single threads in this way;
    elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    with suppress(OSError):  # where it is forbidden, the work goes on as before
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)


def program_ends() -> bool:
    """Whether Python waits for its last threads; it comes to that without the window's end where a script fails."""
    return not threading.main_thread().is_alive()


@atexit.register
def _wait_for_workers() -> None:
    """Let workers end before Python does, which they could not outlive."""
    pool = QThreadPool.globalInstance()
    if pool is not None:
        pool.waitForDone(int(1000 * _GRACE_SECONDS))


class JobWorker(GeneratorWorker[Any, Any, Any]):
    """A generator worker that reports every error, closes its generator and lets go of it.

    It derives from superqt's class, which napari's own workers are, so that napari waits for it when it closes.
    """

    def run(self) -> None:
        """Work, and tell of it; called in the worker's thread."""
        pool = QThreadPool.globalInstance()
        if pool is not None:
            pool.releaseThread()  # it only waits: on a single core no other worker would begin before it ends
        try:
            super().run()
        except RuntimeError:  # where Qt's objects are gone already
            if not program_ends():
                raise
        finally:
            if pool is not None:
                pool.reserveThread()

    def work(self) -> Any:
        """Go through the generator; called in the worker's thread."""
        generator = self._gen
        try:
            result = super().work()
        finally:
            del self._gen
            generator.close()
        if isinstance(result, RuntimeError):
            try:
                raise result
            finally:
                del result  # else the error and this frame would keep each other, and all arrays, alive
        return result


class Job(QObject):
    """One piece of long work and its listeners, which are called in the thread that made the job.

    Parameters
    ----------
    work : callable
        Generator function that takes a check whether it should stop.
    on_event : callable
        Called with each event that is not None.
    on_error : callable
        Called with the exception if one ended the work.
    on_finished : callable
        Called once, last, whatever happened.
    """

    def __init__(
        self,
        work: Work,
        *,
        on_event: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        on_finished: Callable[[], None],
    ) -> None:
        super().__init__()
        self._listeners: tuple[Callable[[Any], None], Callable[[Exception], None], Callable[[], None]] | None
        self._listeners = (on_event, on_error, on_finished)
        self._stop = threading.Event()
        self._room = threading.Semaphore(_MOST_WAITING)
        self._running = True
        worker = JobWorker(_forward, work, self._stop, self._room)
        worker.yielded.connect(self._on_yielded)
        worker.errored.connect(self._on_errored)
        worker.warned.connect(self._on_warned)
        worker.finished.connect(self._on_finished)  # type: ignore[arg-type]
        self._worker: JobWorker | None = worker
        worker.start()

    @property
    def is_running(self) -> bool:
        """Whether the work still goes on."""
        return self._running

    @property
    def stop_requested(self) -> bool:
        """Whether `stop` or `abort` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the work to come to a good end; its listeners still hear of it."""
        self._stop.set()

    def abort(self) -> None:
        """End the work within a second; its listeners are not called any more."""
        self._listeners = None
        self._stop.set()
        if self._worker is not None:
            self._worker.quit()

    def _on_yielded(self, event: Any) -> None:
        if event is None:
            return
        self._room.release()
        if self._listeners is not None:
            self._listeners[0](event)

    def _on_errored(self, error: Exception) -> None:
        if self._listeners is not None:
            self._listeners[1](error)

    def _on_warned(self, warning: tuple[Any, ...]) -> None:
        _LOG.warning("%s", warning[0])

    def _on_finished(self) -> None:
        self._running = False
        self._worker = None
        listeners, self._listeners = self._listeners, None
        if listeners is not None:
            listeners[2]()


class _Pump(threading.Thread):
    """Goes through the work and puts its events, and at the end its error or None, where the worker takes them."""

    def __init__(self, work: Work, stop: threading.Event) -> None:
        # no daemon: Python waits for it at its end, since a thread that is cut off inside PyTorch aborts the program
        super().__init__(daemon=False, name="napari-unet work")
        self._work: Work | None = work
        self._stop_event = stop
        self._abandoned = threading.Event()
        self.outlet: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=1)

    def abandon(self) -> None:
        """End the work as soon as it asks whether to stop or has an event."""
        self._stop_event.set()
        self._abandoned.set()

    def run(self) -> None:
        work, self._work = self._work, None
        if work is None:
            return
        let_window_go_first()
        try:
            events = work(lambda: self._stop_event.is_set() or program_ends())
            try:
                for event in events:
                    if not self._put(False, event):
                        return
            finally:
                events.close()
        except Exception as error:
            if self._abandoned.is_set():
                _LOG.info("The work failed after it was told to end.", exc_info=error)
            self._put(True, error)
        else:
            self._put(True, None)

    def _put(self, last: bool, value: Any) -> bool:
        while not (self._abandoned.is_set() or program_ends()):
            try:
                self.outlet.put((last, value), timeout=_TURN_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def _forward(work: Work, stop: threading.Event, room: threading.Semaphore) -> Generator[Any, None, None]:
    """Hand on what the work yields, and None now and then; wait while too many events have not been taken."""
    pump = _Pump(work, stop)
    pump.start()
    try:
        value = None
        while not program_ends():
            try:
                last, value = pump.outlet.get(timeout=_TURN_SECONDS)
            except queue.Empty:
                yield None
                continue
            if last:
                break
            while value is not None and not room.acquire(timeout=_TURN_SECONDS) and not program_ends():
                yield None
            yield value
            value = None
        if value is not None:
            try:
                raise value
            finally:
                value = None
    finally:
        pump.abandon()
        pump.join(_GRACE_SECONDS)
