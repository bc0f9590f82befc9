"""The dock on a viewer without a window: what it makes, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.widgets.segment.dock import SegmentDock

Spots = Callable[..., Any]


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
    qtbot.waitUntil(lambda: dock.strokes is not None)
    assert dock.image is image
    viewer.add_image(spots()[0], name="another")
    qtbot.wait(20)
    assert dock.image is image


def test_training_shows_a_result_and_leaves_the_strokes_alone(
    viewer: ViewerModel, painted: SegmentDock, do: Any
) -> None:
    assert painted.strokes is not None
    before = painted.strokes.data.copy()
    do.run(painted)

    assert do.messages() == []
    assert painted.runner.model is not None
    assert painted.runner.status.finished
    result = do.result_of(viewer)
    np.testing.assert_allclose(result.scale, [0.5, 0.5])
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(painted.strokes.data, before)


def test_training_again_goes_on_from_the_model(painted: SegmentDock, do: Any) -> None:
    do.run(painted)
    first = painted.runner.model
    painted.classes.table.rename(1, "cell")
    do.run(painted)
    assert painted.runner.model is first
    assert first is not None
    assert first.config.classes == ("background", "cell")

    painted.panel.start_over.click()
    do.run(painted)
    assert painted.runner.model is not first


def test_another_number_of_classes_keeps_all_but_the_last_layer(painted: SegmentDock, do: Any) -> None:
    do.run(painted)
    first = painted.runner.model
    painted.panel.task.buttons["classes"].click()
    painted.classes.add_button.click()
    assert painted.strokes is not None
    painted.strokes.data_setitem((np.arange(20, 30), np.arange(20, 30)), 3)
    do.run(painted)
    assert painted.runner.model is not first
    assert painted.runner.model is not None
    assert len(painted.runner.model.config.classes) == 3
    assert painted.runner.model.config.features == first.config.features
    assert "The model is adapted: " in painted.message.text()
    assert "the last is made anew for" in painted.message.text()
    assert do.messages() == []


def test_a_model_of_grey_images_is_adapted_to_a_colour_image(
    viewer: ViewerModel, painted: SegmentDock, tmp_path: Path, do: Any
) -> None:
    do.run(painted)
    painted.save_model_to(tmp_path / "grey")
    do.wait(painted)
    assert painted.image is not None
    colour = np.stack([np.asarray(painted.image.data)] * 3, -1)
    strokes = np.asarray(painted.strokes.data)
    viewer.add_image((255 * colour / colour.max()).astype(np.uint8), rgb=True, name="colour")
    painted.image_chooser.choose(viewer.layers["colour"])
    painted.update_image()
    painted.strokes.data = strokes
    painted.open_model_from(tmp_path / "grey.unet.safetensors")
    do.wait(painted)
    painted.panel.predict.click()
    assert "press Train to adapt the model" in do.messages()[0]
    notification_manager.records.clear()
    do.run(painted)
    assert painted.runner.model.config.in_channels == 3
    assert "adapted from 1 to 3 channels" in painted.message.text()
    assert do.messages() == []


def test_an_opened_model_of_another_network_is_trained_on(painted: SegmentDock, tmp_path: Path, do: Any) -> None:
    config = ModelConfig("attention", features=6, depth=2, norm="group")
    Model.create(config).save(tmp_path / "other.unet.safetensors")
    painted.open_model_from(tmp_path / "other.unet.safetensors")
    do.wait(painted)
    opened = painted.runner.model
    do.run(painted)
    assert painted.runner.model is opened
    assert opened.config == config
    assert do.messages() == []


# ---- layers of the person's own


def test_a_persons_own_labels_are_used_and_not_changed(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, do: Any
) -> None:
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots")
    own = viewer.add_labels(truth, name="ground truth")
    before, colours = truth.copy(), own.colormap
    dock = make_dock()
    dock.strokes_chooser.choose(own)
    dock.panel.window_form.set_values({"meaning": "ground truth"})
    dock.panel.window_form.changed.emit()
    do.run(dock)
    assert do.messages() == []
    assert dock.runner.model is not None
    np.testing.assert_array_equal(own.data, before)
    assert own.colormap is colours


def test_a_result_that_was_painted_on_is_the_persons(viewer: ViewerModel, painted: SegmentDock, do: Any) -> None:
    do.run(painted)
    first = do.result_of(viewer)
    first.data_setitem((np.array([5]), np.array([5])), 999)
    corrected = first.data.copy()
    painted.panel.predict.click()
    do.wait(painted)
    np.testing.assert_array_equal(first.data, corrected)
    assert len([layer for layer in viewer.layers if layer.name.startswith("objects")]) == 2

    painted.panel.predict.click()
    do.wait(painted)
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


def test_a_model_is_saved_and_opened_again(painted: SegmentDock, tmp_path: Path, do: Any) -> None:
    painted.save_model_to(tmp_path / "cells")
    assert "no model to save" in do.messages()[0]
    notification_manager.records.clear()
    do.run(painted)
    painted.classes.table.rename(1, "renamed")
    painted.save_model_to(tmp_path / "cells")
    do.wait(painted)
    path = tmp_path / "cells.unet.safetensors"
    assert path.is_file()
    first = painted.runner.model

    painted.panel.start_over.click()
    painted.open_model_from(path)
    do.wait(painted)
    assert painted.runner.model is not first
    assert painted.classes.table.names == ("background", "foreground")
    painted.panel.predict.click()
    do.wait(painted)
    assert do.messages() == []


def test_a_broken_model_file_is_one_message(painted: SegmentDock, tmp_path: Path, do: Any) -> None:
    path = tmp_path / "page.unet.safetensors"
    path.write_text("<html>not found</html>")
    painted.open_model_from(path)
    do.wait(painted)
    assert len(do.messages()) == 1
    assert "page.unet.safetensors" in do.messages()[0]
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


def test_probabilities_come_as_an_image(viewer: ViewerModel, painted: SegmentDock, do: Any) -> None:
    painted.panel.probabilities.setChecked(True)
    do.run(painted)
    layer = do.result_of(viewer, "p(foreground)")
    assert layer.data.shape == (64, 64)
    assert 0 < layer.data.max() <= 1
    np.testing.assert_allclose(layer.scale, [0.5, 0.5])
    assert painted.image_chooser.findText(layer.name) == -1


def test_strokes_on_other_images_count_too(
    viewer: ViewerModel, painted: SegmentDock, spots: Spots, qtbot: QtBot, do: Any
) -> None:
    image, truth = spots((48, 80))
    other = viewer.add_image(image, name="second")
    qtbot.wait(20)
    painted.image_chooser.choose(other)
    do.paint(painted, truth)
    do.run(painted)
    assert painted.runner.model is not None
    assert painted.runner.model.history["images"] == ["Image 'second'", "Image 'spots'"]


def test_train_during_a_prediction_stops_it_and_trains(painted: SegmentDock, qtbot: QtBot, do: Any) -> None:
    do.run(painted)
    first = painted.runner.status
    painted.panel.predict.click()
    assert painted.runner.kind == "predict"
    painted.panel.train.click()
    qtbot.waitUntil(lambda: painted.runner.status is not first and painted.runner.status.steps > 0)
    do.wait(painted)
    assert do.messages() == []


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


def test_the_hint_leads_back_to_painting_when_strokes_are_undone_or_erased(
    painted: SegmentDock, qtbot: QtBot, do: Any
) -> None:
    do.run(painted)
    strokes, hint = painted.strokes, painted.panel.hint
    assert strokes is not None
    assert hint.text().startswith("Where the result is wrong")
    strokes.undo()
    qtbot.waitUntil(lambda: hint.text() == "Now paint a few strokes of foreground (key W).")
    strokes.undo()
    qtbot.waitUntil(lambda: hint.text().startswith("Paint a few strokes of background (key Q) and of foreground"))
    strokes.redo()
    strokes.redo()
    qtbot.waitUntil(lambda: hint.text().startswith("Where the result is wrong"))
    strokes.selected_label = 0
    strokes.data_setitem(np.nonzero(strokes.data), 0)
    qtbot.waitUntil(lambda: hint.text().startswith("Paint a few strokes of background (key Q) and of foreground"))
    assert painted.runner.model is not None
    assert do.messages() == []


def test_channels_that_look_like_slices_are_asked_about(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock]
) -> None:
    viewer.add_image(np.zeros((3, 40, 50), np.uint16), name="stained")
    dock = make_dock()
    assert dock.panel.info.text().endswith(
        "3 slices, 1 channel. Are these channels? Then write CYX under Advanced > Axes."
    )
    dock.panel.window_form.set_values({"axes": "CYX"})
    dock.panel.window_form.changed.emit()
    assert dock.panel.info.text() == "2D 50 × 40, 3 channels"
    dock.panel.window_form.set_values({"axes": "ZYX"})
    dock.panel.window_form.changed.emit()
    assert dock.panel.info.text() == "3D 50 × 40, 3 slices, 1 channel"
