"""What the learner is told of the window when it is ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet.widgets.live.feed import StrokesFeed
from napari_unet.widgets.segment.dock import SegmentDock


class NotingLearner:
    """Takes the calls of a feed."""

    def __init__(self) -> None:
        self.classes: list[tuple[str, ...]] = []

    def set_classes(self, names: tuple[str, ...]) -> None:
        self.classes.append(names)

    def set_annotation(self, key: Any, sample: Any) -> None:
        """Take an image."""


def test_a_class_that_was_added_while_the_learner_was_made_is_told(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], qtbot: QtBot
) -> None:
    viewer.add_image(np.zeros((32, 32)), name="image")
    dock = make_dock()
    qtbot.waitUntil(lambda: dock.strokes is not None)
    dock.choose_task("classes")
    dock.classes.table.add("vessel")
    dock.classes.rebuild()
    learner: Any = NotingLearner()
    feed = StrokesFeed(dock, learner, lambda box: None)
    assert dock.image is not None
    for _ in range(2):
        feed.update(dock.image, dock.read_image(dock.image))
    assert learner.classes == [("background", "foreground", "vessel")]
    feed.close()


def test_objects_are_counted_when_the_rest_is_there_and_the_count_goes_with_the_next_answer(
    viewer: ViewerModel, make_live_dock: Callable[[], SegmentDock], spots: Callable[..., Any], qtbot: QtBot, do: Any
) -> None:
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots")
    dock = make_live_dock()
    told: list[str] = []
    dock.live.refreshed.connect(lambda answer: told.append(dock.panel.status.text()))
    do.paint(dock, truth)
    qtbot.waitUntil(lambda: "object" in dock.panel.status.text())
    count = len(np.unique(do.result_of(viewer).data)) - 1
    assert dock.panel.status.text().splitlines()[-1] == f"{count} object{'s' * (count != 1)}"
    assert dock.strokes is not None
    told.clear()
    dock.strokes.data_setitem((np.array([3]), np.array([3])), 1)
    qtbot.waitUntil(lambda: bool(told))
    assert told[0] == "not trained yet"
