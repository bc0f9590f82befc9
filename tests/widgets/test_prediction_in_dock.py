"""What the dock does with a prediction while it runs, and with one that was stopped; the network is stood in for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from superqt.utils import GeneratorWorker

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.events import TilePredicted
from napari_unet.widgets.results.predict_job import PredictRequest
from napari_unet.widgets.segment.dock import SegmentDock
from tests.quickness import END_SECONDS, Attempts

TILE = 32


class Tiles:
    """Stands for the network: predicts foreground everywhere, one tile whenever it is let."""

    def __init__(self) -> None:
        self.boxes: list[Any] = []
        self.focus: list[Any] = []
        self._allowed = threading.Semaphore(0)

    def let(self, count: int = 10_000) -> None:
        for _ in range(count):
            self._allowed.release()

    def predict(
        self, request: PredictRequest, intensity: Any, should_stop: Callable[[], bool]
    ) -> Iterator[TilePredicted]:
        layout = request.source.layout
        left = [
            layout.label_box(place, (slice(y, y + TILE), slice(x, x + TILE)))
            for place in layout.frames()
            for y in range(0, layout.frame_shape[0], TILE)
            for x in range(0, layout.frame_shape[1], TILE)
        ]
        left = [box for box in left if not request.record.has(*layout.split_box(box))]
        while left:
            while not self._allowed.acquire(timeout=0.01):
                if should_stop():
                    return
            if should_stop():
                return
            focus = request.look.focus()
            left.sort(key=lambda box: abs((box[0].start + box[0].stop - 1) / 2 - focus[0]))
            box = left.pop(0)
            self.boxes.append(box)
            self.focus.append(focus)
            shape = tuple(span.stop - span.start for span in box)
            yield TilePredicted(0, 0, 0.0, box, np.stack([np.full(shape, 0.1), np.full(shape, 0.9)]).astype(np.float32))


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> Tiles:
    tiles = Tiles()
    monkeypatch.setattr("napari_unet.widgets.results.predict_job.predict_view_first", tiles.predict)
    return tiles


@pytest.fixture
def dock(viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Callable[..., Any]) -> SegmentDock:
    """Return a dock with an image of 16 tiles and a model, that looks for areas."""
    viewer.add_image(spots((128, 128))[0], name="spots")
    return ready(make_dock())


def ready(dock: SegmentDock) -> SegmentDock:
    dock.choose_task("classes")
    dock.runner.model = Model.create(ModelConfig(features=2, depth=1))
    return dock


def predict_some(dock: SegmentDock, tiles: Tiles, qtbot: QtBot, count: int) -> None:
    """Press Predict and wait for some tiles."""
    before = len(tiles.boxes)
    tiles.let(count)
    dock.panel.predict.click()
    qtbot.waitUntil(lambda: len(tiles.boxes) == before + count)


def test_stop_keeps_what_is_done_and_predict_completes_it(
    viewer: ViewerModel, dock: SegmentDock, tiles: Tiles, qtbot: QtBot, do: Any
) -> None:
    predict_some(dock, tiles, qtbot, 4)
    qtbot.waitUntil(lambda: "25 %" in dock.panel.status.text())
    dock.panel.predict.click()
    do.wait(dock)
    result = do.result_of(viewer, "areas")
    assert np.count_nonzero(result.data) == 4 * TILE**2

    tiles.let()
    dock.panel.predict.click()
    do.wait(dock)
    assert len(tiles.boxes) == 16
    assert (result.data == 2).all()
    assert dock.message.text() == "The prediction goes on where it was stopped, at 25 %."

    dock.panel.predict.click()
    do.wait(dock)
    assert len(tiles.boxes) == 16
    assert "predicted already" in dock.message.text()
    assert do.messages() == []


def test_another_model_begins_anew_over_the_old_result(
    viewer: ViewerModel, dock: SegmentDock, tiles: Tiles, qtbot: QtBot, do: Any
) -> None:
    predict_some(dock, tiles, qtbot, 4)
    dock.panel.predict.click()
    do.wait(dock)
    dock.runner.model = Model.create(ModelConfig(features=2, depth=1))
    next(iter(dock.runner.model.network.parameters())).data += 0.1
    tiles.let()
    dock.panel.predict.click()
    do.wait(dock)
    assert len(tiles.boxes) == 4 + 16
    assert "it begins anew" in dock.message.text()


def test_the_image_is_removed_meanwhile_and_the_result_is_completed(
    viewer: ViewerModel, dock: SegmentDock, tiles: Tiles, qtbot: QtBot, do: Any
) -> None:
    predict_some(dock, tiles, qtbot, 2)
    viewer.layers.remove(viewer.layers["spots"])
    qtbot.wait(150)
    tiles.let()
    do.wait(dock)
    assert do.result_of(viewer, "areas").data.all()
    assert do.messages() == []


def test_a_renamed_result_is_completed(
    viewer: ViewerModel, dock: SegmentDock, tiles: Tiles, qtbot: QtBot, do: Any
) -> None:
    predict_some(dock, tiles, qtbot, 2)
    do.result_of(viewer, "areas").name = "mine"
    tiles.let()
    do.wait(dock)
    assert viewer.layers["mine"].data.all()
    assert dock.message.text() == ""


def test_a_removed_result_ends_the_prediction_with_a_note(
    viewer: ViewerModel, dock: SegmentDock, tiles: Tiles, qtbot: QtBot, do: Any
) -> None:
    predict_some(dock, tiles, qtbot, 2)
    viewer.layers.remove(do.result_of(viewer, "areas"))
    do.wait(dock)
    assert len(tiles.boxes) == 2
    assert "was removed" in dock.message.text()
    assert do.messages() == []


def test_a_result_that_is_painted_on_keeps_the_strokes(
    viewer: ViewerModel, dock: SegmentDock, tiles: Tiles, qtbot: QtBot, do: Any
) -> None:
    predict_some(dock, tiles, qtbot, 2)
    mine = do.result_of(viewer, "areas")
    mine.data_setitem((np.arange(100), np.arange(100)), 1)
    painted = mine.data.copy()
    tiles.let()
    do.wait(dock)
    assert "is yours since you painted on it" in dock.message.text()
    np.testing.assert_array_equal(mine.data, painted)

    dock.panel.predict.click()
    do.wait(dock)
    np.testing.assert_array_equal(mine.data, painted)
    results = [layer for layer in viewer.layers if layer.name.startswith("areas")]
    assert len(results) == 2
    assert all(layer is mine or layer.data.all() for layer in results)


def test_a_full_disk_is_one_message_and_what_is_done_stays(
    viewer: ViewerModel, dock: SegmentDock, tiles: Tiles, qtbot: QtBot, do: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_some(dock, tiles, qtbot, 3)

    def full(*_: Any) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("napari_unet.widgets.results.arrays.ResultArray.write", full)
        tiles.let(1)
        do.wait(dock)
    assert len(do.messages()) == 1
    assert "No space left on device" in do.messages()[0]
    tiles.let()
    dock.panel.predict.click()
    do.wait(dock)
    assert len(tiles.boxes) == 3 + 1 + 13
    assert do.result_of(viewer, "areas").data.all()


@pytest.mark.timed
def test_closing_the_dock_keeps_what_is_done_and_a_new_dock_completes_it(
    viewer: ViewerModel,
    dock: SegmentDock,
    make_dock: Callable[[], SegmentDock],
    tiles: Tiles,
    qtbot: QtBot,
    do: Any,
) -> None:
    model, result, done = dock.runner.model, do.result_of(viewer, "areas"), 0
    for attempt in Attempts():
        predict_some(dock, tiles, qtbot, 5)
        done += 5
        began = time.monotonic()
        dock.close_dock()
        qtbot.waitUntil(lambda: not GeneratorWorker._worker_set)
        attempt.hold("seconds until the prediction ended", time.monotonic() - began, END_SECONDS)
        qtbot.waitUntil(lambda done=done: np.count_nonzero(result.data) == done * TILE**2)
        dock = ready(make_dock())
        dock.runner.model = model
    tiles.let()
    dock.panel.predict.click()
    do.wait(dock)
    assert len(tiles.boxes) == 16
    assert result.data.all()


def test_the_time_point_that_is_looked_at_comes_next(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], tiles: Tiles, qtbot: QtBot, do: Any
) -> None:
    image = np.random.default_rng(0).random((12, TILE, TILE)).astype(np.float32)
    viewer.add_image(image, name="series", axis_labels=("t", "y", "x"))
    viewer.dims.set_current_step(0, 4)
    dock = ready(make_dock())
    dock.panel.extent.setCurrentIndex(dock.panel.extent.findData("all"))
    predict_some(dock, tiles, qtbot, 2)
    viewer.dims.set_current_step(0, 11)
    qtbot.waitUntil(lambda: dock.runner._prediction.look.focus()[0] == 11)
    tiles.let(2)
    qtbot.waitUntil(lambda: len(tiles.boxes) == 4)
    assert [box[0].start for box in tiles.boxes] == [4, 3, 11, 10]
    tiles.let()
    do.wait(dock)
    assert do.result_of(viewer, "areas").data.all()
