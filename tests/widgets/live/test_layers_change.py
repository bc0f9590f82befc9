"""What a person does to layers while the live loop trains: nothing of it may cost a stroke or the training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import (
    answered,
    changes,
    known_strokes,
    still_usable,
    stop,
    stroke,
    train,
)


def knows(dock: SegmentDock, wanted: np.ndarray) -> bool:
    """Whether the worker has these strokes of the image."""
    return np.array_equal(known_strokes(dock, dock.image), wanted)


def test_layers_are_renamed(live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    result = do.result_of(viewer)
    live.image.name, live.strokes.name, result.name = "a", "b", "c"
    seen = changes(live)
    stroke(live.strokes, slice(40, 44), 2)
    answered(live, qtbot, seen)
    assert live.image_chooser.currentText() == "a"
    assert {layer.name for layer in viewer.layers} == {"a", "b", "c"}
    assert result.data.any()
    still_usable(live, qtbot)
    assert do.messages() == []


def test_nothing_is_said_of_an_image_that_was_put_away(
    live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any
) -> None:
    answered(live, qtbot)
    qtbot.waitUntil(lambda: "object" in live.panel.status.text())
    assert "Shown: " in live.panel.shown.text()
    viewer.layers.clear()
    qtbot.waitUntil(lambda: live.image is None)
    other = viewer.add_image(np.zeros((70, 90), np.float32), name="other")
    qtbot.waitUntil(lambda: live.image is other)
    assert "object" not in live.panel.status.text()
    assert "Shown: " not in live.panel.shown.text()
    assert do.messages() == []


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16, np.float64, ">f4"])
def test_the_image_is_given_in_another_data_type(
    live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any, kind: Any
) -> None:
    kept, own = live.strokes.data.copy(), live.image.data
    qtbot.waitUntil(partial(knows, live, kept))
    answered(live, qtbot)
    before = do.result_of(viewer).data > 0
    other = (own * 200).clip(0, 255).astype(kind)
    for row, data in ((40, other), (41, own), (42, other.copy())):
        shown = live.live._gaze._looked
        live.image.data = data
        qtbot.waitUntil(lambda shown=shown: live.live._gaze._looked != shown)
        seen = changes(live)
        stroke(live.strokes, slice(row, row + 1), 2)
        kept[row, 4:24] = 2
        qtbot.waitUntil(partial(knows, live, kept))
        answered(live, qtbot, seen)
        np.testing.assert_array_equal(live.strokes.data, kept)
        if not live.live.training:  # the network shows something else at each step
            assert ((do.result_of(viewer).data > 0) == before).mean() > 0.8
            train(live, qtbot)
    still_usable(live, qtbot)
    assert do.messages() == []


def test_the_strokes_move_to_another_data_type(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    seen = changes(live)
    live.strokes.data = live.strokes.data.astype(np.int32)
    stroke(live.strokes, slice(40, 44), 70_000)
    kept = live.strokes.data.copy()
    answered(live, qtbot, seen)
    qtbot.waitUntil(partial(knows, live, kept))
    still_usable(live, qtbot)
    assert do.messages() == []
    assert live.strokes.data[40, 4] == 70_000


def test_what_is_looked_for_changes(live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    kept = np.minimum(live.strokes.data, 2)
    live.strokes.data = kept.copy()
    live.choose_task("classes")
    areas = do.result_of(viewer, "areas")
    qtbot.waitUntil(lambda: set(np.unique(areas.data)) == {1, 2})
    assert live.live.training
    np.testing.assert_array_equal(live.strokes.data, kept)
    still_usable(live, qtbot)
    assert do.messages() == []


def test_the_image_is_deleted_and_another_one_taken(
    live: SegmentDock, viewer: ViewerModel, spots: Callable[..., Any], qtbot: QtBot, do: Any
) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    strokes, kept = live.strokes, live.strokes.data.copy()
    viewer.layers.remove(live.image)
    qtbot.waitUntil(lambda: live.image is None)
    qtbot.waitUntil(lambda: not live.live.training)
    assert live.message.text().startswith("The image was removed, so the training was stopped.")
    assert live.panel.train.text() == "Train"
    np.testing.assert_array_equal(strokes.data, kept)
    assert strokes in viewer.layers
    qtbot.waitUntil(lambda: live.runner.model is not None)

    image, truth = spots((48, 80), count=8, radius=6.0)
    viewer.add_image(image, name="second")
    qtbot.waitUntil(lambda: live.image is not None)
    do.paint(live, truth)
    answered(live, qtbot, changes(live))
    still_usable(live, qtbot)
    assert do.messages() == []


def test_one_of_two_painted_images_is_deleted(
    live: SegmentDock, viewer: ViewerModel, spots: Callable[..., Any], qtbot: QtBot, do: Any
) -> None:
    first = live.image
    image, truth = spots((48, 80), count=8, radius=6.0)
    second = viewer.add_image(image, name="second")
    qtbot.wait(20)
    live.image_chooser.choose(second)
    do.paint(live, truth)
    answered(live, qtbot)
    train(live, qtbot)
    qtbot.waitUntil(lambda: all(known_strokes(live, layer) is not None for layer in (first, second)))
    kept = live.strokes.data.copy()
    viewer.layers.remove(first)
    seen = changes(live)
    answered(live, qtbot, seen)
    np.testing.assert_array_equal(live.strokes.data, kept)
    assert live.live.training
    stop(live, qtbot)
    qtbot.waitUntil(lambda: live.runner.model.history["images"] == ["Image 'second'"])
    assert do.messages() == []


def test_images_of_other_sizes_are_learnt_from_together(
    live: SegmentDock, viewer: ViewerModel, spots: Callable[..., Any], qtbot: QtBot, do: Any
) -> None:
    images = [live.image]
    for number, shape in enumerate([(33, 150), (120, 40)]):
        image, truth = spots(shape, count=12, radius=6.0)
        images.append(viewer.add_image(image, name=f"other {number}"))
        qtbot.wait(20)
        live.image_chooser.choose(images[-1])
        do.paint(live, truth)
    answered(live, qtbot)
    train(live, qtbot)
    for image in images:
        live.image_chooser.choose(image)
        qtbot.waitUntil(lambda: live.live.report.answer.image == str(live.image.unique_id))
        wanted = live.strokes.data
        qtbot.waitUntil(partial(knows, live, wanted))
        result = do.result_of(viewer, f"objects: {image.name}")
        assert result.data.shape == image.data.shape
        assert result.data.any()
    stop(live, qtbot)
    qtbot.waitUntil(lambda: len(live.runner.model.history["images"]) == 3)
    assert do.messages() == []


def test_a_stroke_while_the_model_is_handed_over(live: SegmentDock, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    for row in (40, 44, 48):
        seen = changes(live)
        live.panel.train.click()  # stop
        stroke(live.strokes, slice(row, row + 2), 2)
        answered(live, qtbot, seen)
        live.panel.train.click()  # and on at once
        assert live.live.training
    kept = live.strokes.data.copy()
    qtbot.waitUntil(partial(knows, live, kept))
    still_usable(live, qtbot)
    assert do.messages() == []


@pytest.mark.parametrize("wait_ms", [0, 5, 60])
def test_undo_of_a_stroke_that_was_just_picked_up(live: SegmentDock, qtbot: QtBot, do: Any, wait_ms: int) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    kept = live.strokes.data.copy()
    for _ in range(3):
        stroke(live.strokes, slice(40, 44), 2)
        if wait_ms:
            qtbot.wait(wait_ms)
        live.strokes.undo()
    np.testing.assert_array_equal(live.strokes.data, kept)
    qtbot.wait(400)
    qtbot.waitUntil(partial(knows, live, kept))
    live.strokes.redo()
    redone = live.strokes.data.copy()
    assert not np.array_equal(redone, kept)
    qtbot.waitUntil(partial(knows, live, redone))
    still_usable(live, qtbot)
    assert do.messages() == []
