"""Bad input to the dock: each gets one message that names the layer, and nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from superqt.utils import GeneratorWorker

from napari_unet.widgets.segment.dock import SegmentDock
from tests.quickness import END_SECONDS, Attempts

Spots = Callable[..., Any]


# ---- bad input: one message each, and nothing changed


def test_no_image(make_dock: Callable[[], SegmentDock], do: Any) -> None:
    dock = make_dock()
    dock.panel.train.click()
    assert [text.partition(":")[0] for text in do.messages()] == ["There is no image"]
    assert dock.message.text() == do.messages()[0]
    assert not dock.runner.is_running


def test_no_model_yet(painted: SegmentDock, do: Any) -> None:
    painted.panel.predict.click()
    assert [text.partition(":")[0] for text in do.messages()] == ["There is no model yet"]


def test_nothing_painted(viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, do: Any) -> None:
    viewer.add_image(spots()[0], name="spots")
    dock = make_dock()
    do.run(dock)
    assert len(do.messages()) == 1
    assert "Nothing is painted on 'strokes: spots'" in do.messages()[0]
    assert dock.runner.model is None
    assert dock.panel.train.text() == "Train"
    assert dock.panel.train.isEnabled()


def test_one_class_only(viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, do: Any) -> None:
    viewer.add_image(spots()[0], name="spots")
    dock = make_dock()
    assert dock.strokes is not None
    dock.strokes.data_setitem((np.arange(40), np.arange(40)), 1)
    do.run(dock)
    assert len(do.messages()) == 1
    assert "Only background is painted" in do.messages()[0]
    assert "'strokes: spots'" in do.messages()[0]


def test_strokes_of_another_shape(viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot, do: Any) -> None:
    own = viewer.add_labels(np.ones((20, 30), np.uint8), name="mine")
    qtbot.wait(20)
    painted.strokes_chooser.choose(own)
    painted.panel.train.click()
    assert len(do.messages()) == 1
    assert "'mine' (20 × 30)" in do.messages()[0]
    assert "'spots' (64 × 64)" in do.messages()[0]
    assert not painted.runner.is_running


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_constant_image_or_one_of_no_numbers(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, value: float, do: Any
) -> None:
    viewer.add_image(np.full((64, 64), value), name="empty", contrast_limits=(0, 1))
    dock = make_dock()
    do.paint(dock, spots((64, 64))[1])
    do.run(dock)
    assert len(do.messages()) == 1
    assert "'empty'" in do.messages()[0]
    assert "no contrast" in do.messages()[0]


def test_a_model_for_another_number_of_channels(
    viewer: ViewerModel, painted: SegmentDock, spots: Spots, qtbot: QtBot, do: Any
) -> None:
    do.run(painted)
    colour = viewer.add_image(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), name="colour")
    qtbot.wait(20)
    painted.image_chooser.choose(colour)
    names = [layer.name for layer in viewer.layers]
    model = painted.runner.model
    painted.panel.predict.click()
    assert len(do.messages()) == 1
    assert "The model reads 1 channel, but the image 'colour' has 3" in do.messages()[0]
    assert not painted.runner.is_running
    notification_manager.records.clear()
    painted.panel.train.click()  # would adapt the model, if there were strokes
    do.wait(painted)
    assert "Nothing is painted" in do.messages()[0]
    assert painted.runner.model is model
    assert [layer.name for layer in viewer.layers] == names


def test_the_alpha_of_rgba_is_left_out(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Spots, do: Any
) -> None:
    image, truth = spots((64, 64))
    rgba = np.stack([255 * np.clip(image, 0, 1)] * 4, axis=-1).astype(np.uint8)
    viewer.add_image(rgba, name="screenshot")
    dock = make_dock()
    do.paint(dock, truth)
    do.run(dock)
    assert do.messages() == []
    assert dock.runner.model is not None
    assert dock.runner.model.config.in_channels == 3


def test_an_image_with_too_many_axes(viewer: ViewerModel, make_dock: Callable[[], SegmentDock]) -> None:
    viewer.add_image(np.zeros((2, 2, 2, 2, 8, 8)), name="many")
    dock = make_dock()
    assert dock.strokes is None
    assert "'many' has 6 axes" in dock.message.text()


def test_the_image_is_removed_while_training(viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot, do: Any) -> None:
    do.start_training(painted)
    assert painted.image is not None
    viewer.layers.remove(painted.image)
    qtbot.wait(50)
    assert painted.runner.kind == "train"
    painted.panel.train.click()
    do.wait(painted)
    assert len(do.messages()) == 1
    assert "'spots' was removed during the training" in do.messages()[0]
    assert painted.runner.model is not None


def test_layers_are_renamed_and_dims_change_while_training(
    viewer: ViewerModel, painted: SegmentDock, qtbot: QtBot, do: Any
) -> None:
    do.start_training(painted)
    assert painted.image is not None
    painted.image.name = "renamed"
    viewer.dims.transpose()
    viewer.dims.ndisplay = 3
    qtbot.wait(50)
    painted.panel.train.click()
    do.wait(painted)
    assert do.messages() == []
    assert "renamed" in painted.image_chooser.currentText()
    np.testing.assert_allclose(do.result_of(viewer).scale, [0.5, 0.5])


def test_strokes_and_results_that_are_gone_are_made_anew(viewer: ViewerModel, painted: SegmentDock, do: Any) -> None:
    do.start_training(painted)
    viewer.layers.remove(do.result_of(viewer))
    viewer.layers.remove(painted.strokes)
    painted.panel.train.click()
    do.wait(painted)
    assert do.messages() == []
    assert do.result_of(viewer).data.shape == (64, 64)


def test_strokes_painted_while_training_stay(viewer: ViewerModel, painted: SegmentDock, do: Any) -> None:
    do.start_training(painted)
    strokes = painted.strokes
    assert strokes is not None
    strokes.data_setitem((np.arange(64), np.arange(64)), 2)
    before = strokes.data.copy()
    painted.panel.train.click()
    do.wait(painted)
    np.testing.assert_array_equal(strokes.data, before)
    strokes.undo()
    assert not np.array_equal(strokes.data, before)


@pytest.mark.timed
def test_closing_the_dock_ends_the_training_and_gives_the_keys_back(
    viewer: ViewerModel, painted: SegmentDock, make_dock: Callable[[], SegmentDock], qtbot: QtBot, do: Any
) -> None:
    dock = painted
    for attempt in Attempts():
        assert {"Q", "W", "N"} <= {str(key) for key in viewer.keymap}
        do.start_training(dock)
        began = time.monotonic()
        dock.close_dock()
        qtbot.waitUntil(lambda: not GeneratorWorker._worker_set)
        attempt.hold("seconds until the training ended", time.monotonic() - began, END_SECONDS)
        assert viewer.keymap == {}
        dock = make_dock()
    dock.close_dock()
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
    painted: SegmentDock, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str, do: Any
) -> None:
    def failing(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        yield None
        raise error

    with monkeypatch.context() as patched:
        patched.setattr("napari_unet.learn.fit.fit", failing)
        do.run(painted)
    assert len(do.messages()) == 1
    assert do.messages()[0].startswith(says)
    assert painted.panel.train.text() == "Train"
    notification_manager.records.clear()
    do.run(painted)
    assert do.messages() == []
    assert painted.runner.model is not None
