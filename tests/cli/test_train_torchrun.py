"""`torchrun -m napari_unet train`: the model of one process, and an end with one message when a process is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_unet.data.files import write_labels
from napari_unet.models.model import Model
from tests.quickness import Attempts, Bound

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes of torchrun in /proc")

SMALL = ("--features", 4, "--depth", 2, "--device", "cpu", "--crop", 32, "--precision", "float64")


def _torchrun(*arguments: object) -> subprocess.Popen[str]:
    launch = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "napari_unet")
    command = [*launch, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _files(folder: Path, name: str) -> tuple[object, ...]:
    return ("train", folder, "-a", folder / "strokes", "-o", folder / name)


def _errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("Error: ")]


@pytest.mark.slow
def test_two_processes_end_with_the_model_of_one_with_the_doubled_batch(squares: Path, run: Any) -> None:
    length = ("--steps", 24, "--validate-every", 8)
    assert run(*_files(squares, "one.safetensors"), *SMALL, *length, "--batch-size", 8).code == 0
    process = _torchrun(*_files(squares, "two.safetensors"), *SMALL, *length, "--batch-size", 4)
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert stdout.count("Done: 24 steps") == 1
    assert "2 processes" in stderr
    one, two = (Model.load(squares / f"{name}.safetensors") for name in ("one", "two"))
    assert one.history["best_score"] == two.history["best_score"]
    for key, value in one.network.state_dict().items():
        np.testing.assert_allclose(two.network.state_dict()[key], value, atol=1e-6, rtol=1e-6, err_msg=key)
    assert not (squares / "two.checkpoint.safetensors").exists()


def _wait_for(checkpoint: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the training has begun to keep what it reached."""
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.1)


def _process_of(torchrun: subprocess.Popen[str], rank: int) -> int:
    children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
    return next(int(c) for c in children if f"\0RANK={rank}\0" in Path(f"/proc/{c}/environ").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_killed_process_ends_the_job_with_a_message_and_a_checkpoint_to_go_on_from(
    squares: Path, run: Any, rank: int
) -> None:
    for number, attempt in enumerate(Attempts()):
        name = f"m{number}.safetensors"
        process = _torchrun(*_files(squares, name), *SMALL, "--seconds", 1000, "--batch-size", 4)
        checkpoint = squares / f"m{number}.checkpoint.safetensors"
        _wait_for(checkpoint, process)
        time.sleep(1)
        os.kill(_process_of(process, rank), signal.SIGKILL)
        began = time.monotonic()
        _, stderr = process.communicate(timeout=100)
        attempt.hold("seconds until the job ended", time.monotonic() - began, Bound(20, 20))
        assert process.returncode != 0
    (error,) = _errors(stderr)
    assert "was killed or does not answer" in error
    assert str(checkpoint) in error
    assert not (squares / name).exists()
    again = (*_files(squares, name), "--checkpoint", checkpoint)
    assert run(*again, *SMALL, "--steps", 1, "--batch-size", 8).code == 0
    assert Model.load(squares / name).history["steps"] >= 1


@pytest.mark.slow
def test_bad_input_is_told_once(squares: Path) -> None:
    write_labels(squares / "empty.png", np.zeros((64, 72), np.uint8))
    process = _torchrun("train", squares / "img1.tif", "-a", squares / "empty.png", "-o", squares / "m.safetensors")
    _, stderr = process.communicate(timeout=100)
    (error,) = _errors(stderr)
    assert "Nothing is painted" in error
    assert process.returncode != 0


@pytest.mark.slow
def test_interrupted_processes_write_the_best_model(squares: Path) -> None:
    process = _torchrun(*_files(squares, "m.safetensors"), *SMALL, "--seconds", 1000, "--batch-size", 4)
    _wait_for(squares / "m.checkpoint.safetensors", process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=100)
    assert "Stopped: " in stdout, stderr
    assert Model.load(squares / "m.safetensors").history["steps"] > 0


_TOLD_TO_END = """
import os, signal, sys, time
from unittest.mock import patch
from napari_unet.cli import processes
from napari_unet.errors import UNetError
from napari_unet.learn.distributed import ALONE

class Store:
    def add(self, key, number):
        return number

with (
    patch.multiple(processes, started_by_torchrun=lambda: True, join_processes=lambda: (ALONE, Store())),
    patch.multiple(processes, own_device=str, _SECONDS_TO_SPEAK=float(sys.argv[1])),
    processes.training_processes("cpu"),
):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.5)
    raise UNetError("Another process was lost.")
"""


@pytest.mark.parametrize(("seconds", "code", "errors"), [(100, 1, 1), (0.1, 128 + signal.SIGTERM, 0)])
def test_a_process_that_is_told_to_end_may_say_why_but_not_for_long(seconds: float, code: int, errors: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _TOLD_TO_END, str(seconds)], capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.count("Another process was lost.") == errors
