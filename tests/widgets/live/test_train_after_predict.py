"""Train that is pressed while a prediction runs: the same training as without, once the prediction has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import answered, changes, stop, stroke


class SlowPrediction:
    """Stands for a prediction that goes on until it is stopped, and then ends when it is let."""

    def __init__(self) -> None:
        self.begun, self.told, self.may_end, self.ended = (threading.Event() for _ in range(4))

    def run(self, request: Any, should_stop: Callable[[], bool]) -> Iterator[None]:
        self.begun.set()
        while not should_stop():
            time.sleep(0.01)
            yield None
        self.told.set()
        self.may_end.wait(60)
        self.ended.set()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowPrediction]:
    slow = SlowPrediction()
    monkeypatch.setattr("napari_unet.widgets.segment.prediction_run.predict_with_uncertainty", slow.run)
    yield slow
    slow.may_end.set()


@pytest.fixture
def asked(live: SegmentDock, slow: SlowPrediction, qtbot: QtBot) -> SegmentDock:
    """Return a dock that answers, in which Train was pressed while it predicts, and whose prediction is ending."""
    answered(live, qtbot)
    qtbot.waitUntil(lambda: live.runner.model is not None)
    live.panel.predict.click()
    qtbot.waitUntil(slow.begun.is_set)
    live.panel.train.click()
    qtbot.waitUntil(slow.told.is_set)
    assert live.message.text() == "The training begins once the prediction has stopped."
    assert live.runner.kind == "predict"
    return live


def test_it_takes_up_strokes(asked: SegmentDock, slow: SlowPrediction, qtbot: QtBot, do: Any) -> None:
    asked.panel.train.click()  # once more makes no difference
    slow.may_end.set()
    qtbot.waitUntil(lambda: asked.live.training and asked.runner.status.steps > 2)
    assert asked.message.text() == ""
    seen = changes(asked)
    stroke(asked.strokes, slice(40, 44), 2)
    answered(asked, qtbot, seen)
    assert asked.live.training
    assert asked.runner.status.marks
    stop(asked, qtbot)
    assert not asked.runner.is_running
    assert do.messages() == []


def test_stop_calls_it_off(asked: SegmentDock, slow: SlowPrediction, qtbot: QtBot, do: Any) -> None:
    asked.panel.predict.click()
    slow.may_end.set()
    do.wait(asked)
    qtbot.wait(100)
    assert not asked.live.training
    assert not asked.runner.is_running
    assert asked.message.text() == ""
    assert asked.panel.train.text() == "Train"
    assert do.messages() == []


def test_the_image_that_is_chosen_then_is_trained_on(
    asked: SegmentDock, viewer: ViewerModel, slow: SlowPrediction, spots: Callable[..., Any], qtbot: QtBot, do: Any
) -> None:
    image, truth = spots((48, 48), count=4, radius=6.0)
    other = viewer.add_image(image, name="other")
    qtbot.waitUntil(lambda: other in asked.image_chooser._layers)
    asked.image_chooser.choose(other)
    slow.may_end.set()
    qtbot.waitUntil(lambda: asked.live.training)
    do.paint(asked, truth)
    qtbot.waitUntil(lambda: asked.runner.status.steps > 2)
    assert asked.image is other
    stop(asked, qtbot)
    assert do.messages() == []


def test_without_an_image_it_says_so(
    asked: SegmentDock, viewer: ViewerModel, slow: SlowPrediction, qtbot: QtBot, do: Any
) -> None:
    viewer.layers.clear()
    qtbot.waitUntil(lambda: asked.image is None)
    slow.may_end.set()
    qtbot.waitUntil(lambda: asked.message.text().startswith("There is no image"))
    assert not asked.live.training
    assert not asked.runner.is_running


def test_closing_the_dock_ends_it(asked: SegmentDock, slow: SlowPrediction, qtbot: QtBot, do: Any) -> None:
    asked.close_dock()
    slow.may_end.set()
    qtbot.waitUntil(slow.ended.is_set)
    qtbot.wait(100)
    assert not asked.live.training
    assert not asked.live.is_running
    assert not asked.runner.is_running
    assert do.messages() == []


def test_with_a_number_of_seconds_it_is_a_single_training(
    asked: SegmentDock, slow: SlowPrediction, qtbot: QtBot, do: Any
) -> None:
    asked.panel.window_form.set_values({"predict_after": False})
    asked.panel.seconds.setValue(60)
    slow.may_end.set()
    qtbot.waitUntil(lambda: asked.runner.kind == "train")
    assert not asked.live.is_running
    do.wait(asked)
    assert asked.runner.status.finished
    assert do.messages() == []
