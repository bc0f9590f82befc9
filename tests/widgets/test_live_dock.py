"""The live loop through the dock, on a viewer without a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot

from napari_unet.widgets.segment.dock import SegmentDock

WAIT = 20_000


@pytest.fixture
def live(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Callable[..., Any], do: Any
) -> Iterator[SegmentDock]:
    """Return a dock that answers while one paints, with strokes of two classes."""
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots")
    dock = make_dock()
    dock.panel.seconds.setValue(0)
    dock.panel.window_form.set_values({"answers": True})
    do.paint(dock, truth)
    yield dock
    dock.live.close()


def answered(dock: SegmentDock, qtbot: QtBot, after: int = 0) -> None:
    qtbot.waitUntil(lambda: dock.live.answer is not None and dock.live.answer.change > after, timeout=WAIT)


def train(dock: SegmentDock, qtbot: QtBot) -> None:
    dock.panel.train.click()
    qtbot.waitUntil(lambda: dock.runner.status.steps > 2, timeout=WAIT)


def changes(dock: SegmentDock) -> int:
    return dock.live.answer.change if dock.live.answer is not None else 0


def stroke(layer: Labels, rows: slice, label: int) -> None:
    layer.selected_label = label
    layer.data_setitem(tuple(part.ravel() for part in np.mgrid[rows, 4:24]), label)


def test_two_classes_are_answered_without_a_button(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    before = live.strokes.data.copy()
    answered(live, qtbot)
    assert live.live.answer.source == "closed form"
    assert set(np.unique(do.result_of(live.viewer).data)) != {0}
    assert "Shown: solved from your strokes" in live.panel.shown.text()
    assert not live.runner.is_running
    qtbot.waitUntil(lambda: live.runner.model is not None, timeout=WAIT)
    np.testing.assert_array_equal(live.strokes.data, before)
    assert do.messages() == []


def test_undo_during_a_training_is_answered(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    assert live.panel.train.text() == "Stop"
    seen = changes(live)
    stroke(live.strokes, slice(40, 44), 2)
    answered(live, qtbot, seen)
    seen = changes(live)
    live.strokes.undo()
    answered(live, qtbot, seen)
    assert live.live.training
    assert live.runner.status.marks
    live.panel.train.click()
    assert live.panel.train.text() == "Train"
    qtbot.waitUntil(lambda: live.runner.model is not None, timeout=WAIT)
    assert do.messages() == []


def test_erasing_all_of_a_class_says_what_is_missing(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    kept = live.strokes.data.copy()
    live.strokes.data_setitem(np.nonzero(kept == 2), 0)
    qtbot.waitUntil(lambda: live.live.missing.startswith("Only background is painted"), timeout=WAIT)
    assert live.live.training
    seen = changes(live)
    live.strokes.undo()
    answered(live, qtbot, seen)
    np.testing.assert_array_equal(live.strokes.data, kept)
    assert do.messages() == []


def test_a_class_is_added_and_removed(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    live.panel.task.buttons["classes"].click()
    answered(live, qtbot)
    train(live, qtbot)
    live.classes.add_button.click()
    stroke(live.strokes, slice(40, 44), 3)
    qtbot.waitUntil(
        lambda: live.runner.live and live.live._learner is not None
        and (do.result_of(live.viewer, "areas").data == 3).any(), timeout=WAIT,
    )  # fmt: skip
    live.strokes.undo()
    seen = changes(live)
    live.classes.table.remove(2)
    answered(live, qtbot, seen)
    assert live.live.training
    assert do.messages() == []


def test_another_image_is_answered_with_the_strokes_of_both(
    live: SegmentDock, viewer: ViewerModel, spots: Any, qtbot: QtBot, do: Any
) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    first = live.strokes
    other = viewer.add_image(spots((48, 80))[0], name="second")
    qtbot.wait(20)
    live.image_chooser.choose(other)
    assert live.strokes is not first
    qtbot.waitUntil(lambda: live.live.answer.image == str(other.unique_id), timeout=WAIT)
    assert do.result_of(viewer, "objects: second").data.any()
    seen = changes(live)
    stroke(live.strokes, slice(10, 14), 1)
    answered(live, qtbot, seen)
    assert do.messages() == []


def test_the_strokes_layer_is_deleted_during_a_training(
    live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any
) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    strokes, kept = live.strokes, live.strokes.data.copy()
    viewer.layers.remove(strokes)
    qtbot.waitUntil(lambda: "Paint a stroke" in live.live.missing, timeout=WAIT)
    np.testing.assert_array_equal(strokes.data, kept)
    live.panel.train.click()
    assert live.panel.train.text() == "Train"
    assert live.runner.model is not None or do.messages() == []


def test_showing_in_3d_and_back_changes_nothing(live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    viewer.dims.ndisplay = 3
    qtbot.wait(150)
    viewer.dims.ndisplay = 2
    seen = changes(live)
    stroke(live.strokes, slice(40, 44), 2)
    answered(live, qtbot, seen)
    assert do.messages() == []


def test_closing_the_dock_ends_the_worker(live: SegmentDock, qtbot: QtBot) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    job, strokes, kept = live.live._job, live.strokes, live.strokes.data.copy()
    live.close_dock()
    qtbot.waitUntil(lambda: not job.is_running, timeout=1500)
    np.testing.assert_array_equal(strokes.data, kept)


@pytest.mark.parametrize(
    ("error", "words"),
    [(RuntimeError("shapes do not fit"), "Something went wrong"), (torch.OutOfMemoryError("full"), "memory")],
)
def test_an_error_inside_the_network_is_one_message(
    live: SegmentDock, qtbot: QtBot, do: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    answered(live, qtbot)
    from napari_unet.learn.trainer import Trainer

    def fail(self: Any, *_: Any) -> Any:
        raise error

    notification_manager.records.clear()
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", fail)
        live.panel.train.click()
        qtbot.waitUntil(lambda: len(do.messages()) > 0, timeout=WAIT)
        qtbot.wait(300)
    assert len(do.messages()) == 1
    assert words in do.messages()[0]
    seen = changes(live)
    stroke(live.strokes, slice(40, 44), 2)
    answered(live, qtbot, seen)
    qtbot.waitUntil(lambda: live.runner.status.steps > 0, timeout=WAIT)
    assert live.panel.train.isEnabled()
