"""An answer that takes longer than a moment is announced at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from napari_unet.models.adapt import Adapter
from napari_unet.widgets.live import waiting as module
from napari_unet.widgets.live.waiting import Waiting
from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import answered, changes, stroke


class Learner:
    is_behind = True


def test_it_says_what_takes_long_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    waiting, learner = Waiting(), Learner()
    said = []
    for seconds, made, painted, behind in (
        (0, None, False, True),  # nothing is painted: nobody waits
        (5, None, True, True),
        (1, None, True, True),
        (1, learner, True, True),
        (0.1, learner, True, True),
        (0.1, learner, True, False),
        (9, learner, True, True),  # another one, which may still come in a moment
        (0.5, learner, True, True),
    ):
        now += seconds
        learner.is_behind = behind
        changed = waiting.look(made, is_painted=painted, is_volume=True)  # type: ignore[arg-type]
        said.append((changed, waiting.words))
    volume = "The result is on its way: a volume is looked at as a whole the first time… 2 s"
    assert said == [
        (False, ""),
        (False, ""),
        (True, "The network is being made ready… 1 s"),
        (True, volume),
        (False, volume),
        (True, ""),
        (False, ""),
        (False, ""),
    ]


def test_the_dock_shows_it(live: SegmentDock, qtbot: QtBot, do: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(live, qtbot)
    monkeypatch.setattr(module, "_MOMENT", 0.05)
    solve, seen, go_on = Adapter.solve, changes(live), threading.Event()

    def solve_slowly(self: Adapter, *arguments: Any) -> Any:
        go_on.wait(60)
        return solve(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Adapter, "solve", solve_slowly)
        stroke(live.strokes, slice(40, 44), 2)
        qtbot.waitUntil(lambda: live.panel.shown.text().startswith("The result is on its way… "))
        assert not live.panel.shown.isHidden()
        go_on.set()
        answered(live, qtbot, seen)
    qtbot.waitUntil(lambda: live.panel.shown.text().startswith("Shown: "))
    assert do.messages() == []
