"""Processes that draw episodes: in the order of one, and gone when they are not needed any more."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from napari_unet.data.episodes.group import annotated_group
from napari_unet.data.episodes.stream import EpisodeStream
from napari_unet.data.episodes.workers import episodes_from_workers
from napari_unet.errors import InputError, UNetError

SMALL = {"shape": (16, 16), "scene_shape": (24, 24), "seed": 2}
SOURCE = Path(__file__).resolve().parents[2] / "src"


def test_processes_draw_what_one_would_draw_and_end() -> None:
    expected = list(islice(EpisodeStream(**SMALL).episodes(first=5), 30))  # type: ignore[arg-type]
    with episodes_from_workers(EpisodeStream(**SMALL), 3, first=5) as episodes:  # type: ignore[arg-type]
        assert len(multiprocessing.active_children()) == 3
        for episode, other in zip(islice(episodes, 30), expected, strict=True):
            assert np.array_equal(episode.images, other.images)
            assert np.array_equal(episode.tasks[0].painted, other.tasks[0].painted)
    assert multiprocessing.active_children() == []


def test_they_end_when_reading_fails() -> None:
    def fail() -> None:
        with episodes_from_workers(EpisodeStream(**SMALL), 1) as episodes:  # type: ignore[arg-type]
            next(episodes)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert multiprocessing.active_children() == []


def test_none_are_started_where_none_are_asked_for() -> None:
    with episodes_from_workers(EpisodeStream(**SMALL), 0) as episodes:  # type: ignore[arg-type]
        next(episodes)
        assert multiprocessing.active_children() == []
    with pytest.raises(InputError, match="processes"), episodes_from_workers(EpisodeStream(**SMALL), 25):  # type: ignore[arg-type]
        pass


def test_an_error_in_a_process_is_told() -> None:
    plain = annotated_group("plain", [np.eye(20)[np.newaxis]] * 2, [np.zeros((20, 20), int)] * 2)
    stream = EpisodeStream((16, 16), (24, 24), real=(plain,), real_share=1.0)
    with pytest.raises(UNetError, match=r"failed: .*No two things"), episodes_from_workers(stream, 1) as episodes:
        next(episodes)


def test_a_process_that_is_killed_is_missed() -> None:
    with episodes_from_workers(EpisodeStream(**SMALL), 1) as episodes:  # type: ignore[arg-type]
        next(episodes)
        (worker,) = multiprocessing.active_children()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        with pytest.raises(UNetError, match="ended before its time"):
            list(islice(episodes, 1000))


LEFT_BEHIND = """
import multiprocessing, os, sys
from napari_unet.data.episodes.stream import EpisodeStream
from napari_unet.data.episodes.workers import episodes_from_workers

if __name__ == "__main__":
    with episodes_from_workers(EpisodeStream((16, 16), (24, 24)), 1) as episodes:
        next(episodes)
        print(multiprocessing.active_children()[0].pid, "torch" in sys.modules, flush=True)
        os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_process_ends_by_itself_when_the_training_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "left_behind.py"
    script.write_text(LEFT_BEHIND)
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    output = tmp_path / "out.txt"
    with output.open("w") as stream:  # a pipe would be held open by the process that is left behind
        subprocess.run([sys.executable, script], stdout=stream, stderr=subprocess.DEVNULL, env=environment, timeout=60)
    pid, torch = output.read_text().split()
    assert torch == "False"
    deadline = time.monotonic() + 60
    while is_running(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not is_running(int(pid))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")
