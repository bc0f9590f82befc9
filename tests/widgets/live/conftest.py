"""A dock that answers while one paints, without a window and in a real one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QApplication
from superqt.utils import GeneratorWorker

from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import begin, close_window, is_open, open_dock, open_window
from tests.widgets.window_steps import own_application


@pytest.fixture
def make_live_dock(make_dock: Callable[[], SegmentDock]) -> Iterator[Callable[[], SegmentDock]]:
    """Return a function that makes a dock that answers, and trains until it is stopped."""
    made: list[SegmentDock] = []

    def make() -> SegmentDock:
        dock = make_dock()
        dock.panel.seconds.setValue(0)
        dock.panel.window_form.set_values({"answers": True})
        made.append(dock)
        return dock

    yield make
    for dock in made:
        dock.close_dock()


@pytest.fixture
def live(
    viewer: ViewerModel, make_live_dock: Callable[[], SegmentDock], spots: Callable[..., Any], do: Any
) -> SegmentDock:
    """Return such a dock, with an image and strokes of two classes."""
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots")
    dock = make_live_dock()
    do.paint(dock, truth)
    return dock


@pytest.fixture(scope="module")
def window(qapp: QApplication) -> Iterator[Any]:
    if os.environ.get("QT_QPA_PLATFORM") in {"offscreen", "minimal"}:
        pytest.skip("needs a display with OpenGL, or Xvfb")
    with own_application("window of the live loop"):
        viewer = open_window()
        yield viewer
        close_window(viewer)
        GeneratorWorker.await_workers(30_000)
        del viewer


@pytest.fixture(scope="module")
def opened() -> list[SegmentDock]:
    """Return the dock that was opened last."""
    return []


@pytest.fixture
def dock(
    window: Any, opened: list[SegmentDock], qtbot: QtBot, spots: Callable[..., Any], do: Any
) -> Iterator[SegmentDock]:
    """Return a dock that trains: that of the test before, which must be usable still, on another image."""
    if not opened or not is_open(opened[0]):
        opened[:] = [open_dock(window, qtbot)]
    dock = opened[0]
    window.layers.clear()
    qtbot.waitUntil(lambda: dock.image is None)
    window.dims.ndisplay = 2
    dock.choose_task("objects")
    notification_manager.records.clear()
    begin(dock, *spots((64, 64), count=8, radius=6.0), qtbot, do)
    yield dock
    if is_open(dock) and dock.live.training:
        dock.panel.train.click()
