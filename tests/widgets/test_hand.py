"""The learning waits while the person's hand works on the canvas, and goes on when it rests."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from napari.components import ViewerModel

from napari_unet.nets import allocator
from napari_unet.widgets.live import hand as hand_module
from napari_unet.widgets.live import right_of_way, work
from napari_unet.widgets.live.hand import Hand
from napari_unet.widgets.live.right_of_way import RightOfWay
from napari_unet.widgets.live.work import LiveMail, _Work
from napari_unet.widgets.results.predict_job import PredictSummary

NOBODY = RightOfWay(lambda: False, lambda: False)


class Clock:
    """Stands for the module `time`: the time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (hand_module, right_of_way, work):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def hand(viewer: ViewerModel, clock: Clock) -> Hand:
    return Hand(viewer)


def test_a_drag_moves_the_hand_until_the_button_is_released(hand: Hand, clock: Clock) -> None:
    event = SimpleNamespace(type="mouse_press")
    callback = hand.viewer.mouse_drag_callbacks[-1]
    drag = callback(hand.viewer, event)
    assert not hand.moves()
    next(drag)
    assert hand.moves()
    clock.sleep(0.15)
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


def test_nothing_is_left_in_the_viewer(viewer: ViewerModel, clock: Clock) -> None:
    drags, wheels = list(viewer.mouse_drag_callbacks), list(viewer.mouse_wheel_callbacks)
    hand = Hand(viewer)
    hand.close()
    viewer.scene.camera.zoom = 5
    assert not hand.moves()
    assert (viewer.mouse_drag_callbacks, viewer.mouse_wheel_callbacks) == (drags, wheels)


@pytest.mark.parametrize(("moves", "is_behind", "wait"), [(True, True, 1.0), (True, False, 5.0), (False, True, 0.0)])
def test_learning_waits_for_the_hand_and_answers_less_long(
    moves: bool, is_behind: bool, wait: float, clock: Clock
) -> None:
    steps: list[float] = []
    stop = threading.Event()

    def step() -> tuple[Any, ...]:
        steps.append(clock.now)
        if len(steps) == 3:
            stop.set()
        return ()

    learner = SimpleNamespace(step=step, idle=False, is_behind=is_behind, current_model=lambda: None)
    working = _Work(learner, LiveMail(), RightOfWay(lambda: moves, stop.is_set), stop.is_set)  # type: ignore[arg-type]
    list(working.run())
    assert len(steps) == 3
    assert clock.now - 100 == pytest.approx(wait, abs=0.03)


def test_a_hand_that_does_not_rest_leaves_some_time_to_the_learning(clock: Clock) -> None:
    way = RightOfWay(lambda: True, lambda: False)
    waited = []
    for _ in range(3):
        began = clock.now
        way.give(lambda: True)
        waited.append(clock.now - began)
        if len(waited) == 2:
            clock.sleep(0.3)
    assert waited == pytest.approx([1.0, 0.0, 1.0], abs=0.03)


def test_a_view_that_comes_while_the_learning_waits_is_answered_after_a_second(clock: Clock) -> None:
    way = RightOfWay(lambda: True, lambda: False)
    way.give(lambda: clock.now > 102.5)
    assert clock.now - 100 == pytest.approx(2.5, abs=0.03)


def test_what_began_just_before_the_hand_moved_is_given_up(clock: Clock) -> None:
    moves = False
    way = RightOfWay(lambda: moves, lambda: False)
    way.give()
    assert not way.is_wanted()
    moves = True
    assert way.is_wanted()
    clock.sleep(0.6)
    assert not way.is_wanted()  # too much would be lost
    way.give()
    assert not way.is_wanted()  # its turn has come though the hand moves


def test_what_is_painted_ends_the_prediction_of_the_rest() -> None:
    mail = LiveMail()
    working = _Work(SimpleNamespace(), mail, NOBODY, lambda: False)  # type: ignore[arg-type]
    working._rest = iter([PredictSummary("of strokes before"), PredictSummary("of strokes before")])
    assert working._rest_may_go_on()
    assert [event.text for event in working._go_on_with_rest()] == ["of strokes before"]
    mail.strokes += 1
    assert not working._rest_may_go_on()
    assert list(working._go_on_with_rest()) == []
    assert working._rest is None
    assert not working._rest_is_due()


@pytest.mark.parametrize("rests", [True, False])
def test_freed_memory_is_given_back_while_the_hand_rests(
    rests: bool, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    given: list[float] = []
    monkeypatch.setattr(work, "_BETWEEN_TIDIES", -1.0)
    monkeypatch.setattr(allocator, "give_back_freed_memory", lambda: given.append(clock.now))
    answers = iter([False, True])
    learner = SimpleNamespace(step=lambda: (), idle=False, current_model=lambda: None)
    mail = LiveMail(touched=clock.now - (60 if rests else 0))
    list(_Work(learner, mail, NOBODY, lambda: next(answers, True)).run())  # type: ignore[arg-type]
    assert len(given) == rests
