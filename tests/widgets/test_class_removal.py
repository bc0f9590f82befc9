"""A class is removed with its strokes, and comes back with them."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet.widgets.annotate import label_storage
from napari_unet.widgets.annotate.label_storage import find_label
from napari_unet.widgets.segment.dock import SegmentDock


@pytest.fixture
def areas(painted: SegmentDock) -> SegmentDock:
    """Return a dock with three classes, each painted."""
    painted.choose_task("classes")
    painted.strokes.data = np.minimum(painted.strokes.data, 2)
    painted.classes.add_button.click()
    painted.classes.rows[2].renamed.emit(2, "membrane")
    paint(painted.strokes, slice(40, 44))
    return painted


def paint(layer: Any, rows: slice, label: int = 3) -> None:
    layer.selected_label = label
    layer.data_setitem(tuple(part.ravel() for part in np.mgrid[rows, 4:24]), label)


def remove(dock: SegmentDock, qtbot: QtBot) -> None:
    dock.classes.rows[-1].remove.click()
    dock.classes.rows[-1].remove.click()  # twice in haste removes one
    qtbot.waitUntil(lambda: dock.tools.removal._job is None)


def test_its_strokes_go_with_it_and_an_undo_brings_both_back(areas: SegmentDock, qtbot: QtBot) -> None:
    kept, entry = areas.strokes.data.copy(), areas.classes.table.entries[2]
    remove(areas, qtbot)
    np.testing.assert_array_equal(areas.strokes.data, np.where(kept == 3, 0, kept))
    assert areas.classes.table.names == ("background", "foreground")
    assert areas.desk.painted == {1, 2}
    assert areas.strokes.selected_label == 2
    assert areas.message.text() == "'membrane' was removed and its strokes were erased; Ctrl+Z brings both back."
    areas.strokes.undo()
    np.testing.assert_array_equal(areas.strokes.data, kept)
    assert areas.classes.table.entries[2] == entry
    assert areas.desk.painted == {1, 2, 3}
    areas.strokes.undo()  # the stroke itself
    assert not (areas.strokes.data == 3).any()
    assert len(areas.classes.table) == 3
    remove(areas, qtbot)
    areas.strokes.redo()  # paints what the class was painted with, though it is gone: nothing is guessed
    assert len(areas.classes.table) == 2


def test_one_that_is_not_painted_just_goes(areas: SegmentDock, qtbot: QtBot) -> None:
    areas.strokes.undo()
    kept = areas.strokes.data.copy()
    areas.message.clear_message()
    remove(areas, qtbot)
    assert len(areas.classes.table) == 2
    assert areas.message.text() == ""
    np.testing.assert_array_equal(areas.strokes.data, kept)
    areas.classes.rows[1].remove_wanted.emit(1)
    assert "always there" in areas.message.text()


def test_strokes_in_all_images_go_and_come_back_together(areas: SegmentDock, viewer: ViewerModel, qtbot: QtBot) -> None:
    first = areas.strokes
    areas.image_chooser.choose(viewer.add_image(np.zeros((48, 64), np.float32), name="second"))
    areas.update_image()
    second = areas.strokes
    assert second is not first
    paint(second, slice(3, 9))
    kept = first.data.copy(), second.data.copy()
    remove(areas, qtbot)
    assert not (first.data == 3).any()
    assert not second.data.any()
    assert "its strokes in 2 images were erased" in areas.message.text()
    areas.classes.add_button.click()  # of the same number: what comes back is of this class then
    paint(first, slice(41, 42), 1)
    second.undo()
    np.testing.assert_array_equal(second.data, kept[1])
    expected = kept[0].copy()
    expected[41, 4:24] = 1
    np.testing.assert_array_equal(first.data, expected)
    assert len(areas.classes.table) == 3


def test_several_come_back_in_their_order(areas: SegmentDock, qtbot: QtBot) -> None:
    areas.classes.add_button.click()
    paint(areas.strokes, slice(50, 52), 4)
    kept, entries = areas.strokes.data.copy(), list(areas.classes.table.entries)
    remove(areas, qtbot)
    remove(areas, qtbot)
    assert len(areas.classes.table) == 2
    areas.strokes.undo()
    assert areas.classes.table.entries == entries[:3]
    areas.strokes.undo()
    assert areas.classes.table.entries == entries
    np.testing.assert_array_equal(areas.strokes.data, kept)


def test_a_layer_of_the_persons_own_is_not_touched(areas: SegmentDock, viewer: ViewerModel, qtbot: QtBot) -> None:
    own = viewer.add_labels(np.full((64, 64), 3, np.uint8), name="mine", scale=(0.5, 0.5), units=("um", "um"))
    areas.notes.set_strokes(areas.image, own)
    areas.message.clear_message()
    kept = areas.strokes.data.copy()
    remove(areas, qtbot)
    assert "'mine' is your own layer and has strokes of 'membrane': erase the label 3" in areas.message.text()
    assert (own.data == 3).all()
    np.testing.assert_array_equal(areas.strokes.data, kept)
    assert len(areas.classes.table) == 3


@pytest.mark.parametrize("shape", [(70, 33), (4, 20, 30), (2, 3, 9, 11)])
def test_a_label_is_found_wherever_it_is(
    shape: tuple[int, ...], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_storage, "_PIECE", 64)
    data = rng.integers(0, 4, shape).astype(np.uint8)
    for array in (data, da.from_array(data, chunks=5)):
        pieces = [piece for piece in find_label(array, 3) if piece is not None]
        assert len(pieces) > 1
        found = np.concatenate([np.stack(piece, axis=1) for piece in pieces])
        np.testing.assert_array_equal(found, np.argwhere(data == 3))
