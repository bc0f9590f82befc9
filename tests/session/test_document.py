"""The document of a session: what was written comes back, what makes no sense is refused in words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from napari_unet.errors import SessionError
from napari_unet.session.document import (
    DOCUMENT_NAME,
    ImageEntry,
    SessionDocument,
    StrokesEntry,
    read_document,
    write_document,
)

DOCUMENT = SessionDocument(
    images=(ImageEntry("i1", "Zellen µ", (4, 5, 3), "uint8", path="/data/a.tif", rgb=True, place={"scale": [1, 2]}),),
    strokes=(StrokesEntry("s1", "strokes", (4, 5), "uint16", image="i1", count=3, packs=("s1-000001.npz",)),),
    classes=(("background", "#56b4e9"), ("Zelle", "#e69f00")),
    settings={"task": "objects", "seconds": 60},
    image="i1",
)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    written = write_document(tmp_path, DOCUMENT)
    assert read_document(tmp_path) == written
    assert replace(written, created="", saved="") == DOCUMENT
    later = write_document(tmp_path, written)
    assert later.created == written.created
    assert [path.name for path in tmp_path.iterdir()] == [DOCUMENT_NAME]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "another"}, "not a session of napari-unet"),
        ({"version": 2}, "newer"),
        ({"strokes": None}, "damaged"),
        ({"settings": []}, "damaged"),
        ({"classes": [["one"]]}, "damaged"),
        ({"model": "../../model"}, "damaged"),
        ({"strokes": [{"key": "s", "name": "s", "shape": [4, 5], "dtype": "float32"}]}, "damaged"),
        ({"strokes": [{"key": "s", "name": "s", "shape": [4], "dtype": "uint8"}]}, "damaged"),
        ({"strokes": [{"key": "s", "name": "s", "shape": [4, 5], "dtype": "uint8", "packs": ["/etc/x"]}]}, "damaged"),
        ({"images": [{"key": "i", "name": "i", "shape": [-4, 5], "dtype": "uint8"}]}, "damaged"),
        ({"images": [{"key": "i", "name": 5, "shape": [4, 5], "dtype": "uint8"}]}, "damaged"),
        ({"images": [{"key": "i"}]}, "damaged"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write_document(tmp_path, DOCUMENT)
    file = tmp_path / DOCUMENT_NAME
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(SessionError, match=words):
        read_document(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "<html>", "[" * 100_000])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / DOCUMENT_NAME).write_text(text)
    with pytest.raises(SessionError, match=r"damaged|not a session"):
        read_document(tmp_path)


def test_another_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=r"there is no session\.json"):
        read_document(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(SessionError, match="is not a session"):
        read_document(tmp_path / "file")


def test_what_a_newer_program_adds_in_the_same_version_is_passed_over(tmp_path: Path) -> None:
    written = write_document(tmp_path, DOCUMENT)
    file = tmp_path / DOCUMENT_NAME
    file.write_text(json.dumps(json.loads(file.read_text()) | {"mood": "good"}))
    assert read_document(tmp_path) == written
