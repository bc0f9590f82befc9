"""Learning from the unpainted part: the teacher's term against numpy, and that all kinds of training bear it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet.data.sample import Sample
from napari_unet.learn import trainer as trainer_module
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.consistency import MeanTeacher, disagreement, ramp_up
from napari_unet.learn.events import FitRecovered
from napari_unet.learn.fit import fit
from napari_unet.learn.prepare import prepare_frames
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.registry import build_network

Make = Callable[..., Any]


def _state(model: Model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.network.state_dict().items()}


def _fit(model: Model, samples: list[Sample], config: TrainConfig) -> list[Any]:
    return list(fit(model, samples, config, device="cpu"))


def test_the_term_grows_and_stays() -> None:
    values = [ramp_up(step) for step in range(400)]
    assert values[0] < 0.01
    assert (np.diff(values) >= 0).all()
    assert values[-1] == 1


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 2, 3, 4, 5)])
def test_disagreement_by_hand(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 2, shape) for _ in range(3)]
    shares = [np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in logits]
    expected = np.mean([((share - shares[2]) ** 2).mean() for share in shares[:2]])
    *results, taught = (torch.from_numpy(x) for x in logits)
    assert disagreement(results, taught).item() == pytest.approx(expected, rel=1e-5)
    assert disagreement([taught], taught).item() == 0


@pytest.fixture
def teacher() -> MeanTeacher:
    return MeanTeacher(build_network(ModelConfig(features=4, depth=1)), 2.0, 2, seed=3)


def test_the_student_sees_the_same_places_in_other_greys(teacher: MeanTeacher) -> None:
    crops = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)).round()
    view = teacher.student_view(crops, 5)
    for crop, seen in zip(crops, view, strict=True):
        assert not torch.allclose(crop, seen, atol=0.05)
        assert np.corrcoef(crop.flatten(), seen.flatten())[0, 1] > 0.9
    assert (view.mean((1, 2, 3)) - view.mean((1, 2, 3)).mean()).abs().max() > 0.01  # each in its own way


def test_views_depend_on_seed_and_step_only(teacher: MeanTeacher) -> None:
    crops = torch.rand(2, 1, 16, 16)
    first = teacher.student_view(crops, 5)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    teacher.student_view(crops, 6)
    assert torch.equal(teacher.student_view(crops, 5), first)
    assert not torch.equal(teacher.student_view(crops, 6), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_teacher_is_not_taught(teacher: MeanTeacher) -> None:
    network = teacher._network
    before = [parameter.clone() for parameter in network.parameters()]
    taught = teacher.teach(torch.rand(2, 1, 16, 16))
    assert not taught.requires_grad
    assert not network.training
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    result = taught.clone().requires_grad_(True) * 2
    assert teacher.loss([result], taught, 10**6).item() == pytest.approx(2 * disagreement([result], taught).item())


KINDS: list[dict[str, Any]] = [
    {"dropout": 0.4, "depth": 2},
    {"norm": "group"},
    {"padding": "valid", "norm": None},
    {"ndim": 3},
    {"architecture": "unet++", "depth": 2, "deep_supervision": True},
    {"architecture": "transunet"},
    {"classes": ("background", "a", "b")},
]


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_every_kind_of_network_learns_so_and_a_seed_means_one_result(
    settings: dict[str, Any], make_model: Make, make_sample: Make, quick: Make
) -> None:
    config = quick(consistency=50.0, max_steps=6)
    sample = make_sample((8, 24, 24) if settings.get("ndim") == 3 else (64, 64))
    one, other, without = (make_model(**settings) for _ in range(3))
    _fit(one, [sample], config)
    torch.manual_seed(123)
    _fit(other, [sample], config)
    _fit(without, [sample], replace(config, consistency=0.0))
    assert all(bool(torch.isfinite(value).all()) for value in _state(one).values())
    for key, value in _state(one).items():
        torch.testing.assert_close(_state(other)[key], value, rtol=1e-4, atol=1e-5)
    assert any(not torch.allclose(value, _state(without)[key]) for key, value in _state(one).items())


def test_the_network_agrees_with_itself_more_than_without(make_model: Make, make_sample: Make, quick: Make) -> None:
    """Where nothing is painted, other grey values change less of what it says."""
    image = torch.from_numpy(make_sample((64, 64), seed=4).image / 130).float()[None, None]
    noise = 0.15 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    change = []
    for weight in (0.0, 30.0):
        model = make_model(features=8)
        _fit(model, [make_sample((64, 64), strokes=4)], quick(max_steps=250, consistency=weight, holdout=0.0))
        with torch.no_grad():
            change.append(disagreement([model.network(image + noise)], model.network(image)).item())
    assert change[1] < 0.8 * change[0]


def test_an_image_without_strokes_is_looked_at(make_model: Make, make_sample: Make, quick: Make) -> None:
    painted, unpainted = make_sample(), make_sample(seed=1)
    unpainted = replace(unpainted, annotation=np.zeros_like(unpainted.annotation))
    model = make_model()
    assert len(prepare_frames([painted, unpainted], model.config, quick())) == 1
    frames = prepare_frames([painted, unpainted], model.config, quick(consistency=1.0))
    assert [bool(frame.weights.any()) for frame in frames] == [True, False]
    alone, both = make_model(), make_model()
    config = quick(consistency=50.0)
    _fit(alone, [painted], config)
    _fit(both, [painted, unpainted], config)
    assert any(not torch.allclose(value, _state(both)[key]) for key, value in _state(alone).items())


def test_too_little_memory_halves_these_crops_too(
    make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, sizes = trainer_module.MeanTeacher.teach, []

    def teach(teacher: MeanTeacher, crops: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(crops.shape))
        if crops.shape[0] > 1 or crops.shape[2] > 8:
            raise torch.OutOfMemoryError("out of memory")
        return true(teacher, crops)

    monkeypatch.setattr(trainer_module.MeanTeacher, "teach", teach)
    events = _fit(make_model(), [make_sample()], quick(consistency=1.0, max_steps=3, batch_size=8))
    assert [size[0] for size in sizes[:4]] == [4, 2, 1, 1]
    assert sizes[-1] == (1, 1, 8, 8)
    assert len([event for event in events if isinstance(event, FitRecovered)]) == 4
    assert events[-1].step == 3


def test_the_encoder_may_be_frozen_at_the_same_time(make_model: Make, make_sample: Make, quick: Make) -> None:
    model = make_model()
    model.history = {"steps": 1}
    before = _state(model)
    _fit(model, [make_sample()], quick(consistency=10.0, freeze_encoder=True))
    changed = {key for key, value in _state(model).items() if not torch.equal(before[key], value)}
    assert changed
    assert not {key for key in changed if key.startswith("down")}


def test_channels_that_tell_the_place_are_left_alone() -> None:
    network = build_network(ModelConfig(features=4, depth=1))
    teacher = MeanTeacher(network, 1.0, 2, seed=3)
    crops = torch.rand(2, 3, 16, 16)
    view, alone = teacher.student_view(crops, 5, channels=1), teacher.student_view(crops[:, :1], 5)
    torch.testing.assert_close(view[:, :1], alone)
    assert torch.equal(view[:, 1:], crops[:, 1:])
