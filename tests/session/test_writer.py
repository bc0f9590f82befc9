"""Writing a session again and again: whole at every moment, and no more than what has changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_unet.data.storage as storage
from napari_unet.errors import SessionError
from napari_unet.session.document import mark_closed, read_document
from napari_unet.session.images import read_copy
from napari_unet.session.lock import is_locked
from napari_unet.session.state import ModelToKeep
from napari_unet.session.writer import SessionWriter


class Killed(BaseException):
    """Stands for SIGKILL: nothing that the program would still do may count."""


def files_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_made_before_there_is_something(tmp_path: Path, state_of: Any) -> None:
    writer = SessionWriter(tmp_path / "session")
    assert not writer.save(state_of({"s1": np.zeros((40, 40), np.uint8)}))
    assert list(tmp_path.iterdir()) == []


def test_strokes_come_back_and_only_changed_tiles_are_written(tmp_path: Path, state_of: Any, on_disk: Any) -> None:
    rng = np.random.default_rng(0)
    labels = {"s1": rng.integers(0, 9, (2000, 1500)).astype(np.uint8), "s2": np.zeros((9, 600, 600), np.uint16)}
    labels["s2"][4, 5:9] = 400
    state, writer = state_of(labels), SessionWriter(tmp_path)
    assert writer.save(state)
    for key, array in labels.items():
        np.testing.assert_array_equal(on_disk(tmp_path)[key], array)
    before = files_of(tmp_path)
    labels["s1"][7, 9] = 200
    writer.save(state, {"s1": [(slice(7, 8), slice(9, 10))]})
    added = {name: size for name, size in files_of(tmp_path).items() if name not in before}
    assert len(added) == 1
    assert sum(added.values()) < max(before.values()) / 5
    np.testing.assert_array_equal(on_disk(tmp_path)["s1"], labels["s1"])


def test_erased_and_removed_strokes_are_gone(tmp_path: Path, state_of: Any) -> None:
    labels = {"s1": np.ones((40, 40), np.uint8), "s2": np.ones((40, 40), np.uint8)}
    writer = SessionWriter(tmp_path)
    writer.save(state_of(labels))
    labels["s1"][:] = 0
    writer.save(state_of({"s1": labels["s1"]}))
    document = read_document(tmp_path)
    assert [entry.key for entry in document.strokes] == ["s1"]
    assert not document.painted
    writer.tidy()
    assert list((tmp_path / "strokes").iterdir()) == []


def test_an_array_that_was_exchanged_is_written_anew(tmp_path: Path, state_of: Any, on_disk: Any) -> None:
    labels = np.zeros((600, 600), np.uint8)
    labels[3] = 1
    writer = SessionWriter(tmp_path)
    writer.save(state_of({"s1": labels}))
    for other in (labels + np.uint8(1), labels[:300].astype(np.uint16), np.zeros((5, 5), np.uint8)):
        writer.save(state_of({"s1": other}), {})
        found = on_disk(tmp_path)["s1"]
        assert found.dtype == other.dtype
        np.testing.assert_array_equal(found, other)


@pytest.mark.parametrize("regions", [{}, None])
def test_strokes_that_went_and_came_back_are_on_the_disk(
    tmp_path: Path, state_of: Any, on_disk: Any, regions: dict[str, Any] | None
) -> None:
    labels = {key: np.full((40, 40), 3, np.uint8) for key in ("s1", "s2")}
    writer = SessionWriter(tmp_path)
    writer.save(state_of(labels))
    writer.save(state_of({"s2": labels["s2"]}), {})
    writer.tidy()
    writer.save(state_of(labels), regions)
    np.testing.assert_array_equal(on_disk(tmp_path)["s1"], labels["s1"])


def test_a_kill_at_any_step_leaves_a_whole_session(
    tmp_path: Path, state_of: Any, on_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Count every call that changes the disk, and end the program before each of them in turn."""
    steps = {"left": -1}

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if steps["left"] == 0:
                raise Killed
            steps["left"] -= 1
            return function(*arguments, **named)

        return call

    labels = np.zeros((2, 600, 600), np.uint8)
    state = state_of({"s1": labels})
    with monkeypatch.context() as patch:
        for module, name in ((os, "replace"), (os, "fsync"), (os, "unlink"), (storage, "_flush"), (storage, "_remove")):
            patch.setattr(module, name, counted(getattr(module, name)))
        killed = 0
        for number in range(200):
            steps["left"] = -1
            folder = tmp_path / str(number)
            writer = SessionWriter(folder, locked=False)
            labels[:] = 0
            labels[0, 100] = 1
            writer.save(state)
            before = labels.copy()
            labels[:, :, 100] = 2
            steps["left"] = number
            try:
                writer.save(state)
                writer.tidy()
            except Killed:
                killed += 1
            ended = steps["left"] > 0
            steps["left"] = -1
            found = on_disk(folder)["s1"]
            assert np.array_equal(found, before) or np.array_equal(found, labels)
            if ended:
                break
    assert killed >= 6


def test_a_failed_save_is_made_good_by_the_next(
    tmp_path: Path, state_of: Any, on_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros((600, 600), np.uint8)
    state, writer = state_of({"s1": labels}), SessionWriter(tmp_path)
    labels[0] = 1
    writer.save(state)
    labels[1], labels[550] = 2, 3

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_flush", full)
        with pytest.raises(storage.StorageError, match="disk full"):
            writer.save(state)
    assert writer.save(state, {})  # nobody notes the regions twice
    np.testing.assert_array_equal(on_disk(tmp_path)["s1"], labels)


def test_a_folder_that_was_removed_is_written_anew(tmp_path: Path, state_of: Any, on_disk: Any) -> None:
    labels = np.ones((60, 60), np.uint8)
    state, writer = state_of({"s1": labels}), SessionWriter(tmp_path / "session")
    writer.save(state)
    shutil.rmtree(tmp_path / "session")
    assert writer.save(state, {})
    np.testing.assert_array_equal(on_disk(tmp_path / "session")["s1"], labels)
    assert is_locked(tmp_path / "session")


def test_many_packs_are_merged_at_leisure(tmp_path: Path, state_of: Any, on_disk: Any) -> None:
    labels = np.zeros((1100, 1100), np.uint8)
    state, writer = state_of({"s1": labels}), SessionWriter(tmp_path)
    for number in range(40):
        labels[10 * number, : 20 * number] = 1 + number
        writer.save(state)
    writer.tidy(lambda: True)
    assert len(files_of(tmp_path / "strokes")) == 39
    writer.tidy()
    assert len(files_of(tmp_path / "strokes")) == 1
    np.testing.assert_array_equal(on_disk(tmp_path)["s1"], labels)
    labels[3] = 77
    writer.save(state)
    np.testing.assert_array_equal(on_disk(tmp_path)["s1"], labels)


def test_images_without_a_file_are_copied_where_something_is_painted(tmp_path: Path, state_of: Any) -> None:
    labels = {key: np.zeros((30, 30), np.uint8) for key in ("s1", "s2", "s3")}
    images = {f"is{number}": np.full((30, 30), number, np.float32) for number in (1, 2, 3)}
    labels["s1"][3] = labels["s2"][3] = 1
    state = state_of(labels, images)
    entries = tuple(
        replace(entry, path="/data/a.tif") if entry.key == "is2" else entry for entry in state.document.images
    )
    state = replace(state, document=replace(state.document, images=entries))
    writer = SessionWriter(tmp_path)
    writer.save(state)
    assert writer.needs_files(state)
    assert writer.save_files(state)
    assert not writer.needs_files(state)
    writer.save(state, {})
    first, second = read_document(tmp_path).images
    assert first.copy.endswith(".npy")
    assert second.copy == ""
    assert first.fingerprint
    np.testing.assert_array_equal(read_copy(tmp_path / "images" / first.copy), images["is1"])
    other = SessionWriter(tmp_path / "other")
    other.save(replace(state, copy_images=False))
    other.save_files(replace(state, copy_images=False))
    assert not (tmp_path / "other" / "images").exists()


def test_the_model_is_written_once_for_each_version(tmp_path: Path, state_of: Any) -> None:
    written = []

    def model(version: int, current: bool = True) -> ModelToKeep:
        def write(path: Path) -> None:
            written.append(version)
            path.write_text(str(version))

        return ModelToKeep(version, f"model {version}", write, lambda: current)

    state = state_of({"s1": np.ones((9, 9), np.uint8)})
    writer = SessionWriter(tmp_path)
    writer.save(state)
    for kept in (model(1), model(1), model(2, current=False), model(3)):
        writer.save_files(replace(state, model=kept))
        writer.save(replace(state, model=kept), {})
    writer.tidy()
    assert written == [1, 2, 3]
    document = read_document(tmp_path)
    assert document.model_name == "model 3"
    assert (tmp_path / document.model).read_text() == "3"
    assert [path.name for path in tmp_path.glob("model-*")] == [document.model]
    writer.save(state, {})
    assert read_document(tmp_path).model == ""


def test_closing_is_noted(tmp_path: Path, state_of: Any) -> None:
    state, writer = state_of({"s1": np.ones((9, 9), np.uint8)}), SessionWriter(tmp_path)
    writer.save(state)
    assert is_locked(tmp_path)
    assert not read_document(tmp_path).closed
    mark_closed(tmp_path)
    assert read_document(tmp_path).closed
    writer.save(state, {})
    assert not read_document(tmp_path).closed
    writer.save(state, {}, closed=True)
    writer.close()
    assert read_document(tmp_path).closed
    assert not is_locked(tmp_path)


def test_tidying_a_session_with_a_missing_file_says_so(tmp_path: Path, state_of: Any) -> None:
    writer = SessionWriter(tmp_path)
    writer.save(state_of({"s1": np.ones((9, 9), np.uint8)}))
    shutil.rmtree(tmp_path / "strokes")
    with pytest.raises(SessionError, match="missing"):
        writer.tidy()
