"""One network in training: how much it looks at, its average, its statistics, its state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from napari_unet.data.axes import ImageLayout
from napari_unet.data.crops import AnnotatedFrame, CropSampler
from napari_unet.data.intensity import FrameReader, IntensityRange
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.trainer import _STATISTICS_BATCHES, Trainer
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import Device
from napari_unet.nets.registry import build_network

CPU = Device(torch.device("cpu"), "CPU", None)

MakeTrainer = Callable[..., Trainer]


@pytest.fixture
def make_trainer(blobs: Any) -> MakeTrainer:
    def make(*, seed: int = 0, network: dict[str, Any] | None = None, **settings: Any) -> Trainer:
        image, truth = blobs((48, 48))
        frame = AnnotatedFrame(
            FrameReader(image, ImageLayout("YX", (48, 48)), IntensityRange((0.0,), (100.0,))), (), (0, 0),
            truth.astype(np.uint8), np.ones((48, 48), np.float32),
        )  # fmt: skip
        torch.manual_seed(5)
        built = build_network(ModelConfig(**({"features": 4, "depth": 1} | (network or {}))))
        config = TrainConfig(seed=seed, **settings)
        return Trainer(built, CropSampler([frame], (16, 16), (16, 16), seed), config, 4, CPU)

    return make


def _run(trainer: Trainer, steps: int) -> None:
    for _ in range(steps):
        for _ in trainer.step(None):
            pass
        assert trainer.settle(at_once=True) is None


def test_the_chosen_loss_is_what_is_learnt(make_trainer: MakeTrainer) -> None:
    different = [
        {"loss": "cross-entropy+dice"}, {"loss": "cross-entropy+dice", "dice_weight": 2.0}, {"loss": "cross-entropy"},
        {"loss": "focal"}, {"loss": "focal", "focal_gamma": 1.0}, {"loss": "cross-entropy+boundary"},
        {"loss": "cross-entropy+boundary", "boundary_weight": 2.0},
    ]  # fmt: skip
    losses = []
    for settings in different:
        trainer = make_trainer(**settings)
        _run(trainer, 2)
        losses.append(trainer.loss)
    assert len({round(loss, 6) for loss in losses}) == len(different)


def test_the_average_follows_the_weights_and_forgets_the_start(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(ema_decay=0.9)
    expected: dict[str, torch.Tensor] = {}
    for count in range(40):
        _run(trainer, 1)
        for name, value in trainer.network.named_parameters():
            decay = min(0.9, (1 + count) / (10 + count))
            old = expected.get(name, value.detach())
            expected[name] = old * decay + value.detach() * (1 - decay)
    for name, value in trainer.averaged_network.named_parameters():
        torch.testing.assert_close(value.detach(), expected[name], rtol=1e-4, atol=1e-5)


def test_without_averaging_the_average_is_the_network(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(ema_decay=0.0)
    _run(trainer, 3)
    for a, b in zip(trainer.averaged_network.parameters(), trainer.network.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_statistics_are_those_that_pytorch_measures(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    _run(trainer, 9)
    seen = list(trainer._seen)
    assert 2 < len(seen) == _STATISTICS_BATCHES
    assert len(list(trainer.measure_statistics())) == len(seen)  # a pause after each batch
    measured = {key: value.clone() for key, value in trainer.averaged_network.state_dict().items()}
    update_bn(seen, trainer.average.module)
    for key, value in trainer.averaged_network.state_dict().items():
        torch.testing.assert_close(measured[key], value)
    assert not trainer.averaged_network.training
    assert len(list(trainer.measure_statistics(2))) == 2
    assert all(m.momentum == 0.1 for m in trainer.average.module.modules() if isinstance(m, nn.BatchNorm2d))


def test_statistics_are_measured_without_dropout_and_by_no_chance(make_trainer: MakeTrainer) -> None:
    results = []
    for disturbance in (1, 2):
        trainer = make_trainer(network={"dropout": 0.5, "depth": 2})
        _run(trainer, 4)
        torch.manual_seed(disturbance)
        list(trainer.measure_statistics())
        results.append([value.clone() for value in trainer.averaged_network.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("norm", ["instance", "group", None])
def test_without_batch_normalisation_there_is_nothing_to_measure(norm: Any, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(network={"norm": norm})
    _run(trainer, 2)
    assert list(trainer.measure_statistics()) == []


def test_measuring_may_be_broken_off(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer()
    _run(trainer, 6)
    measuring = trainer.measure_statistics()
    next(measuring)
    measuring.close()  # type: ignore[attr-defined]
    layers = [m for m in trainer.average.module.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(layer.momentum == 0.1 and not layer.training for layer in layers)
    _run(trainer, 2)
    assert len(list(trainer.measure_statistics())) == _STATISTICS_BATCHES


def test_a_state_restores_everything(make_trainer: MakeTrainer) -> None:
    settings: dict[str, Any] = {"network": {"dropout": 0.3, "depth": 2}}
    trainer = make_trainer(**settings)
    _run(trainer, 5)
    state = trainer.state()
    tensors = {key: value.clone() for key, value in state.tensors.items()}
    other = make_trainer(seed=0, **settings)
    _run(other, 2)  # somewhere else
    other.load_state(tensors, state.numbers)
    assert (other.steps, other.loss) == (5, trainer.loss)
    for one in (trainer, other):
        _run(one, 4)
    assert trainer.loss == other.loss
    for a, b in zip(trainer.state().tensors.items(), other.state().tensors.items(), strict=True):
        assert a[0] == b[0]
        assert torch.equal(a[1], b[1]), a[0]


def test_the_network_that_is_given_is_copied(make_trainer: MakeTrainer) -> None:
    torch.manual_seed(5)
    network = build_network(ModelConfig(features=4, depth=1))
    before = [p.clone() for p in network.parameters()]
    trainer = make_trainer()
    given = Trainer(network, trainer.sampler, TrainConfig(), 2, CPU)
    _run(given, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_the_rate_warms_up_and_falls_to_the_end(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(learning_rate=0.01)
    rates = []
    for step in range(100):
        trainer.steps = step
        trainer._set_rate(step / 100)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.001)
    assert np.argmax(rates) in (9, 10)
    assert max(rates) < 0.01
    assert (np.diff(rates[10:]) < 0).all()
    assert 0.0002 <= rates[-1] < 0.0003
    trainer._set_rate(None)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)  # without an end it does not fall
