"""Corrections hold in the results of a restored session as they did before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.session_steps import crash, tiny_model, wait_idle

WHOLE = (slice(0, 60), slice(0, 80))


def correct(dock: SegmentDock, name: str, path: list[tuple[float, float]], qtbot: QtBot) -> None:
    tools = dock.tools.corrections
    tools.use(name, np.array(path))
    qtbot.waitUntil(lambda: not tools.is_busy)


def mask_of(dock: SegmentDock) -> np.ndarray:
    assert isinstance(dock.strokes, Labels)
    mask = dock.tools.corrections.held.mask_of(dock.strokes)
    assert mask is not None
    return np.array(mask)


@pytest.fixture
def corrected(other_dock: Any, image: np.ndarray, qtbot: QtBot, do: Any) -> SegmentDock:
    """Return a dock with a result in which an object was rejected, and another outlined."""
    dock: SegmentDock = other_dock()
    dock.panel.window_form.set_values({"answers": False})
    dock.viewer.add_image(image, name="cells")
    qtbot.waitUntil(lambda: dock.strokes is not None)
    result = do.result_of(dock.viewer)
    result.data[10:30, 10:40] = 3
    correct(dock, "reject", [(20, 20)], qtbot)
    dock.strokes.selected_label = 2
    correct(dock, "fill", [(42, 45), (42, 60), (55, 60), (55, 45)], qtbot)
    return dock


def test_they_come_back_after_a_crash_and_hold(corrected: SegmentDock, other_dock: Any, qtbot: QtBot, do: Any) -> None:
    mask = mask_of(corrected)
    kept = corrected.tools.corrections.held_in(corrected.image).read(WHOLE)
    assert mask.sum() > 600
    crash(corrected)

    dock = other_dock()
    dock.panel.offer.yes.click()
    wait_idle(dock, qtbot)
    np.testing.assert_array_equal(mask_of(dock), mask)
    np.testing.assert_array_equal(dock.tools.corrections.held_in(dock.image).read(WHOLE), kept)

    dock.panel.window_form.set_values({"answers": False})
    dock.runner.adopt(tiny_model(), "")
    dock.panel.predict.click()
    do.wait(dock)
    result = do.result_of(dock.viewer).data
    assert not result[10:30, 10:40].any()
    assert len(np.unique(result[kept > 1])) == 1
    assert result[48, 52] > 0
    correct(dock, "fill", [(2, 45), (2, 60), (9, 60), (9, 45)], qtbot)  # goes on where it was
    both = mask_of(dock)
    crash(dock)
    third = other_dock()
    third.panel.offer.yes.click()
    wait_idle(third, qtbot)
    np.testing.assert_array_equal(mask_of(third), both)
    assert both.sum() > mask.sum()


def test_they_travel_with_a_saved_session_also_without_the_image(
    corrected: SegmentDock, other_dock: Any, qtbot: QtBot, tmp_path: Path
) -> None:
    mask, image = mask_of(corrected), np.array(corrected.image.data)
    corrected.panel.session.keep_images.setChecked(False)
    corrected.session.save_to(tmp_path / "mine.unet-session")
    wait_idle(corrected, qtbot)
    dock = other_dock()
    dock.session.open_from(tmp_path / "mine.unet-session")
    wait_idle(dock, qtbot)
    (strokes,) = [layer for layer in dock.viewer.layers if isinstance(layer, Labels)]
    np.testing.assert_array_equal(dock.tools.corrections.held.mask_of(strokes), mask)
    np.save(tmp_path / "cells.npy", image)
    (entry,) = dock.session.watch.state().document.images
    dock.session.find_image(entry, strokes, tmp_path / "cells.npy")
    wait_idle(dock, qtbot)
    assert dock.strokes is strokes
    assert dock.tools.corrections.held_in(dock.image).read(WHOLE) is not None
