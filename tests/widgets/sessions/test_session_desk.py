"""Sessions in the dock: nothing that was painted is lost, and no layer of the person's is changed."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog

from napari_unet.session.library import SessionLibrary
from napari_unet.widgets.segment.dock import SegmentDock
from napari_unet.widgets.sessions import desk as session_desk
from napari_unet.widgets.sessions import watch as session_watch
from tests.widgets.session_steps import close, crash, image_on_disk, paint, strokes_on_disk, tiny_model, wait_idle


def test_a_session_is_offered_after_a_crash_and_comes_back_whole(
    painted_session: SegmentDock, other_dock: Any, qtbot: QtBot, image: np.ndarray
) -> None:
    before = painted_session
    strokes, layer = before.strokes, before.image
    assert strokes is not None
    assert layer is not None
    crash(before)

    dock = other_dock()
    assert dock.panel.offer.text.text().startswith("A session from ")
    assert dock.panel.offer.text.text().endswith(" with 3 strokes on 1 image was not closed.")
    dock.panel.offer.yes.click()
    wait_idle(dock, qtbot)
    assert dock.panel.offer.isHidden()
    assert dock.image is not None
    assert dock.strokes is not None
    np.testing.assert_array_equal(dock.strokes.data, strokes.data)
    np.testing.assert_array_equal(dock.image.data, image)
    assert dock.strokes.data.dtype == strokes.data.dtype
    for mine, theirs in ((dock.image, layer), (dock.strokes, strokes)):
        assert mine.name == theirs.name
        np.testing.assert_allclose(
            mine._transforms[1:].simplified.affine_matrix, theirs._transforms[1:].simplified.affine_matrix
        )
        assert mine.units == theirs.units
        assert mine.axis_labels == theirs.axis_labels
    assert dock.image.source.path == layer.source.path
    assert dock.image.contrast_limits == layer.contrast_limits
    assert dock.classes.table.entries == before.classes.table.entries
    assert dock.task == "classes"
    assert dock.panel.seconds.value() == 17
    assert dock.panel.train_form.values()["seed"] == 5

    qtbot.waitUntil(lambda: SessionLibrary().unfinished() == [])  # kept by the new session now
    crash(dock)
    third = other_dock()
    third.panel.offer.yes.click()
    wait_idle(third, qtbot)
    assert third.strokes is not None
    np.testing.assert_array_equal(third.strokes.data, strokes.data)


def test_forgetting_puts_the_session_away_but_does_not_remove_it(
    painted_session: SegmentDock, other_dock: Any, qtbot: QtBot
) -> None:
    crash(painted_session)
    dock = other_dock()
    dock.panel.offer.no.click()
    assert SessionLibrary().unfinished() == []
    assert other_dock().panel.offer.isHidden()
    dock.panel.session.restore.click()
    wait_idle(dock, qtbot)
    assert dock.strokes is not None
    assert dock.strokes.data.any()


@pytest.mark.parametrize("opened", ["nothing", "model", "labels"])
def test_a_session_in_which_nothing_was_painted_is_not_offered(
    other_dock: Any, qtbot: QtBot, image: np.ndarray, opened: str
) -> None:
    dock = other_dock()
    layer = dock.viewer.add_image(image)
    qtbot.waitUntil(lambda: dock.strokes is not None)
    if opened == "model":
        dock.runner.adopt(tiny_model(), "cells")
    elif opened == "labels":
        labels = dock.viewer.add_labels((image > 0.5).astype(np.uint8), name="by another program")
        dock.notes.set_strokes(layer, labels)
        dock.update_image()
        assert dock.strokes is labels
    crash(dock)
    after = other_dock()
    assert after.panel.offer.isHidden()
    assert [kept.document.closed for kept in SessionLibrary().sessions()] == [False] * (opened != "nothing")


def test_a_dock_that_is_closed_leaves_a_session_that_can_be_restored_by_choice(
    painted_session: SegmentDock, other_dock: Any, qtbot: QtBot
) -> None:
    strokes = painted_session.strokes
    assert strokes is not None
    paint(painted_session, 2, 40)
    close(painted_session)
    assert SessionLibrary().unfinished() == []
    dock = other_dock()
    assert dock.panel.offer.isHidden()
    dock.session.restore_last()
    wait_idle(dock, qtbot)
    assert dock.strokes is not None
    np.testing.assert_array_equal(dock.strokes.data, strokes.data)


def test_a_window_that_takes_its_layers_along_keeps_the_strokes(painted_session: SegmentDock, sessions: Path) -> None:
    painted_session.viewer.layers.clear()  # as napari does when a viewer is closed
    close(painted_session)
    (kept,) = SessionLibrary().sessions()
    assert kept.document.stroke_count == 3
    assert kept.document.painted


def test_nothing_to_restore_is_said(other_dock: Any, qtbot: QtBot, do: Any) -> None:
    dock = other_dock()
    dock.panel.session.restore.click()
    wait_idle(dock, qtbot)
    assert "no earlier session" in dock.message.text()


def test_a_file_that_was_moved_is_asked_for(
    painted_session: SegmentDock, other_dock: Any, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strokes = painted_session.strokes
    assert strokes is not None
    crash(painted_session)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(tmp_path / "cells.npy", tmp_path / "elsewhere" / "renamed.npy")
    np.save(tmp_path / "other.npy", np.zeros((9, 9), np.float32))
    dock = other_dock()
    dock.panel.offer.yes.click()
    wait_idle(dock, qtbot)
    brought = next(layer for layer in dock.viewer.layers if isinstance(layer, Labels))
    np.testing.assert_array_equal(brought.data, strokes.data)
    assert dock.image is None
    assert f"'{tmp_path / 'cells.npy'}'" in dock.panel.offer.text.text()

    missing = dock.panel.offer.offers[0]
    dock.panel.offer.add(missing)  # the person may choose the wrong file first
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "other.npy"), ""))
    dock.panel.offer.yes.click()
    wait_idle(dock, qtbot)
    assert "60 × 80 pixels" in dock.message.text()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(moved), ""))
    dock.panel.offer.yes.click()
    wait_idle(dock, qtbot)
    assert dock.image is not None
    assert dock.strokes is brought
    np.testing.assert_allclose(dock.image.translate, (3, 4))
    assert dock.image.source.path == str(moved)


def test_strokes_without_their_image_are_kept_on(
    painted_session: SegmentDock, other_dock: Any, qtbot: QtBot, tmp_path: Path
) -> None:
    crash(painted_session)
    (tmp_path / "cells.npy").unlink()
    dock = other_dock()
    dock.panel.offer.yes.click()
    wait_idle(dock, qtbot)
    dock.panel.offer.no.click()
    close(dock)
    (kept, *_) = SessionLibrary().sessions()
    assert kept.document.stroke_count == 3
    assert kept.document.images[0].path == str(tmp_path / "cells.npy")


def test_strokes_in_the_window_are_left_alone(
    painted_session: SegmentDock, other_dock: Any, qtbot: QtBot, tmp_path: Path, image: np.ndarray
) -> None:
    strokes = painted_session.strokes
    assert strokes is not None
    crash(painted_session)
    dock = other_dock()
    mine = image_on_disk(dock, tmp_path / "cells.npy", image)
    qtbot.waitUntil(lambda: dock.strokes is not None)
    own = dock.strokes
    paint(dock, 1, 3)
    before = own.data.copy()
    names = dock.classes.table.names
    dock.panel.offer.yes.click()
    wait_idle(dock, qtbot)
    assert own in dock.viewer.layers
    np.testing.assert_array_equal(own.data, before)
    (other,) = [layer for layer in dock.viewer.layers if layer.name.endswith("(restored)")]
    np.testing.assert_array_equal(other.data, strokes.data)
    assert [layer for layer in dock.viewer.layers if layer.name == mine.name] == [mine]
    assert dock.classes.table.names == names
    assert other.name in dock.message.text()
    close(dock)
    (kept, *_) = SessionLibrary().sessions()
    assert kept.document.stroke_count == 4


def test_the_empty_layer_of_an_open_image_is_filled(
    painted_session: SegmentDock, other_dock: Any, qtbot: QtBot, tmp_path: Path, image: np.ndarray
) -> None:
    strokes = painted_session.strokes
    assert strokes is not None
    crash(painted_session)
    dock = other_dock()
    image_on_disk(dock, tmp_path / "cells.npy", image)
    qtbot.waitUntil(lambda: dock.strokes is not None)
    before = list(dock.viewer.layers)
    dock.panel.offer.yes.click()
    wait_idle(dock, qtbot)
    assert list(dock.viewer.layers) == before
    np.testing.assert_array_equal(dock.strokes.data, strokes.data)


def test_a_removed_strokes_layer_can_be_brought_back(
    painted_session: SegmentDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    dock = painted_session
    strokes = dock.strokes
    assert strokes is not None
    dock.session.watch.look()
    before = strokes.data.copy()
    dock.viewer.layers.remove(strokes)
    qtbot.wait(50)
    assert strokes.name in dock.message.text()
    monkeypatch.setattr(session_watch, "_CLOSING_SECONDS", 0.0)
    assert dock.session.watch.state().document.strokes == ()
    assert not dock.panel.session.bring_back.isHidden()
    dock.panel.session.bring_back.click()
    qtbot.wait(50)
    assert dock.strokes is strokes
    np.testing.assert_array_equal(strokes.data, before)
    assert dock.panel.session.bring_back.isHidden()
    assert dock.session.watch.state().document.stroke_count == 3


def test_strokes_that_were_brought_back_are_painted_on_and_saved_again(
    painted_session: SegmentDock, other_dock: Any, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, sessions: Path
) -> None:
    monkeypatch.setattr(session_watch, "_CLOSING_SECONDS", 0.0)
    dock = painted_session
    strokes = dock.strokes
    assert strokes is not None
    before = strokes.data.copy()
    qtbot.waitUntil(lambda: strokes_on_disk(sessions)[1] == 3)
    dock.viewer.layers.remove(strokes)
    qtbot.waitUntil(lambda: dock.strokes is None)
    dock.desk.choose_class(0)  # makes a new layer
    assert dock.strokes is not None
    assert dock.strokes is not strokes
    dock.session.watch.look()
    paint(dock, 1, 5)
    qtbot.waitUntil(lambda: strokes_on_disk(sessions)[1] == 1)
    dock.panel.session.bring_back.click()
    assert dock.strokes is strokes
    assert dock.strokes_chooser.layer is strokes
    paint(dock, 2, 50)
    crash(dock)

    after = other_dock()
    after.panel.offer.yes.click()
    wait_idle(after, qtbot)
    brought = next(layer for layer in after.viewer.layers if layer.name.startswith(strokes.name))
    assert (before > 0).sum() < (strokes.data > 0).sum()
    np.testing.assert_array_equal(brought.data, strokes.data)


def save_and_crash(dock: SegmentDock, qtbot: QtBot, folder: Path) -> None:
    """Save the session to a folder, and leave it unfinished, too."""
    dock.session.save_to(folder)
    wait_idle(dock, qtbot)
    crash(dock)


def test_what_is_asked_for_while_sessions_are_looked_for_is_done_then(
    painted_session: SegmentDock, viewer: Any, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_and_crash(painted_session, qtbot, tmp_path / "mine")
    unfinished, go_on = SessionLibrary.unfinished, threading.Event()

    def look(library: SessionLibrary) -> Any:
        go_on.wait(60)
        return unfinished(library)

    monkeypatch.setattr(SessionLibrary, "unfinished", look)
    dock = SegmentDock(viewer)
    qtbot.waitUntil(lambda: dock.session.is_busy)
    dock.session.open_from(tmp_path / "mine")
    assert dock.message.text() == ""
    dock.session.restore_last()
    assert "wait until that is done" in dock.message.text()
    go_on.set()
    wait_idle(dock, qtbot)
    assert dock.strokes is not None
    assert dock.strokes.data.any()
    assert not dock.panel.offer.isHidden()
    close(dock)
    dock.deleteLater()


def test_what_is_asked_for_before_sessions_are_looked_for_comes_first(
    painted_session: SegmentDock, viewer: Any, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_and_crash(painted_session, qtbot, tmp_path / "mine")
    load, go_on = session_desk.load_session, threading.Event()

    def load_slowly(*arguments: Any, **options: Any) -> Any:
        go_on.wait(60)
        yield from load(*arguments, **options)

    monkeypatch.setattr(session_desk, "load_session", load_slowly)
    dock = SegmentDock(viewer)
    dock.session.open_from(tmp_path / "mine")
    qtbot.wait(600)  # longer than until it looks
    assert dock.message.text() == ""
    go_on.set()
    qtbot.waitUntil(lambda: not dock.panel.offer.isHidden())
    assert dock.strokes is not None
    assert dock.strokes.data.any()
    close(dock)
    dock.deleteLater()
