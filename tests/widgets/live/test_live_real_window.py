"""Live training in the real window: whatever goes wrong or is changed, no stroke is lost, and it goes on.

All tests share a window; each opens the dock anew.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from superqt.utils import GeneratorWorker

from napari_unet.widgets.segment.dock import SegmentDock
from tests.quickness import END_SECONDS, Attempts
from tests.widgets.live_steps import (
    answered,
    changes,
    known_strokes,
    new_stroke,
    open_dock,
    still_usable,
    stop,
    stroke,
    train,
)

pytestmark = [pytest.mark.window, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def test_shown_in_3d_while_it_trains(dock: SegmentDock, window: Any, qtbot: QtBot, do: Any) -> None:
    window.dims.ndisplay = 3
    qtbot.wait(100)
    new_stroke(dock, qtbot, 40)
    window.dims.ndisplay = 2
    qtbot.wait(50)
    new_stroke(dock, qtbot, 42)
    assert dock.live.training
    assert do.messages() == []


def test_axes_of_a_stack_are_rolled_and_transposed(window: Any, dock: SegmentDock, qtbot: QtBot, do: Any) -> None:
    stack = window.add_image(np.stack([dock.image.data] * 3), name="stack")
    qtbot.wait(20)
    dock.image_chooser.choose(stack)
    strokes = dock.strokes
    assert strokes is not None
    for turn in (window.dims.roll, window.dims.transpose, window.dims.roll, window.dims.roll, window.dims.transpose):
        turn()
        qtbot.wait(20)
        seen = changes(dock)
        kept = strokes.data.copy()
        row = 2 * changes(dock) % 60
        stroke(strokes, slice(row, row + 1), 1, (1,))
        kept[1, row, 4:24] = 1
        answered(dock, qtbot, seen)
        np.testing.assert_array_equal(strokes.data, kept)
        np.testing.assert_array_equal(known_strokes(dock, stack), kept)
    window.dims.order = (0, 1, 2)
    still_usable(dock, qtbot)
    assert do.messages() == []


def test_what_a_person_does_to_layers_and_window_in_passing(
    dock: SegmentDock, window: Any, qtbot: QtBot, do: Any
) -> None:
    image, strokes = dock.image, dock.strokes
    assert image is not None
    assert strokes is not None
    controls = window.window._qt_viewer.controls.widgets[strokes]
    layers = window.layers
    rows = iter(range(30, 64))

    def brush(button: Any) -> None:
        layers.selection.active = strokes
        button.click()
        strokes.brush_size = 9
        strokes.contiguous = strokes.preserve_labels = True
        strokes.selected_label = 7

    for change in (
        partial(setattr, image, "name", "other"),
        partial(setattr, image, "visible", False),
        partial(setattr, image, "visible", True),
        partial(layers.move, 2, 0),
        layers.reverse,
        partial(setattr, window, "theme", "light"),
        partial(setattr, window, "theme", "dark"),
        partial(setattr, strokes, "data", strokes.data.copy()),
        *(
            partial(brush, getattr(controls, f"{tool}_button"))
            for tool in ("erase", "fill", "pick", "polygon", "panzoom")
        ),
        partial(setattr, strokes, "preserve_labels", False),
    ):
        change()
        new_stroke(dock, qtbot, next(rows))
    assert dock.live.training
    assert dock.image_chooser.currentText() == "other"
    still_usable(dock, qtbot)
    assert do.messages() == []


def test_an_image_that_was_taken_out_is_put_back(dock: SegmentDock, window: Any, qtbot: QtBot, do: Any) -> None:
    image, strokes = dock.image, dock.strokes
    assert image is not None
    assert strokes is not None
    kept = strokes.data.copy()
    window.layers.remove(image)
    qtbot.waitUntil(lambda: not dock.live.training)
    assert dock.message.text().startswith("The image was removed, so the training was stopped.")
    window.add_layer(image)
    qtbot.waitUntil(lambda: dock.strokes is strokes)
    np.testing.assert_array_equal(strokes.data, kept)
    new_stroke(dock, qtbot, 40)
    still_usable(dock, qtbot)
    assert do.messages() == []


def test_an_image_is_given_data_of_another_shape_and_its_own_again(
    dock: SegmentDock, window: Any, spots: Callable[..., Any], qtbot: QtBot, do: Any
) -> None:
    image, first = dock.image, dock.strokes
    assert image is not None
    assert first is not None
    own, kept = image.data, first.data.copy()
    other, truth = spots((48, 80), count=8, radius=6.0)
    image.data = other
    qtbot.waitUntil(lambda: dock.strokes is not first)
    second = dock.strokes
    assert second is not None
    assert (first in window.layers, second.data.shape) == (True, other.shape)
    assert dock.message.text() == (
        "'strokes: spots' has another shape than 'spots' now and is kept as it is: paint on 'strokes: spots [1]'."
    )
    assert "80 × 48" in dock.panel.info.text()
    seen = changes(dock)
    do.paint(dock, truth)
    answered(dock, qtbot, seen)
    painted = second.data.copy()
    for _ in range(2):
        image.data = own
        qtbot.waitUntil(lambda: dock.strokes is first)
        image.data = other
        qtbot.waitUntil(lambda: dock.strokes is second)
    image.data = own
    qtbot.waitUntil(lambda: dock.strokes is first)
    np.testing.assert_array_equal(first.data, kept)
    np.testing.assert_array_equal(second.data, painted)
    assert len(window.layers) == 5  # the image, and two of each
    new_stroke(dock, qtbot, 40)
    still_usable(dock, qtbot)
    assert do.messages() == []


def test_a_label_that_is_no_class(dock: SegmentDock, qtbot: QtBot, do: Any) -> None:
    strokes = dock.strokes
    assert strokes is not None
    learner = dock.live._learner
    dock.choose_task("classes")
    qtbot.waitUntil(lambda: dock.live._learner not in (None, learner))
    strokes.data = np.minimum(strokes.data, 2)
    stop(dock, qtbot)
    train(dock, qtbot)
    before = strokes.data.copy()
    stroke(strokes, slice(40, 42), 7)
    kept = strokes.data.copy()
    qtbot.waitUntil(lambda: len(do.messages()) == 1)
    assert "'spots': The annotation holds the value 7, but there are only 2 classes; add a class" in do.messages()[0]
    qtbot.waitUntil(lambda: dock.live.report.resting == "The training waits until there is an answer.")
    np.testing.assert_array_equal(strokes.data, kept)
    seen = changes(dock)
    strokes.undo()
    answered(dock, qtbot, seen)
    np.testing.assert_array_equal(strokes.data, before)
    assert dock.message.text() == ""
    assert len(do.messages()) == 1
    still_usable(dock, qtbot)


def test_a_class_is_removed_that_was_painted(dock: SegmentDock, qtbot: QtBot, do: Any) -> None:
    dock.choose_task("classes")
    dock.strokes.data = np.minimum(dock.strokes.data, 2)
    dock.classes.add_button.click()
    stroke(dock.strokes, slice(40, 44), 3)
    kept = dock.strokes.data.copy()
    result = do.result_of(dock.viewer, "areas")
    qtbot.waitUntil(lambda: (result.data == 3).any())
    for _ in range(2):
        dock.classes.rows[2].remove.click()
        qtbot.waitUntil(lambda: len(dock.classes.rows) == 2)
        np.testing.assert_array_equal(dock.strokes.data, np.where(kept == 3, 0, kept))
        qtbot.waitUntil(lambda: not (result.data == 3).any())
        QTest.keyClick(dock.viewer.window._qt_viewer.canvas.native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        np.testing.assert_array_equal(dock.strokes.data, kept)
        assert len(dock.classes.rows) == 3
        qtbot.waitUntil(lambda: (result.data == 3).any())
    assert do.messages() == []
    assert dock.live.training


def test_the_disk_becomes_full_and_has_space_again(
    dock: SegmentDock, qtbot: QtBot, do: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = dock.session.watch.recorder
    assert recorder is not None
    recorder._retry = 0.1
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        new_stroke(dock, qtbot, 40)
        qtbot.waitUntil(lambda: len(do.messages()) == 1)
        assert "can't be saved by itself" in do.messages()[0]
        assert "disk full; free some space" in do.messages()[0]
        assert dock.panel.session.status.text().startswith("Not saved by itself since ")
        new_stroke(dock, qtbot, 42)
        assert dock.live.training
    qtbot.waitUntil(lambda: dock.message.text() == "The session is saved by itself again.")
    assert len(do.messages()) == 1
    qtbot.waitUntil(lambda: dock.panel.session.status.text().startswith("Saved by itself "))


def test_ctrl_z_takes_a_stroke_of_the_brush_back(
    dock: SegmentDock, window: Any, hand_for: Callable[[Any], Any], qtbot: QtBot, do: Any
) -> None:
    hand, strokes = hand_for(window), dock.strokes
    assert strokes is not None
    before, seen = strokes.data.copy(), changes(dock)
    hand.press(Qt.Key.Key_Q)
    hand.stroke([(40, 10), (40, 20), (40, 40)])
    after = strokes.data.copy()
    assert (after != before).sum() > 20
    answered(dock, qtbot, seen)
    for modifier, wanted in (
        (Qt.KeyboardModifier.ControlModifier, before),
        (Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier, after),
    ):
        seen = changes(dock)
        QTest.keyClick(hand.canvas, Qt.Key.Key_Z, modifier)
        answered(dock, qtbot, seen)
        np.testing.assert_array_equal(strokes.data, wanted)
        np.testing.assert_array_equal(known_strokes(dock, dock.image), wanted)
    assert do.messages() == []


def test_the_dock_is_closed_and_opened_again(
    dock: SegmentDock, window: Any, opened: list[SegmentDock], qtbot: QtBot, do: Any
) -> None:
    strokes = dock.strokes
    assert strokes is not None
    for row, attempt in enumerate(Attempts(), start=40):
        kept, began = strokes.data.copy(), time.monotonic()
        window.window.remove_dock_widget(opened[0])
        qtbot.waitUntil(lambda: not GeneratorWorker._worker_set)
        attempt.hold("seconds until the training ended", time.monotonic() - began, END_SECONDS)
        np.testing.assert_array_equal(strokes.data, kept)
        opened[:] = [open_dock(window, qtbot)]
        qtbot.waitUntil(lambda: opened[0].strokes is strokes)
        new_stroke(opened[0], qtbot, row)
        train(opened[0], qtbot)
    stop(opened[0], qtbot)
    assert do.messages() == []
