"""The command as a whole: its help, its speed, `info` and `demo`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_unet
from napari_unet import demo as demo_module
from napari_unet.data.files import write_image
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.events import FitProgress, FitStarted
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.settings import describe_settings

HEAVY = ("torch", "numpy", "skimage", "zarr", "tifffile", "napari")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["predict", "-h"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom napari_unet.cli import main\n"
        f"try: main({arguments!r})\n"
        f"finally: print('loaded:', *({set(HEAVY)!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.strip() == "loaded:"


def test_help_names_every_setting_with_its_description(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERMINAL_WIDTH", "300")
    text = " ".join(run("train", "--help").out.split())
    for config in (ModelConfig, TrainConfig):
        for info in describe_settings(config):
            if info.name == "in_channels":
                continue
            option = {"max_seconds": "--seconds", "max_steps": "--steps"}.get(info.name)
            assert (option or f"--{info.name.replace('_', '-')}") in text
            assert info.description.partition("; empty")[0].rstrip(".") in text
            for choice, note in zip(info.choices, info.choice_notes, strict=bool(info.choice_notes)):
                assert f"{choice}: {note}" in text
    assert "--in-channels" not in text
    assert {entry.name for entry in fields(TrainConfig)} == {info.name for info in describe_settings(TrainConfig)}


def test_version_and_bare_command(run: Callable[..., Any]) -> None:
    assert run("--version").out.strip() == f"napari-unet {napari_unet.__version__}"
    assert "predict" in run().out


def test_info_describes_a_model(run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "m.unet.safetensors"
    model = Model.create(ModelConfig(features=4, depth=1, classes=("rest", "nucleus")))
    model.history, model.spacing = {"steps": 7, "best_score": 0.123456789, "images": ["a.tif", "b.tif"]}, (0.5, 0.25)
    model.save(path)
    text = run("info", path).out
    count = sum(weight.numel() for weight in model.network.parameters())
    for words in (
        "rest, nucleus",
        f"{count:,} parameters",
        "0.1235",
        "a.tif, b.tif",
        "0.5 x 0.25 um (YX)",
        "1 channel",
    ):
        assert words in text


def test_info_describes_images_and_says_what_a_model_sees(run: Callable[..., Any], tmp_path: Path) -> None:
    write_image(tmp_path / "x.tif", np.zeros((3, 2, 40, 50), np.uint16), "ZCYX", (2.0, 0.5, 0.5))
    write_image(tmp_path / "y.png", np.zeros((40, 50, 3), np.uint8), "YXS")
    text = run("info", tmp_path / "x.tif", tmp_path / "y.png").out
    for words in (
        "ZCYX: 3 slices, 2 channels, 40 rows, 50 columns", "2 x 0.5 x 0.5 um (ZYX)",
        "3 frames of 40 x 50 with 2 channels",
        "1 frame of 3 x 40 x 50 with 2 channels", "1 frame of 40 x 50 with 3 channels", "not in the file",
    ):  # fmt: skip
        assert words in text
    assert "gone.tif does not exist" in run("info", tmp_path / "gone.tif").error_line()


def test_demo_tells_what_came_out_and_where(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def fake_demo(folder: Path, on_event: Callable[[Any], None], *, seconds: float, should_stop: Any) -> Any:
        asked.append(seconds)
        on_event(FitStarted(0, 0.0, "an abacus", True))
        on_event(FitProgress(1, 1.0, 0.5, 0.5, 1.0))
        paths = [folder / name for name in ("labels.tif", "overlay.png", "annotation.tif", "m.safetensors")]
        return demo_module.DemoResult(0.9, 0.8, 12, 34.0, *paths)

    monkeypatch.setattr(demo_module, "demo", fake_demo)
    done = run("demo", "--out", tmp_path, "--seconds", 7)
    assert done.code == 0, done
    assert asked == [7.0]
    assert "an abacus" in done.err
    assert "Dice of the stained tissue: 0.900" in done.out
    assert "Otsu threshold" in done.out
    assert str(tmp_path / "overlay.png") in done.out


def test_demo_without_napari_says_how_to_install_it(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "napari_unet.widgets.launch", None)
    assert "napari-unet[all]" in run("demo", "--gui").error_line()
