"""Results that are too large for the memory go to the disk, and are completed there after a restart."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.layers._source import layer_source
from pytestqt.qtbot import QtBot

from napari_unet.data.storage import StorageError
from napari_unet.data.tile_array import DurableStore
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.segment import segment
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.tiled import predict
from napari_unet.widgets.results import store_job
from napari_unet.widgets.results.arrays import LazyArray
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
    assert isinstance(layer.data[-1], np.ndarray)  # which napari reads only once
    np.testing.assert_array_equal(layer.data[-1], found[::2, ::2])
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
    qtbot.waitUntil(lambda: any("on disk" in layer.name for layer in viewer.layers))
    qtbot.waitUntil(lambda: bool(np.asarray(stored_layer(viewer).data[0]).any()))
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
    assert stored_layer(again).data[-1].all()
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
    qtbot.waitUntil(lambda: any("on disk" in layer.name for layer in viewer.layers))
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


@pytest.mark.parametrize("task", ["classes", "objects"])
def test_probabilities_are_stored_beside_the_result_and_shown_at_every_zoom(
    task: str, viewer: ViewerModel, make_dock: Callable[[], SegmentDock], image: np.ndarray, file: Path, do: Any
) -> None:
    open_image(viewer, image, file)
    dock = make_dock()
    model = prepare(dock, task)
    dock.panel.probabilities.setChecked(True)
    assert "takes up to" in dock.message.text()
    assert not [layer for layer in viewer.layers if layer.name.startswith("p(")]  # nothing takes memory
    dock.panel.predict.click()
    do.wait(dock)

    (layer,) = (layer for layer in viewer.layers if layer.name.startswith("p("))
    assert isinstance(layer, Image)
    assert layer.name == "p(foreground) on disk: slide"
    assert layer.multiscale
    whole, half = (np.asarray(level) for level in layer.data)
    assert isinstance(layer.data[-1], np.ndarray)
    expected = predict(model, image, "YX", PredictConfig(tile=256, device="cpu", precision="float32"))[1]
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, expected, atol=0.5 / 255 + 1e-5)
    np.testing.assert_array_equal(half, whole[::2, ::2])
    (path,) = file.parent.glob("*.zarr")
    assert sum(entry.stat().st_size for entry in (path / "probabilities").rglob("*")) < 2 * SIDE**2

    dock.panel.predict.click()
    do.wait(dock)
    assert [each for each in viewer.layers if each.name.startswith("p(")] == [layer]
    dock.panel.probabilities.setChecked(False)
    dock.panel.predict.click()
    do.wait(dock)
    assert len(list(file.parent.glob("*.zarr"))) == 2
    assert do.messages() == []


def test_the_list_of_layers_shows_pictures_of_what_is_stored_without_reading_it_again(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], image: np.ndarray, file: Path, qtbot: QtBot, do: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    open_image(viewer, image, file)
    dock = make_dock()
    prepare(dock)
    dock.panel.probabilities.setChecked(True)
    dock.panel.predict.click()
    do.wait(dock)
    monkeypatch.setattr(LazyArray, "__array__", None)
    stored = [layer for layer in viewer.layers if "on disk" in layer.name]
    assert len(stored) == 2
    qtbot.waitUntil(lambda: all(layer.thumbnail[..., :3].any() for layer in stored))


@pytest.mark.parametrize(
    "config",
    [ModelConfig(features=2, depth=1, norm="instance"), ModelConfig(features=4, depth=2, architecture="transunet")],
    ids=["instance norm", "transformer"],
)
def test_networks_whose_tiles_are_blended_write_to_the_disk_as_well(
    config: ModelConfig, viewer: ViewerModel, make_dock: Callable[[], SegmentDock], image: np.ndarray, file: Path,
    do: Any,
) -> None:  # fmt: skip
    open_image(viewer, image, file)
    dock = make_dock()
    prepare(dock)
    dock.panel.probabilities.setChecked(True)
    dock.runner.model = model = Model.create(config, seed=4)
    dock.panel.predict.click()
    do.wait(dock)
    (store,) = file.parent.glob("*.zarr")
    assert f"saved as {store.name}" in dock.panel.status.text()
    (layer,) = (layer for layer in viewer.layers if layer.name.startswith("p("))
    expected = predict(model, image, "YX", PredictConfig(tile=256, device="cpu", precision="float32"))[1]
    np.testing.assert_allclose(np.asarray(layer.data[0]), expected, atol=0.5 / 255 + 1e-4)
    assert (np.asarray(stored_layer(viewer).data[0]) > 0).all()


def test_what_does_not_fit_onto_the_disk_is_said_before_it_is_written(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], image: np.ndarray, file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    open_image(viewer, image, file)
    dock = make_dock()
    prepare(dock)
    monkeypatch.setattr(store_job.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_300_000))
    dock.panel.probabilities.setChecked(True)
    assert dock.message.text() == (
        "The result with its probabilities takes up to 3.2 MB on the disk, where 1.3 MB are free: it may not fit; "
        "choose another folder for results under Advanced."
    )


def test_a_disk_that_fills_up_gives_one_message_and_what_is_done_is_kept(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], image: np.ndarray, file: Path, do: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    open_image(viewer, image, file)
    dock = make_dock()
    prepare(dock)
    dock.panel.probabilities.setChecked(True)
    write, count = DurableStore.set_sync, iter(range(100))

    def set_sync(self: DurableStore, key: str, value: Any) -> None:
        if "probabilities/" in f"{self.root}/{key}" and "/c/" in key and next(count) > 8:
            raise StorageError("disk full") from OSError(errno.ENOSPC, "No space left on device")
        write(self, key, value)

    monkeypatch.setattr(DurableStore, "set_sync", set_sync)
    dock.panel.predict.click()
    do.wait(dock)
    (path,) = file.parent.glob("*.zarr")
    assert f"{path} can't be written: disk full" in dock.message.text()
    assert len(do.messages()) <= 1
    left = TileStore.open(path).missing()
    assert 0 < len(left) < 25
    monkeypatch.setattr(DurableStore, "set_sync", write)
    dock.panel.predict.click()
    do.wait(dock)
    store = TileStore.open(path)
    assert not store.missing()
    assert all(store.probabilities[0].has(index) for index in store.probabilities[0].indices())
