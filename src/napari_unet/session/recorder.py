"""Saves a session by itself: a thread that waits for changes, and writes them within a second.

The window says what there is (`Recorder.update`) and where something was painted (`Recorder.touch`); both only take a
note and cost it nothing. A disk that is full or missing is reported once, and tried again until it works.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_unet.errors import UNetError
from napari_unet.session.lock import keep_young
from napari_unet.session.state import SessionState
from napari_unet.session.tiles import Box, joined
from napari_unet.session.writer import SessionWriter

__all__ = ["Recorder", "RecorderEvent"]

_LOG = logging.getLogger(__name__)

_DELAY_SECONDS = 0.25  # in which further changes join a save
_RETRY_SECONDS = 10.0
_IDLE_SECONDS = 3.0
_WAKE_SECONDS = 0.5
_YOUNG_SECONDS = 60.0
_SMALL_BYTES = 64_000_000  # arrays up to this size are looked at whole: about 30 ms
_SHARE = 0.05  # of the time that looking at large arrays whole may take
_MOST_BOXES = 200


@dataclass(frozen=True)
class RecorderEvent:
    """What the recorder has to say.

    Attributes
    ----------
    kind : {"saved", "failed", "recovered"}
        It was written, it can't be written (said once), or it can be written again.
    folder : pathlib.Path
        Where the session is.
    problem : str
        For ``"failed"``: what is wrong.
    """

    kind: str
    folder: Path
    problem: str = ""


class Recorder:
    """Keeps a session on the disk at most about a second old.

    Parameters
    ----------
    writer : SessionWriter
        Writes it.
    on_event : callable, optional
        Called in the recorder's thread with a `RecorderEvent`.
    delay, retry : float
        Seconds to wait for further changes, and before a failed save is tried again.
    in_thread : callable, optional
        Called first in the recorder's thread, such as to let others go first.
    """

    def __init__(
        self,
        writer: SessionWriter,
        on_event: Callable[[RecorderEvent], None] | None = None,
        *,
        delay: float = _DELAY_SECONDS,
        retry: float = _RETRY_SECONDS,
        in_thread: Callable[[], None] | None = None,
    ) -> None:
        self.writer = writer
        self.on_event = on_event
        self._delay, self._retry = delay, retry
        self._in_thread = in_thread or (lambda: None)
        self._lock = threading.Lock()
        self._state: SessionState | None = None
        self._touched: dict[str, list[Box] | None] = {}
        self._seen: dict[str, list[Box]] = {}
        self._unsure: set[str] = set()
        self._look_again_at = 0.0
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._finish = True
        self._failing: set[str] = set()
        self._files: threading.Thread | None = None
        self._files_failed_at = 0.0
        self._thread = threading.Thread(target=self._run, name="napari-unet session", daemon=False)
        self._started = False

    def update(self, state: SessionState) -> None:
        """Take what there is now: layers, classes, settings, model. The state must not change afterwards."""
        with self._lock:
            self._state = state
            if not self._started:
                self._started = True
                self._thread.start()
        self._changed.set()

    def touch(self, key: str, box: Box | None = None) -> None:
        """Take a note that labels were changed, inside a box or anywhere."""
        with self._lock:
            self._note(key, box)
            if box is not None:
                self._seen[key] = [*self._seen.get(key, []), box][-_MOST_BOXES:]
            else:
                self._touched[key] = None
        self._changed.set()

    def suspect(self, key: str) -> None:
        """Take a note that labels may have changed: by an undo, or by a program.

        Small arrays are looked at whole; of large ones first the places that were painted before, and the rest as
        soon as it does not cost too much.
        """
        with self._lock:
            for box in self._seen.get(key, ()):
                self._note(key, box)
            self._touched.setdefault(key, [])
            self._unsure.add(key)
        self._changed.set()

    def close(self, *, keep_open: bool = False) -> None:
        """Write what is left, in the recorder's thread, and end; returns at once.

        Parameters
        ----------
        keep_open : bool
            Whether the session is to be offered again, as if it had not been closed.
        """
        self._finish = not keep_open
        self._closing.set()
        self._changed.set()

    def wait(self, seconds: float = 30.0) -> bool:
        """Wait after `close` until everything is written; whether it is."""
        if self._started:
            self._thread.join(seconds)
            return not self._thread.is_alive()
        return True

    # ---- in the recorder's thread

    def _run(self) -> None:
        self._in_thread()
        young = idle = time.monotonic()
        again = 0.0
        while not self._is_over():
            self._changed.wait(_WAKE_SECONDS)
            now = time.monotonic()
            if now - young > _YOUNG_SECONDS:
                keep_young(self.writer.folder)
                young = now
            if self._changed.is_set() and now >= again:
                self._closing.wait(self._delay)
                self._changed.clear()
                again = 0.0 if self._try_to_save() else time.monotonic() + self._retry
                idle = time.monotonic()
            elif self._changed.is_set():
                self._closing.wait(_WAKE_SECONDS)
            elif self._unsure and now >= self._look_again_at:
                self._look_everywhere()
            elif now - idle > _IDLE_SECONDS and not self._writes_files:
                self._tidy()
                idle = now
            self._start_files()
        self._end()

    def _is_over(self) -> bool:
        return self._closing.is_set() or not threading.main_thread().is_alive()

    def _end(self) -> None:
        if self._files is not None:
            self._files.join()
        if self._state is not None and self.writer.needs_files(self._state) and not self._failing:
            self._save_files(self._state)
        closed = self._finish and self._closing.is_set()
        self._try_to_save(closed=closed)
        self.writer.close()

    def _note(self, key: str, box: Box | None) -> None:
        boxes = self._touched.setdefault(key, [])
        if boxes is not None and box is not None:
            boxes.append(box)

    def _take(self) -> tuple[SessionState | None, dict[str, Sequence[Box] | None]]:
        with self._lock:
            state, touched = self._state, self._touched
            self._touched = {}
            regions: dict[str, Sequence[Box] | None] = {}
            for key, boxes in touched.items():
                small = state is not None and key in state.labels and _is_small(state.labels[key])
                if boxes is None or small:
                    self._unsure.discard(key)
                    regions[key] = None
                else:
                    regions[key] = joined(boxes)
        return state, regions

    def _try_to_save(self, *, closed: bool = False) -> bool:
        state, regions = self._take()
        if state is None:
            return True
        try:
            there = self.writer.save(state, regions, closed=closed)
        except Exception as error:  # the thread must live on, whatever a person's array or disk does
            self._changed.set()  # the writer looks everywhere after a failure: nothing has to be noted again
            self._take_failure("strokes", error)
            return False
        self._take_success("strokes")
        if there:
            self._say("saved")
        return True

    def _take_failure(self, part: str, error: Exception) -> None:
        first = not self._failing
        self._failing.add(part)
        if first:
            _LOG.info("The session could not be saved.", exc_info=error)
            self._say("failed", str(error) or type(error).__name__)

    def _take_success(self, part: str) -> None:
        if part in self._failing:
            self._failing.discard(part)
            if not self._failing:
                self._say("recovered")

    def _look_everywhere(self) -> None:
        """Look at large arrays whole; the next time not before that has become a small part of the time."""
        with self._lock:
            for key in self._unsure:
                self._touched[key] = None
        began = time.monotonic()
        self._try_to_save()
        now = time.monotonic()
        self._look_again_at = now + (now - began) / _SHARE

    def _tidy(self) -> None:
        try:
            self.writer.tidy(lambda: self._changed.is_set() or self._is_over())
        except (UNetError, OSError) as error:
            _LOG.info("The session could not be tidied up.", exc_info=error)

    @property
    def _writes_files(self) -> bool:
        return self._files is not None and self._files.is_alive()

    def _start_files(self) -> None:
        """Write the model and copies of images in a second thread, since they may take longer than strokes can wait."""
        state = self._state
        waits = time.monotonic() - self._files_failed_at < self._retry
        if state is None or self.writer.document is None or self._writes_files or waits or self._closing.is_set():
            return
        if self.writer.needs_files(state):
            self._files = threading.Thread(target=self._save_files, args=(state,), name="napari-unet session files")
            self._files.start()

    def _save_files(self, state: SessionState) -> None:
        try:
            new = self.writer.save_files(state)
        except Exception as error:  # as above
            self._files_failed_at = time.monotonic()
            self._take_failure("files", error)
            return
        self._take_success("files")
        if new:
            self._changed.set()

    def _say(self, kind: str, problem: str = "") -> None:
        listener = self.on_event
        if listener is not None:
            listener(RecorderEvent(kind, self.writer.folder, problem))


def _is_small(array: Any) -> bool:
    size = int(np.prod(array.shape, dtype=np.int64)) * np.dtype(array.dtype).itemsize
    return isinstance(array, np.ndarray) and size <= _SMALL_BYTES
