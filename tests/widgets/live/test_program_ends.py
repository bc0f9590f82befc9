"""The program ends while the live loop trains: by a closed window, or by a script that stops without closing it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari_unet.widgets.segment.dock import SegmentDock

def wait(until):
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        QApplication.processEvents()
        time.sleep(0.01)

def live_dock(viewer, dock):
    dock.panel.model_form.set_values({"features": 4, "depth": 1})
    dock.panel.train_form.set_values({"crop": 32, "batch_size": 2, "validate_every": 2})
    dock.panel.window_form.set_values({"start": "nothing"})
    wait(lambda: dock.strokes is not None)
    for label, rows in ((1, slice(2, 8)), (2, slice(50, 60))):
        dock.strokes.data_setitem(tuple(part.ravel() for part in np.mgrid[rows, 4:60]), label)
    dock.panel.train.click()
    wait(lambda: dock.runner.status.steps > 3)
    return dock

def without_window():
    from napari.components import ViewerModel
    application = QApplication([])
    viewer = ViewerModel()
    viewer.add_image(np.random.default_rng(0).random((64, 64)), name="cells")
    return application, viewer, live_dock(viewer, SegmentDock(viewer))  # kept until Python ends, training

def with_window():
    import napari
    viewer = napari.Viewer(show=True)
    viewer.add_image(np.random.default_rng(0).random((64, 64)), name="cells")
    def open_dock():
        return live_dock(viewer, viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Segment")[1])
    viewer.window.remove_dock_widget(open_dock())
    open_dock()
    QTimer.singleShot(0, viewer.window._qt_window.close)  # as a person does
    napari.run()

kept = globals()[sys.argv[1]]()
print("trained", flush=True)
"""


@pytest.mark.parametrize("way", ["without_window", pytest.param("with_window", marks=pytest.mark.window)])
def test_a_program_that_trains_ends_by_itself(way: str, tmp_path: Path) -> None:
    own = {"NAPARI_UNET_SESSIONS": str(tmp_path), "NAPARI_UNET_SETTINGS": str(tmp_path)}
    if way == "without_window":
        own["QT_QPA_PLATFORM"] = "offscreen"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, way], env=os.environ | own, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
