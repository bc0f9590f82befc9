"""An object that stays where it is keeps its id from answer to answer, and in the finished result."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import answered, changes, stroke


def check_kept(before: np.ndarray, after: np.ndarray) -> int:
    """Check that objects which are much the same have the same id; returns how many are."""
    kept = 0
    for label in np.unique(before)[1:]:
        here = before == label
        ids, sizes = np.unique(after[here], return_counts=True)
        for other, shared in zip(ids[ids > 0], sizes[ids > 0], strict=True):
            if 2 * shared > (here | (after == other)).sum():
                assert other == label
                kept += 1
    return kept


def solved_head(dock: SegmentDock) -> np.ndarray:
    """Return the last layer that was solved from the strokes so far."""
    assert dock.live._learner is not None
    solved = dock.live._learner._answers._solved
    assert solved is not None
    return solved.weight.numpy().copy()


def test_objects_keep_their_ids(live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any) -> None:
    answered(live, qtbot)
    result = do.result_of(viewer)
    qtbot.waitUntil(lambda: len(np.unique(result.data)) > 3)
    kept = changed = 0
    for row in (3, 40, 52):
        before, seen, head = result.data.copy(), changes(live), solved_head(live)
        stroke(live.strokes, slice(row, row + 2), 1 if row == 40 else 2)
        answered(live, qtbot, seen)
        assert not np.array_equal(solved_head(live), head)
        changed += int((result.data != before).sum())  # a stroke may teach and yet change no pixel
        kept += check_kept(before, result.data)
    assert kept > 5
    assert changed > 0
    before = result.data.copy()
    live.live._mail.touched = 0.0  # the person pauses: all of it is predicted, and its objects are found as a whole
    qtbot.waitUntil(lambda: "object" in live.runner.summary)
    assert check_kept(before, result.data) > 1
    before = result.data.copy()
    live.panel.predict.click()
    do.wait(live)
    np.testing.assert_array_equal(result.data, before)
    assert do.messages() == []
