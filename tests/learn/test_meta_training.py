"""Meta-training: the loss falls, the solution gets better on what was not seen, and it goes on where it was."""

from __future__ import annotations

import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_unet.data.episodes.episode import Episode, PaintedTask
from napari_unet.data.episodes.stream import EpisodeStream
from napari_unet.data.scenes.nuclei import Nuclei
from napari_unet.errors import InputError, ModelFileError, UNetError
from napari_unet.learn.closed_form import ClosedForm, solve_head
from napari_unet.learn.meta import training as meta_module
from napari_unet.learn.meta.config import MetaConfig, MetaFinished, MetaProgress, MetaStarted
from napari_unet.learn.meta.decorrelation import likeness, normalised_maps
from napari_unet.learn.meta.learner import EpisodeBatch, MetaLearner, MetaLoss
from napari_unet.learn.meta.training import meta_train
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import choose_device

CPU = choose_device("cpu", precision="float32")
WHOLE = MetaConfig(max_steps=1, decorrelation=0.0, looked_at=32 * 32)


@pytest.fixture
def stream() -> EpisodeStream:
    return EpisodeStream((32, 32), (40, 40), seed=5)


def make_model(**settings: Any) -> Model:
    return Model.create(ModelConfig(**({"features": 4, "depth": 2, "in_channels": 3, "last_features": 8} | settings)))


def run(model: Model, stream: EpisodeStream, config: MetaConfig, **options: Any) -> list[Any]:
    return list(meta_train(model, stream, config, **({"device": "cpu"} | options)))


def state_of(model: Model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.network.state_dict().items()}


# ---------------------------------------------------------------------------------------------------------- one step


def loss_of(learner: MetaLearner, episodes: list[Episode], config: MetaConfig = WHOLE) -> MetaLoss:
    return learner.loss(EpisodeBatch.gather(episodes, CPU), CPU, config, torch.Generator().manual_seed(0))


def test_the_loss_is_cross_entropy_and_dice_of_the_solved_layers(stream: EpisodeStream) -> None:
    """Against the same, written out for one task after the other."""
    torch.manual_seed(0)
    form = ClosedForm(0.1, 2.0, 0.3)
    learner = MetaLearner(make_model().network, form).eval()
    several = replace(stream, tasks=3)
    episodes = [several.episode(number) for number in range(6)]
    tasks = [task for episode in episodes for task in episode.tasks]
    assert {len(episode.tasks) for episode in episodes} >= {3}
    assert len({int(task.painted.max()) // (32 * 32) for task in tasks}) == 2  # one image painted, or both
    loss = loss_of(learner, episodes)

    expected = []
    for episode in episodes:
        maps = learner.network.features(torch.from_numpy(episode.images.astype(np.float32)))  # type: ignore[operator]
        for task in episode.tasks:
            truth, painted = torch.from_numpy(task.classes).long(), torch.from_numpy(task.painted)
            weight, bias = solve_head(
                maps.movedim(1, -1).reshape(2 * 32 * 32, -1)[painted], truth.flatten()[painted], task.count,
                ridge=0.1, scale=2.0, offset=0.3,
            )  # fmt: skip
            logits = functional.conv2d(maps, weight[:, :, None, None], bias)
            rest = torch.ones(2 * 32 * 32, dtype=torch.bool)
            rest[painted] = False
            for image, share, kept in zip((0, 1), (0.5, 1.0), rest.reshape(2, -1), strict=True):
                x, y = logits[image].flatten(1)[:, kept], truth[image].flatten()[kept]
                probability, hot = x.softmax(0)[1:], functional.one_hot(y, task.count).T[1:]
                dice = 1 - (2 * (probability * hot).sum(1) + 1) / (probability.sum(1) + hot.sum(1) + 1)
                one = functional.cross_entropy(x[None], y[None]) + dice[hot.any(1)].mean()
                expected.append(share * one / len(episode.tasks))
    torch.testing.assert_close(loss.segmentation, torch.stack(expected).sum() / (6 * 1.5), rtol=1e-4, atol=1e-5)
    assert loss.likeness == 0


def test_some_of_the_pixels_tell_about_what_all_would(stream: EpisodeStream) -> None:
    learner = MetaLearner(make_model().network, ClosedForm()).eval()
    episodes = [stream.episode(number) for number in range(6)]
    whole = float(loss_of(learner, episodes).segmentation.detach())
    some = [
        float(
            learner.loss(
                EpisodeBatch.gather(episodes, CPU), CPU, replace(WHOLE, looked_at=300),
                torch.Generator().manual_seed(seed),
            ).segmentation.detach()
        )
        for seed in range(8)
    ]  # fmt: skip
    assert np.mean(some) == pytest.approx(whole, rel=0.05)
    assert len(set(some)) == 8


def test_the_gradient_reaches_the_network_and_the_settings_of_the_solution(stream: EpisodeStream) -> None:
    learner = MetaLearner(make_model().network, ClosedForm())
    sum(loss_of(learner, [stream.episode(0), stream.episode(1)], MetaConfig(max_steps=1))).backward()  # type: ignore[union-attr]
    for name, parameter in learner.named_parameters():
        if ".head." in name:
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_the_score_is_the_dice_on_the_query() -> None:
    class Sees(torch.nn.Module):
        def features(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :1]

    truth = np.zeros((2, 8, 8), np.uint8)
    truth[0, :4] = truth[1, :2] = 1
    images = np.repeat(truth[:, None], 3, 1).astype(np.float16)
    painted = np.array([0, 1, 62, 63])
    learner = MetaLearner(Sees(), ClosedForm(1e-4, 1.0, 0.0))
    task = PaintedTask(truth, painted, 2)
    turned = PaintedTask(1 - truth, painted, 2)
    perfect = Episode(images, (task,), "x")
    images = images.copy()
    images[1, :, 2:4] = 1  # twice as much looks like foreground as is
    worse = replace(perfect, images=images)
    scores = learner.score([perfect, worse, replace(worse, tasks=(task, turned))], CPU)
    assert scores == pytest.approx([1.0, 2 / 3, (2 / 3 + 64 / 80) / 2])


# ------------------------------------------------------------------------------------------------ channels that differ


def test_likeness_is_the_mean_squared_correlation_of_two_channels(rng: np.random.Generator) -> None:
    columns = rng.normal(size=(12 * 16 * 16, 5)) @ rng.normal(size=(5, 5))
    maps = torch.from_numpy(columns.reshape(12, 16, 16, 5)).movedim(-1, 1).float()
    correlations = np.corrcoef(columns.T)
    expected = np.mean(correlations[~np.eye(5, dtype=bool)] ** 2)
    found = [float(likeness([maps], torch.Generator().manual_seed(seed))) for seed in range(5)]
    assert np.mean(found) == pytest.approx(expected, abs=0.02)
    flat = torch.zeros(1, 3, 4, 4)
    assert float(likeness([flat], torch.Generator())) == 0
    assert float(likeness([maps[:, :1]], torch.Generator())) == 0


def test_each_normalisation_is_listened_to_inside_of_the_block_alone() -> None:
    network = make_model().network
    layers = sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
    with normalised_maps(network) as maps:
        network.features(torch.zeros(1, 3, 16, 16))  # type: ignore[operator]
    assert len(maps) == layers == 10
    network.features(torch.zeros(1, 3, 16, 16))  # type: ignore[operator]
    assert len(maps) == layers


def test_what_likeness_costs_makes_channels_differ(stream: EpisodeStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta_module, "_WARMUP_STEPS", 5)
    alike = []
    for cost in (0.0, 3.0):
        model = make_model()
        with torch.no_grad():
            for weight in (w for w in model.network.parameters() if w.ndim == 4):
                weight.copy_(weight[:1] + 0.3 * weight)  # nearly the same in all channels
        run(model, stream, MetaConfig(max_steps=25, learning_rate=0.01, ema_decay=0.5, decorrelation=cost))
        with normalised_maps(model.network) as maps, torch.no_grad():
            model.network.features(torch.from_numpy(stream.episode(500).images.astype(np.float32)))  # type: ignore[operator]
        alike.append(float(likeness(maps, torch.Generator().manual_seed(0))))
    assert alike[1] < 0.7 * alike[0]


# ---------------------------------------------------------------------------------------------------------- training


def test_on_one_kind_the_loss_falls_and_unseen_episodes_are_solved_better(
    stream: EpisodeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari_unet.data.episodes.group as group_module

    kind = Nuclei.draw(np.random.default_rng(3))
    monkeypatch.setattr(group_module, "draw_kind", lambda rng, ndim: kind)
    monkeypatch.setattr(meta_module, "_WARMUP_STEPS", 5)
    monkeypatch.setattr(meta_module, "_SMOOTHING", 0.0)
    model, unseen = make_model(), [replace(stream, seed=99).episode(number) for number in range(12)]
    before = np.mean(MetaLearner(make_model().network, ClosedForm()).score(unseen, CPU))
    config = MetaConfig(max_steps=30, learning_rate=0.01, ema_decay=0.8)
    events = run(model, stream, config)
    losses = [event.loss for event in events if isinstance(event, MetaProgress)]
    assert len(losses) == 30
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) - 0.1
    after = np.mean(MetaLearner(model.network, events[-1].closed_form).score(unseen, CPU))
    assert after > before + 0.03


def test_events_tell_how_it_goes(stream: EpisodeStream) -> None:
    model = make_model()
    started, *steps, finished = run(model, stream, MetaConfig(max_steps=4, batch=2))
    assert isinstance(started, MetaStarted)
    assert isinstance(finished, MetaFinished)
    assert [event.step for event in steps] == [1, 2, 3, 4]
    assert [event.fraction for event in steps] == [0.25, 0.5, 0.75, 1.0]
    assert all(0 <= event.waiting <= 1 for event in steps)
    assert not finished.stopped
    assert finished.closed_form != meta_module._START
    assert model.history["steps"] == 4
    assert not model.network.training


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_change_nothing_and_end_with_the_training(stream: EpisodeStream, processes: int) -> None:
    alone, helped = make_model(), make_model()
    config = MetaConfig(max_steps=3, batch=2)
    run(alone, stream, config)
    run(helped, stream, config, processes=processes)
    assert multiprocessing.active_children() == []
    for key, value in state_of(alone).items():
        assert torch.equal(value, state_of(helped)[key]), key


def test_closing_the_training_ends_the_processes_and_keeps_what_was_learnt(stream: EpisodeStream) -> None:
    model = make_model()
    before = state_of(model)
    training = meta_train(model, stream, MetaConfig(max_steps=100), processes=1, device="cpu")
    while not (isinstance(event := next(training), MetaProgress) and event.step == 2):
        pass
    assert len(multiprocessing.active_children()) == 1
    training.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []
    assert any(not torch.equal(value, before[key]) for key, value in state_of(model).items())


def test_a_caller_who_stops_is_obeyed_between_the_parts_of_a_step(stream: EpisodeStream) -> None:
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    events = run(make_model(), stream, MetaConfig(max_steps=100), should_stop=should_stop)
    assert events[-1].stopped
    assert events[-1].step == 1


# -------------------------------------------------------------------------------------------------------- checkpoints


def test_a_resumed_training_gives_the_same_numbers(stream: EpisodeStream, tmp_path: Path) -> None:
    path, copy = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    config = MetaConfig(max_steps=8, batch=2, checkpoint_seconds=0.0)
    whole = make_model()
    losses = {}
    for event in meta_train(whole, stream, config, device="cpu", checkpoint=path):
        if isinstance(event, MetaProgress):
            losses[event.step] = event.loss
            if event.step == 5:
                shutil.copy(path, copy)  # what is on disk if the power fails now
    resumed = make_model()
    events = run(resumed, stream, config, checkpoint=copy)
    assert events[0].step == 4
    for event in events[1:-1]:
        assert event.loss == pytest.approx(losses[event.step], rel=1e-5)
    for key, value in state_of(whole).items():
        torch.testing.assert_close(state_of(resumed)[key], value, rtol=1e-4, atol=1e-5, msg=key)


def test_a_finished_training_that_is_resumed_hands_its_weights_over(stream: EpisodeStream, tmp_path: Path) -> None:
    path, config = tmp_path / "a.safetensors", MetaConfig(max_steps=2, batch=1)
    first, second = make_model(), make_model()
    form = run(first, stream, config, checkpoint=path)[-1].closed_form
    events = run(second, stream, config, checkpoint=path)
    assert [type(event) for event in events] == [MetaStarted, MetaFinished]
    assert events[-1].closed_form == form
    for key, value in state_of(first).items():
        assert torch.equal(value, state_of(second)[key]), key


def test_a_checkpoint_of_other_settings_or_another_kind_is_refused(stream: EpisodeStream, tmp_path: Path) -> None:
    path, config = tmp_path / "a.safetensors", MetaConfig(max_steps=1, batch=1)
    run(make_model(), stream, config, checkpoint=path)
    for other in (replace(config, learning_rate=0.1), replace(config, batch=2)):
        with pytest.raises(ModelFileError, match="other settings"):
            run(make_model(), stream, other, checkpoint=path)
    with pytest.raises(ModelFileError, match="other settings"):
        run(make_model(), replace(stream, seed=6), config, checkpoint=path)
    run(make_model(), stream, replace(config, max_steps=2), checkpoint=path)
    make_model().save(path)
    with pytest.raises(ModelFileError, match="not a checkpoint of a meta-training"):
        run(make_model(), stream, config, checkpoint=path)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("settings", [{"in_channels": 1}, {"ndim": 3}, {"padding": "valid", "norm": None}])
def test_a_network_that_does_not_fit_the_episodes_is_refused(stream: EpisodeStream, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Expected a padded network for 3 channels and 2 axes"):
        run(make_model(**settings), stream, MetaConfig(max_steps=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "budget"),
        ({"max_steps": 1, "batch": 0}, "above 0"),
        ({"max_steps": 1, "decorrelation": -1.0}, "at least 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MetaConfig(**settings)


def test_a_loss_that_is_never_a_number_ends_the_training(
    stream: EpisodeStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meta_module, "_MOST_FAILURES", 2)
    model = make_model()
    before = state_of(model)
    start = ClosedForm(scale=1e30)
    with pytest.raises(UNetError, match="Lower the learning rate"):
        run(model, stream, MetaConfig(max_steps=10, batch=1), start=start)
    for key, value in state_of(model).items():
        assert value.isfinite().all(), key
        if "running" not in key and "num_batches" not in key:
            assert torch.equal(value, before[key]), key


def test_volumes_are_learnt_from_too() -> None:
    model = make_model(ndim=3)
    stream = EpisodeStream((8, 16, 16), (12, 24, 24), seed=1)
    events = run(model, stream, MetaConfig(max_steps=2, batch=1))
    assert np.isfinite(events[-2].loss)
    assert events[-1].step == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_learns_and_goes_on_from_a_checkpoint(stream: EpisodeStream, tmp_path: Path) -> None:
    path, model = tmp_path / "a.safetensors", make_model()
    options: dict[str, Any] = {"device": "cuda", "checkpoint": path, "processes": 1}
    first = run(model, stream, MetaConfig(max_steps=4), **options)
    second = run(make_model(), stream, MetaConfig(max_steps=8), **options)
    assert second[0].step == first[-1].step == 4
    assert second[-1].step == 8
    assert np.isfinite(second[-2].loss)
    assert all(value.device.type == "cpu" for value in state_of(model).values())
