"""The uncertainty of a result that is on the disk: written beside it, shown from there, and completed after a stop."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot

from napari_unet.models.model import Model
from napari_unet.models.uncertainty import uncertainty
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.tiled import predict
from napari_unet.predict.uncertainty import Measure, entropy
from napari_unet.widgets.segment.dock import SegmentDock

SIDE = 1088  # of an image just above the smallest limit, a million pixels
NAMES: dict[Measure, str] = {"entropy": "uncertainty on disk: slide", "disagreement": "disagreement on disk: slide"}


@pytest.fixture
def dock(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SegmentDock:
    """Return a dock with an image whose result goes to the disk, and a model."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    viewer.add_image(np.random.default_rng(3).random((SIDE, SIDE), np.float32), name="slide", scale=(0.5, 0.5))
    dock = make_dock()
    dock.choose_task("classes")
    dock.panel.window_form.set_values({"most_in_memory": 1, "device": "cpu", "threads": 1})
    dock.panel.predict_form.set_values({"tile": "512", "precision": "float32"})
    dock.runner.model = model = Model.create(ModelConfig(features=2, depth=1), seed=4)
    model.network.head.weight.data.mul_(8)  # type: ignore[union-attr, operator]
    return dock


def show(dock: SegmentDock, measure: Measure) -> None:
    spot = dock.panel.spot
    spot.measures.setCurrentIndex(spot.measures.findData(measure))
    spot.uncertainty.setChecked(True)


def layer_of(viewer: ViewerModel, measure: Measure) -> Image:
    layer = viewer.layers[NAMES[measure]]
    assert isinstance(layer, Image)
    return layer


def test_it_is_written_beside_the_result_and_measured_where_it_is_missing(
    dock: SegmentDock, viewer: ViewerModel, tmp_path: Path, qtbot: QtBot, do: Any
) -> None:
    show(dock, "entropy")
    assert "The result with its uncertainty takes up to" in dock.message.text()
    dock.panel.predict.click()
    do.wait(dock)
    (path,) = tmp_path.rglob("*.zarr")
    layer = layer_of(viewer, "entropy")
    whole, half = (np.asarray(level) for level in layer.data)
    model, image = dock.runner.model, viewer.layers["slide"].data
    assert model is not None
    sharp = PredictConfig(device="cpu", precision="float32")
    np.testing.assert_allclose(whole, entropy(predict(model, image, "YX", sharp)), atol=1e-3)
    np.testing.assert_array_equal(half, whole[::2, ::2])
    np.testing.assert_array_equal(layer.scale, (0.5, 0.5))

    show(dock, "disagreement")
    dock.panel.predict.click()
    qtbot.waitUntil(lambda: is_partly_measured(dock))
    dock.panel.predict.click()  # which is Stop
    do.wait(dock)
    grid = [(row, column) for row in range(3) for column in range(3)]
    done = [index for index in grid if not TileStore.open(path).lacks_uncertainty(index, "disagreement")]
    assert 0 < len(done) < 9
    times = {index: _file(path, index).stat().st_mtime_ns for index in done}
    dock.panel.predict.click()
    do.wait(dock)
    assert not [index for index in grid if TileStore.open(path).lacks_uncertainty(index, "disagreement")]
    assert times == {index: _file(path, index).stat().st_mtime_ns for index in done}  # none was measured twice
    measured = layer_of(viewer, "disagreement")
    expected = uncertainty(model, image, "YX", device="cpu")
    np.testing.assert_allclose(np.asarray(measured.data[0]), expected, atol=1e-3)
    np.testing.assert_array_equal(measured.data[-1], np.asarray(measured.data[0])[::2, ::2])
    assert list(tmp_path.rglob("*.zarr")) == [path]  # it is the same result
    assert do.messages() == []

    viewer.layers.remove(measured)
    assert not dock.panel.spot.uncertainty.isChecked()


def test_without_its_layer_it_is_measured_no_further(
    dock: SegmentDock, viewer: ViewerModel, tmp_path: Path, qtbot: QtBot, do: Any
) -> None:
    show(dock, "disagreement")
    dock.panel.predict.click()
    qtbot.waitUntil(lambda: is_partly_measured(dock))
    viewer.layers.remove(layer_of(viewer, "disagreement"))
    do.wait(dock)
    (path,) = tmp_path.rglob("*.zarr")
    store = TileStore.open(path)
    lacking = [store.lacks_uncertainty((row, column), "disagreement") for row in range(3) for column in range(3)]
    assert 0 < sum(lacking) < 9
    assert f"saved as {path.name}" in dock.panel.status.text()
    assert viewer.layers["areas on disk: slide"].visible
    assert do.messages() == []


def is_partly_measured(dock: SegmentDock) -> bool:
    """Whether more than 0 % are; a busy machine may skip numbers."""
    return re.match("measuring the uncertainty, [1-9]", dock.panel.status.text()) is not None


def _file(path: Path, index: tuple[int, int]) -> Path:
    return path / "uncertainty" / "disagreement" / "0" / "c" / str(index[0]) / str(index[1])
