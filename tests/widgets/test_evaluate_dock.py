"""The dock "U-Net: Evaluate": scores in a worker, an error layer, one message for each problem, and the real window."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from superqt.utils import GeneratorWorker

from napari_unet.assess.evaluation import evaluate_labels
from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.assess.object_errors import ERROR_KINDS, error_labels
from napari_unet.widgets.evaluate import score_job
from napari_unet.widgets.evaluate.dock import EvaluateDock
from napari_unet.widgets.evaluate.error_layer import ERROR_COLOURS, ERROR_MEANINGS, is_error_layer
from napari_unet.widgets.parts.layer_tools import mark_layer
from napari_unet.widgets.parts.scrolling_dock import ScrollingDock
from tests.quickness import BLOCK_MS, Attempts


def scene(shape: tuple[int, ...] = (32, 40)) -> tuple[np.ndarray, np.ndarray]:
    """Return a result and a reference: one object missed, one false, one split, two merged."""
    reference, predicted = np.zeros((32, 40), np.uint16), np.zeros((32, 40), np.uint16)
    reference[2:8, 2:8] = 1
    predicted[2:8, 12:18] = 1
    reference[12:18, 2:14], predicted[12:18, 2:8], predicted[12:18, 8:14] = 2, 2, 3
    reference[22:28, 2:8], reference[22:28, 9:15], predicted[22:28, 2:15] = 3, 4, 4
    return np.broadcast_to(predicted, shape).copy(), np.broadcast_to(reference, shape).copy()


@pytest.fixture
def make_evaluate_dock(viewer: ViewerModel, docks: list[ScrollingDock]) -> Callable[[], EvaluateDock]:
    def make() -> EvaluateDock:
        dock = EvaluateDock(viewer)  # type: ignore[arg-type]
        docks.append(dock)
        notification_manager.records.clear()
        return dock

    return make


@pytest.fixture
def scored(viewer: ViewerModel, make_evaluate_dock: Callable[[], EvaluateDock]) -> EvaluateDock:
    """Return a dock on a viewer with the layers "truth" and "result"."""
    predicted, reference = scene()
    viewer.add_labels(reference, name="truth", scale=(0.5, 0.25), translate=(3, 4))
    viewer.add_labels(predicted, name="result", scale=(0.5, 0.25), translate=(3, 4))
    return make_evaluate_dock()


def press_and_wait(qtbot: QtBot, dock: EvaluateDock) -> None:
    dock.panel.score.click()
    qtbot.waitUntil(lambda: not dock.is_running)


def only_message() -> str:
    """Return what napari was asked to notify, which must be one thing."""
    (record,) = notification_manager.records
    return str(record.message)


def error_layer(viewer: ViewerModel) -> Labels:
    (layer,) = [layer for layer in viewer.layers if is_error_layer(layer)]
    assert isinstance(layer, Labels)
    return layer


def test_two_layers_are_scored_into_a_table_and_an_error_layer(
    qtbot: QtBot, viewer: ViewerModel, scored: EvaluateDock
) -> None:
    assert (scored.predicted_chooser.layer, scored.reference_chooser.layer) == (viewer.layers[1], viewer.layers[0])
    press_and_wait(qtbot, scored)
    predicted, reference = scene()
    assert dict(scored.table.rows[0].values) == dict(evaluate_labels(predicted, reference).rows[0].values)
    assert scored.message.text() == ""
    layer = error_layer(viewer)
    assert layer.name == "errors: result"
    assert np.array_equal(layer.data, error_labels(predicted, reference))
    assert set(np.unique(layer.data)) == {0, 1, 2, 3, 4}
    assert np.allclose(layer.scale, (0.5, 0.25))
    assert np.allclose(layer.translate, (3, 4))
    for number, kind in enumerate(ERROR_KINDS, start=1):
        colour = tuple(int(ERROR_COLOURS[kind][place : place + 2], 16) / 255 for place in (1, 3, 5))
        assert np.allclose(layer.get_color(number)[:3], colour, atol=1e-3)
        assert list(layer.features["error"])[number] == kind
        assert ERROR_MEANINGS[kind]


def test_table_shows_a_metric_in_each_row(qtbot: QtBot, scored: EvaluateDock) -> None:
    press_and_wait(qtbot, scored)
    model = scored.panel.table.scores
    assert (model.rowCount(), model.columnCount()) == (len(scored.table.columns), 1)
    shown = {
        model.headerData(row, Qt.Orientation.Vertical): model.data(model.index(row, 0))
        for row in range(model.rowCount())
    }
    assert shown["missed"] == shown["false"] == shown["split"] == shown["merged"] == "1"
    assert shown["reference objects"] == "4"
    for row in range(model.rowCount()):
        assert model.headerData(row, Qt.Orientation.Vertical, Qt.ItemDataRole.ToolTipRole) or "objects" in str(
            model.headerData(row, Qt.Orientation.Vertical)
        )
    assert not scored.panel.table.isHidden()
    assert not scored.panel.legend.isHidden()


def test_stack_has_a_column_for_each_frame_behind_the_means(
    qtbot: QtBot, viewer: ViewerModel, make_evaluate_dock: Callable[[], EvaluateDock]
) -> None:
    predicted, reference = scene((5, 32, 40))
    predicted[2] = reference[2]
    viewer.add_labels(reference, name="truth", axis_labels=("t", "y", "x"))
    viewer.add_labels(predicted, name="result", axis_labels=("t", "y", "x"))
    dock = make_evaluate_dock()
    press_and_wait(qtbot, dock)
    model = dock.panel.table.scores
    assert model.columnCount() == 6
    names = [model.headerData(column, Qt.Orientation.Horizontal) for column in range(6)]
    assert names == ["mean / sum", *(f"t={number}" for number in range(5))]
    row = dock.table.columns.index("Dice")
    assert model.data(model.index(row, 3)) == "1.000"
    assert model.data(model.index(row, 0)) == f"{dock.table.means['Dice']:.3f}"
    assert not error_layer(viewer).data[2].any()
    assert error_layer(viewer).data[3].any()


def test_error_layer_is_used_again_unless_the_person_has_painted_on_it(
    qtbot: QtBot, viewer: ViewerModel, scored: EvaluateDock
) -> None:
    press_and_wait(qtbot, scored)
    layer = error_layer(viewer)
    viewer.layers["result"].data = viewer.layers["truth"].data.copy()
    press_and_wait(qtbot, scored)
    assert error_layer(viewer) is layer
    assert not layer.data.any()
    layer.paint((4, 4), 1)
    painted = layer.data.copy()
    viewer.layers["result"].data = np.zeros((32, 40), np.uint16)
    press_and_wait(qtbot, scored)
    assert error_layer(viewer) is not layer
    assert np.array_equal(layer.data, painted)
    assert layer in viewer.layers


def test_no_error_layer_where_it_is_not_wanted(qtbot: QtBot, viewer: ViewerModel, scored: EvaluateDock) -> None:
    scored.panel.with_errors.setChecked(False)
    press_and_wait(qtbot, scored)
    assert not any(is_error_layer(layer) for layer in viewer.layers)
    assert scored.table.rows
    assert scored.panel.legend.isHidden()


def test_settings_in_the_form_reach_the_scores(qtbot: QtBot, viewer: ViewerModel, scored: EvaluateDock) -> None:
    viewer.layers["truth"].data = np.where(scene()[1] > 0, scene()[1] + 1, 0).astype(np.uint16)
    scored.panel.form.set_values({"reference_zero": "unlabelled", "warping": True})
    press_and_wait(qtbot, scored)
    assert scored.table.means["pixels"] == (scene()[1] > 0).sum()
    assert "warping error" in scored.table.columns


def test_result_of_the_program_is_chosen_first_with_what_it_is(
    viewer: ViewerModel, make_evaluate_dock: Callable[[], EvaluateDock]
) -> None:
    image = viewer.add_image(np.zeros((32, 40)))
    result = viewer.add_labels(np.ones((32, 40), np.uint8), name="areas")
    mark_layer(result, "result areas", image)
    strokes = viewer.add_labels(np.ones((32, 40), np.uint8), name="strokes")
    truth = viewer.add_labels(np.ones((32, 40), np.uint8), name="truth")
    mark_layer(strokes, "strokes", image)
    dock = make_evaluate_dock()
    assert (dock.predicted_chooser.layer, dock.reference_chooser.layer) == (result, truth)
    assert dock.panel.form.values()["task"] == "classes"
    assert dock.panel.form.values()["reference_zero"] == "background"
    dock.reference_chooser.choose(strokes)
    assert dock.panel.form.values()["reference_zero"] == "unlabelled"
    dock.reference_chooser.choose(truth)
    assert dock.panel.form.values()["reference_zero"] == "background"


def test_reference_that_is_opened_later_is_chosen(
    qtbot: QtBot, viewer: ViewerModel, make_evaluate_dock: Callable[[], EvaluateDock]
) -> None:
    result = viewer.add_labels(scene()[0], name="result")
    dock = make_evaluate_dock()
    truth = viewer.add_labels(scene()[1], name="truth")
    qtbot.waitUntil(lambda: dock.reference_chooser.layer is truth)
    assert dock.predicted_chooser.layer is result


def test_table_is_copied_and_saved_whole(qtbot: QtBot, scored: EvaluateDock, tmp_path: Path) -> None:
    press_and_wait(qtbot, scored)
    scored.panel.copy.click()
    clipboard = QGuiApplication.clipboard()
    assert clipboard is not None
    pasted = list(csv.DictReader(io.StringIO(clipboard.text()), delimiter="\t"))
    assert float(pasted[0]["Dice"]) == scored.table.means["Dice"]
    scored.save_table_to(tmp_path / "scores")
    qtbot.waitUntil(lambda: not scored.is_running)
    saved = list(csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text(encoding="utf-8"))))
    assert saved == pasted
    assert scored.message.text() == "The table is saved as scores.csv."


def test_table_that_can_not_be_saved_is_told(qtbot: QtBot, scored: EvaluateDock, tmp_path: Path) -> None:
    press_and_wait(qtbot, scored)
    (tmp_path / "file").write_text("")
    scored.save_table_to(tmp_path / "file" / "scores.csv")
    qtbot.waitUntil(lambda: not scored.is_running)
    assert "can't be written" in scored.message.text()


# ---- bad input: one message, nothing changed, and the dock usable again


def test_no_layers(viewer: ViewerModel, make_evaluate_dock: Callable[[], EvaluateDock]) -> None:
    viewer.add_image(np.zeros((4, 4)))
    dock = make_evaluate_dock()
    dock.panel.score.click()
    assert "no labels layer to score" in dock.message.text() == only_message()
    assert not dock.is_running


def test_same_layer_twice(qtbot: QtBot, viewer: ViewerModel, scored: EvaluateDock) -> None:
    scored.reference_chooser.choose(viewer.layers["result"])
    scored.panel.score.click()
    assert "'result' is chosen as the result and as the reference" in scored.message.text() == only_message()
    scored.reference_chooser.choose(viewer.layers["truth"])
    assert scored.message.text() == ""
    press_and_wait(qtbot, scored)
    assert scored.table.rows


def test_shapes_that_differ(viewer: ViewerModel, scored: EvaluateDock) -> None:
    scored.reference_chooser.choose(viewer.add_labels(np.zeros((9, 8), int), name="other"))
    scored.panel.score.click()
    assert "'result' has 32 × 40 pixels, but 'other' 9 × 8" in scored.message.text() == only_message()
    assert not any(is_error_layer(layer) for layer in viewer.layers)


def test_dimensions_that_are_not_there(viewer: ViewerModel, scored: EvaluateDock) -> None:
    scored.panel.form.set_values({"ndim": 3})
    scored.panel.score.click()
    assert "'result' is no volume" in scored.message.text() == only_message()


def test_numbers_that_are_no_classes(qtbot: QtBot, viewer: ViewerModel, scored: EvaluateDock) -> None:
    viewer.layers["truth"].data = (scene()[1] > 0).astype(np.uint8) * 255
    scored.panel.form.set_values({"task": "classes"})
    press_and_wait(qtbot, scored)
    assert "The number 255 in 'truth' is no class" in scored.message.text() == only_message()
    assert scored.panel.score.text() == "Score"


@pytest.mark.parametrize("name", ["truth", "result"])
def test_layer_that_is_removed_while_it_is_scored(
    qtbot: QtBot, viewer: ViewerModel, scored: EvaluateDock, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def slow(*arguments: Any, should_stop: Callable[[], bool], **options: Any) -> Iterator[Any]:
        while not should_stop():
            time.sleep(0.01)
        yield from ()

    monkeypatch.setattr(score_job, "score_frames", slow)
    scored.panel.score.click()
    assert scored.panel.score.text() == "Stop"
    viewer.layers.remove(viewer.layers[name])
    qtbot.waitUntil(lambda: not scored.is_running)
    assert f"'{name}' was removed while it was scored" in scored.message.text() == only_message()
    assert scored.panel.score.text() == "Score"
    qtbot.wait(200)
    assert not scored.table.rows


def test_stop_shows_the_frames_that_were_scored(
    qtbot: QtBot, viewer: ViewerModel, make_evaluate_dock: Callable[[], EvaluateDock], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_frames = score_job.score_frames

    def slow(*arguments: Any, should_stop: Callable[[], bool], **options: Any) -> Iterator[Any]:
        for event in true_frames(*arguments, should_stop=should_stop, **options):
            yield event
            end = time.monotonic() + 60
            while event.done == 2 and not should_stop() and time.monotonic() < end:
                time.sleep(0.01)

    monkeypatch.setattr(score_job, "score_frames", slow)
    predicted, reference = scene((6, 32, 40))
    viewer.add_labels(reference, name="truth")
    viewer.add_labels(predicted, name="result")
    dock = make_evaluate_dock()
    dock.panel.score.click()
    qtbot.waitUntil(lambda: dock.panel.bar.value() >= 333)
    dock.panel.score.click()
    qtbot.waitUntil(lambda: not dock.is_running)
    assert len(dock.table.rows) == 2
    assert "stopped before the others" in dock.panel.summary.text()


def test_defect_is_told_in_one_line(qtbot: QtBot, scored: EvaluateDock, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> Iterator[Any]:
        raise RuntimeError("inner\ntraceback")
        yield

    monkeypatch.setattr(score_job, "score_frames", broken)
    press_and_wait(qtbot, scored)
    assert scored.message.text() == only_message() == "The scoring stopped: inner."


def test_dock_that_is_closed_ends_its_work_and_stops_following_the_window(
    qtbot: QtBot, viewer: ViewerModel, scored: EvaluateDock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[bool] = []
    ended: list[bool] = []

    def endless(*arguments: Any, should_stop: Callable[[], bool], **options: Any) -> Iterator[Any]:
        begun.append(True)
        while not should_stop():
            time.sleep(0.01)
        ended.append(True)
        yield from ()

    monkeypatch.setattr(score_job, "score_frames", endless)
    scored.panel.score.click()
    qtbot.waitUntil(lambda: bool(begun))
    scored.close_dock()
    qtbot.waitUntil(lambda: bool(ended))
    viewer.layers.clear()
    viewer.add_labels(np.zeros((4, 4), int))
    qtbot.wait(50)
    assert not scored.is_running


# ---- the real window


@pytest.mark.window
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_real_window_stays_responsive_while_a_result_is_scored(
    qtbot: QtBot, make_napari_viewer: Callable[..., Any], gap_meter: Any, real_data: Any, capsys: Any
) -> None:
    data = real_data("nuclei_fluo_dsb2018")
    reference = np.tile(data["label_05"], (4, 4))
    predicted = np.roll(np.where(np.tile(data["image_05"], (4, 4)) > 20, reference, 0), 2, axis=1)
    viewer = make_napari_viewer(show=True)
    viewer.add_labels(reference, name="truth", visible=False)
    viewer.add_labels(predicted, name="result", visible=False)
    _, dock = viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Evaluate")
    dock.panel.form.set_values({"warping": True})
    press_and_wait(qtbot, dock)  # the first time napari makes the error layer, which takes it 0.1 s for any layer
    known = evaluate_labels(predicted, reference, config=EvaluationConfig(warping=True)).means
    assert dict(dock.table.means) == dict(known)
    assert np.array_equal(error_layer(viewer).data, error_labels(predicted, reference))

    qtbot.wait(500)
    for attempt in Attempts():
        gap_meter.start()
        for _ in range(3):
            press_and_wait(qtbot, dock)
        attempt.hold("longest block while scoring in ms", gap_meter.stop()[0], BLOCK_MS)
    with capsys.disabled():
        print(f"\n{attempt}")

    drawn = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)
    for kind in ("missed", "false"):
        wanted = [int(ERROR_COLOURS[kind][place : place + 2], 16) * error_layer(viewer).opacity for place in (1, 3, 5)]
        assert (np.abs(drawn - wanted).max(axis=-1) <= 6).any(), kind
    GeneratorWorker.await_workers(30_000)
    qtbot.wait(10)
