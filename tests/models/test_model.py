"""A model comes back from its file as it was, and a file that does not fit is refused in one sentence."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_unet
from napari_unet.errors import InputError, ModelFileError
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.tensor_file import load_tensors, save_tensors

SMALL = ModelConfig(features=4, depth=2, classes=("background", "Zellkörper", "membrane"), in_channels=2)


def _resave(path: Path, **changes: Any) -> None:
    """Write the model file again, checksum and all, with another description."""
    tensors, document = load_tensors(path)
    for key, value in changes.items():
        if value is None:
            del document[key]
        else:
            document[key] = value
    save_tensors(path, tensors, document)


def _refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        Model.load(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        ModelConfig(features=4, depth=1, ndim=3, norm="group"),
        ModelConfig(features=2, depth=2, padding="valid", norm=None, dropout=0.5, low_percentile=0.0),
        ModelConfig(features=4, depth=1, norm="instance", high_percentile=100.0),
    ],
)
def test_model_comes_back_with_the_same_answers(tmp_path: Path, config: ModelConfig) -> None:
    model = Model.create(config, seed=5)
    model.network.train()
    size = (1, config.in_channels, *(64,) * config.ndim)
    image = torch.rand(size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.network(image)  # so that running statistics are not the initial ones
    model.network.eval()
    model.task = "classes"
    model.spacing = (0.5,) * config.ndim
    model.history = {"steps": 7, "best": np.float64(0.5), "losses": (1.0, float("nan"))}
    model.save(tmp_path / "m.unet.safetensors")
    loaded = Model.load(tmp_path / "m.unet.safetensors")
    assert loaded.config == config
    assert loaded.task == "classes"
    assert loaded.spacing == model.spacing
    assert loaded.history == {"steps": 7, "best": 0.5, "losses": [1.0, None]}
    assert not loaded.network.training
    with torch.no_grad():
        assert torch.equal(loaded.network(image), model.network(image))


def test_file_says_who_wrote_it_and_what_it_reads(tmp_path: Path) -> None:
    Model.create(SMALL).save(tmp_path / "m.safetensors")
    _, document = load_tensors(tmp_path / "m.safetensors")
    assert document["package_version"] == napari_unet.__version__
    assert document["axes"] == "YX"
    assert document["config"]["low_percentile"] == SMALL.low_percentile


def test_seed_decides_the_weights_and_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (Model.create(SMALL, seed=seed).network.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_model_without_config_is_the_default_one() -> None:
    assert Model.create(ModelConfig(features=2)).task == "objects"
    assert Model.create().config == ModelConfig()


def test_unknown_architecture_is_refused_at_creation() -> None:
    with pytest.raises(InputError, match="crystal-ball"):
        Model.create(replace(SMALL, architecture="crystal-ball"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "checkpoint"}, "not a model but a checkpoint"),
        ({"kind": None}, "another kind"),
        ({"task": "magic"}, "'magic'"),
        ({"task": None}, "None"),
        ({"spacing": [0.5, "wide"]}, "pixel size"),
        ({"spacing": [0.5, -1.0]}, "pixel size"),
        ({"config": None}, "which network"),
        ({"config": [1, 2]}, "which network"),
        ({"history": [1]}, "training"),
    ],
)
def test_description_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = tmp_path / "m.safetensors"
    Model.create(SMALL).save(path)
    _resave(path, **changes)
    assert words in _refusal(path)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("architecture", "crystal-ball", "crystal-ball"),
        ("sharpness", 11, "'sharpness'"),
        ("features", 0, "`features`"),
        ("features", "many", "can't be built"),
        ("padding", "reflect", "`padding`"),
        ("classes", ["background"], "`classes`"),
        ("features", 8, "shape"),
        ("features", 1024, "shape"),
        ("depth", 3, "weights"),
        ("depth", 1, "weights"),
        ("ndim", 3, "shape"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, setting: str, value: Any, words: str) -> None:
    path = tmp_path / "m.safetensors"
    Model.create(SMALL).save(path)
    _, document = load_tensors(path)
    _resave(path, config={**document["config"], setting: value})
    assert words in _refusal(path)


def test_model_that_can_not_be_described_is_not_saved(tmp_path: Path) -> None:
    model = Model.create(SMALL)
    model.save(tmp_path / "m.safetensors")
    before = (tmp_path / "m.safetensors").read_bytes()
    model.task = "magic"
    with pytest.raises(InputError, match="magic"):
        model.save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.slow
def test_model_file_survives_ten_kills_at_random_times(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = Model.create(ModelConfig(features=16, depth=3))
    model.history = {"round": -1}
    model.save(path)
    script = f"""
        import os, sys
        from napari_unet.models.model import Model
        for line in sys.stdin:
            child = os.fork()
            if child:
                print(child, flush=True)
                os.wait()
                print("ended", flush=True)
                continue
            model = Model.load({str(path)!r})
            while True:
                model.history = {{"round": model.history["round"] + 1}}
                model.save({str(path)!r})
    """
    chance = random.Random(0)
    rounds = -1
    command, env = [sys.executable, "-c", textwrap.dedent(script)], os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for _ in range(10):
            print("go on", file=program.stdin, flush=True)
            child, before = int(program.stdout.readline()), path.stat().st_mtime_ns
            try:
                while path.stat().st_mtime_ns == before:  # until it has written at least once
                    time.sleep(0.005)
                time.sleep(0.1 * chance.random())
            finally:
                os.kill(child, signal.SIGKILL)
            assert program.stdout.readline() == "ended\n"
            reached = Model.load(path).history["round"]
            assert reached > rounds
            rounds = reached
    model.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"], "leftovers were not swept"


def test_the_same_seed_gives_the_same_weights_while_others_make_networks() -> None:
    config = ModelConfig(features=4, depth=2)
    alone = weights_of(Model.create(config, seed=5))
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            Model.create(config, seed=1)

    other = threading.Thread(target=disturb)
    other.start()
    try:
        for _ in range(50):
            found = weights_of(Model.create(config, seed=5))
            assert all(torch.equal(found[key], value) for key, value in alone.items())
    finally:
        stop.set()
        other.join()


def weights_of(model: Model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.network.state_dict().items()}
