"""The dock in the real napari window, used as a person uses it: with mouse and keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QScrollArea
from scipy import ndimage
from superqt.utils import GeneratorWorker

from napari_unet.widgets.launch import show_demo
from napari_unet.widgets.segment.dock import SegmentDock
from napari_unet.widgets.training.warm_up import is_warm
from tests.quickness import BLOCK_MS, END_SECONDS, Attempts, Bound
from tests.widgets.window_steps import longest_block_of_napari, until_laid_out

pytestmark = [pytest.mark.window, pytest.mark.filterwarnings("ignore::ResourceWarning")]

SECONDS = 25


@pytest.fixture
def window(make_napari_viewer: Callable[..., Any], qtbot: QtBot) -> Iterator[Any]:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 860)
    yield viewer
    GeneratorWorker.await_workers(30_000)
    qtbot.wait(10)


def open_dock(viewer: Any, qtbot: QtBot) -> SegmentDock:
    _, dock = viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Segment")
    qtbot.waitUntil(lambda: dock.image is None or dock.strokes is not None)
    until_laid_out(viewer, qtbot)
    assert isinstance(dock, SegmentDock)
    return dock


def train(dock: SegmentDock, hand: Any, qtbot: QtBot, seconds: int) -> None:
    """Click Train, and wait until training and prediction are over."""
    begin_training(dock, hand, seconds)
    qtbot.waitUntil(lambda: not dock.runner.is_running, timeout=1000 * (seconds + 60))


def begin_training(dock: SegmentDock, hand: Any, seconds: int) -> None:
    dock.panel.seconds.setValue(seconds)
    hand.click(dock.panel.train)
    assert dock.runner.kind == "train"


def blocks_in_training(dock: SegmentDock, hand: Any, qtbot: QtBot, gap_meter: Any) -> tuple[float, float]:
    """Train as ``train`` does; return the longest block in ms, and that of napari's own drawing in the meantime."""
    gap_meter.start()
    begin_training(dock, hand, SECONDS)
    qtbot.wait(1000 * SECONDS // 2)
    first_half = gap_meter.stop()[0]
    drawing = longest_block_of_napari(dock.viewer, layer_named(dock.viewer, "objects: "), qtbot, gap_meter)
    assert dock.runner.kind == "train"
    gap_meter.start()
    qtbot.waitUntil(lambda: not dock.runner.is_running, timeout=1000 * (SECONDS + 60))
    return max(first_half, gap_meter.stop()[0]), drawing


def train_steps(dock: SegmentDock, hand: Any, qtbot: QtBot, steps: int) -> None:
    """Do the same with as much learning on a busy machine as on a quiet one."""
    dock.panel.train_form.set_values({"max_steps": steps})
    train(dock, hand, qtbot, 120)


def paint_like_a_person(hand: Any, truth: np.ndarray, plane: tuple[int, ...] = ()) -> None:
    """Paint background around some objects and away from them, then a line over some objects."""
    truth = truth[plane]
    hand.press(Qt.Key.Key_Q)
    away = ndimage.distance_transform_edt(truth == 0)
    sizes = np.bincount(truth.ravel())[1:]
    largest = [int(i) + 1 for i in np.argsort(-sizes) if sizes[i] >= 20]
    for number in largest[:10:2]:
        around = ndimage.distance_transform_edt(truth != number)
        ring = np.argwhere((around >= 4) & (around < 5.5) & (away >= 3.5))
        centre = np.argwhere(truth == number).mean(axis=0)
        angle = np.arctan2(*(ring - centre).T)
        ring = ring[np.argsort(angle)]
        for part in np.array_split(ring, 2):
            steps = np.linalg.norm(np.diff(part, axis=0), axis=1) if len(part) > 1 else np.zeros(0)
            if len(part) > 3 and steps.max() < 6:
                hand.stroke(part[::3])
    rows, columns = truth.shape
    for row in np.linspace(0.1, 0.9, 5) * rows:
        free = [(int(row), x) for x in range(6, columns - 6, 4) if away[int(row), x] > 6]
        if len(free) > 4:
            hand.stroke([p for p in free if p[1] - free[0][1] <= 4 * free.index(p)])
    hand.press(Qt.Key.Key_W)
    for number in largest[1:14:2]:
        depth = ndimage.distance_transform_edt(np.pad(truth == number, 1))[1:-1, 1:-1]
        inner = np.argwhere(depth >= min(depth.max(), max(2.5, 0.4 * depth.max())))
        hand.stroke(inner[:: max(1, len(inner) // 12)])


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def layer_named(viewer: Any, start: str) -> Any:
    return next(layer for layer in viewer.layers if layer.name.startswith(start))


@pytest.mark.slow
def test_from_an_open_image_to_a_segmented_one(
    window: Any, qtbot: QtBot, hand_for: Callable[[Any], Any], gap_meter: Any, real_data: Any, capsys: Any
) -> None:
    data = real_data("nuclei_fluo_dsb2018")
    image, truth = data["image_00"], data["label_00"]
    layer = window.add_image(image, name="nuclei", scale=(0.65, 0.65), units=("um", "um"), translate=(3, 5))
    hand = hand_for(window)
    dock = open_dock(window, qtbot)
    strokes = dock.strokes
    assert strokes is not None
    assert strokes.mode == "paint"
    # the canvas counts in micrometres
    scaled = hand.place
    hand.place = lambda point: scaled([3 + 0.65 * point[0], 5 + 0.65 * point[1]])
    paint_like_a_person(hand, truth)
    painted = strokes.data.copy()
    assert {0, 1, 2} == set(np.unique(painted))
    qtbot.waitUntil(is_warm)  # a person paints more slowly than this

    by_itself: list[float] = []
    for attempt in Attempts():
        block, drawing = blocks_in_training(dock, hand, qtbot, gap_meter)
        drawn = Bound(max(BLOCK_MS.quiet, 1.3 * drawing), BLOCK_MS.busy)  # the result is drawn, too
        attempt.hold("longest block in training in ms", block, drawn)
        result = layer_named(window, "objects: nuclei")
        by_itself.append(dice(result.data > 0, truth > 0))
    for attempt_to_predict in Attempts():
        gap_meter.start()
        hand.click(dock.panel.predict)
        assert dock.runner.kind == "predict"
        qtbot.waitUntil(lambda: not dock.runner.is_running)
        attempt_to_predict.hold("longest block in prediction in ms", gap_meter.stop()[0], drawn)

    with capsys.disabled():
        print(
            f"\nthrough the window: Dice {by_itself[0]:.3f} after {dock.runner.status.steps} steps, "
            f"{int(result.data.max())} objects of {int(truth.max())}; {attempt}, napari alone {drawing:.0f} ms; "
            f"{attempt_to_predict}"
        )
    assert by_itself[0] >= 0.8
    assert dice(result.data > 0, truth > 0) >= 0.8
    for ours in (result, strokes):
        np.testing.assert_allclose(ours.scale, layer.scale)
        np.testing.assert_allclose(ours.translate, layer.translate)
        assert ours.units == layer.units
        assert ours.data.shape == image.shape
    np.testing.assert_array_equal(strokes.data, painted)
    assert dock.runner.status.best_score is not None


def pick(chooser: Any, name: str) -> None:
    """Choose an entry of a drop-down list with the keyboard."""
    chooser.setFocus()
    chooser.showPopup()
    row = chooser.findText(name)
    assert row >= 0
    view = chooser.view()
    view.setCurrentIndex(chooser.model().index(row, 0))
    QTest.keyClick(view, Qt.Key.Key_Return)
    assert chooser.currentText() == name


@pytest.mark.slow
def test_two_annotated_images_and_a_short_training_segment_four_others(
    window: Any, qtbot: QtBot, hand_for: Callable[[Any], Any], real_data: Any, capsys: Any
) -> None:
    data = real_data("nuclei_fluo_dsb2018")
    hand = hand_for(window)
    truths = {}
    for number in range(2):
        window.add_image(data[f"image_{number:02d}"], name=f"nuclei {number}")
        truths[f"outlines {number}"] = data[f"label_{number:02d}"]
        window.add_labels(truths[f"outlines {number}"].copy(), name=f"outlines {number}")
    dock = open_dock(window, qtbot)
    meaning = dock.panel.window_form.editors["meaning"]
    for number in range(2):
        pick(dock.image_chooser, f"nuclei {number}")
        pick(dock.strokes_chooser, f"outlines {number}")
        pick(meaning, "ground truth")
    pick(dock.image_chooser, "nuclei 0")
    assert (dock.strokes_chooser.currentText(), meaning.currentText()) == ("outlines 0", "ground truth")
    qtbot.waitUntil(is_warm)
    train(dock, hand, qtbot, SECONDS)
    assert dock.runner.model is not None
    assert len(dock.runner.model.history["images"]) == 2

    found = []
    for number in range(2, 6):
        window.add_image(data[f"image_{number:02d}"], name=f"nuclei {number}")
        qtbot.wait(20)
        pick(dock.image_chooser, f"nuclei {number}")
        hand.click(dock.panel.predict)
        qtbot.waitUntil(lambda: not dock.runner.is_running)
        found.append(dice(layer_named(window, f"objects: nuclei {number}").data > 0, data[f"label_{number:02d}"] > 0))
    with capsys.disabled():
        print(f"\ntwo annotated images through the window: Dice {np.round(found, 3)}, mean {np.mean(found):.3f}")
    assert np.mean(found) >= 0.85
    for name, truth in truths.items():
        np.testing.assert_array_equal(layer_named(window, name).data, truth)


def narrow(dock: SegmentDock) -> None:
    dock.panel.model_form.set_values({"features": 4, "depth": 2})
    dock.panel.window_form.set_values({"start": "nothing"})


def test_stop_keeps_the_model_and_shows_its_result(
    window: Any, qtbot: QtBot, hand_for: Callable[[Any], Any], spots: Any
) -> None:
    image, truth = spots()
    window.add_image(image, name="spots")
    hand = hand_for(window)
    dock = open_dock(window, qtbot)
    narrow(dock)
    paint_like_a_person(hand, truth)
    dock.panel.seconds.setValue(600)
    hand.click(dock.panel.train)
    qtbot.waitUntil(lambda: dock.runner.status.steps > 100)
    assert dock.panel.train.text() == "Stop"
    hand.click(dock.panel.train)
    qtbot.waitUntil(lambda: not dock.runner.is_running)

    assert dock.runner.model is not None
    assert dock.runner.model.history["steps"] > 100
    assert layer_named(window, "objects: spots").data.any()


def test_closing_the_dock_while_training_ends_it_within_a_second(
    window: Any, qtbot: QtBot, hand_for: Callable[[Any], Any], spots: Any
) -> None:
    image, truth = spots()
    window.add_image(image, name="spots")
    hand = hand_for(window)
    dock = open_dock(window, qtbot)
    paint_like_a_person(hand, truth)
    strokes = dock.strokes
    assert strokes is not None
    painted = strokes.data.copy()
    for attempt in Attempts():
        assert {"Q", "W", "N"} <= {str(key) for key in window.keymap}
        hand.click(dock.panel.train)
        qtbot.waitUntil(lambda dock=dock: dock.runner.status.steps > 1)
        began = time.monotonic()
        window.window.remove_dock_widget(dock)
        qtbot.waitUntil(lambda: not GeneratorWorker._worker_set)
        attempt.hold("seconds until the training ended", time.monotonic() - began, END_SECONDS)
        assert not {"Q", "W", "N"} & {str(key) for key in window.keymap}
        np.testing.assert_array_equal(strokes.data, painted)
        assert not any("PaintDesk" in str(callback) for callback in strokes.events.paint.callbacks)
        dock = open_dock(window, qtbot)
        assert dock.strokes is strokes
        assert len([layer for layer in window.layers if layer.name.startswith("strokes")]) == 1


def test_closing_the_window_while_training_ends_it_within_a_second(
    make_napari_viewer: Callable[..., Any], qtbot: QtBot, hand_for: Callable[[Any], Any], spots: Any
) -> None:
    image, truth = spots()
    for attempt in Attempts():
        viewer = make_napari_viewer(show=True)
        viewer.add_image(image, name="spots")
        hand = hand_for(viewer)
        dock = open_dock(viewer, qtbot)
        paint_like_a_person(hand, truth)
        hand.click(dock.panel.train)
        runner = dock.runner
        qtbot.waitUntil(lambda runner=runner: runner.status.steps > 1)
        viewer.close()
        began = time.monotonic()
        qtbot.waitUntil(lambda: not GeneratorWorker._worker_set)
        attempt.hold("seconds until the training ended", time.monotonic() - began, END_SECONDS)
        assert not runner.is_running


@pytest.mark.parametrize(
    ("name", "keys"),
    [("tiny_samples", ("stardist_img3d", "stardist_mask3d")), ("embryo_nuclei_3d", ("image_00", "label_00"))],
)
def test_a_volume_goes_through_the_window(
    window: Any, qtbot: QtBot, hand_for: Callable[[Any], Any], real_data: Any, name: str, keys: tuple[str, str]
) -> None:
    image, truth = (real_data(name)[key] for key in keys)
    window.add_image(image, name="volume", scale=(2, 1, 1))
    hand = hand_for(window)
    dock = open_dock(window, qtbot)
    narrow(dock)
    dock.panel.dims.buttons["3"].click()
    middle = image.shape[0] // 2
    window.dims.set_current_step(0, middle)
    paint_like_a_person(hand, truth, (middle,))
    assert dock.strokes is not None
    assert np.flatnonzero(dock.strokes.data.any(axis=(1, 2))).tolist() == [middle]
    train_steps(dock, hand, qtbot, 30)

    assert dock.message.text() == ""
    assert dock.runner.model is not None
    assert dock.runner.model.config.ndim == 3
    result = layer_named(window, "objects: volume").data
    assert result.shape == image.shape
    assert result[middle].any()


def test_a_colour_image_goes_through_the_window(
    window: Any, qtbot: QtBot, hand_for: Callable[[Any], Any], real_data: Any
) -> None:
    data = real_data("nuclei_he_dsb2018")
    image, truth = data["images"][0], data["labels"][0]
    window.add_image(np.concatenate([image, np.full_like(image[..., :1], 255)], axis=-1), name="tissue")  # RGBA
    hand = hand_for(window)
    dock = open_dock(window, qtbot)
    narrow(dock)
    dock.panel.task.buttons["classes"].click()
    paint_like_a_person(hand, truth)
    train_steps(dock, hand, qtbot, 30)

    assert dock.message.text() == ""
    assert dock.runner.model is not None
    assert dock.runner.model.config.in_channels == 3
    result = layer_named(window, "areas: tissue").data
    assert result.shape == image.shape[:2]
    assert set(np.unique(result)) == {1, 2}


def test_a_time_series_goes_through_the_window(
    window: Any, qtbot: QtBot, hand_for: Callable[[Any], Any], spots: Any
) -> None:
    image, truth = spots((5, 80, 80), count=40, radius=8.0)
    window.add_image(image, name="series", axis_labels=("t", "y", "x"))
    hand = hand_for(window)
    dock = open_dock(window, qtbot)
    narrow(dock)
    assert "5 time points" in dock.panel.info.text()
    window.dims.set_current_step(0, 3)
    paint_like_a_person(hand, truth, (3,))
    train_steps(dock, hand, qtbot, 120)

    result = layer_named(window, "objects: series")
    assert result.data[3].any()
    assert not result.data[[0, 1, 2, 4]].any()

    dock.panel.extent.setCurrentIndex(dock.panel.extent.findData("all"))
    hand.click(dock.panel.predict)
    qtbot.waitUntil(lambda: not dock.runner.is_running)
    assert result.data.any(axis=(1, 2)).all()
    ids = [set(np.unique(frame)) - {0} for frame in result.data]
    assert not set.intersection(ids[0], ids[1])


def test_the_demo_opens_with_strokes_and_names(window: Any, qtbot: QtBot) -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    strokes = np.zeros((64, 80), np.uint8)
    strokes[:5], strokes[40:50] = 1, 2
    dock = show_demo(window, image, strokes, ("unstained", "stained"))
    qtbot.wait(50)
    assert dock.strokes is not None
    np.testing.assert_array_equal(dock.strokes.data, strokes)
    assert [row.name.text() for row in dock.classes.rows] == ["unstained", "stained"]
    assert dock.panel.hint.text() == "Press Train."
    area = dock.findChild(QScrollArea)
    assert area is not None
    assert area.verticalScrollBar().maximum() == 0  # nothing has to be scrolled
    assert dock.panel.minimumSizeHint().width() <= area.viewport().width()  # and nothing is cut off


def test_the_dock_is_in_the_menus(window: Any) -> None:
    def titles(menu: Any) -> list[str]:
        menu.aboutToShow.emit()
        found = []
        for action in menu.actions():
            found += [action.text().replace("&", ""), *(titles(action.menu()) if action.menu() else [])]
        return found

    bar = {action.text().replace("&", ""): action.menu() for action in window.window._qt_window.menuBar().actions()}
    assert any("U-Net: Segment" in title for title in titles(bar["Plugins"]))
    assert any("U-Net: Segment" in title for title in titles(bar["Layers"]))
    assert any("Stained tissue" in title for title in titles(bar["File"]))
