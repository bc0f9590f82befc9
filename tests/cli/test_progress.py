"""Progress is a bar on a terminal and a few plain lines elsewhere; the first signal is a wish, the second an end."""

from __future__ import annotations

import io
import itertools
import math
import os
import signal
import sys
import threading
import time

import pytest
from rich.console import Console

from napari_unet.cli.progress import ProgressLine, TrainingReport, stop_on_signal
from napari_unet.learn.events import FitFinished, FitProgress, FitRecovered, FitScored, FitStarted


def _report(terminal: bool, events: int) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120)
    with ProgressLine("Training", console) as line:
        report = TrainingReport(line)
        report.show(FitStarted(0, 0.0, "CPU, 2 threads", False, "Paint one more stroke of background [sic]."))
        report.show(FitProgress(0, 0.1, math.nan, 0.0, None))
        for step in range(1, events):
            report.show(FitScored(step, step / 10, 0.5, 0.75, False))
            report.show(FitProgress(step, step / 10, 0.25, step / events, 62.0))
        report.show(FitRecovered(events, 1.0, "The memory was not enough."))
        report.show(FitFinished(events, 1.0, 0.75, False))
    assert (report.steps, report.best) == (events, 0.75)
    return stream.getvalue()


def test_without_a_terminal_there_are_few_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks) / 10)
    lines = _report(terminal=False, events=2000).splitlines()
    assert lines[0].startswith("Training on CPU, 2 threads")
    assert lines[1] == "Paint one more stroke of background [sic]."
    assert lines[-1] == "The memory was not enough."
    assert 10 < len(lines) < 50
    assert "\x1b" not in "".join(lines)
    assert lines[-2].split("  ", 1)[1].endswith("loss 0.250  score 0.500 (best 0.750)  1:02 left")


def test_on_a_terminal_there_is_a_bar() -> None:
    text = _report(terminal=True, events=50)
    assert "\x1b" in text
    assert "best 0.750" in text
    assert "The memory was not enough." in text


def test_training_without_a_budget_shows_the_time_so_far() -> None:
    stream = io.StringIO()
    with ProgressLine("Training", Console(file=stream, width=120)) as line:
        TrainingReport(line).show(FitProgress(3, 75.0, 0.5, None, None))
    assert stream.getvalue() == "Training  step 3  loss 0.500  1:15 so far\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not send itself signals")
def test_first_signal_asks_to_stop_and_the_second_ends() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signal() as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert should_stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_signals_are_left_alone_in_other_threads() -> None:
    answers: list[bool] = []

    def work() -> None:
        with stop_on_signal() as should_stop:
            answers.append(should_stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [False]
