"""The script that trains the starting weights: from nothing to a model file with its record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_unet.data.episodes.stream import EpisodeStream
from napari_unet.errors import InputError
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.models.model import Model
from scripts.pretrain import SETS, main, read_set

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--features", 4, "--depth", 2, "--last-features", 8, "--side", 32, "--batch", 1, "--test-episodes", 4]
QUICK = [*map(str, SMALL), "--processes", "0", "--device", "cpu"]


def test_it_writes_a_model_and_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "w.unet.safetensors"
    assert main(["--out", str(out), "--steps", "2", "--seed", "7", *QUICK]) == 0
    model = Model.load(out)
    assert (model.config.in_channels, model.config.features, model.config.last_features) == (3, 4, 8)
    record = model.history["pretraining"]
    assert record["seed"] == 7
    assert model.history["steps"] == 2
    assert model.closed_form == ClosedForm(**record["closed_form"])
    assert 0 <= record["dice_on_held_out_scenes"]["mean"] <= 1
    assert json.loads((tmp_path / "w.unet.json").read_text())["pretraining"] == record
    assert {path.name for path in tmp_path.iterdir()} == {"w.unet.safetensors", "w.unet.json"}
    assert "mean Dice" in capsys.readouterr().out


def test_volumes_are_trained_on_too(tmp_path: Path) -> None:
    out = tmp_path / "w.unet.safetensors"
    assert main(["--out", str(out), "--steps", "1", "--ndim", "3", *QUICK]) == 0
    assert Model.load(out).config.axes == "ZYX"


def test_an_interrupted_training_is_neither_lost_nor_taken_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "w.unet.safetensors"
    command = ["--out", str(out), "--steps", "3", *QUICK]
    assert main([*command, "--resume"]) == 1
    assert "nothing to resume" in capsys.readouterr().err
    with monkeypatch.context() as patch:

        def fail(*arguments: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr("scripts.pretrain._score", fail)
        with pytest.raises(KeyboardInterrupt):
            main(command)
    capsys.readouterr()
    assert main(command) == 1
    assert "add --resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert "from step 3" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_polite_kill_leaves_a_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "w.unet.safetensors"
    command = [sys.executable, "-u", str(ROOT / "scripts" / "pretrain.py"), "--out", str(out), "--steps", "100000"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [*command, *QUICK, "--processes", "1"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as training:
        assert training.stdout is not None
        assert "training on" in training.stdout.readline()
        assert "step 1 " in training.stdout.readline()
        training.terminate()
        _, errors = training.communicate(timeout=60)
    assert training.returncode == 1
    assert "--resume goes on" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["w.unet.checkpoint.safetensors"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "needs a budget"),
        (("--steps", "1", "--side", "30"), "multiple of 4"),
        (("--steps", "1", "--real", ".", "--sets", "isbi2012_em"), "may not be trained on 'isbi2012_em'"),
        (("--steps", "1", "--real", "nowhere", "--sets", "ct_lung_2d"), "does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert main(["--out", str(tmp_path / "w.safetensors"), *QUICK, *options]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_third_specimen_is_trained_on_in_the_slices_that_show_the_organ(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    images, lung = rng.integers(0, 255, (8, 20, 20), dtype=np.uint8), np.zeros((8, 20, 20), np.uint8)
    for number in (0, 3, 4):
        lung[number, 3 : 13 + number, 3:15] = 255
    np.savez(tmp_path / "ct_lung_2d.npz", images=images, lung=lung)
    group = read_set(tmp_path, "ct_lung_2d")
    assert [int(regions.sum()) for regions in group.regions] == [120, 156]
    patient = np.array(list("bbaaddcc"))
    lung[:, 3:15, 3:15] = 255
    np.savez(tmp_path / "mri_lv_sunnybrook.npz", images=images, lv_cavity=lung, patient=patient)
    assert len(read_set(tmp_path, "mri_lv_sunnybrook").images) == 4
    with pytest.raises(InputError, match="not known"):
        read_set(tmp_path, "something")


@pytest.mark.parametrize("name", SETS)
def test_the_real_sets_are_read(name: str, real_data: Any) -> None:
    archive = name.partition("/")[0]
    real_data(archive)
    folder = Path(os.environ.get("NAPARI_UNET_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    group = read_set(folder, name)
    assert len(group.images) >= 2
    assert all(image.shape[0] == 3 for image in group.images)
    if group.objects is None:
        assert all(0 < regions.mean() < 1 for regions in group.regions)
    else:
        assert all(labels.max() > 1 for labels in group.objects)
    stream = EpisodeStream((32, 32), (40, 40), real=(group,), real_share=1.0)
    assert all(stream.episode(number).source == name for number in range(5))
