"""The dock on a viewer without a window: what it makes, what it says about bad input, and what it leaves alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from superqt.utils import GeneratorWorker

from napari_unet.widgets.segment_dock import SegmentDock

Spots = Callable[..., Any]


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def make_dock(qtbot: QtBot, viewer: ViewerModel) -> Iterator[Callable[[], SegmentDock]]:
    docks = []

    def make() -> SegmentDock:
        dock = SegmentDock(viewer)  # type: ignore[arg-type]
        dock.panel.model_form.set_values({"features": 4, "depth": 1})
        dock.panel.train_form.set_values({"max_steps": 3, "crop": 32, "batch_size": 2, "validate_every": 2})
        docks.append(dock)
        notification_manager.records.clear()
        return dock

    yield make
    for dock in docks:
        dock.close_dock()
    GeneratorWorker.await_workers(5000)
    qtbot.wait(20)
    for dock in docks:
        dock.deleteLater()
    qtbot.wait(1)


@pytest.fixture
def painted(viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots) -> SegmentDock:
    """Return a dock with an image on which background and a few objects are painted."""
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots", scale=(0.5, 0.5), units=("um", "um"))
    dock = make_dock()
    paint(dock, truth)
    return dock


def paint(dock: SegmentDock, truth: np.ndarray) -> None:
    strokes = dock.strokes
    assert strokes is not None
    rows = np.zeros(truth.shape, bool)
    rows[..., ::6, :] = True
    for label, mask in ((1, rows & (truth == 0)), (2, truth > 3)):
        strokes.selected_label = label
        strokes.data_setitem(np.nonzero(mask), label)


def run(dock: SegmentDock, qtbot: QtBot) -> None:
    """Press Train and wait until training and prediction are over."""
    dock.panel.train.click()
    wait(dock, qtbot)


def wait(dock: SegmentDock, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not dock.runner.is_running, timeout=60_000)


def messages() -> list[str]:
    return [record.message for record in notification_manager.records]


def result_of(viewer: ViewerModel, start: str = "objects") -> Any:
    return next(layer for layer in viewer.layers if layer.name.startswith(start))


def test_opening_the_dock_puts_a_brush_into_the_hand(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots
) -> None:
    image = viewer.add_image(spots()[0], name="spots", scale=(0.5, 0.5), translate=(3, 4), rotate=5, units=("um", "um"))
    dock = make_dock()
    strokes = dock.strokes
    assert strokes is not None
    assert viewer.layers.selection.active is strokes
    assert (strokes.mode, strokes.selected_label, strokes.dtype) == ("paint", 1, np.uint16)
    np.testing.assert_allclose(strokes.affine.affine_matrix, image.affine.affine_matrix)
    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_allclose(getattr(strokes, name), getattr(image, name))
    assert strokes.units == image.units
    assert dock.panel.info.text() == "2D 96 × 96, 1 channel, 0.5 µm"


def test_the_first_image_that_is_opened_is_taken(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, qtbot: QtBot
) -> None:
    dock = make_dock()
    assert dock.strokes is None
    image = viewer.add_image(spots()[0], name="spots")
    qtbot.waitUntil(lambda: dock.strokes is not None, timeout=2000)
    assert dock.image is image
    viewer.add_image(spots()[0], name="another")
    qtbot.wait(20)
    assert dock.image is image


def test_training_shows_a_result_and_leaves_the_strokes_alone(
    viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot
) -> None:
    assert painted.strokes is not None
    before = painted.strokes.data.copy()
    run(painted, qtbot)

    assert messages() == []
    assert painted.runner.model is not None
    assert painted.runner.status.finished
    result = result_of(viewer)
    np.testing.assert_allclose(result.scale, [0.5, 0.5])
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(painted.strokes.data, before)


def test_training_again_goes_on_from_the_model(painted: SegmentDock, qtbot: QtBot) -> None:
    run(painted, qtbot)
    first = painted.runner.model
    painted.classes.table.rename(1, "cell")
    run(painted, qtbot)
    assert painted.runner.model is first
    assert first is not None
    assert first.config.classes == ("background", "cell")

    painted.panel.start_over.click()
    run(painted, qtbot)
    assert painted.runner.model is not first


def test_another_number_of_classes_needs_a_new_model(painted: SegmentDock, qtbot: QtBot) -> None:
    run(painted, qtbot)
    first = painted.runner.model
    painted.panel.task.buttons["classes"].click()
    painted.classes.add_button.click()
    assert painted.strokes is not None
    painted.strokes.data_setitem((np.arange(20, 30), np.arange(20, 30)), 3)
    run(painted, qtbot)
    assert painted.runner.model is not first
    assert painted.runner.model is not None
    assert len(painted.runner.model.config.classes) == 3
    assert messages() == []


# ---- bad input: one message each, and nothing changed


def test_no_image(make_dock: Callable[[], SegmentDock]) -> None:
    dock = make_dock()
    dock.panel.train.click()
    assert [text.partition(":")[0] for text in messages()] == ["There is no image"]
    assert dock.message.text() == messages()[0]
    assert not dock.runner.is_running


def test_no_model_yet(painted: SegmentDock) -> None:
    painted.panel.predict.click()
    assert [text.partition(":")[0] for text in messages()] == ["There is no model yet"]


def test_nothing_painted(viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, qtbot: QtBot) -> None:
    viewer.add_image(spots()[0], name="spots")
    dock = make_dock()
    run(dock, qtbot)
    assert len(messages()) == 1
    assert "Nothing is painted on 'strokes: spots'" in messages()[0]
    assert dock.runner.model is None
    assert dock.panel.train.text() == "Train"
    assert dock.panel.train.isEnabled()


def test_one_class_only(viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, qtbot: QtBot) -> None:
    viewer.add_image(spots()[0], name="spots")
    dock = make_dock()
    assert dock.strokes is not None
    dock.strokes.data_setitem((np.arange(40), np.arange(40)), 1)
    run(dock, qtbot)
    assert len(messages()) == 1
    assert "Only background is painted" in messages()[0]
    assert "'strokes: spots'" in messages()[0]


def test_strokes_of_another_shape(viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot) -> None:
    own = viewer.add_labels(np.ones((20, 30), np.uint8), name="mine")
    qtbot.wait(20)
    painted.strokes_chooser.choose(own)
    painted.panel.train.click()
    assert len(messages()) == 1
    assert "'mine' (20 × 30)" in messages()[0]
    assert "'spots' (64 × 64)" in messages()[0]
    assert not painted.runner.is_running


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_constant_image_or_one_of_no_numbers(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, qtbot: QtBot, value: float
) -> None:
    viewer.add_image(np.full((64, 64), value), name="empty", contrast_limits=(0, 1))
    dock = make_dock()
    paint(dock, spots((64, 64))[1])
    run(dock, qtbot)
    assert len(messages()) == 1
    assert "'empty'" in messages()[0]
    assert "no contrast" in messages()[0]


def test_a_model_for_another_number_of_channels(
    viewer: ViewerModel, painted: SegmentDock, spots: Spots, qtbot: QtBot
) -> None:
    run(painted, qtbot)
    colour = viewer.add_image(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), name="colour")
    qtbot.wait(20)
    painted.image_chooser.choose(colour)
    names = [layer.name for layer in viewer.layers]
    for button in (painted.panel.train, painted.panel.predict):
        notification_manager.records.clear()
        button.click()
        assert len(messages()) == 1
        assert "The model reads 1 channel, but the image 'colour' has 3" in messages()[0]
        assert not painted.runner.is_running
    assert [layer.name for layer in viewer.layers] == names


def test_the_alpha_of_rgba_is_left_out(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, qtbot: QtBot
) -> None:
    image, truth = spots((64, 64))
    rgba = np.stack([255 * np.clip(image, 0, 1)] * 4, axis=-1).astype(np.uint8)
    viewer.add_image(rgba, name="screenshot")
    dock = make_dock()
    paint(dock, truth)
    run(dock, qtbot)
    assert messages() == []
    assert dock.runner.model is not None
    assert dock.runner.model.config.in_channels == 3


def test_an_image_with_too_many_axes(viewer: ViewerModel, make_dock: Callable[[], SegmentDock]) -> None:
    viewer.add_image(np.zeros((2, 2, 2, 2, 8, 8)), name="many")
    dock = make_dock()
    assert dock.strokes is None
    assert "'many' has 6 axes" in dock.message.text()


def endless(dock: SegmentDock) -> None:
    dock.panel.train_form.set_values({"max_steps": None})
    dock.panel.seconds.setValue(600)


def start_training(dock: SegmentDock, qtbot: QtBot) -> None:
    endless(dock)
    dock.panel.train.click()
    qtbot.waitUntil(lambda: dock.runner.status.steps > 2, timeout=60_000)


def test_the_image_is_removed_while_training(viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot) -> None:
    start_training(painted, qtbot)
    assert painted.image is not None
    viewer.layers.remove(painted.image)
    qtbot.wait(50)
    assert painted.runner.kind == "train"
    painted.panel.train.click()
    wait(painted, qtbot)
    assert len(messages()) == 1
    assert "'spots' was removed during the training" in messages()[0]
    assert painted.runner.model is not None


def test_layers_are_renamed_and_dims_change_while_training(
    viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot
) -> None:
    start_training(painted, qtbot)
    assert painted.image is not None
    painted.image.name = "renamed"
    viewer.dims.transpose()
    viewer.dims.ndisplay = 3
    qtbot.wait(50)
    painted.panel.train.click()
    wait(painted, qtbot)
    assert messages() == []
    assert "renamed" in painted.image_chooser.currentText()
    np.testing.assert_allclose(result_of(viewer).scale, [0.5, 0.5])


def test_strokes_and_results_that_are_gone_are_made_anew(
    viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot
) -> None:
    start_training(painted, qtbot)
    viewer.layers.remove(result_of(viewer))
    viewer.layers.remove(painted.strokes)
    painted.panel.train.click()
    wait(painted, qtbot)
    assert messages() == []
    assert result_of(viewer).data.shape == (64, 64)


def test_strokes_painted_while_training_stay(viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot) -> None:
    start_training(painted, qtbot)
    strokes = painted.strokes
    assert strokes is not None
    strokes.data_setitem((np.arange(64), np.arange(64)), 2)
    before = strokes.data.copy()
    painted.panel.train.click()
    wait(painted, qtbot)
    np.testing.assert_array_equal(strokes.data, before)
    strokes.undo()
    assert not np.array_equal(strokes.data, before)


def test_closing_the_dock_ends_the_training_and_gives_the_keys_back(
    viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot
) -> None:
    assert {"Q", "W", "N"} <= {str(key) for key in viewer.keymap}
    start_training(painted, qtbot)
    began = time.monotonic()
    painted.close_dock()
    qtbot.waitUntil(lambda: not GeneratorWorker._worker_set, timeout=5000)
    assert time.monotonic() - began < 1
    assert viewer.keymap == {}
    layer = viewer.add_image(np.zeros((4, 4)), name="later")  # nobody listens any more
    viewer.layers.remove(layer)
    qtbot.wait(20)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            RuntimeError("CUDA error: an illegal memory access\nmore"),
            "The training stopped: CUDA error: an illegal memory access.",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "The training stopped: the memory is not enough."),
        (OSError(28, "No space left on device"), "The training stopped: No space left on device."),
        (KeyError("x"), "The training stopped: 'x'."),
    ],
)
def test_any_error_is_one_message_and_the_dock_stays_usable(
    painted: SegmentDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def failing(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        yield None
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("napari_unet.learn.fit.fit", failing)
        run(painted, qtbot)
    assert len(messages()) == 1
    assert messages()[0].startswith(says)
    assert painted.panel.train.text() == "Train"
    notification_manager.records.clear()
    run(painted, qtbot)
    assert messages() == []
    assert painted.runner.model is not None


# ---- layers of the person's own


def test_a_persons_own_labels_are_used_and_not_changed(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, qtbot: QtBot
) -> None:
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots")
    own = viewer.add_labels(truth, name="ground truth")
    before, colours = truth.copy(), own.colormap
    dock = make_dock()
    dock.strokes_chooser.choose(own)
    dock.panel.window_form.set_values({"meaning": "ground truth"})
    dock.panel.window_form.changed.emit()
    run(dock, qtbot)
    assert messages() == []
    assert dock.runner.model is not None
    np.testing.assert_array_equal(own.data, before)
    assert own.colormap is colours


def test_a_result_that_was_painted_on_is_the_persons(viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot) -> None:
    run(painted, qtbot)
    first = result_of(viewer)
    first.data_setitem((np.array([5]), np.array([5])), 999)
    corrected = first.data.copy()
    painted.panel.predict.click()
    wait(painted, qtbot)
    np.testing.assert_array_equal(first.data, corrected)
    assert len([layer for layer in viewer.layers if layer.name.startswith("objects")]) == 2

    painted.panel.predict.click()
    wait(painted, qtbot)
    assert len([layer for layer in viewer.layers if layer.name.startswith("objects")]) == 2


def test_reopening_finds_the_strokes_and_not_a_copy_of_them(
    viewer: ViewerModel, painted: SegmentDock, make_dock: Callable[[], SegmentDock]
) -> None:
    strokes = painted.strokes
    assert strokes is not None
    copy = Labels.create(*strokes.as_layer_data_tuple())
    viewer.add_layer(copy)
    painted.close_dock()
    again = make_dock()
    assert again.strokes is strokes


# ---- files, classes, options


def test_a_model_is_saved_and_opened_again(painted: SegmentDock, qtbot: QtBot, tmp_path: Path) -> None:
    painted.save_model_to(tmp_path / "cells")
    assert "no model to save" in messages()[0]
    notification_manager.records.clear()
    run(painted, qtbot)
    painted.classes.table.rename(1, "renamed")
    painted.save_model_to(tmp_path / "cells")
    wait(painted, qtbot)
    path = tmp_path / "cells.unet.safetensors"
    assert path.is_file()
    first = painted.runner.model

    painted.panel.start_over.click()
    painted.open_model_from(path)
    wait(painted, qtbot)
    assert painted.runner.model is not first
    assert painted.classes.table.names == ("background", "foreground")
    painted.panel.predict.click()
    wait(painted, qtbot)
    assert messages() == []


def test_a_broken_model_file_is_one_message(painted: SegmentDock, qtbot: QtBot, tmp_path: Path) -> None:
    path = tmp_path / "page.unet.safetensors"
    path.write_text("<html>not found</html>")
    painted.open_model_from(path)
    wait(painted, qtbot)
    assert len(messages()) == 1
    assert "page.unet.safetensors" in messages()[0]
    assert painted.runner.model is None


def test_keys_and_clicks_choose_the_class(viewer: ViewerModel, painted: SegmentDock) -> None:
    strokes = painted.strokes
    assert strokes is not None
    keys = {str(key): function for key, function in viewer.keymap.items()}
    keys["W"](viewer)
    assert strokes.selected_label == 2
    assert [row.is_current for row in painted.classes.rows] == [False, True]
    keys["N"](viewer)
    assert strokes.selected_label == 3
    assert painted.classes.rows[1].suffix.text() == "object 2"
    keys["N"](viewer)
    keys["Q"](viewer)
    keys["N"](viewer)
    assert strokes.selected_label == 5
    viewer.layers.selection.active = painted.image
    painted.classes.rows[0].chosen.emit(0)
    assert viewer.layers.selection.active is strokes
    assert (strokes.selected_label, strokes.mode) == (1, "paint")


def test_probabilities_come_as_an_image(viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot) -> None:
    painted.panel.probabilities.setChecked(True)
    run(painted, qtbot)
    layer = result_of(viewer, "p(foreground)")
    assert layer.data.shape == (64, 64)
    assert 0 < layer.data.max() <= 1
    np.testing.assert_allclose(layer.scale, [0.5, 0.5])
    assert painted.image_chooser.findText(layer.name) == -1


def test_strokes_on_other_images_count_too(
    viewer: ViewerModel, painted: SegmentDock, spots: Spots, qtbot: QtBot
) -> None:
    image, truth = spots((48, 80))
    other = viewer.add_image(image, name="second")
    qtbot.wait(20)
    painted.image_chooser.choose(other)
    paint(painted, truth)
    run(painted, qtbot)
    assert painted.runner.model is not None
    assert painted.runner.model.history["images"] == ["Image 'second'", "Image 'spots'"]


def test_train_during_a_prediction_stops_it_and_trains(painted: SegmentDock, qtbot: QtBot) -> None:
    run(painted, qtbot)
    painted.panel.predict.click()
    assert painted.runner.kind == "predict"
    painted.panel.train.click()
    qtbot.waitUntil(lambda: painted.runner.kind == "train", timeout=10_000)
    wait(painted, qtbot)
    assert messages() == []


def test_the_hint_leads_from_stroke_to_stroke(painted: SegmentDock, viewer: ViewerModel) -> None:
    strokes = painted.strokes
    assert strokes is not None
    painted.desk.painted.clear()
    painted.update_hint()
    assert "background (key Q)" in painted.panel.hint.text()
    strokes.selected_label = 1
    strokes.data_setitem((np.array([1]), np.array([1])), 1)
    assert painted.panel.hint.text() == "Now paint a few strokes of foreground (key W)."
    strokes.selected_label = 2
    strokes.data_setitem((np.array([2]), np.array([2])), 2)
    assert painted.panel.hint.text().startswith("Press Train.")
