"""The correction tools in the real window, with mouse and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from superqt.utils import GeneratorWorker

from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.window_steps import until_laid_out

pytestmark = [pytest.mark.window, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture
def blocks(make_napari_viewer: Callable[..., Any], qtbot: QtBot) -> Iterator[tuple[Any, SegmentDock]]:
    """Return a window with two blocks as the result, and the dock."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1000, 800)
    viewer.add_image(np.zeros((60, 80), np.float32), name="blocks", scale=(0.5, 0.5), translate=(3, 5))
    _, dock = viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Segment")
    qtbot.waitUntil(lambda: dock.strokes is not None)
    result = next(layer for layer in viewer.layers if layer.name.startswith("objects"))
    result.data[10:30, 10:40], result.data[34:54, 10:40] = 3, 7
    result.refresh()
    until_laid_out(viewer, qtbot)
    yield viewer, dock
    GeneratorWorker.await_workers(30_000)
    qtbot.wait(10)


def test_objects_are_split_accepted_and_brought_back_with_mouse_and_keys(
    blocks: tuple[Any, SegmentDock], qtbot: QtBot, hand_for: Callable[[Any], Any]
) -> None:
    viewer, dock = blocks
    hand, strokes = hand_for(viewer), dock.strokes
    assert strokes is not None
    place = hand.place
    hand.place = lambda point: place([3 + 0.5 * point[0], 5 + 0.5 * point[1]])
    corner = viewer.scene.camera.center

    def done() -> None:
        qtbot.waitUntil(lambda: not dock.tools.corrections.is_busy)

    QTest.keyClick(hand.canvas, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    assert dock.tools.corrections.tool == "split"
    hand.stroke([(6, 25), (15, 25), (25, 25), (33, 25)])
    done()
    assert viewer.scene.camera.center == corner
    assert (strokes.data[10:30, 25] == 1).all()
    assert set(np.unique(strokes.data)) == {0, 1, 3, 4}
    assert [layer.name for layer in viewer.layers if layer.name == "drawing"] == ["drawing"]

    hand.click(dock.panel.correct.buttons["accept"])
    hand.stroke([(40, 20), (40, 20)])
    done()
    assert (strokes.data[34:54, 10:40] == 5).all()
    QTest.keyClick(hand.canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.wait(20)
    assert not strokes.data[36:54].any()
    QTest.keyClick(hand.canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.wait(20)
    assert not strokes.data.any()
    result = next(layer for layer in viewer.layers if layer.name.startswith("objects"))
    assert (result.data[10:30, 10:40] == 3).all()

    hand.press(Qt.Key.Key_2)
    assert (dock.tools.corrections.tool, strokes.mode) == (None, "paint")
    hand.stroke([(20, 60), (20, 70)])
    assert strokes.data[20, 65] == strokes.selected_label
