"""What the tests of the terminal share: a small image that is easily learnt, and ways to run the command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_unet.cli import main
from napari_unet.data.files import write_image, write_labels
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig


@dataclass
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def error_line(self) -> str:
        """Return the one line that says what went wrong."""
        assert self.code == 1, self
        (line,) = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert "Traceback" not in self.err
        return line


Run = Callable[..., Ran]


@pytest.fixture
def run() -> Run:
    """Return ``run("train", path, ...)``: the command within this process."""

    def run(*arguments: object) -> Ran:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def start_process() -> Callable[..., subprocess.Popen[str]]:
    """Return ``start_process("train", path, ...)``: the command as a process that tells often how far it is."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        code = (
            "import torch; torch.set_num_threads(1); from napari_unet.cli import main, progress;"
            "progress._PLAIN_EVERY_SECONDS = 0.2; main(prog_name='napari-unet')"
        )
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Return a folder with img1.tif, img2.tif (bright discs), strokes on them and the true discs as PNG masks."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :72]
    for number in (1, 2):
        image = rng.normal(100, 8, (64, 72))
        truth = np.zeros((64, 72), np.uint8)
        strokes = np.zeros((64, 72), np.uint8)
        strokes[2:4, 4:68], strokes[28:30, 4:68] = 1, 1
        for index, (row, column) in enumerate([(14, 14), (14, 46), (44, 20), (46, 54)]):
            disc = (y - row - number) ** 2 + (x - column + number) ** 2
            truth[disc < 64] = index + 1
            strokes[disc < 30] = index + 2
        image[truth > 0] += 80
        write_image(tmp_path / f"img{number}.tif", image.astype(np.uint16), "YX", (0.5, 0.25))
        (tmp_path / "strokes").mkdir(exist_ok=True)
        write_labels(tmp_path / "strokes" / f"img{number}.tif", strokes, "YX")
        (tmp_path / "masks").mkdir(exist_ok=True)
        write_labels(tmp_path / "masks" / f"img{number}_mask.png", truth)
    return tmp_path


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """Return the file of a small model for images with one channel."""
    path = tmp_path / "model" / "small.unet.safetensors"
    Model.create(ModelConfig(features=4, depth=1)).save(path)
    return path
