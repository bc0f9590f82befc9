"""The correction tools while the live loop trains: each is taken up as one change, and so are its undo and redo."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from scipy import ndimage

from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import answered, changes, known_strokes, stop, train

USES = ["accept", "accept several", "reject", "split", "merge", "fill", "erase"]


def middles(result: np.ndarray) -> list[tuple[int, int]]:
    """Return a pixel well inside each object that is shown, the largest first."""
    found = []
    for label in np.argsort(-np.bincount(result.ravel(), minlength=2)[1:]) + 1:
        depth = ndimage.distance_transform_edt(np.pad(result == label, 1))[1:-1, 1:-1]
        found.append(tuple(int(at) for at in np.unravel_index(depth.argmax(), depth.shape)))
    return found


def path_for(use: str, result: np.ndarray) -> list[tuple[float, ...]]:
    """Return where a person draws."""
    height, width = result.shape
    places = middles(result)
    row, column = places[0]
    if use == "accept several":
        return [(-1, -1), (-1, width), (height, width), (height, -1)]
    if use == "split":
        rows = np.flatnonzero(result[:, column] == result[row, column])
        return [(rows.min() - 2, column), (rows.max() + 2, column)]
    if use == "merge":
        return [places[0], places[1]]
    if use == "fill":
        return [(40, 30), (40, 36), (46, 36), (46, 30)]
    if use == "erase":
        return [(0, 0)]
    return [places[0]]


@pytest.mark.parametrize("use", USES)
def test_each_tool_is_taken_up_while_it_trains_and_so_is_its_undo(
    live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any, use: str
) -> None:
    answered(live, qtbot)
    train(live, qtbot)
    tools, strokes, result = live.tools.corrections, live.strokes, do.result_of(viewer)
    assert strokes is not None
    strokes.selected_label = 2
    strokes.brush_size = 3
    before, seen = strokes.data.copy(), changes(live)

    def knows(wanted: np.ndarray) -> bool:
        return np.array_equal(known_strokes(live, live.image), wanted)

    for _ in range(10):  # what is drawn on may have become another before it is looked at
        qtbot.waitUntil(lambda: len(middles(result.data)) > 1)
        path = path_for(use, result.data)
        tools.use(use.split()[0], np.array(path, float))
        qtbot.waitUntil(lambda: not tools.is_busy)
        after = strokes.data.copy()
        if (after != before).any():
            break
    assert (after != before).any(), live.message.text()
    assert "Ctrl+Z takes it back" in live.message.text()
    answered(live, qtbot, seen)
    for change, wanted in ((strokes.undo, before), (strokes.redo, after), (strokes.undo, before)):
        seen = changes(live)
        change()
        np.testing.assert_array_equal(strokes.data, wanted)
        answered(live, qtbot, seen)
        qtbot.waitUntil(partial(knows, wanted))
    assert live.live.training
    stop(live, qtbot)
    assert do.messages() == []
