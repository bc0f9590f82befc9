"""The answers in memory and a result on the disk lie over each other: one of them is seen."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import answered, changes, stroke

SIDE = 1088  # of an image just above the smallest limit, a million pixels


@pytest.fixture
def dock(
    viewer: ViewerModel, make_live_dock: Callable[[], SegmentDock], tmp_path: Path, qtbot: QtBot, do: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> SegmentDock:  # fmt: skip
    """Return a dock with answers in memory and the same image's result on the disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    viewer.add_image(np.random.default_rng(3).random((SIDE, SIDE), np.float32), name="slide")
    viewer.add_labels(np.zeros((SIDE, SIDE), np.uint8), name="mine")
    dock = make_live_dock()
    dock.choose_task("classes")
    dock.panel.window_form.set_values({"most_in_memory": 1, "device": "cpu", "threads": 1, "start": "nothing"})
    dock.panel.predict_form.set_values({"tile": "512", "precision": "float32"})
    assert dock.strokes is not None
    stroke(dock.strokes, slice(2, 5), 1)
    stroke(dock.strokes, slice(10, 14), 2)
    answered(dock, qtbot)
    predict(dock, do)
    return dock


def predict(dock: SegmentDock, do: Any) -> None:
    dock.runner.model = Model.create(ModelConfig(features=2, depth=1), seed=4)  # whose result is always the same
    dock.panel.predict.click()
    do.wait(dock)


def shown(dock: SegmentDock) -> dict[str, bool]:
    labels = [layer for layer in dock.viewer.layers if isinstance(layer, Labels) and layer is not dock.strokes]
    return {layer.name.removesuffix(": slide"): layer.visible for layer in labels}


def paint(dock: SegmentDock, row: int, qtbot: QtBot) -> None:
    assert dock.strokes is not None
    seen = changes(dock)
    stroke(dock.strokes, slice(row, row + 3), 2)
    answered(dock, qtbot, seen)


def test_what_was_made_last_is_seen(dock: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any) -> None:
    assert shown(dock) == {"mine": True, "areas": False, "areas on disk": True}
    paint(dock, 20, qtbot)
    assert shown(dock) == {"mine": True, "areas": True, "areas on disk": False}
    predict(dock, do)
    assert shown(dock) == {"mine": True, "areas": False, "areas on disk": True}
    dock.panel.extent.setCurrentIndex(dock.panel.extent.findData("view"))
    predict(dock, do)
    assert shown(dock) == {"mine": True, "areas": True, "areas on disk": False}
    viewer.layers.remove("areas: slide")
    assert shown(dock) == {"mine": True, "areas on disk": True}
    paint(dock, 30, qtbot)  # goes into a new layer
    assert shown(dock) == {"mine": True, "areas": True, "areas on disk": False}
    viewer.layers.remove("areas on disk: slide")
    assert shown(dock) == {"mine": True, "areas": True}
    assert do.messages() == []


def test_what_the_person_shows_and_hides_stays_so(dock: SegmentDock, viewer: ViewerModel, qtbot: QtBot) -> None:
    dock.tools.toggle_result()
    assert shown(dock) == {"mine": True, "areas": False, "areas on disk": False}
    paint(dock, 20, qtbot)
    assert shown(dock) == {"mine": True, "areas": False, "areas on disk": False}
    dock.tools.toggle_result()
    viewer.layers["areas: slide"].visible = True
    paint(dock, 30, qtbot)
    assert shown(dock) == {"mine": True, "areas": True, "areas on disk": True}


def test_a_correction_tool_shows_what_it_corrects(dock: SegmentDock) -> None:
    dock.tools.corrections.take("accept")
    assert shown(dock) == {"mine": True, "areas": True, "areas on disk": False}
