"""Where sessions go: folders of the person's, disks that are full, windows beside each other."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog

import napari_unet.data.storage as storage
from napari_unet.session.library import SessionLibrary
from napari_unet.session.recorder import Recorder
from napari_unet.widgets.segment.dock import SegmentDock
from napari_unet.widgets.sessions import desk as session_desk
from napari_unet.widgets.sessions import settings as session_settings
from napari_unet.widgets.sessions import watch as session_watch
from tests.widgets.session_steps import (
    close,
    image_on_disk,
    layer_names,
    paint,
    strokes_on_disk,
    tiny_model,
    wait_idle,
)


def test_an_undone_stroke_and_an_exchanged_array_are_kept(
    painted_session: SegmentDock, qtbot: QtBot, sessions: Path
) -> None:
    strokes = painted_session.strokes
    assert strokes is not None
    strokes.undo()
    qtbot.waitUntil(lambda: np.array_equal(strokes_on_disk(sessions)[0], strokes.data))
    strokes.data = np.roll(strokes.data, 5)
    qtbot.waitUntil(lambda: np.array_equal(strokes_on_disk(sessions)[0], strokes.data))


def test_a_saved_session_opens_from_another_folder(
    painted_session: SegmentDock, other_dock: Any, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strokes = painted_session.strokes
    assert strokes is not None
    painted_session.panel.window_form.set_values({"answers": False})  # which would tell how the model is adapted
    painted_session.runner.adopt(tiny_model(), "mine.unet.safetensors")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "mine.unet-session"), ""))
    painted_session.panel.session.save.click()
    wait_idle(painted_session, qtbot)
    assert "mine.unet-session" in painted_session.message.text()
    (tmp_path / "usb").mkdir()
    shutil.move(tmp_path / "mine.unet-session", tmp_path / "usb" / "copy")
    shutil.move(tmp_path / "cells.npy", tmp_path / "usb" / "cells.npy")
    close(painted_session)

    dock = other_dock()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "usb" / "copy"))
    dock.panel.session.open.click()
    wait_idle(dock, qtbot)
    assert dock.strokes is not None
    assert dock.image is not None
    np.testing.assert_array_equal(dock.strokes.data, strokes.data)
    assert dock.runner.model is not None
    assert dock.runner.model.config.features == 2
    assert dock.runner.model_name == "mine.unet.safetensors"


def test_an_image_without_a_file_travels_with_the_session(
    other_dock: Any, qtbot: QtBot, tmp_path: Path, image: np.ndarray
) -> None:
    dock = other_dock()
    dock.viewer.add_image(image, name="made")
    qtbot.waitUntil(lambda: dock.strokes is not None)
    paint(dock, 1, 3)
    dock.session.save_to(tmp_path / "with")
    wait_idle(dock, qtbot)
    dock.panel.session.keep_images.setChecked(False)
    dock.session.save_to(tmp_path / "without")
    wait_idle(dock, qtbot)
    assert "'made'" in dock.message.text()
    other = other_dock()
    other.session.open_from(tmp_path / "with")
    wait_idle(other, qtbot)
    np.testing.assert_array_equal(other.image.data, image)
    third = other_dock()
    third.session.open_from(tmp_path / "without")
    wait_idle(third, qtbot)
    assert third.image is None
    assert "'made' was not found" in third.panel.offer.text.text()


@pytest.mark.parametrize(("what", "words"), [("missing", "is not a session"), ("damaged", "damaged")])
def test_what_is_no_session_is_refused(other_dock: Any, qtbot: QtBot, tmp_path: Path, what: str, words: str) -> None:
    if what == "damaged":
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "session.json").write_text("{")
    dock = other_dock()
    dock.session.open_from(tmp_path / "s")
    wait_idle(dock, qtbot)
    assert words in dock.message.text()
    assert layer_names(dock) == []


def test_a_folder_of_the_persons_is_not_written_into(
    painted_session: SegmentDock, qtbot: QtBot, tmp_path: Path, other_dock: Any
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    painted_session.session.save_to(tmp_path / "photos")
    wait_idle(painted_session, qtbot)
    assert "choose another name" in painted_session.message.text()
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    empty = other_dock()
    empty.session.save_to(tmp_path / "new")
    wait_idle(empty, qtbot)
    assert "nothing to save" in empty.message.text()
    assert not (tmp_path / "new").exists()


def test_a_full_disk_is_told_once_and_painting_goes_on(
    other_dock: Any, qtbot: QtBot, image: np.ndarray, monkeypatch: pytest.MonkeyPatch, do: Any, tmp_path: Path
) -> None:
    def full(*_: Any) -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    tries: list[int] = []
    monkeypatch.setattr(session_watch, "Recorder", partial(Recorder, retry=0.3))
    dock = other_dock()
    image_on_disk(dock, tmp_path / "a.npy", image)
    qtbot.waitUntil(lambda: dock.strokes is not None)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "_flush", full)
        paint(dock, 1, 3)
        qtbot.waitUntil(lambda: "disk full" in dock.message.text())
        dock.message.clear_message()
        before = len(tries)
        paint(dock, 2, 5)
        qtbot.waitUntil(lambda: len(tries) > before + 1)
        assert dock.message.text() == ""
        assert dock.strokes.data[5, 9] == 2
    qtbot.waitUntil(lambda: "again" in dock.message.text())


def test_autosave_can_be_switched_off(
    painted_session: SegmentDock, qtbot: QtBot, sessions: Path, monkeypatch: pytest.MonkeyPatch, other_dock: Any
) -> None:
    for module in (session_watch, session_desk):
        monkeypatch.setattr(module, "autosave_wanted", lambda: False)
    painted_session.session.watch.look()
    assert painted_session.session.watch.recorder is None
    dock = other_dock()
    assert "off" in dock.panel.session.status.text()
    dock.viewer.add_image(np.zeros((30, 60)), name="a")
    qtbot.waitUntil(lambda: dock.strokes is not None)
    paint(dock, 1, 3)
    qtbot.wait(600)
    assert dock.session.watch.recorder is None


def test_the_preference_is_in_the_manifest(npe2pm: Any) -> None:
    import npe2

    manifest = npe2.PluginManifest.from_file(Path(session_settings.__file__).parents[2] / "napari.yaml")
    (contribution,) = [manifest.contributions.configurations["session"]]
    assert contribution.properties["autosave"].default is True
    assert session_settings.autosave_wanted()


def test_two_windows_do_not_meet(
    painted_session: SegmentDock, other_dock: Any, qtbot: QtBot, image: np.ndarray
) -> None:
    painted_session.session.watch.look()
    dock = other_dock()
    dock.viewer.add_image(image, name="second")
    qtbot.waitUntil(lambda: dock.strokes is not None)
    paint(dock, 1, 3)
    dock.session.watch.look()
    folders = {window.session.watch.recorder.writer.folder for window in (painted_session, dock)}
    qtbot.waitUntil(lambda: all((folder / "session.json").exists() for folder in folders))
    assert len(folders) == 2
    assert SessionLibrary().unfinished() == []
    assert other_dock().panel.offer.isHidden()
