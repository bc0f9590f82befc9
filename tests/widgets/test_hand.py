"""The learning waits while the person's hand works on the canvas, and goes on when it rests."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from napari.components import ViewerModel

from napari_unet.nets import allocator
from napari_unet.widgets.live import work
from napari_unet.widgets.live.hand import Hand
from napari_unet.widgets.live.work import LiveMail, _Work


@pytest.fixture
def hand(viewer: ViewerModel) -> Hand:
    return Hand(viewer)


def test_a_drag_moves_the_hand_until_the_button_is_released(hand: Hand) -> None:
    event = SimpleNamespace(type="mouse_press")
    callback = hand.viewer.mouse_drag_callbacks[-1]
    drag = callback(hand.viewer, event)
    assert not hand.moves()
    next(drag)
    assert hand.moves()
    time.sleep(0.15)
    assert not hand.moves()  # it rests with the button held
    event.type = "mouse_move"
    next(drag)
    assert hand.moves()
    event.type = "mouse_release"
    assert next(drag, "over") == "over"
    assert not hand.moves()


def test_moving_the_view_moves_the_hand(hand: Hand) -> None:
    hand.viewer.scene.camera.zoom = 3
    assert hand.moves()
    hand.moved = 0.0
    hand.viewer.mouse_wheel_callbacks[-1](hand.viewer, None)
    assert hand.moves()


def test_nothing_is_left_in_the_viewer(viewer: ViewerModel) -> None:
    drags, wheels = list(viewer.mouse_drag_callbacks), list(viewer.mouse_wheel_callbacks)
    hand = Hand(viewer)
    hand.close()
    viewer.scene.camera.zoom = 5
    assert not hand.moves()
    assert (viewer.mouse_drag_callbacks, viewer.mouse_wheel_callbacks) == (drags, wheels)


@pytest.mark.parametrize("moves", [True, False])
def test_learning_waits_for_the_hand_for_a_second_at_most(moves: bool) -> None:
    steps: list[float] = []
    stop = threading.Event()

    def step() -> tuple[Any, ...]:
        steps.append(time.monotonic())
        if len(steps) == 3:
            stop.set()
        return ()

    learner = SimpleNamespace(step=step, idle=False, current_model=lambda: None)
    working = _Work(learner, LiveMail(hand_moves=lambda: moves), stop.is_set)  # type: ignore[arg-type]
    began = time.monotonic()
    list(working.run())
    assert len(steps) == 3
    assert (time.monotonic() - began > 2.5) == moves


@pytest.mark.parametrize("rests", [True, False])
def test_freed_memory_is_given_back_while_the_hand_rests(rests: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr(work, "_BETWEEN_TIDIES", -1.0)
    monkeypatch.setattr(allocator, "give_back_freed_memory", lambda: given.append(time.monotonic()))
    answers = iter([False, True])
    learner = SimpleNamespace(step=lambda: (), idle=False, current_model=lambda: None)
    mail = LiveMail(touched=time.monotonic() - (60 if rests else 0))
    list(_Work(learner, mail, lambda: next(answers, True)).run())  # type: ignore[arg-type]
    assert len(given) == rests
