"""Killed at any moment, a session holds every stroke that was finished two seconds before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_unet.session.library import KeptSession, SessionLibrary
from napari_unet.session.packs import fill_from_packs, pack_paths
from tests.quickness import Attempts, Bound

KILLS = 20
WAVES = 4  # so that they do not wait for each other at the disk
SECONDS = Bound(2, 20)

# Each child paints a stroke after the other and notes when each was finished; the n-th stroke is row n of its labels,
# and some erase the one before.
PROGRAM = """
import os, sys, time
import numpy as np
from napari_unet.session.document import SessionDocument, StrokesEntry
from napari_unet.session.library import SessionLibrary
from napari_unet.session.recorder import Recorder
from napari_unet.session.state import SessionState
from napari_unet.session.writer import SessionWriter

def paint(number):
    labels = np.zeros((600, 1100), np.uint16)
    entry = StrokesEntry("s1", "strokes", labels.shape, "uint16", count=1)
    state = SessionState(SessionDocument(strokes=(entry,)), {"s1": labels})
    writer = SessionWriter(SessionLibrary(sys.argv[1]).new_folder())
    recorder = Recorder(writer)
    rng = np.random.default_rng(number)
    log = open(os.path.join(sys.argv[2], f"{number}.txt"), "w", buffering=1)
    print(os.getpid(), writer.folder, file=log)
    for stroke in range(600):
        for column in range(0, 1100, 100):
            labels[stroke, column:column + 100] = stroke + 1
        if stroke % 7 == 3:
            labels[stroke - 1] = 0
            recorder.suspect("s1")
        print(stroke, time.time(), file=log)
        recorder.update(state)
        recorder.touch("s1", (slice(stroke, stroke + 1), slice(0, 1100)))
        time.sleep(rng.uniform(0.005, 0.1))
    time.sleep(60)

for wave in range(int(sys.argv[3])):
    for number in range(int(sys.argv[4])):
        if not os.fork():
            paint(wave * int(sys.argv[4]) + number)
    for _ in range(int(sys.argv[4])):
        os.wait()
"""


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its processes by fork")
def test_strokes_survive_a_kill_at_random_moments(tmp_path: Path, rng: np.random.Generator) -> None:
    for number, attempt in enumerate(Attempts()):
        lags = kill_all(tmp_path / str(number), rng)
        assert len(lags) == KILLS
        attempt.hold("age in s of the oldest missing stroke", max(lags), SECONDS)


def kill_all(folder: Path, rng: np.random.Generator) -> list[float]:
    """Start all processes and kill each; return for each the age in seconds of the oldest stroke that is missing."""
    sessions, logs = folder / "sessions", folder / "logs"
    logs.mkdir(parents=True)
    command = [sys.executable, "-c", PROGRAM, str(sessions), str(logs), str(WAVES), str(KILLS // WAVES)]
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    killed: dict[int, float] = {}
    for _ in range(WAVES):
        kill_one_after_the_other(logs, killed, rng.uniform(2.2, 3.5, KILLS // WAVES), parent)
    assert parent.wait(30) == 0
    unfinished = {kept.folder: kept for kept in SessionLibrary(sessions).unfinished()}
    return [check(logs / f"{number}.txt", unfinished, moment) for number, moment in killed.items()]


def kill_one_after_the_other(
    logs: Path, killed: dict[int, float], moments: np.ndarray, parent: subprocess.Popen[bytes]
) -> None:
    """Wait for the next processes to begin, and kill each at its moment; note when."""
    first = len(killed)
    while len([path for path in logs.iterdir() if path.stat().st_size]) < first + len(moments):
        assert parent.poll() is None
        time.sleep(0.02)
    began = time.time()
    for number, moment in sorted(enumerate(moments, start=first), key=lambda pair: pair[1]):
        time.sleep(max(0.0, began + moment - time.time()))
        pid = int((logs / f"{number}.txt").read_text().split(maxsplit=1)[0])
        killed[number] = time.time()
        os.kill(pid, signal.SIGKILL)


def check(log: Path, unfinished: dict[Path, KeptSession], moment: float) -> float:
    """Return the age in seconds of the oldest finished stroke that is missing, 0 where none is."""
    first, *lines = log.read_text().splitlines()
    kept = unfinished.get(Path(first.split(maxsplit=1)[1]))
    if kept is None:  # it was killed before its first save
        return moment - float(lines[0].split()[1]) if lines else 0.0
    (entry,) = kept.document.strokes
    labels = np.zeros(entry.shape, entry.dtype)
    assert fill_from_packs(labels, pack_paths(kept.folder, entry.packs)) == []
    whole = (labels == np.arange(1, len(labels) + 1)[:, None]).all(axis=1)
    for line in lines:
        number, finished = line.split()
        stroke = int(number)
        erased = stroke % 7 == 2 and whole[stroke + 1] and not labels[stroke].any()
        if not (whole[stroke] or erased) or (stroke % 7 == 3 and labels[stroke - 1].any()):
            return moment - float(finished)
    return 0.0
