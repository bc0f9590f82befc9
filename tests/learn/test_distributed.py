"""Several processes with a part of the batch each: what they compute is that of one with the whole batch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet.data.augment import AugmentConfig, Augmenter
from napari_unet.data.crops import CropSampler
from napari_unet.data.sample import Sample
from napari_unet.errors import DeviceError, ProcessLostError
from napari_unet.learn.distributed import ALONE, Processes, fingerprint, own_device, started_by_torchrun, step_fits
from napari_unet.learn.fit import fit
from napari_unet.learn.prepare import prepare_frames
from napari_unet.nets.device import choose_device

SCRIPT = Path(__file__).with_name("part_of_a_batch.py")


@pytest.mark.skipif(sys.platform == "win32", reason="PyTorch for Windows lacks parts of torchrun")
def test_batch_norm_losses_gradients_and_decisions_are_those_of_the_whole_batch() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(SCRIPT)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("same") == 2


def test_parts_of_a_batch_are_drawn_and_varied_as_in_the_whole(
    make_sample: Callable[..., Sample], make_model: Callable[..., Any], quick: Callable[..., Any]
) -> None:
    frames = prepare_frames([make_sample()], make_model().config, quick())

    def draw(part: slice) -> list[torch.Tensor]:
        sampler, augmenter = CropSampler(frames, (16, 16), (16, 16), 1), Augmenter(AugmentConfig(), 2, 1)
        for _ in range(2):  # the second batch only fits if the first one used up the same random numbers
            batch = sampler.draw(6, part)
            crops = augmenter(*map(torch.from_numpy, (batch.image, batch.classes, batch.weights)), whole=6, part=part)
        return list(crops)

    whole = draw(slice(None))
    for rank in range(3):
        part = Processes(rank, 3).share(2)[1]
        for mine, all_crops in zip(draw(part), whole, strict=True):
            assert torch.equal(mine, all_crops[part])


def test_one_process_decides_for_itself() -> None:
    number = torch.ones(2)
    assert ALONE.sum(number) is number
    assert ALONE.any(True)
    assert (ALONE.lead(None), ALONE.lead(0.5), ALONE.least(3)) == (None, 0.5, 3)
    assert not started_by_torchrun()


def test_lost_process_and_lack_of_memory_are_told_with_the_way_to_go_on(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.safetensors"
    checkpoint.write_bytes(b"")
    two = Processes(0, 2)
    told = r"Another of the 2 .*run\.safetensors; the same command with any number"
    with pytest.raises(ProcessLostError, match=told), two.watch(checkpoint):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    told = r"memory was not enough.*Start it again with a smaller batch"
    with pytest.raises(ProcessLostError, match=told), two.watch(tmp_path / "none.safetensors"):
        raise MemoryError
    with pytest.raises(RuntimeError, match="something else"), two.watch(checkpoint):
        raise RuntimeError("something else")


def test_step_that_is_too_large_is_found_out(make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    network, cpu = make_model().network, choose_device("cpu")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert step_fits(network, (2, 1, 16, 16), cpu)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())

    def too_large(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(type(network), "forward", too_large)
    assert not step_fits(network, (2, 1, 16, 16), cpu)


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert (own_device("auto"), own_device("cpu"), chosen) == ("cuda:1", "cpu", ["cuda:1"])
    with pytest.raises(DeviceError, match="'cuda:0'"):
        own_device("cuda:0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(DeviceError, match="--nproc-per-node 2"):
        own_device("auto")


def test_fingerprint_tells_other_strokes(
    make_sample: Callable[..., Sample], make_model: Callable[..., Any], quick: Callable[..., Any]
) -> None:
    one, again, other = (prepare_frames([make_sample(seed=s)], make_model().config, quick()) for s in (1, 1, 2))
    assert fingerprint(one) == fingerprint(again) != fingerprint(other)


def test_training_in_float64_gives_a_model_in_float32(
    make_sample: Callable[..., Sample], make_model: Callable[..., Any], quick: Callable[..., Any]
) -> None:
    model = make_model()
    events = list(fit(model, [make_sample()], quick(max_steps=3, precision="float64"), device="cpu"))
    assert events[-1].step == 3
    assert {value.dtype for value in model.network.parameters()} == {torch.float32}
    assert all(np.isfinite(value.detach().numpy()).all() for value in model.network.parameters())
