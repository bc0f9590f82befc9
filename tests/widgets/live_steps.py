"""What the tests of the live loop do again and again."""

from __future__ import annotations

from typing import Any

import napari
import numpy as np
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QApplication

from napari_unet.widgets.live.feed import key_of
from napari_unet.widgets.segment.dock import SegmentDock


def answered(dock: SegmentDock, qtbot: QtBot, after: int = 0) -> None:
    """Wait until what is in view shows more changes than so many, and all that the worker was told of."""

    def shows_all() -> bool:
        answer, learner = dock.live.report.answer, dock.live._learner
        if answer is None or learner is None or learner.is_behind:
            return False
        return bool(answer.change > after and answer.change == learner.change)

    qtbot.waitUntil(shows_all)


def train(dock: SegmentDock, qtbot: QtBot) -> None:
    """Press Train, and wait for its first steps."""
    dock.panel.train.click()
    qtbot.waitUntil(lambda: dock.runner.status.steps > 2)


def stop(dock: SegmentDock, qtbot: QtBot) -> None:
    """Press Stop, and wait for the model."""
    assert dock.live.training
    before = dock.runner.model
    dock.panel.train.click()
    assert dock.panel.train.text() == "Train"
    qtbot.waitUntil(lambda: dock.runner.model not in (None, before))


def changes(dock: SegmentDock) -> int:
    """Return how many changes what is in view has taken in."""
    return dock.live.report.answer.change if dock.live.report.answer is not None else 0


def stroke(layer: Labels, rows: slice, label: int, plane: tuple[int, ...] = ()) -> None:
    """Paint some rows of an image, or of a slice of a stack."""
    layer.selected_label = label
    places = tuple(part.ravel() for part in np.mgrid[rows, 4:24])
    layer.data_setitem((*(np.full_like(places[0], at) for at in plane), *places), label)


def known_strokes(dock: SegmentDock, image: Image) -> np.ndarray | None:
    """Return what the worker takes for the strokes of an image; None while it knows of none."""
    learner = dock.live._learner
    painted = None if learner is None else learner._images.images.get(key_of(image))
    if painted is None:
        return None
    found = np.zeros(painted.layout.label_shape, np.int64)
    for position, parts in painted.parts.items():
        for part in parts:
            box = painted.layout.label_box(position, part.box)
            found[box] = painted.layout.to_label_order(part.labels[np.newaxis])[0]
    return found


def still_usable(dock: SegmentDock, qtbot: QtBot) -> None:
    """Check that another stroke is answered, and that the training can be stopped and begun again."""
    assert dock.strokes is not None
    seen = changes(dock)
    plane = (0,) * (dock.strokes.ndim - 2)
    stroke(dock.strokes, slice(0, 2), 1, plane)
    answered(dock, qtbot, seen)
    if dock.live.training:
        stop(dock, qtbot)
    train(dock, qtbot)
    stop(dock, qtbot)


# ---- in the real window


def open_window() -> Any:
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1200, 860)
    return viewer


def close_window(viewer: Any) -> None:
    viewer.close()
    QApplication.sendPostedEvents(None, 0)
    QApplication.processEvents()


def open_dock(viewer: Any, qtbot: QtBot) -> SegmentDock:
    """Open the dock with a tiny network."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Segment")
    dock.panel.model_form.set_values({"features": 4, "depth": 1})
    dock.panel.train_form.set_values({"crop": 32, "batch_size": 2, "validate_every": 2})
    dock.panel.window_form.set_values({"start": "nothing"})
    assert isinstance(dock, SegmentDock)
    return dock


def begin(dock: SegmentDock, image: np.ndarray, truth: np.ndarray, qtbot: QtBot, do: Any) -> None:
    """Open an image, paint, and train."""
    layer = dock.viewer.add_image(image, name="spots")
    qtbot.waitUntil(lambda: dock.image is layer and dock.strokes is not None)
    dock.live.report.answer = None  # that of the test before
    do.paint(dock, truth)
    answered(dock, qtbot)
    train(dock, qtbot)


def is_open(dock: SegmentDock) -> bool:
    return dock._closing is not None and dock._closing._work is not None


def new_stroke(dock: SegmentDock, qtbot: QtBot, row: int) -> None:
    """Paint a row of foreground, and wait until it is answered; nothing else is changed."""
    assert dock.strokes is not None
    wanted, seen = dock.strokes.data.copy(), changes(dock)
    wanted[row, 4:24] = 2
    stroke(dock.strokes, slice(row, row + 1), 2)
    answered(dock, qtbot, seen)
    qtbot.waitUntil(lambda: np.array_equal(known_strokes(dock, dock.image), wanted))
    np.testing.assert_array_equal(dock.strokes.data, wanted)
