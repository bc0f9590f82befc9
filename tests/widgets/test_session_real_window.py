"""Strokes painted by mouse in the real window, which is then killed: all of them come back."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from superqt.utils import GeneratorWorker

from napari_unet.widgets.segment.dock import SegmentDock
from napari_unet.widgets.training.warm_up import is_warm
from tests.quickness import BLOCK_MS, Attempts, Bound
from tests.widgets.session_steps import strokes_on_disk

pytestmark = [pytest.mark.window, pytest.mark.filterwarnings("ignore::ResourceWarning")]

PROGRAM = """
import sys, time
import napari, numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from napari.layers._source import layer_source
from napari_unet.widgets.segment.dock import SegmentDock

def wait(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)

viewer = napari.Viewer(show=True)
with layer_source(path=sys.argv[1], reader_plugin="napari"):
    viewer.add_image(np.load(sys.argv[1]), name="cells", scale=(0.5, 0.5))
dock = SegmentDock(viewer)
viewer.window.add_dock_widget(dock, area="right")
wait(1.0)
canvas = viewer.window._qt_viewer.canvas.native
middle = canvas.width() // 2, canvas.height() // 2
for number, step in enumerate((-60, -20, 20, 60)):
    dock.desk.choose_class(number % 2)
    places = [QPoint(middle[0] + across, middle[1] + step) for across in range(-60, 61, 20)]
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, places[0])
    for place in places[1:]:
        QTest.mouseMove(canvas, place)
        wait(0.01)
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, places[-1])
    wait(0.1)
np.save(sys.argv[2], dock.strokes.data)
print("painted", flush=True)
wait(60)
"""


def holds(sessions: Path, painted: np.ndarray, strokes: int) -> bool:
    """Whether all that was painted is on the disk."""
    found, count = strokes_on_disk(sessions)
    return count == strokes and np.array_equal(found, painted)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_window_that_is_killed_gives_its_strokes_to_the_next(
    make_napari_viewer: Callable[..., Any], qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).random((256, 300)).astype(np.float32)
    np.save(tmp_path / "cells.npy", image)
    for number, attempt in enumerate(Attempts()):
        sessions = tmp_path / f"sessions {number}"
        monkeypatch.setenv("NAPARI_UNET_SESSIONS", str(sessions))
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "cells.npy"), str(tmp_path / "painted.npy")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "painted\n"
        painted, began = np.load(tmp_path / "painted.npy"), time.monotonic()
        qtbot.waitUntil(partial(holds, sessions, painted, 4))
        seconds = time.monotonic() - began
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        attempt.hold("seconds until all strokes are on the disk", seconds, Bound(2, 20))
    assert set(np.unique(painted)) == {0, 1, 2}

    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Segment")
    qtbot.waitUntil(lambda: bool(dock.panel.offer.offers))
    assert "with 4 strokes on 1 image was not closed" in dock.panel.offer.text.text()
    picture = os.environ.get("NAPARI_UNET_PICTURES")
    if picture:
        qtbot.wait(300)
        viewer.screenshot(str(Path(picture) / "offer.png"), canvas_only=False)
    dock.panel.offer.yes.click()
    qtbot.waitUntil(lambda: dock.strokes is not None and not dock.session.is_busy)
    assert dock.strokes.data.tobytes() == painted.tobytes()
    assert dock.strokes.data.dtype == painted.dtype
    np.testing.assert_allclose(dock.strokes.scale, (0.5, 0.5))
    np.testing.assert_array_equal(dock.image.data, image)
    if picture:
        qtbot.wait(1500)
        dock.panel.session_section.set_open(True)
        qtbot.wait(300)
        viewer.screenshot(str(Path(picture) / "restored.png"), canvas_only=False)
    GeneratorWorker.await_workers(30_000)


@pytest.mark.slow
def test_saving_large_strokes_does_not_hold_up_the_window(
    make_napari_viewer: Callable[..., Any],
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gap_meter: Any,
    hand_for: Callable[[Any], Any],
    capsys: Any,
) -> None:
    monkeypatch.setenv("NAPARI_UNET_SESSIONS", str(tmp_path / "sessions"))
    viewer = make_napari_viewer(show=True)
    viewer.add_image(np.zeros((8192, 8192), np.uint8), name="large", contrast_limits=(0, 1))
    _, dock = viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Segment")
    assert isinstance(dock, SegmentDock)
    qtbot.waitUntil(lambda: dock.strokes is not None and not dock.session.is_busy)
    strokes, hand = dock.strokes, hand_for(viewer)
    assert strokes is not None
    viewer.scene.camera.zoom = 1.0
    qtbot.waitUntil(is_warm)
    qtbot.wait(3000)  # Python looks for unused objects once, after what a training needs was loaded
    rows = itertools.count(3900, 16)

    def longest(kept: bool) -> float:
        """Return the longest block in ms while a stroke is painted and in the second after it."""
        with monkeypatch.context() as patch:
            patch.setattr("napari_unet.widgets.sessions.watch.autosave_wanted", lambda: kept)
            row = next(rows)
            gap_meter.start()
            hand.stroke([(row, 4000 + 20 * step) for step in range(6)])
            qtbot.wait(1200)
            return float(gap_meter.stop()[0])

    first = [longest(True), longest(False)]  # whatever only the first strokes cost, on either side
    for attempt in Attempts():
        kept, without = np.median([(longest(True), longest(False)) for _ in range(3)], axis=0)
        drawing = Bound(*(max(bound, 1.3 * without) for bound in BLOCK_MS))  # that alone may take longer
        attempt.hold("longest block with autosave in ms", kept, drawing)
    with capsys.disabled():
        print(f"\n8192x8192, {attempt}; {without:.0f} without autosave; first {np.round(first)}")
    dock.session.watch.look()
    recorder = dock.session.watch.recorder
    assert recorder is not None
    qtbot.waitUntil(lambda: recorder.writer.document is not None)
    GeneratorWorker.await_workers(30_000)
