"""Training of starting weights: from the solved last layer on, and without losing what it can do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_unet.data.sample import Sample
from napari_unet.learn.anchor import Anchor, halfway
from napari_unet.learn.closed_form import ClosedForm, solve_head
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.events import FitEvent, FitFinished, FitScored
from napari_unet.learn.fit import fit
from napari_unet.learn.normalisation import freeze_statistics
from napari_unet.learn.painted_boxes import PaintedBox, cover_with_boxes
from napari_unet.learn.prepare import prepare_frames
from napari_unet.learn.solved_head import solve_from_boxes
from napari_unet.learn.solved_in_training import SolvedInTraining
from napari_unet.learn.trainer import Trainer
from napari_unet.models.adapt import adapt
from napari_unet.models.model import Model
from napari_unet.nets.blocks import smooth
from napari_unet.nets.device import choose_device

Make = Callable[..., Any]
CPU = choose_device("cpu", precision="float32")


@pytest.fixture
def start(make_model: Make) -> Model:
    model: Model = make_model(features=8, depth=2)
    model.closed_form = ClosedForm(0.05, 3.0, 0.0)
    model.network.eval()
    return model


def _run(model: Model, sample: Sample, config: TrainConfig, **options: Any) -> list[FitEvent]:
    return list(fit(model, [sample], config, device="cpu", **options))


def _state(model: Model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.network.state_dict().items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_the_head_from_boxes_is_that_of_adapt(start: Model, make_sample: Make) -> None:
    sample = make_sample()
    twin = copy.deepcopy(start)
    frames = prepare_frames([sample], start.config, TrainConfig(w0=0.0))
    boxes = cover_with_boxes(frames, (128, 128), (128, 128))  # the frame and more: features are exact
    for _ in solve_from_boxes(start.network, boxes, start.closed_form or ClosedForm(), CPU):
        pass
    adapt(twin, [sample], task="objects", device="cpu", place_may_count=False)
    image = boxes[0].image[..., 32:96, 32:96]
    with torch.no_grad():
        found, expected = (model.network.eval()(image).softmax(1) for model in (start, twin))
    assert (found - expected).abs().mean() < 0.05  # `adapt` keeps features in half precision


def test_training_begins_with_the_score_of_the_solved_head(start: Model, make_sample: Make, quick: Make) -> None:
    events = _run(start, make_sample(), quick())
    scored = [event for event in events if isinstance(event, FitScored)]
    assert [event.step for event in scored] == [0, 5, 10]
    assert scored[0].improved


def test_a_start_that_is_never_beaten_is_kept_with_all_strokes(
    start: Model, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.5, 0.6])

    def run(self: Any, network: torch.nn.Module) -> Iterator[float | None]:
        yield next(scores)

    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", run)
    before = _state(start)
    _run(start, make_sample(), quick())
    after = _state(start)
    body = {key: value for key, value in before.items() if not key.startswith("head")}
    assert _same(body, after)
    assert not torch.equal(before["head.weight"], after["head.weight"])
    assert (start.history["best_score"], start.history["steps"]) == (0.9, 10)


@pytest.mark.parametrize(
    ("shape", "batch", "wide"),
    [((24, 40, 64), 2, (24, 32, 32)), ((24, 40, 64), 1, (16, 16, 16)), ((64, 64), 2, (16, 16))],
)
def test_what_is_kept_of_a_volume_is_solved_from_more_than_a_crop_shows(
    shape: tuple[int, ...], batch: int, wide: tuple[int, ...], make_model: Make, make_sample: Make, quick: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sides, painted = [], []

    def solve(network: torch.nn.Module, boxes: list[PaintedBox], *rest: Any, **options: Any) -> Any:
        sides.append({box.image.shape[2:] for box in boxes})
        painted.append(sum(int((box.classes >= 0).sum()) for box in boxes))
        return (yield from solve_from_boxes(network, boxes, *rest, **options))

    monkeypatch.setattr("napari_unet.learn.run.solve_from_boxes", solve)
    sample, model = make_sample(shape), make_model(depth=2, ndim=len(shape))
    model.closed_form = ClosedForm(0.05, 3.0, 0.0)
    _run(model, sample, quick(max_steps=1, crop=16, batch_size=batch))
    kept, scored = 0, 1
    assert sides[kept] == {wide}
    assert sides[scored] == {(16,) * len(shape)}  # as what is held out
    assert painted[kept] == np.count_nonzero(sample.annotation) > painted[scored]


@pytest.mark.parametrize("gain", [0.08, 0.12])
def test_a_start_is_replaced_by_what_is_better_by_more_than_chance(
    gain: float, start: Model, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, 0.5 + gain, 0.5 + gain])

    def run(self: Any, network: torch.nn.Module) -> Iterator[float | None]:
        assert self.least_gain == pytest.approx(0.1)  # a stroke of each class is held out
        yield next(scores)

    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", run)
    events = _run(start, make_sample(), quick())
    improved = [event.improved for event in events if isinstance(event, FitScored)]
    assert improved == [True, gain > 0.1, gain > 0.1]


@pytest.mark.parametrize(("scores", "kept"), [([0.9, 0.5, 0.6, 0.6], True), ([0.5, 0.9, 0.6, 0.6], False)])
def test_a_model_trained_before_begins_as_it_is_or_solved_anew(
    scores: list[float], kept: bool, start: Model, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = iter(scores)

    def run(self: Any, network: torch.nn.Module) -> Iterator[float | None]:
        yield next(coming)

    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", run)
    start.history["steps"] = 7
    before = _state(start)
    events = _run(start, make_sample(), quick())
    assert [event.step for event in events if isinstance(event, FitScored)] == [0, 0, 5, 10]
    assert torch.equal(before["head.weight"], _state(start)["head.weight"]) == kept
    assert start.history["best_score"] == 0.9


def test_with_nothing_held_out_it_ends_halfway(start: Model, make_sample: Make, quick: Make) -> None:
    events = _run(start, make_sample(), quick(holdout=0.0))
    assert not any(isinstance(event, FitScored) and event.step == 0 for event in events)
    assert isinstance(events[-1], FitFinished)
    assert start.history["steps"] == 10


def test_statistics_stay_and_weights_do_not(start: Model, make_sample: Make, quick: Make) -> None:
    before = _state(start)
    _run(start, make_sample(), quick(holdout=0.0))
    after = _state(start)
    for key, value in before.items():
        if "running" in key:
            torch.testing.assert_close(after[key], value)
    assert not torch.equal(before["down.0.layers.0.weight"], after["down.0.layers.0.weight"])


@pytest.mark.parametrize("painted", ["all", "free"])
def test_it_is_free_where_all_is_painted_or_wished(
    painted: str, start: Model, make_sample: Make, quick: Make, blobs: Make
) -> None:
    image, truth = blobs((64, 64))
    complete = Sample(image, (truth + 1).astype(np.uint8), "YX")
    sample, strength = (complete, 1.0) if painted == "all" else (make_sample(), 0.0)
    before = _state(start)
    _run(start, sample, quick(hold_on=strength, holdout=0.0))
    assert not torch.equal(before["down.0.layers.1.running_mean"], _state(start)["down.0.layers.1.running_mean"])


def test_stopped_before_the_first_step_the_model_is_as_before(start: Model, make_sample: Make, quick: Make) -> None:
    for stop_after in (1, 3):
        before, asked = _state(start), iter([False] * stop_after)
        events = _run(start, make_sample(), quick(), should_stop=lambda asked=asked: next(asked, True))
        assert isinstance(events[-1], FitFinished)
        assert events[-1].step == 0
        assert _same(before, _state(start))


@pytest.mark.parametrize("painted", [0.1, 0.9])
def test_a_killed_training_goes_on_as_it_began(painted: float, start: Model, quick: Make, tmp_path: Path) -> None:
    settings = quick(max_steps=25, task="classes")  # its statistics are of crops that were drawn after it went on
    sample = Sample(np.random.default_rng(0).random((32, 32)), _stripes(painted))
    path = tmp_path / "checkpoint.safetensors"
    whole = copy.deepcopy(start)
    _run(whole, sample, settings)
    first = copy.deepcopy(start)
    running = fit(first, [sample], settings, device="cpu", checkpoint=path, should_stop=lambda: False)
    for event in running:
        if event.step == 5 and isinstance(event, FitScored):
            break
    trainer = running.gi_frame.f_locals["run"].trainer  # type: ignore[attr-defined]
    assert isinstance(trainer, Trainer)
    running.gi_frame.f_locals["run"]._save(at_once=True)  # type: ignore[attr-defined]
    running.close()  # type: ignore[attr-defined]
    events = _run(start, sample, settings, checkpoint=path)
    assert events[0].step == 5
    for key, value in _state(whole).items():
        torch.testing.assert_close(_state(start)[key], value, msg=key)


def test_saved_and_loaded_it_can_be_trained_and_adapted_again(
    start: Model, make_sample: Make, quick: Make, tmp_path: Path
) -> None:
    _run(start, make_sample(), quick())
    start.save(tmp_path / "m.unet.safetensors")
    again = Model.load(tmp_path / "m.unet.safetensors")
    assert again.closed_form == start.closed_form
    _run(again, make_sample(), quick())
    adapt(again, [make_sample()], device="cpu")


@pytest.mark.parametrize("smoothed", [False, True])
def test_each_half_is_segmented_by_the_other(make_model: Make, smoothed: bool) -> None:
    start = make_model(features=8, depth=2, smooth_logits=smoothed)
    start.network.eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(4, 1, 16, 16, generator=generator)
    classes = torch.randint(0, 2, (4, 16, 16), generator=generator)
    weights = (torch.rand(4, 16, 16, generator=generator) > 0.5).float()
    classes[1], classes[3] = 0, 0  # the second half lacks a class
    form = ClosedForm()
    own, solved, known = SolvedInTraining(start.network, form)(image, classes, weights)
    maps = start.network.features(image).movedim(1, -1)
    torch.testing.assert_close(own, start.network(image))
    painted = weights[[0, 2]] > 0
    weight, bias = solve_head(
        maps[[0, 2]][painted], classes[[0, 2]][painted], 2, ridge=form.ridge, scale=form.scale, offset=form.offset
    )
    expected = (maps[[1, 3]] @ weight.T + bias).movedim(-1, 1)
    torch.testing.assert_close(solved[[1, 3]], smooth(expected) if smoothed else expected)
    assert torch.equal(known[[1, 3]], weights[[1, 3]])
    assert torch.equal(known[[0, 2]], weights[[0, 2]] * (classes[[0, 2]] == 0))


def test_the_pull_is_least_at_the_start_and_blind_to_strokes(start: Model) -> None:
    anchor = Anchor(start.network, 2.0)
    image = torch.rand(2, 1, 16, 16)
    asked = anchor.ask(image)
    logits = start.network(image).detach().requires_grad_()
    weights = torch.zeros(2, 16, 16)
    weights[:, :8] = 1.0
    (gradient,) = torch.autograd.grad(anchor.loss(logits, asked, weights), logits)
    assert gradient.abs().max() < 1e-6
    other = (logits + torch.randn_like(logits)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(anchor.loss(other, asked, weights), other)
    assert gradient[:, :, :8].abs().max() == 0
    assert gradient[:, :, 8:].abs().max() > 0
    assert anchor.loss(other, asked, weights) > anchor.loss(logits, asked, weights)
    assert anchor.loss(other, asked, torch.ones_like(weights)) == 0


@pytest.mark.parametrize(
    ("painted", "hold_on", "steps", "rate"),
    [(0.1, 1.0, None, 1e-3), (0.9, 1.0, None, 2e-3), (0.9, 1.0, 7, 8e-3), (0.1, 0.0, 7, 2e-3), (0.9, 0.0, 7, 2e-3)],
)
def test_a_trained_model_is_left_at_a_high_rate_where_most_is_painted(
    start: Model, quick: Make, painted: float, hold_on: float, steps: int | None, rate: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    image = np.random.default_rng(0).random((32, 32))
    strokes = _stripes(painted)
    if steps is not None:
        start.history["steps"] = steps
    rates = []
    plain = Trainer._set_rate

    def watched(trainer: Trainer, fraction: float | None) -> None:
        plain(trainer, None)
        rates.append(trainer.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(Trainer, "_set_rate", watched)
    _run(start, Sample(image, strokes), quick(max_steps=11, validate_every=100, task="classes", hold_on=hold_on))
    assert max(rates) == pytest.approx(rate)


@pytest.mark.parametrize("painted", [0.1, 0.9])
def test_where_most_is_painted_it_trains_freely_and_what_was_solved_is_the_score_to_reach(
    painted: float, start: Model, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, begun, free = iter([0.6, 0.55, 0.8, 0.75]), [], []
    plain = Trainer.begin_at

    def watched(trainer: Trainer, network: torch.nn.Module, **options: Any) -> None:
        plain(trainer, network, **options)
        begun.append(network.state_dict()["down.0.layers.0.weight"].clone())
        free.append((trainer.anchor is None, trainer._first_rate))

    def run(self: Any, network: torch.nn.Module) -> Iterator[float | None]:
        self.least_gain = 0.1
        yield next(scores)

    monkeypatch.setattr(Trainer, "begin_at", watched)
    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", run)
    for bound in ("_WRONG_ENCLOSURE", "_WRONG", "_WRONG_AFTER_ALL"):
        monkeypatch.setattr(f"napari_unet.learn.second_opinion.{bound}", 1.0)  # noise is told by nothing
    body = _state(start)["down.0.layers.0.weight"]
    image = np.random.default_rng(0).random((32, 32))
    events = _run(start, Sample(image, _stripes(painted)), quick(max_steps=15, seed=3, task="classes"))
    assert torch.equal(begun[0], body)
    assert free == [(True, 2e-3) if painted > 0.5 else (False, 1e-3)]
    improved = [event.improved for event in events if isinstance(event, FitScored)]
    assert improved == [True, False, True, painted > 0.5]  # 0.8 and 0.75 differ by chance, 0.6 is what was there


def _stripes(painted: float) -> NDArray[np.uint8]:
    """Paint a share of the rows of an image of 32 x 32 pixels."""
    return np.where(np.arange(32)[:, None] < 32 * painted, 1 + (np.arange(32) // 8 % 2), 0).astype(np.uint8)


def test_halfway_is_the_mean_of_the_weights(make_model: Make) -> None:
    a, b = make_model(seed=1).network, make_model(seed=2).network
    middle = halfway(a, b)
    for key, value in middle.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (a.state_dict()[key] + b.state_dict()[key]) / 2)
    freeze_statistics(middle.train())
    assert {m.training for m in middle.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {False}
