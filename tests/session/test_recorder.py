"""Saving by itself: soon, at little cost, and through a full disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_unet.data.storage as storage
from napari_unet.session import recorder as recorder_module
from napari_unet.session.document import read_document
from napari_unet.session.lock import is_locked
from napari_unet.session.recorder import Recorder, RecorderEvent
from napari_unet.session.state import ModelToKeep
from napari_unet.session.writer import SessionWriter
from tests.quickness import Attempts, Bound


@pytest.fixture
def events() -> list[RecorderEvent]:
    return []


@pytest.fixture
def record(tmp_path: Path, events: list[RecorderEvent]) -> Iterator[Callable[[], Recorder]]:
    made: list[Recorder] = []

    def make() -> Recorder:
        recorder = Recorder(SessionWriter(tmp_path / "session"), events.append, delay=0.01, retry=0.1)
        made.append(recorder)
        return recorder

    yield make
    for recorder in made:
        recorder.close()
        assert recorder.wait()


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def kinds(events: list[RecorderEvent]) -> list[str]:
    return [event.kind for event in events]


@pytest.mark.timed
def test_a_stroke_is_on_the_disk_soon(tmp_path: Path, record: Any, state_of: Any, on_disk: Any) -> None:
    labels, recorder = np.zeros((700, 700), np.uint8), record()
    recorder.update(state_of({"s1": labels}))
    folder = tmp_path / "session"
    for attempt in Attempts():
        seconds = []
        for number in range(5):
            labels[100 * number, :] += number + 1
            recorder.touch("s1", (slice(100 * number, 100 * number + 1), slice(0, 700)))
            began = time.monotonic()
            wait_until(lambda: (folder / "session.json").exists() and np.array_equal(on_disk(folder)["s1"], labels))
            seconds.append(time.monotonic() - began)
        attempt.hold("seconds until a stroke is on the disk", max(seconds), Bound(2, 20))


def test_closing_writes_the_rest_and_takes_the_lock_off(
    tmp_path: Path, record: Any, state_of: Any, on_disk: Any
) -> None:
    labels, recorder = np.ones((70, 70), np.uint8), record()
    recorder.update(state_of({"s1": labels}))
    wait_until((tmp_path / "session" / "session.json").exists)
    assert is_locked(tmp_path / "session")
    labels[3] = 9
    recorder.touch("s1")
    recorder.close()
    assert recorder.wait()
    np.testing.assert_array_equal(on_disk(tmp_path / "session")["s1"], labels)
    assert read_document(tmp_path / "session").closed
    assert not is_locked(tmp_path / "session")


def test_nothing_painted_leaves_nothing(tmp_path: Path, record: Any, state_of: Any, events: Any) -> None:
    recorder = record()
    recorder.update(state_of({"s1": np.zeros((70, 70), np.uint8)}))
    recorder.suspect("s1")
    recorder.close()
    assert recorder.wait()
    assert list(tmp_path.iterdir()) == []
    assert events == []


def test_a_recorder_that_was_never_used_ends_too() -> None:
    recorder = Recorder(SessionWriter("nowhere"))
    recorder.close()
    assert recorder.wait()


def test_a_full_disk_is_told_once_and_tried_again(
    tmp_path: Path, record: Any, state_of: Any, on_disk: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        tries.append(1)
        raise OSError(28, "No space left on device")

    tries: list[int] = []
    labels, recorder = np.ones((70, 70), np.uint8), record()
    with monkeypatch.context() as patch:
        patch.setattr(storage, "_flush", full)
        recorder.update(state_of({"s1": labels}))
        wait_until(lambda: len(tries) >= 2)
        assert kinds(events) == ["failed"]
        assert "disk full" in events[0].problem
        labels[5] = 3  # painting goes on
        recorder.touch("s1")
    wait_until(lambda: kinds(events)[-1] == "saved" and np.array_equal(on_disk(tmp_path / "session")["s1"], labels))
    assert kinds(events)[:3] == ["failed", "recovered", "saved"]


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path, state_of: Any, events: Any) -> None:
    (tmp_path / "file").touch()
    recorder = Recorder(SessionWriter(tmp_path / "file" / "session"), events.append, delay=0.01)
    recorder.update(state_of({"s1": np.ones((9, 9), np.uint8)}))
    wait_until(lambda: bool(events))
    recorder.close()
    assert recorder.wait()
    assert kinds(events) == ["failed"]
    assert "not a folder" in events[0].problem


def test_an_error_of_a_model_does_not_hold_up_the_strokes(
    tmp_path: Path, record: Any, state_of: Any, on_disk: Any, events: Any
) -> None:
    def write(path: Path) -> None:
        tries.append(1)
        raise RuntimeError("CUDA error")

    tries: list[int] = []
    labels, recorder = np.ones((70, 70), np.uint8), record()
    state = replace(state_of({"s1": labels}), model=ModelToKeep(1, "m", write))
    recorder.update(state)
    wait_until(lambda: len(tries) >= 2)
    labels[5] = 3
    recorder.touch("s1")
    wait_until(lambda: bool(np.array_equal(on_disk(tmp_path / "session")["s1"], labels)))
    assert kinds(events).count("failed") == 1
    assert "recovered" not in kinds(events)


def test_model_and_copies_follow(tmp_path: Path, record: Any, state_of: Any) -> None:
    labels, image = np.ones((70, 70), np.uint8), np.ones((70, 70), np.float32)
    model = ModelToKeep(1, "m", lambda path: path.write_text("weights") and None)
    recorder = record()
    recorder.update(replace(state_of({"s1": labels}, {"is1": image}), model=model))
    file = tmp_path / "session" / "session.json"
    wait_until(lambda: file.exists() and read_document(file.parent).model != "")
    wait_until(lambda: read_document(file.parent).images[0].copy != "")
    assert (file.parent / read_document(file.parent).model).read_text() == "weights"


def test_large_arrays_are_looked_at_where_they_were_painted_and_whole_now_and_then(
    tmp_path: Path, record: Any, state_of: Any, on_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_SMALL_BYTES", 0)
    labels, recorder = np.zeros((2000, 600), np.uint8), record()
    labels[700, 7] = 1
    recorder.update(state_of({"s1": labels}))
    folder = tmp_path / "session"
    wait_until((folder / "session.json").exists)
    labels[3, 3] = labels[1900, 5] = 2
    recorder.touch("s1", (slice(3, 4), slice(3, 4)))
    wait_until(lambda: on_disk(folder)["s1"][3, 3] == 2)
    assert on_disk(folder)["s1"][1900, 5] == 0
    labels[3, 3] = 0  # undone
    recorder.suspect("s1")
    wait_until(lambda: bool(np.array_equal(on_disk(folder)["s1"], labels)))


def test_a_removed_folder_is_made_again(tmp_path: Path, record: Any, state_of: Any, on_disk: Any, events: Any) -> None:
    labels, recorder = np.ones((70, 70), np.uint8), record()
    recorder.update(state_of({"s1": labels}))
    file = tmp_path / "session" / "session.json"
    wait_until(lambda: "saved" in kinds(events))
    shutil.rmtree(file.parent)
    recorder.touch("s1", (slice(0, 1), slice(0, 1)))
    wait_until(file.exists)
    np.testing.assert_array_equal(on_disk(file.parent)["s1"], labels)
