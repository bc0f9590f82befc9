from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QThread, QThreadPool
from superqt.utils import GeneratorWorker

from napari_unet.widgets.parts.worker import Job, StopCheck, Work


class Listener:
    """Writes down what it hears, and in which thread."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.threads: set[Any] = set()

    def on_event(self, event: Any) -> None:
        self.note(event)

    def on_error(self, error: Exception) -> None:
        self.note(error)

    def on_finished(self) -> None:
        self.note("finished")

    def note(self, what: Any) -> None:
        self.heard.append(what)
        self.threads.add(QThread.currentThread())

    def start(self, work: Work) -> Job:
        return Job(work, on_event=self.on_event, on_error=self.on_error, on_finished=self.on_finished)


@pytest.fixture
def listener() -> Listener:
    return Listener()


def wait_until_over(qtbot: QtBot, job: Job) -> None:
    qtbot.waitUntil(lambda: not job.is_running)


def test_events_come_in_order_and_the_end_comes_last(qtbot: QtBot, listener: Listener) -> None:
    def work(should_stop: StopCheck) -> Generator[Any, None, None]:
        yield from range(200)

    wait_until_over(qtbot, listener.start(work))

    assert listener.heard == [*range(200), "finished"]
    assert listener.threads == {QThread.currentThread()}


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, MemoryError, OSError])
def test_every_error_is_reported_before_the_end(qtbot: QtBot, listener: Listener, kind: type[Exception]) -> None:
    def work(should_stop: StopCheck) -> Generator[Any, None, None]:
        yield 1
        raise kind("the disk is full")

    wait_until_over(qtbot, listener.start(work))

    first, error, last = listener.heard
    assert (first, type(error), str(error), last) == (1, kind, "the disk is full", "finished")


def test_stop_lets_the_work_come_to_a_good_end(qtbot: QtBot, listener: Listener) -> None:
    def work(should_stop: StopCheck) -> Generator[Any, None, None]:
        while not should_stop():
            time.sleep(0.01)
        yield "the best model"

    job = listener.start(work)
    qtbot.wait(50)
    job.stop()
    wait_until_over(qtbot, job)

    assert listener.heard == ["the best model", "finished"]


def test_abort_closes_the_generator_and_nobody_is_called(qtbot: QtBot, listener: Listener) -> None:
    closed = threading.Event()

    def work(should_stop: StopCheck) -> Generator[Any, None, None]:
        try:
            while True:
                yield "a step"
                time.sleep(0.01)
        finally:
            closed.set()

    job = listener.start(work)
    qtbot.waitUntil(lambda: len(listener.heard) > 2)
    job.abort()
    heard = list(listener.heard)
    wait_until_over(qtbot, job)

    assert closed.wait(60)
    assert listener.heard == heard


def test_abort_does_not_wait_for_a_long_step(qtbot: QtBot, listener: Listener) -> None:
    go_on, waited = threading.Event(), threading.Event()

    def work(should_stop: StopCheck) -> Generator[Any, None, None]:
        go_on.wait(60)
        waited.set()
        yield "too late"

    job = listener.start(work)
    qtbot.wait(50)
    job.abort()
    wait_until_over(qtbot, job)

    assert not waited.is_set()
    assert listener.heard == []
    go_on.set()


def test_no_worker_and_no_array_outlives_its_work(qtbot: QtBot, listener: Listener) -> None:
    alive: list[weakref.ref[Any]] = []

    def work(should_stop: StopCheck) -> Generator[Any, None, None]:
        array = np.zeros(1000)
        alive.append(weakref.ref(array))
        yield 1
        raise RuntimeError("CUDA error")

    job = listener.start(work)
    wait_until_over(qtbot, job)
    listener.heard.clear()
    qtbot.waitUntil(lambda: not GeneratorWorker._worker_set)
    gc.collect()

    assert [ref() for ref in alive] == [None]


def test_work_waits_for_a_window_that_is_busy(qtbot: QtBot, listener: Listener) -> None:
    made: list[int] = []

    def work(should_stop: StopCheck) -> Generator[Any, None, None]:
        for number in range(1, 1001):
            made.append(number)
            yield number

    job = listener.start(work)
    time.sleep(0.3)  # the window does nothing else
    assert len(made) < 100
    wait_until_over(qtbot, job)

    assert listener.heard == [*range(1, 1001), "finished"]


def test_warnings_are_logged(qtbot: QtBot, listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    def work(should_stop: StopCheck) -> Generator[Any, None, None]:
        warnings.warn("an odd file", stacklevel=1)
        yield 1

    with caplog.at_level(logging.WARNING):
        wait_until_over(qtbot, listener.start(work))

    assert "an odd file" in caplog.text


def test_the_program_waits_for_the_work_at_its_end(qtbot: QtBot, listener: Listener) -> None:
    """A daemon thread that is cut off inside PyTorch aborts the program."""
    daemons: list[bool] = []

    def work(should_stop: StopCheck) -> Generator[Any, None, None]:
        daemons.append(threading.current_thread().daemon)
        yield 1

    wait_until_over(qtbot, listener.start(work))

    assert daemons == [False]


def test_many_jobs_run_beside_each_other_on_a_single_core(qtbot: QtBot, listener: Listener) -> None:
    def long_work(should_stop: StopCheck) -> Generator[Any, None, None]:
        while not should_stop():
            time.sleep(0.01)
        yield "long"

    def short_work(should_stop: StopCheck) -> Generator[Any, None, None]:
        yield "short"

    pool = QThreadPool.globalInstance()
    most = pool.maxThreadCount()
    pool.setMaxThreadCount(1)
    try:
        long = listener.start(long_work)
        qtbot.wait(50)
        wait_until_over(qtbot, listener.start(short_work))
        long.stop()
        wait_until_over(qtbot, long)
        assert listener.heard == ["short", "finished", "long", "finished"]
        assert GeneratorWorker.await_workers(60_000) is None
        assert pool.activeThreadCount() == 0
    finally:
        pool.setMaxThreadCount(most)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets single threads go after others")
def test_the_work_and_what_it_starts_go_after_the_window(qtbot: QtBot, listener: Listener) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work(should_stop: StopCheck) -> Generator[Any, None, None]:
        yield niceness()
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(niceness).result()

    before = niceness()
    wait_until_over(qtbot, listener.start(work))

    assert listener.heard == [min(19, before + 10)] * 2 + ["finished"]
    assert niceness() == before


def test_a_program_that_ends_without_telling_its_jobs_does_end() -> None:
    code = """
import itertools, time
from qtpy.QtWidgets import QApplication
from napari_unet.widgets.parts.worker import Job
application = QApplication([])
job = Job(lambda stop: itertools.count(), on_event=print, on_error=print, on_finished=print)
time.sleep(1)  # more events wait than there is room for
"""
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
