"""Prediction of a large image in the real napari window: first the view, then where the person looks next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from superqt.utils import GeneratorWorker

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.widgets.results.view_region import visible_box
from napari_unet.widgets.segment.dock import SegmentDock
from napari_unet.widgets.training.warm_up import is_warm
from tests.quickness import BLOCK_MS, END_SECONDS, Attempts, Bound
from tests.widgets.window_steps import longest_block_of_napari

pytestmark = [pytest.mark.window, pytest.mark.filterwarnings("ignore::ResourceWarning")]

SIDE = 8192
VIEW_SECONDS = Bound(2, 60)  # until all that is in view is predicted


@pytest.fixture
def open_slide(make_napari_viewer: Callable[..., Any], qtbot: QtBot) -> Iterator[Callable[[], SegmentDock]]:
    """Return a function that opens a window with a large image, and a dock with a model that has learnt nothing."""

    def open_window() -> SegmentDock:
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(1200, 860)
        grain = np.random.default_rng(0).integers(0, 255, (512, 512), np.uint8)
        viewer.add_image(np.tile(grain, (SIDE // 512, SIDE // 512)), name="slide")
        _, dock = viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Segment")
        assert isinstance(dock, SegmentDock)
        qtbot.waitUntil(is_warm)
        dock.choose_task("classes")
        dock.panel.window_form.set_values({"threads": 1, "device": "cpu"})
        dock.runner.model = Model.create(ModelConfig(features=16))
        return dock

    yield open_window
    GeneratorWorker.await_workers(30_000)
    qtbot.wait(10)


def look_at(dock: SegmentDock, qtbot: QtBot, y: float, x: float) -> tuple[slice, ...]:
    """Move the camera there, at one pixel of the image for one of the screen; returns what is in view."""
    viewer: Any = dock.viewer
    viewer.scene.camera.zoom = 1
    viewer.scene.camera.center = (0, y, x)
    seen: tuple[slice, ...] = ()
    for _ in range(50):  # until the window has its final size
        qtbot.wait(150)
        before, seen = seen, visible_box(viewer, viewer.layers["slide"], dock.source)  # type: ignore[arg-type]
        if before == seen:
            return seen
    raise AssertionError("the window does not come to rest")


def test_the_view_comes_first_and_the_prediction_follows_the_look(
    open_slide: Callable[[], SegmentDock], qtbot: QtBot, hand_for: Callable[[Any], Any], gap_meter: Any, capsys: Any
) -> None:
    dock = open_slide()
    viewer: Any = dock.viewer
    hand = hand_for(viewer)
    labels = next(layer for layer in viewer.layers if layer.name == "areas: slide")
    for seed, attempt in enumerate(Attempts(), start=1):
        dock.runner.model = Model.create(ModelConfig(features=16), seed)  # another one, so that it begins anew
        labels.data[:] = 0
        view = look_at(dock, qtbot, 4000, 4000)
        qtbot.wait(500)

        gap_meter.start()
        began = time.monotonic()
        hand.click(dock.panel.predict)
        assert dock.runner.kind == "predict"
        qtbot.waitUntil(lambda view=view: bool(labels.data[view].any()))
        first = time.monotonic() - began
        qtbot.waitUntil(lambda view=view: bool(labels.data[view].all()))
        whole = time.monotonic() - began
        block = gap_meter.stop()[0]
        result = labels.data
        assert np.count_nonzero(result) < 0.1 * result.size

        elsewhere = look_at(dock, qtbot, 1000, 7000)
        moved = time.monotonic()
        qtbot.waitUntil(lambda elsewhere=elsewhere: bool(labels.data[elsewhere].all()), timeout=120_000)
        followed = time.monotonic() - moved
        drawing = longest_block_of_napari(viewer, labels, qtbot, gap_meter)
        hand.click(dock.panel.predict)
        qtbot.waitUntil(lambda: not dock.runner.is_running)

        done = np.count_nonzero(result)
        assert done < 0.5 * result.size
        gap_meter.start()
        hand.click(dock.panel.predict)
        qtbot.waitUntil(lambda done=done: np.count_nonzero(labels.data) > done)
        again = gap_meter.stop()[0]
        assert "goes on where it was stopped" in dock.message.text()
        hand.click(dock.panel.predict)
        qtbot.waitUntil(lambda: not dock.runner.is_running)

        attempt.hold("seconds until all in view is there", whole, VIEW_SECONDS)
        attempt.hold("seconds until the next view is there", followed, VIEW_SECONDS)
        allowed = Bound(max(BLOCK_MS.quiet, drawing), 1000)
        attempt.hold("longest block in ms", block, allowed)
        attempt.hold("longest block when going on in ms", again, allowed)
    with capsys.disabled():
        print(
            f"\n{SIDE} x {SIDE} through the window: first tile after {first:.2f} s, napari alone {drawing:.0f} ms; "
            f"{attempt}"
        )


def test_closing_the_window_ends_a_prediction_within_a_second(
    open_slide: Callable[[], SegmentDock], qtbot: QtBot, hand_for: Callable[[Any], Any]
) -> None:
    for attempt in Attempts():
        dock = open_slide()
        viewer: Any = dock.viewer
        runner, result = dock.runner, viewer.layers["areas: slide"].data
        hand_for(viewer).click(dock.panel.predict)
        qtbot.waitUntil(lambda result=result: bool(result.any()))

        viewer.close()
        began = time.monotonic()
        qtbot.waitUntil(lambda: not GeneratorWorker._worker_set)
        attempt.hold("seconds until the prediction ended", time.monotonic() - began, END_SECONDS)
        assert not runner.is_running
        qtbot.waitUntil(lambda: not _threads_of_work())  # each ends when its run of the network does
        done = np.count_nonzero(result)
        assert 0 < done < result.size
        qtbot.wait(200)
        assert np.count_nonzero(result) == done


def _threads_of_work() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("napari-unet work", "read tiles", "compute tiles"))]
