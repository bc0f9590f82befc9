"""Two real windows in one program, each with a dock that trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from napari_unet.widgets.segment.dock import SegmentDock
from tests.quickness import END_SECONDS, Attempts
from tests.widgets.live_steps import begin, close_window, new_stroke, open_dock, open_window

pytestmark = [pytest.mark.window, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def test_of_two_windows_that_train_one_is_closed(
    dock: SegmentDock, window: Any, spots: Callable[..., Any], qtbot: QtBot, do: Any
) -> None:
    with qtbot.captureExceptions() as raised:
        close_one_of_two(dock, spots, qtbot, do)
        window.window._qt_window.hide()  # so that nothing is drawn any more
        qtbot.wait(100)
    failed = {kind.__name__ for kind, _, _ in raised}
    raised.clear()  # of frames that hold the window,
    for name in ("last_type", "last_value", "last_traceback"):  # as vispy does here
        vars(sys).pop(name, None)
    # Drawing a window of napari may fail after another one was closed, which is so without a plugin, too.
    assert failed <= {"GLError"}


def close_one_of_two(dock: SegmentDock, spots: Callable[..., Any], qtbot: QtBot, do: Any) -> None:
    """Close another window that trains as well, which must end that training and nothing else."""
    told: list[float] = []  # when the dock was; before that napari takes half a second and more to close its window
    for row, attempt in enumerate(Attempts(), start=40):
        viewer = open_window()
        other = open_dock(viewer, qtbot)
        begin(other, *spots((48, 80), count=8, radius=6.0), qtbot, do)
        strokes, worker = other.strokes, other.live._job
        assert strokes is not None
        assert worker is not None
        new_stroke(other, qtbot, 40)
        kept = strokes.data.copy()
        new_stroke(dock, qtbot, row)
        other.destroyed.connect(lambda: told.append(time.monotonic()))
        close_window(viewer)
        qtbot.waitUntil(lambda worker=worker: not worker.is_running)
        attempt.hold("seconds until its training ended", time.monotonic() - told[-1], END_SECONDS)
        np.testing.assert_array_equal(strokes.data, kept)
        assert dock.live.training
        new_stroke(dock, qtbot, row + 10)
        assert do.messages() == []
