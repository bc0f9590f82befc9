"""The search for the next place to paint, where the result is on the disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.tile_store import TileStore
from napari_unet.widgets.segment.dock import SegmentDock

SIDE = 1088  # of an image just above the smallest limit, a million pixels


@pytest.fixture
def predicted(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, do: Any
) -> Callable[[bool], tuple[SegmentDock, TileStore]]:
    """Predicts an image that is painted at its upper left into a store, with or without probabilities."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def predict(probabilities: bool) -> tuple[SegmentDock, TileStore]:
        viewer.add_image(np.random.default_rng(3).normal(size=(SIDE, SIDE)).astype(np.float32), name="slide")
        dock = make_dock()
        dock.choose_task("classes")
        dock.panel.window_form.set_values({"most_in_memory": 1, "device": "cpu", "threads": 1})
        dock.panel.predict_form.set_values({"tile": "256", "precision": "float32"})
        dock.runner.model = Model.create(ModelConfig(features=2, depth=1), seed=4)
        dock.panel.probabilities.setChecked(probabilities)
        dock.panel.predict.click()
        do.wait(dock)
        assert dock.strokes is not None
        for label, row in ((1, 10), (2, 20)):
            dock.strokes.data_setitem((np.full(40, row), np.arange(40)), label)
        viewer.scene.camera.center = (0.0, 30.0, 30.0)
        (path,) = tmp_path.rglob("*.zarr")
        return dock, TileStore.open(path)

    return predict


def search(dock: SegmentDock, qtbot: QtBot) -> tuple[int, ...]:
    assert dock.image is not None
    dock.panel.spot.button.click()
    qtbot.waitUntil(lambda: not dock.tools.spots.is_busy)
    return dock.tools.spots.visited[dock.image][-1]


def test_it_leads_to_what_the_stored_result_is_unsure_of_wherever_that_lies(
    predicted: Callable[[bool], tuple[SegmentDock, TileStore]], qtbot: QtBot
) -> None:
    dock, store = predicted(True)
    (array,) = store.probabilities
    for index in array.indices():
        array.write(index, np.full([part.stop - part.start for part in array.box(index)], 255, np.uint8))
    array.write((3, 2), np.full((256, 256), 120, np.uint8))
    dock.message.clear_message()
    place = search(dock, qtbot)
    assert (place[0] // 256, place[1] // 256) == (3, 2)
    assert dock.message.text() == ""
    assert search(dock, qtbot) != place


def test_without_stored_probabilities_it_searches_near_the_view_and_says_what_to_tick(
    predicted: Callable[[bool], tuple[SegmentDock, TileStore]], qtbot: QtBot
) -> None:
    dock, _ = predicted(False)
    search(dock, qtbot)
    assert f"tick '{dock.panel.probabilities.text()}' and press Predict" in dock.message.text()


def test_a_stored_result_that_is_gone_is_told(
    predicted: Callable[[bool], tuple[SegmentDock, TileStore]], qtbot: QtBot
) -> None:
    dock, store = predicted(True)
    store.path.rename(store.path.with_name("elsewhere"))
    dock.panel.spot.button.click()
    qtbot.waitUntil(lambda: not dock.tools.spots.is_busy)
    assert f"{store.path} holds no stored prediction" in dock.message.text()
