"""The live loop on stacks: slice by slice, time point by time point, and whole volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import answered, changes, known_strokes, stop, stroke, train

Stack = tuple[SegmentDock, np.ndarray]


def paint_slice(dock: SegmentDock, truth: np.ndarray, at: int) -> None:
    """Paint lines of background, and objects, on one slice."""
    strokes = dock.strokes
    assert strokes is not None
    rows = np.zeros(truth.shape[1:], bool)
    rows[::6] = True
    for label, mask in ((1, rows & (truth[at] == 0)), (2, truth[at] > 3)):
        strokes.selected_label = label
        places = np.nonzero(mask)
        strokes.data_setitem((np.full(len(places[0]), at), *places), label)


@pytest.fixture(params=["zyx", "tyx"])
def stack(
    request: Any, viewer: ViewerModel, make_live_dock: Callable[[], SegmentDock], spots: Callable[..., Any]
) -> Stack:
    """Return a dock with a stack of slices or time points, painted on the first."""
    image, truth = spots((5, 48, 48), count=40, radius=7.0)
    viewer.add_image(image, name="stack", axis_labels=tuple(request.param), scale=(2, 0.5, 0.5))
    dock = make_live_dock()
    paint_slice(dock, truth, 0)
    return dock, truth


def look_at(dock: SegmentDock, at: int) -> None:
    dock.viewer.dims.set_current_step(0, at)


def shown_slice(dock: SegmentDock, at: int) -> Callable[[], bool]:
    return lambda: dock.live._gaze._looked != () and dock.live._gaze._looked[1][0] == slice(at, at + 1)


def test_the_slice_that_is_moved_to_is_answered(stack: Stack, viewer: ViewerModel, qtbot: QtBot, do: Any) -> None:
    dock, truth = stack
    dock.panel.window_form.set_values({"predict_after": False})
    look_at(dock, 0)
    answered(dock, qtbot)
    train(dock, qtbot)
    result = do.result_of(viewer)
    for at in (3, 1):
        assert not result.data[at].any()
        look_at(dock, at)
        qtbot.waitUntil(lambda: result.data[at].any())  # noqa: B023
    found, wanted = result.data[1] > 0, truth[1] > 0
    assert 2 * (found & wanted).sum() / (found.sum() + wanted.sum()) > 0.5
    assert do.messages() == []


def test_strokes_on_several_slices_count_and_the_slice_in_view_shows_them(
    stack: Stack, viewer: ViewerModel, qtbot: QtBot, do: Any
) -> None:
    dock, truth = stack
    answered(dock, qtbot)
    train(dock, qtbot)
    for at in (4, 2):
        look_at(dock, at)
        qtbot.waitUntil(shown_slice(dock, at))
        seen = changes(dock)
        paint_slice(dock, truth, at)
        qtbot.waitUntil(lambda: np.array_equal(known_strokes(dock, dock.image), dock.strokes.data))
        answered(dock, qtbot, seen)  # both strokes may be taken in as one change
        assert do.result_of(viewer).data[at].any()
    kept = dock.strokes.data.copy()
    np.testing.assert_array_equal(known_strokes(dock, dock.image), kept)
    seen = changes(dock)
    dock.strokes.undo()  # the last of them, on the slice in view
    answered(dock, qtbot, seen)
    np.testing.assert_array_equal(known_strokes(dock, dock.image), dock.strokes.data)
    dock.strokes.redo()
    look_at(dock, 0)
    qtbot.waitUntil(lambda: np.array_equal(known_strokes(dock, dock.image), kept))
    np.testing.assert_array_equal(dock.strokes.data, kept)
    stop(dock, qtbot)
    assert do.messages() == []


def test_a_volume_is_answered_and_trained_as_a_whole(
    viewer: ViewerModel, make_live_dock: Callable[[], SegmentDock], spots: Callable[..., Any], qtbot: QtBot, do: Any
) -> None:
    image, truth = spots((12, 32, 32), count=14, radius=6.0)
    viewer.add_image(image, name="volume", axis_labels=("z", "y", "x"), scale=(2, 1, 1))
    dock = make_live_dock()
    dock.panel.train_form.set_values({"crop": 16})
    dock.panel.dims.buttons["3"].click()
    look_at(dock, 6)
    paint_slice(dock, truth, 6)
    answered(dock, qtbot)
    result = do.result_of(viewer)
    train(dock, qtbot)
    assert dock.live._learner._answers.model.config.ndim == 3
    qtbot.waitUntil(lambda: result.data.any(axis=(1, 2)).all())
    before = result.data.copy()
    seen = changes(dock)
    look_at(dock, 2)
    stroke(dock.strokes, slice(0, 32), 1, (2,))
    answered(dock, qtbot, seen)
    qtbot.waitUntil(lambda: not np.array_equal(result.data, before))
    np.testing.assert_array_equal(known_strokes(dock, dock.image), dock.strokes.data)
    viewer.dims.ndisplay = 3
    qtbot.wait(150)
    viewer.dims.ndisplay = 2
    steps = dock.runner.status.steps
    qtbot.waitUntil(lambda: dock.runner.status.steps > steps or bool(dock.live.report.resting))
    stop(dock, qtbot)
    assert dock.runner.model.config.ndim == 3
    assert do.messages() == []


def test_a_volume_is_read_slice_by_slice_and_as_a_whole_and_back(
    viewer: ViewerModel, make_live_dock: Callable[[], SegmentDock], spots: Callable[..., Any], qtbot: QtBot, do: Any
) -> None:
    image, truth = spots((8, 32, 32), count=10, radius=6.0)
    viewer.add_image(image, name="volume", axis_labels=("z", "y", "x"))
    dock = make_live_dock()
    dock.panel.train_form.set_values({"crop": 16})
    paint_slice(dock, truth, 4)
    kept = dock.strokes.data.copy()
    answered(dock, qtbot)
    train(dock, qtbot)
    rests: list[Any] = []
    dock.live._draw_rest = rests.append
    for number, ndim in enumerate((3, 2)):
        dock.panel.dims.buttons[str(ndim)].click()
        qtbot.waitUntil(
            lambda: dock.live._learner is not None and dock.live._learner._answers.model.config.ndim == ndim  # noqa: B023
        )
        assert dock.live.training
        stroke(dock.strokes, slice(0, 2), 1, (number,))
        kept[number, 0:2, 4:24] = 1
        answered(dock, qtbot)
        qtbot.waitUntil(lambda: dock.runner.status.steps > 1)
        dock.live._mail.touched = 0.0  # the person pauses: the rest is predicted
        rests.clear()
        qtbot.waitUntil(lambda: any(event.piece is None for event in rests))
    np.testing.assert_array_equal(dock.strokes.data, kept)
    assert do.messages() == []
