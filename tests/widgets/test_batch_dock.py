"""The dock "U-Net: Batch": a folder through a model in a worker, one message for each problem, and the real window."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from superqt.utils import GeneratorWorker

from napari_unet.data.files import read_image, write_image
from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.widgets.batch import job as batch_job
from napari_unet.widgets.batch.dock import BatchDock
from napari_unet.widgets.parts.scrolling_dock import ScrollingDock
from napari_unet.widgets.segment.dock import SegmentDock
from tests.quickness import BLOCK_MS, Attempts


@pytest.fixture
def make_batch_dock(viewer: ViewerModel, docks: list[ScrollingDock]) -> Callable[[], BatchDock]:
    def make() -> BatchDock:
        dock = BatchDock(viewer)  # type: ignore[arg-type]
        dock.panel.form.set_values({"device": "cpu"})
        docks.append(dock)
        notification_manager.records.clear()
        return dock

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three images, one broken file, and a model."""
    images = tmp_path / "images"
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 255, (40, 48), dtype=np.uint8)
        write_image(images / f"a{number}.tif", picture, "YX", (0.5, 0.25))
    (images / "broken.tif").write_bytes(b"no image")
    Model.create(ModelConfig(features=4, depth=1)).save(tmp_path / "small.unet.safetensors")
    return images


@pytest.fixture
def ready(folder: Path, make_batch_dock: Callable[[], BatchDock]) -> BatchDock:
    """Return a dock with a model and a folder chosen."""
    dock = make_batch_dock()
    dock.use_model(folder.parent / "small.unet.safetensors")
    dock.use_images([folder])
    return dock


def press_and_wait(qtbot: QtBot, dock: BatchDock) -> None:
    dock.panel.start.click()
    qtbot.waitUntil(lambda: not dock.is_running)


def only_message() -> str:
    """Return what napari was asked to notify, which must be one thing."""
    (record,) = notification_manager.records
    return str(record.message)


def cells(dock: BatchDock, row: int) -> list[str]:
    model = dock.panel.table.results
    return [model.data(model.index(row, column)) for column in range(model.columnCount())]


def test_folder_is_segmented_into_files_and_a_table(qtbot: QtBot, ready: BatchDock, folder: Path) -> None:
    press_and_wait(qtbot, ready)
    assert [row.state for row in ready.rows] == ["done", "done", "done", "failed"]
    out = folder / "segmented"
    assert sorted(path.name for path in out.glob("*.tif")) == [f"a{number}_labels.tif" for number in range(3)]
    assert (out / "results.csv").exists()
    name, found, area, seconds = cells(ready, 0)
    assert (name, found.split()[1][:6], area.split()[1], seconds[-1]) == ("a0.tif", "object", "µm²", "s")
    assert cells(ready, 3)[:2] == ["broken.tif", ready.rows[3].error.removeprefix("broken.tif ")]
    assert "broken.tif can't be read" in ready.rows[3].error
    assert "3 segmented, 1 failed" in ready.panel.summary.text()
    assert not ready.panel.table.isHidden()
    assert ready.panel.start.text() == "Start"
    assert not notification_manager.records


def test_second_start_goes_on_and_another_choice_makes_again(qtbot: QtBot, ready: BatchDock, folder: Path) -> None:
    ready.panel.pattern.setText("a[01].tif")
    press_and_wait(qtbot, ready)
    ready.panel.pattern.setText("a*.tif")
    press_and_wait(qtbot, ready)
    assert [row.state for row in ready.rows] == ["kept", "kept", "done"]
    ready.panel.existing.setCurrentIndex(ready.panel.existing.findData("overwrite"))
    ready.panel.format.setCurrentIndex(ready.panel.format.findData("zarr"))
    ready.panel.results.setText(str(folder.parent / "elsewhere"))
    press_and_wait(qtbot, ready)
    assert len(list((folder.parent / "elsewhere").glob("*.zarr"))) == 3


def test_double_click_opens_the_image_and_its_result(qtbot: QtBot, viewer: ViewerModel, ready: BatchDock) -> None:
    press_and_wait(qtbot, ready)
    ready.open_row(0)
    qtbot.waitUntil(lambda: not ready.is_running)
    image, labels = viewer.layers
    assert isinstance(image, Image)
    assert isinstance(labels, Labels)
    assert (image.name, labels.name) == ("a0.tif", "a0_labels.tif")
    for layer in (image, labels):
        np.testing.assert_allclose(layer.scale, (0.5, 0.25))
        assert {str(unit) for unit in layer.units} == {"micrometer"}
    np.testing.assert_array_equal(labels.data, np.asarray(read_image(ready.rows[0].result).array))
    labels.visible = False
    painted = viewer.add_labels(np.zeros((400, 400), np.uint8))
    viewer.fit_to_view()
    ready.open_row(0)
    assert (len(viewer.layers), labels.visible, painted.visible) == (3, True, False)
    np.testing.assert_allclose(viewer.scene.camera.center[1:], (np.array(image.data.shape) - 1) / 2 * image.scale)
    ready.open_row(3)
    qtbot.waitUntil(lambda: not ready.is_running)
    assert "broken.tif can't be read" in only_message()
    assert image.visible


def test_names_of_images_can_be_told_apart_and_errors_have_the_row(qtbot: QtBot, ready: BatchDock) -> None:
    press_and_wait(qtbot, ready)
    ready.resize(340, 700)
    ready.show()
    table = ready.panel.table
    assert table.textElideMode() == Qt.TextElideMode.ElideMiddle
    assert table.columnWidth(0) > table.fontMetrics().horizontalAdvance("nuclei_01.tif") + 8
    assert [table.columnSpan(row, 1) for row in (0, 3)] == [1, 3]
    table.clear()
    assert table.results.rowCount() == 0


def test_colours_channels_and_large_images_are_opened_as_what_they_are(
    qtbot: QtBot, viewer: ViewerModel, ready: BatchDock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_job, "_LAZY_FROM_BYTES", 1000)
    write_image(folder / "b.png", np.zeros((40, 48, 3), np.uint8) + np.arange(48, dtype=np.uint8)[:, None], "YXS")
    write_image(folder / "c.zarr", np.random.default_rng(0).random((2, 3, 40, 48)).astype(np.float32), "CTYX")
    for name, expected in (("b.png", 1), ("c.zarr", 2)):
        viewer.layers.clear()
        for ready_layer in batch_job.open_pair(batch_job.BatchRow(str(folder / name)), lambda: False):
            ready._on_layer(ready_layer)
        assert len(viewer.layers) == expected
    assert viewer.layers[0].data.shape == (3, 40, 48)
    assert not isinstance(viewer.layers[0].data, np.ndarray)


def test_model_of_the_segment_dock_is_taken(
    qtbot: QtBot, make_dock: Callable[[], SegmentDock], make_batch_dock: Callable[[], BatchDock], folder: Path
) -> None:
    segment, dock = make_dock(), make_batch_dock()
    dock.use_images([folder / "a0.tif"])
    dock.panel.start.click()
    assert "There is no trained model yet" in only_message()
    segment.runner.model = Model.create(ModelConfig(features=4, depth=1))
    press_and_wait(qtbot, dock)
    assert [row.state for row in dock.rows] == ["done"]


@pytest.mark.parametrize(
    ("images", "results", "words"),
    [
        ("", "", "There are no images yet"),
        ("gone", "", "gone does not exist"),
        (".", "", "holds no image that can be read"),
        ("images", "small.unet.safetensors", "is a file; choose a folder"),
        ("images/*.jpg", "", "No image matches"),
    ],
)
def test_wrong_folder_is_told_in_one_message(
    qtbot: QtBot, ready: BatchDock, folder: Path, images: str, results: str, words: str
) -> None:
    ready.panel.images.setText(str(folder.parent / images) if images else "")
    ready.panel.results.setText(str(folder.parent / results) if results else "")
    press_and_wait(qtbot, ready)
    assert words in ready.message.text() == only_message()
    assert ready.panel.start.text() == "Start"


def test_full_disk_is_told_in_one_message(
    qtbot: QtBot, ready: BatchDock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_unet.data import storage

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    press_and_wait(qtbot, ready)
    assert "disk full" in only_message()
    assert not list((folder / "segmented").glob("*.tif"))


def endless(begun: list[bool], ended: list[bool]) -> Callable[..., Any]:
    """Return a prediction that goes on until it is stopped."""

    def predict_tiles(*arguments: Any, should_stop: Callable[[], bool], **options: Any) -> Any:
        from napari_unet.predict.events import PredictFinished, PredictStarted

        yield PredictStarted(0, 10, 0.0, (2, 40, 48), "the CPU")
        begun.append(True)
        while not should_stop():
            time.sleep(0.01)
        ended.append(True)
        yield PredictFinished(0, 10, 1.0, stopped=True)

    return predict_tiles


@pytest.mark.parametrize("closing", [False, True])
def test_stop_and_closing_end_the_batch_and_leave_no_half_result(
    qtbot: QtBot, ready: BatchDock, folder: Path, monkeypatch: pytest.MonkeyPatch, closing: bool
) -> None:
    from napari_unet.batch import run

    begun: list[bool] = []
    ended: list[bool] = []
    monkeypatch.setattr(run, "predict_tiles", endless(begun, ended))
    ready.panel.start.click()
    qtbot.waitUntil(lambda: bool(begun))
    if closing:
        ready.close_dock()
    else:
        qtbot.waitUntil(lambda: "1 of 4" in ready.panel.progress.text())
        ready.panel.start.click()
        assert ready.panel.start.text() == "Stopping…"
    qtbot.waitUntil(lambda: bool(ended) and not ready.is_running)
    assert not list((folder / "segmented").glob("*.tif"))
    if not closing:
        qtbot.waitUntil(lambda: "stopped before 4 others" in ready.panel.summary.text())
        assert ready.panel.start.text() == "Start"


def test_defect_is_told_in_one_line(qtbot: QtBot, ready: BatchDock, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(patterns: Any) -> Any:
        raise RuntimeError("inner\ntraceback")

    monkeypatch.setattr(batch_job, "find_images", broken)
    press_and_wait(qtbot, ready)
    assert ready.message.text() == only_message() == "The batch stopped: inner."


def test_pattern_is_for_folders_only(ready: BatchDock, folder: Path) -> None:
    ready.use_images([folder / "a0.tif"])
    ready.panel.pattern.setText("*.png")
    with pytest.raises(InputError, match=r"is for a folder of images, but a0\.tif is none"):
        ready._request()
    ready.panel.pattern.setText("")
    ready.panel.images.setText(str(folder / "*" / "x.tif"))
    assert ready._request().config.folder == folder / "segmented"


# ---- the real window


@pytest.mark.window
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_real_window_stays_responsive_while_a_folder_is_segmented(
    qtbot: QtBot, make_napari_viewer: Callable[..., Any], gap_meter: Any, folder: Path, capsys: Any
) -> None:
    for number in range(3, 12):
        picture = np.random.default_rng(number).integers(0, 255, (384, 384), dtype=np.uint8)
        write_image(folder / f"a{number}.tif", picture, "YX", (0.5, 0.25))
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Batch")
    dock.use_model(folder.parent / "small.unet.safetensors")
    dock.panel.pattern.setText("a0.tif")
    dock.use_images([folder])
    press_and_wait(qtbot, dock)  # loads PyTorch
    dock.panel.pattern.setText("")
    qtbot.wait(500)
    for attempt in Attempts():
        for result in (folder / "segmented").glob("*_labels.tif"):
            result.unlink()
        gap_meter.start()
        QTest.mouseClick(dock.panel.start, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not dock.is_running)
        attempt.hold("longest block in a batch in ms", gap_meter.stop()[0], BLOCK_MS)
        assert [row.state for row in dock.rows] == ["done"] * 12 + ["failed"]
    with capsys.disabled():
        print(f"\n{attempt}")
    table = dock.panel.table
    place = table.visualRect(table.results.index(11, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 and not dock.is_running)
    assert [layer.name for layer in viewer.layers] == ["a11.tif", "a11_labels.tif"]
    GeneratorWorker.await_workers(30_000)
    qtbot.wait(10)
