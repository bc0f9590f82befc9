"""What a person asks for at the very moment at which the live loop does something by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.widgets.live.right_of_way import RightOfWay
from napari_unet.widgets.live.work import LiveMail, ModelNow, _Work
from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import answered


def test_a_prediction_that_is_asked_for_while_the_rest_is_predicted_is_not_undone_by_it(
    live: SegmentDock, qtbot: QtBot, do: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def rest(request: Any, should_stop: Callable[[], bool]) -> Iterator[None]:
        begun.set()
        try:
            while not (go_on.is_set() or should_stop()):
                time.sleep(0.01)
                yield None
        finally:
            ended.set()

    answered(live, qtbot)
    monkeypatch.setattr("napari_unet.widgets.live.work.predict", rest)
    live.live._mail.touched = 0.0  # the person pauses
    qtbot.waitUntil(lambda: begun.is_set() and live.runner.model is not None)
    live.panel.predict.click()
    do.wait(live)
    assert live.message.text() == ""
    go_on.set()
    qtbot.waitUntil(ended.is_set)
    live.panel.predict.click()
    do.wait(live)
    assert live.message.text().startswith("All of this is predicted already")


def test_a_model_that_is_asked_for_before_the_strokes_are_read_is_handed_over_when_they_are() -> None:
    class Learner:
        steps, idle = 0, False

        @property
        def is_behind(self) -> bool:
            return self.steps < 3

        def step(self) -> tuple[Any, ...]:
            self.steps += 1
            return ()

        def current_model(self) -> int:
            if self.is_behind:
                raise InputError("There is no result yet.")
            return self.steps

    learner: Any = Learner()
    way = RightOfWay(lambda: False, lambda: False)
    work = _Work(learner, LiveMail(model_wanted=True), way, lambda: learner.steps > 5)
    assert [event.model for event in work.run() if isinstance(event, ModelNow)] == [3, 6]


def test_a_model_that_was_handed_over_several_times_is_trained_on(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    live.panel.window_form.set_values({"answers": False})
    for seed in (1, 2, 3):
        live.live._on_event(ModelNow(Model.create(ModelConfig(features=4, depth=1), seed)))  # type: ignore[arg-type]
    live.panel.seconds.setValue(60)
    do.run(live)
    assert do.messages() == []
    assert live.runner.status.finished
