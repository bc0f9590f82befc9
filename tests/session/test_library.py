"""The folder of sessions: who works on what, what is offered again, and what is removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_unet.errors import SessionError
from napari_unet.session import library as library_module
from napari_unet.session.document import read_document, write_document
from napari_unet.session.library import SessionLibrary, default_folder
from napari_unet.session.lock import is_locked, write_lock
from napari_unet.session.writer import SessionWriter


@pytest.fixture
def library(tmp_path: Path) -> SessionLibrary:
    return SessionLibrary(tmp_path / "sessions")


def add(library: SessionLibrary, state_of: Any, *, closed: bool = False, day: int = 1, locked: bool = False) -> Path:
    writer = SessionWriter(library.new_folder(), locked=locked)
    writer.save(state_of({"s1": np.ones((9, 9), np.uint8)}), closed=closed)
    file = writer.folder / "session.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"saved": f"2026-01-{day:02}T12:00:00+01:00"}))
    return writer.folder


def test_only_sessions_that_nobody_works_on_and_that_were_not_closed_are_offered(
    library: SessionLibrary, state_of: Any
) -> None:
    older, newer = add(library, state_of, day=1), add(library, state_of, day=2)
    closed = add(library, state_of, closed=True, day=3)
    add(library, state_of, day=4, locked=True)
    (library.folder / "damaged").mkdir()
    (library.folder / "damaged" / "session.json").write_text("{")
    assert [kept.folder for kept in library.unfinished()] == [newer, older]
    assert [kept.folder for kept in library.sessions()] == [closed, newer, older]
    library.dismiss(library.unfinished()[0])
    assert [kept.folder for kept in library.unfinished()] == [older]
    assert newer in [kept.folder for kept in library.sessions()]


def test_sessions_of_the_same_second_are_in_order(library: SessionLibrary, state_of: Any) -> None:
    folders = [library.new_folder() for _ in range(4)]
    for folder in folders:
        writer = SessionWriter(folder, locked=False)
        writer.save(state_of({"s1": np.ones((9, 9), np.uint8)}), closed=False)
    assert [kept.folder for kept in library.sessions()] == folders[::-1]


def test_a_session_without_strokes_is_not_offered(library: SessionLibrary, state_of: Any) -> None:
    folder = add(library, state_of)
    document = read_document(folder)
    write_document(folder, replace(document, strokes=(replace(document.strokes[0], packs=()),)))
    assert library.sessions() == []


@pytest.mark.parametrize(
    ("count", "model", "model_name", "offered"),
    [(0, "", "", False), (0, "m", "opened", False), (1, "", "", True), (0, "m", "", True), (2, "m", "opened", True)],
)
def test_labels_and_models_that_were_only_opened_are_not_offered(
    library: SessionLibrary, state_of: Any, count: int, model: str, model_name: str, offered: bool
) -> None:
    folder = add(library, state_of)
    document = read_document(folder)
    strokes = (replace(document.strokes[0], count=count),)
    write_document(folder, replace(document, strokes=strokes, model=model, model_name=model_name))
    assert len(library.unfinished()) == offered
    assert [kept.folder for kept in library.sessions()] == [folder]  # to be had by choice


def test_two_windows_have_two_folders(library: SessionLibrary) -> None:
    assert len({library.new_folder() for _ in range(50)}) == 50


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = "import pathlib, sys; from napari_unet.session.lock import *; write_lock(pathlib.Path(sys.argv[1])); input()"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE)
    while not (tmp_path / "lock.json").exists():
        assert process.poll() is None
    assert is_locked(tmp_path)
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()
    assert not is_locked(tmp_path)


def test_a_number_that_was_given_to_another_process_is_told_by_its_start(tmp_path: Path) -> None:
    write_lock(tmp_path)
    file = tmp_path / "lock.json"
    content = json.loads(file.read_text())
    assert content["pid"] == os.getpid()
    file.write_text(json.dumps(content | {"started": content["started"] - 1000}))
    assert not is_locked(tmp_path)


def test_a_lock_of_another_computer_counts_while_it_is_young(tmp_path: Path) -> None:
    write_lock(tmp_path)
    file = tmp_path / "lock.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"host": "elsewhere"}))
    assert is_locked(tmp_path)
    os.utime(file, (1e9, 1e9))
    assert not is_locked(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"host": 1, "pid": "x", "started": null}'])
def test_a_damaged_lock_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock.json").write_text(text)
    assert not is_locked(tmp_path)


def test_old_sessions_are_removed_the_closed_ones_first(library: SessionLibrary, state_of: Any) -> None:
    unfinished = add(library, state_of, day=1)
    closed = [add(library, state_of, closed=True, day=day) for day in range(2, 7)]
    working = add(library, state_of, closed=True, day=1, locked=True)
    library.prune(most_sessions=3)
    assert {kept.folder for kept in library.sessions()} == {unfinished, *closed[-2:]}
    assert working.is_dir()
    assert not closed[0].exists()
    library.prune(most_bytes=1)
    assert [kept.folder for kept in library.sessions()] == [unfinished]


def test_leftovers_are_removed_and_foreign_folders_are_not(
    library: SessionLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("leftover", "fresh"):
        (library.folder / name / "strokes").mkdir(parents=True)
    (library.folder / "mine").mkdir()
    (library.folder / "mine" / "diary.txt").touch()
    for name in ("leftover", "mine"):
        os.utime(library.folder / name, (1e9, 1e9))
    library.prune()
    assert sorted(path.name for path in library.folder.iterdir()) == ["fresh", "mine"]


def test_a_missing_folder_has_no_sessions(tmp_path: Path) -> None:
    library = SessionLibrary(tmp_path / "missing")
    assert library.sessions() == library.unfinished() == []
    library.prune()
    with pytest.raises(SessionError):
        read_document(library.new_folder())


def test_the_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(library_module._VARIABLE, str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv(library_module._VARIABLE)
    assert default_folder().parts[-2:] == ("napari-unet", "sessions")
