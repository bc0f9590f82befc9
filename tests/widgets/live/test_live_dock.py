"""The live loop through the dock, on a viewer without a window."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot

from napari_unet.widgets.segment.dock import SegmentDock
from tests.quickness import END_SECONDS, Attempts
from tests.widgets.live_steps import answered, changes, still_usable, stroke, train


def test_two_classes_are_answered_without_a_button(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    before = live.strokes.data.copy()
    answered(live, qtbot)
    assert live.live.report.answer.source == "closed form"
    assert set(np.unique(do.result_of(live.viewer).data)) != {0}
    assert "Shown: solved from your strokes" in live.panel.shown.text()
    assert not live.runner.is_running
    qtbot.waitUntil(lambda: live.runner.model is not None)
    np.testing.assert_array_equal(live.strokes.data, before)
    assert do.messages() == []


def test_a_prediction_that_is_asked_for_after_answers_is_not_told_to_begin_anew(
    live: SegmentDock, qtbot: QtBot, do: Any
) -> None:
    answered(live, qtbot)
    qtbot.waitUntil(lambda: live.runner.summary != "" and live.runner.model is not None)
    live.panel.predict.click()
    do.wait(live)
    assert live.message.text() == ""
    live.panel.predict.click()
    do.wait(live)
    assert live.message.text().startswith("All of this is predicted already")


def test_without_answers_nothing_runs_before_train_and_after_stop(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    live.panel.window_form.set_values({"answers": False})
    assert not live.live.is_running
    live.live.look()
    stroke(live.strokes, slice(40, 44), 2)
    assert not live.live.is_running
    before = live.runner.model
    train(live, qtbot)
    live.panel.train.click()
    qtbot.waitUntil(lambda: not live.live.is_running)
    assert live.runner.model is not None
    assert live.runner.model is not before
    live.panel.window_form.set_values({"answers": True})
    qtbot.waitUntil(lambda: live.live.is_running)
    answered(live, qtbot)
    assert do.messages() == []


def test_train_with_nothing_painted_waits_for_strokes(
    viewer: ViewerModel, make_live_dock: Callable[[], SegmentDock], spots: Any, qtbot: QtBot, do: Any
) -> None:
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots")
    dock = make_live_dock()
    dock.panel.train.click()
    qtbot.waitUntil(lambda: dock.panel.status.text().startswith("waits for strokes"))
    assert dock.panel.hint.text().endswith("they are learnt from at once.")
    do.paint(dock, truth)
    qtbot.waitUntil(lambda: dock.runner.status.steps > 0)
    assert "waits" not in dock.panel.status.text()
    assert do.messages() == []


def test_nothing_is_looked_at_ahead_while_a_prediction_runs(
    viewer: ViewerModel, make_live_dock: Callable[[], SegmentDock], spots: Any, qtbot: QtBot, do: Any
) -> None:
    viewer.add_image(spots((64, 64), count=8, radius=6.0)[0], name="spots")
    dock = make_live_dock()
    dock.panel.train.click()  # which loads PyTorch where nothing has yet
    qtbot.waitUntil(lambda: dock.live._gaze._looked != ())
    looked = dock.live._gaze._looked
    dock.runner.kind = "predict"
    dock.image_chooser.choose(viewer.add_image(spots((48, 48), count=4, radius=6.0)[0], name="others"))
    dock.update_image()
    qtbot.wait(500)
    assert dock.live._gaze._looked == looked
    dock.runner.kind = ""
    qtbot.waitUntil(lambda: dock.live._gaze._looked != looked)
    assert do.messages() == []


def test_undo_during_a_training_is_answered(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    assert live.panel.train.text() == "Stop"
    kept, seen = live.strokes.data.copy(), changes(live)
    stroke(live.strokes, slice(40, 44), 2)
    answered(live, qtbot, seen)
    seen = changes(live)
    live.strokes.undo()
    answered(live, qtbot, seen)
    np.testing.assert_array_equal(live.strokes.data, kept)
    assert live.live.training
    assert live.runner.status.marks
    still_usable(live, qtbot)
    assert do.messages() == []


def test_erasing_all_of_a_class_says_what_is_missing(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    kept = live.strokes.data.copy()
    live.strokes.data_setitem(np.nonzero(kept == 2), 0)
    qtbot.waitUntil(lambda: live.live.report.missing.startswith("Only background is painted"))
    assert live.live.training
    seen = changes(live)
    live.strokes.undo()
    answered(live, qtbot, seen)
    np.testing.assert_array_equal(live.strokes.data, kept)
    still_usable(live, qtbot)
    assert do.messages() == []


def test_a_class_is_added_and_removed(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    live.panel.task.buttons["classes"].click()
    answered(live, qtbot)
    train(live, qtbot)
    kept = live.strokes.data.copy()
    live.classes.add_button.click()
    stroke(live.strokes, slice(40, 44), 3)
    qtbot.waitUntil(
        lambda: live.runner.live and live.live._learner is not None
        and (do.result_of(live.viewer, "areas").data == 3).any(),
    )  # fmt: skip
    live.strokes.undo()
    seen = changes(live)
    live.classes.rows[2].remove.click()
    answered(live, qtbot, seen)
    assert live.live.training
    np.testing.assert_array_equal(live.strokes.data, kept)
    still_usable(live, qtbot)
    assert do.messages() == []


def test_another_image_is_answered_with_the_strokes_of_both(
    live: SegmentDock, viewer: ViewerModel, spots: Any, qtbot: QtBot, do: Any
) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    first, kept = live.strokes, live.strokes.data.copy()
    other = viewer.add_image(spots((48, 80))[0], name="second")
    qtbot.wait(20)
    live.image_chooser.choose(other)
    assert live.strokes is not first
    qtbot.waitUntil(lambda: live.live.report.answer.image == str(other.unique_id))
    assert do.result_of(viewer, "objects: second").data.any()
    seen = changes(live)
    stroke(live.strokes, slice(10, 14), 1)
    answered(live, qtbot, seen)
    np.testing.assert_array_equal(first.data, kept)
    still_usable(live, qtbot)
    assert do.messages() == []


def test_the_strokes_layer_is_deleted_during_a_training(
    live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any
) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    strokes, kept = live.strokes, live.strokes.data.copy()
    viewer.layers.remove(strokes)
    qtbot.waitUntil(lambda: "Paint a stroke" in live.live.report.missing)
    np.testing.assert_array_equal(strokes.data, kept)
    assert live.live.training
    live.desk.choose_class(0)  # the person wants to paint again
    assert live.strokes not in (None, strokes)
    assert live.strokes in viewer.layers
    seen = changes(live)
    stroke(live.strokes, slice(8, 12), 1)
    stroke(live.strokes, slice(40, 44), 2)
    answered(live, qtbot, seen)
    still_usable(live, qtbot)
    np.testing.assert_array_equal(strokes.data, kept)
    assert do.messages() == []


def test_showing_in_3d_and_back_changes_nothing(live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    kept = live.strokes.data.copy()
    viewer.dims.ndisplay = 3
    qtbot.wait(150)
    viewer.dims.ndisplay = 2
    np.testing.assert_array_equal(live.strokes.data, kept)
    still_usable(live, qtbot)
    assert do.messages() == []


@pytest.mark.timed
def test_closing_the_dock_ends_the_worker(
    live: SegmentDock, make_live_dock: Callable[[], SegmentDock], qtbot: QtBot
) -> None:
    dock, strokes, kept = live, live.strokes, live.strokes.data.copy()
    for attempt in Attempts():
        train(dock, qtbot)
        job, began = dock.live._job, time.monotonic()
        dock.close_dock()
        qtbot.waitUntil(lambda job=job: not job.is_running)
        attempt.hold("seconds until the worker ended", time.monotonic() - began, END_SECONDS)
        np.testing.assert_array_equal(strokes.data, kept)
        dock = make_live_dock()
        assert dock.strokes is strokes


STEP, ANSWER = "learn.trainer.Trainer.step", "models.adapt.Adapter.probabilities"
SHAPES = RuntimeError("shapes do not fit")
FULL = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8589934592 bytes.")


@pytest.mark.parametrize(
    ("place", "error", "words"),
    [
        (STEP, SHAPES, "The training failed (RuntimeError)"),
        (STEP, FULL, "The network does not fit into the memory"),
        (ANSWER, SHAPES, "The result could not be brought up to date (RuntimeError)"),
        (ANSWER, torch.OutOfMemoryError("full"), "The memory was not enough"),
        (ANSWER, MemoryError(), "The memory was not enough"),
    ],
)
def test_an_error_inside_the_network_is_one_message(
    live: SegmentDock,
    qtbot: QtBot,
    do: Any,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    error: Exception,
    words: str,
) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    kept = live.strokes.data.copy()

    def fail(self: Any, *_: Any) -> Any:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(f"napari_unet.{place}", fail)
        stroke(live.strokes, slice(36, 38), 2)
        kept[36:38, 4:24] = 2
        qtbot.waitUntil(lambda: len(do.messages()) > 0)
        stroke(live.strokes, slice(38, 40), 2)  # which fails as well
        kept[38:40, 4:24] = 2
        qtbot.wait(300)
        assert len(do.messages()) == 1
        qtbot.waitUntil(lambda: live.message.text() == do.messages()[0])
    assert do.messages()[0].startswith(words)
    assert live.live.training
    np.testing.assert_array_equal(live.strokes.data, kept)
    notification_manager.records.clear()
    still_usable(live, qtbot)
    assert do.messages() == []
    assert live.message.text() == ""  # what was said no longer holds
