"""What the tests of the live loop do again and again."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot

from napari_unet.widgets.live.feed import key_of
from napari_unet.widgets.segment.dock import SegmentDock

WAIT = 20_000


def answered(dock: SegmentDock, qtbot: QtBot, after: int = 0) -> None:
    """Wait until what is in view shows more changes than so many."""
    qtbot.waitUntil(lambda: dock.live.answer is not None and dock.live.answer.change > after, timeout=WAIT)


def train(dock: SegmentDock, qtbot: QtBot) -> None:
    """Press Train, and wait for its first steps."""
    dock.panel.train.click()
    qtbot.waitUntil(lambda: dock.runner.status.steps > 2, timeout=WAIT)


def stop(dock: SegmentDock, qtbot: QtBot) -> None:
    """Press Stop, and wait for the model."""
    assert dock.live.training
    dock.panel.train.click()
    assert dock.panel.train.text() == "Train"
    qtbot.waitUntil(lambda: dock.runner.model is not None, timeout=WAIT)


def changes(dock: SegmentDock) -> int:
    """Return how many changes what is in view has taken in."""
    return dock.live.answer.change if dock.live.answer is not None else 0


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
    for position, part in painted.parts.items():
        inside = tuple(slice(o, o + n) for o, n in zip(part.origin, part.labels.shape, strict=True))
        box = painted.layout.label_box(position, inside)
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
