"""Results that are too large for the memory go to the disk, and are completed there after a restart."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from napari.layers._source import layer_source
from pytestqt.qtbot import QtBot

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.segment import segment
from napari_unet.predict.tile_store import TileStore
from napari_unet.widgets.segment.dock import SegmentDock

SIDE = 1088  # of an image just above the smallest limit, a million pixels


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(SIDE, SIDE)).astype(np.float32)


@pytest.fixture
def file(image: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "images" / "slide.npy"
    path.parent.mkdir()
    np.save(path, image)
    return path


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def open_image(viewer: ViewerModel, image: np.ndarray, path: Path | None) -> None:
    if path is None:
        viewer.add_image(image, name="slide")
        return
    with layer_source(path=str(path), reader_plugin="napari"):
        viewer.add_image(image, name="slide")


def prepare(dock: SegmentDock, task: str = "classes", tile: int = 256, folder: str = "") -> Model:
    dock.choose_task(task)
    dock.panel.window_form.set_values({"most_in_memory": 1, "result_folder": folder, "device": "cpu", "threads": 1})
    dock.panel.predict_form.set_values({"tile": str(tile), "precision": "float32"})
    model = Model.create(ModelConfig(features=2, depth=1), seed=4)
    dock.runner.model = model
    return model


def stored_layer(viewer: ViewerModel) -> Labels:
    (layer,) = (layer for layer in viewer.layers if isinstance(layer, Labels) and "on disk" in layer.name)
    return layer


@pytest.mark.parametrize("task", ["classes", "objects"])
def test_a_large_result_lies_beside_the_image_and_is_shown(
    task: str, viewer: ViewerModel, make_dock: Callable[[], SegmentDock], image: np.ndarray, file: Path, do: Any
) -> None:
    open_image(viewer, image, file)
    dock = make_dock()
    model = prepare(dock, task)
    dock.panel.predict.click()
    do.wait(dock)

    (store,) = file.parent.glob("*.zarr")
    assert store.name.startswith("slide.areas." if task == "classes" else "slide.objects.")
    assert f"saved as {store.name}" in dock.panel.status.text()
    layer = stored_layer(viewer)
    found = np.asarray(layer.data[0])
    config = PredictConfig(tile=256, device="cpu", precision="float32")
    expected = segment(model, image, axes="YX", config=config, task=task)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found > (task == "classes"), expected > (task == "classes"))
    assert len(np.unique(found)) == len(np.unique(expected))
    assert layer.multiscale
    assert not layer.editable
    assert do.messages() == []

    dock.panel.predict.click()
    do.wait(dock)
    assert stored_layer(viewer) is layer
    assert list(file.parent.glob("*.zarr")) == [store]


def test_a_stored_prediction_is_completed_after_a_restart(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], image: np.ndarray, file: Path, qtbot: QtBot, do: Any,
    docks: list[Any],
) -> None:  # fmt: skip
    open_image(viewer, image, file)
    dock = make_dock()
    prepare(dock, tile=64)
    dock.panel.predict.click()
    qtbot.waitUntil(lambda: any("on disk" in layer.name for layer in viewer.layers), timeout=30_000)
    qtbot.waitUntil(lambda: bool(np.asarray(stored_layer(viewer).data[0]).any()), timeout=30_000)
    dock.panel.predict.click()
    do.wait(dock)
    (path,) = file.parent.glob("*.zarr")
    missing = TileStore.open(path).missing()
    assert 0 < len(missing) < 17 * 17
    dock.close_dock()

    again = ViewerModel()
    open_image(again, image, file)
    second = SegmentDock(again)  # type: ignore[arg-type]
    docks.append(second)
    prepare(second, tile=64)
    second.panel.predict.click()
    do.wait(second)
    assert not TileStore.open(path).missing()
    assert list(file.parent.glob("*.zarr")) == [path]
    assert "goes on where it was stopped" in second.message.text()
    assert np.asarray(stored_layer(again).data[0]).all()


@pytest.mark.parametrize("origin", ["no file", "a folder that can't be written"])
def test_where_there_is_no_place_the_result_goes_to_a_temporary_one_and_the_dock_says_so(
    origin: str, viewer: ViewerModel, make_dock: Callable[[], SegmentDock], image: np.ndarray, file: Path, do: Any,
    temporary_folder: Path,
) -> None:  # fmt: skip
    open_image(viewer, image, None)
    dock = make_dock()
    prepare(dock, folder="" if origin == "no file" else str(file / "results"))
    dock.panel.predict.click()
    do.wait(dock)
    (store,) = temporary_folder.glob("napari-unet-results/*.zarr")
    assert str(store) in dock.message.text()
    assert ("no file" if origin == "no file" else "can't be written") in dock.message.text()
    assert np.asarray(stored_layer(viewer).data[0]).all()


def test_removing_the_layer_stops_the_prediction_and_keeps_what_is_done(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], image: np.ndarray, file: Path, qtbot: QtBot, do: Any
) -> None:
    open_image(viewer, image, file)
    dock = make_dock()
    prepare(dock, tile=64)
    dock.panel.predict.click()
    qtbot.waitUntil(lambda: any("on disk" in layer.name for layer in viewer.layers), timeout=30_000)
    viewer.layers.remove(stored_layer(viewer))
    do.wait(dock)
    (path,) = file.parent.glob("*.zarr")
    assert "was removed" in dock.message.text()
    assert TileStore.open(path).missing()


def test_only_the_whole_of_a_large_image_goes_to_the_disk(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], image: np.ndarray, file: Path, do: Any
) -> None:
    open_image(viewer, image, file)
    dock = make_dock()
    prepare(dock)
    dock.panel.window_form.set_values({"most_in_memory": 2})
    dock.panel.predict.click()
    do.wait(dock)
    assert not list(file.parent.glob("*.zarr"))
    assert do.result_of(viewer, "areas: slide").data.all()
