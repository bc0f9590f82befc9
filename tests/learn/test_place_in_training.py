"""Training where the place in the image tells the classes apart: crops know where they are from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import napari_unet as nu
from napari_unet.learn import painted_pixels, place_choice, second_opinion
from napari_unet.learn.closed_form import ClosedForm, solve_head
from napari_unet.learn.events import FitEvent, FitScored
from napari_unet.learn.holdout import hold_out
from napari_unet.learn.painted_boxes import boxes_to_look_at, cover_with_boxes
from napari_unet.learn.prepare import prepare_frames
from napari_unet.learn.solved_head import solve_from_boxes
from napari_unet.learn.solved_in_training import SolvedInTraining
from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.device import choose_device
from napari_unet.nets.tensor_file import load_tensors, save_tensors
from tests.place_task import organ

Make = Callable[..., Any]
CPU = choose_device("cpu", precision="float32")
PREDICTION = nu.PredictConfig(device="cpu", precision="float32")


@pytest.fixture(autouse=True)
def few_strokes_tell_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painted_pixels, "_FEWEST_FOR_PLACE", 3)
    for bound in ("_WRONG_ENCLOSURE", "_WRONG", "_WRONG_AFTER_ALL"):
        monkeypatch.setattr(second_opinion, bound, 1.0)  # nobody is asked what random weights leave wrong


def settings(**other: Any) -> nu.TrainConfig:
    given = {"task": "classes", "max_steps": 6, "crop": 32, "batch_size": 2, "validate_every": 3, "w0": 0.0}
    return nu.TrainConfig(**(given | other))


def starting(**config: Any) -> nu.Model:
    model = nu.Model.create(nu.ModelConfig(**({"features": 4, "depth": 1} | config)))
    model.closed_form = ClosedForm(ridge=0.01, scale=3.0)
    return model


def sample(shape: tuple[int, ...] = (60, 72), seed: int = 0, channels: int = 1) -> nu.Sample:
    image, annotation, _ = organ(shape, seed)
    axes = "ZYX"[-len(shape) :]
    if channels > 1:
        return nu.Sample(np.stack([image] * channels), annotation, f"C{axes}")
    return nu.Sample(image, annotation, axes)


def train(model: nu.Model, samples: Any, config: nu.TrainConfig, **options: Any) -> list[FitEvent]:
    samples = samples if isinstance(samples, list) else [samples]
    return list(nu.fit(model, samples, config, device="cpu", **options))


def place_of(model: nu.Model) -> torch.Tensor | None:
    return cast("SegmentationNetwork", model.network).place


def weights(model: nu.Model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.network.state_dict().items()}


def overlap(model: nu.Model, shape: tuple[int, ...]) -> float:
    image, _, truth = organ(shape, seed=5)
    found = nu.segment(model, image, "ZYX"[-len(shape) :], config=PREDICTION) == 2
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


@pytest.mark.parametrize(("shape", "steps"), [((60, 72), 20), ((6, 40, 48), 5)])
def test_what_only_the_place_tells_is_learnt_and_not_without(shape: tuple[int, ...], steps: int) -> None:
    scores = []
    for may in (True, False):
        model = starting(ndim=len(shape))
        events = train(model, sample(shape), settings(max_steps=steps, place_may_count=may, validate_every=10))
        held = [event.score for event in events if isinstance(event, FitScored)]
        assert (min(held) > 0.9) == may  # the start, and each training result
        assert (place_of(model) is not None) == may
        scores.append(overlap(model, (*shape[:-2], shape[-2] + 5, shape[-1] + 12)))
    assert scores[0] > 0.8
    assert scores[1] < 0.6


def test_strokes_that_are_held_out_tell_too_whether_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painted_pixels, "_FEWEST_FOR_PLACE", 5)  # as many as there are of each class
    given = sample()
    frames = prepare_frames([given], starting().config, settings())
    assert hold_out(frames, 0.1, ("background", "foreground")).score
    model = starting()
    events = train(model, given, settings(validate_every=10))
    assert place_of(model) is not None
    assert min(event.score for event in events if isinstance(event, FitScored)) > 0.9


@pytest.mark.parametrize("task", ["objects", "classes"])
def test_who_chooses_what_counts_knows_what_the_strokes_mean(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    plain = place_choice.choose_place_weight

    def noting(*given: Any, **named: Any) -> Any:
        told.append(named["task"])
        return plain(*given, **named)

    monkeypatch.setattr(place_choice, "choose_place_weight", noting)
    train(starting(), sample(), settings(max_steps=1, task=task))
    trained = len(told)
    nu.adapt(starting(), [sample()], task=task, device="cpu")
    known = starting()
    known.task = task
    nu.adapt(known, [sample()], device="cpu")
    assert trained > 0
    assert len(told) == trained + 2
    assert set(told) == {task}


def test_it_is_saved_and_predicts_as_the_whole_image_does(tmp_path: Path) -> None:
    model, given = starting(), sample((64, 72))
    train(model, given, settings(holdout=0.0))
    assert place_of(model) is not None
    model.save(tmp_path / "m.unet.safetensors")
    loaded = nu.Model.load(tmp_path / "m.unet.safetensors")
    (frame,) = prepare_frames([given], model.config, settings())
    reader = replace(frame.reader, surroundings=cast("SegmentationNetwork", model.network).surroundings)
    with torch.no_grad():
        whole = model.network(torch.from_numpy(reader.read((), (-2, -2), (66, 74)))[None]).softmax(1)[0].numpy()
    tiled = nu.predict(loaded, given.image, config=nu.PredictConfig(device="cpu", precision="float32", tile=16))
    np.testing.assert_allclose(tiled, whole[:, 2:-2, 2:-2], atol=1e-5)


def test_where_the_place_does_not_count_nothing_changes(make_sample: Make) -> None:
    results = []
    for may in (True, False):
        model = starting()
        train(model, make_sample(strokes=3), settings(task="objects", place_may_count=may))
        results.append(weights(model))
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(value, results[1][key]) for key, value in results[0].items())


@pytest.mark.parametrize("training", [{}, {"consistency": 5.0}, {"holdout": 0.0}])
def test_two_halves_are_as_one_whole(training: dict[str, Any], tmp_path: Path) -> None:
    path, config = tmp_path / "checkpoint.safetensors", settings(max_steps=8, **training)
    whole, halves = starting(), starting()
    train(whole, sample(), config)
    events: list[FitEvent] = []
    stop = lambda: bool(events) and events[-1].step >= 4  # noqa: E731
    for event in nu.fit(copy.deepcopy(halves), [sample()], config, device="cpu", checkpoint=path, should_stop=stop):
        events.append(event)
    events = train(halves, sample(), config, checkpoint=path)
    assert events[0].step == 4
    assert place_of(whole) is not None
    for key, value in weights(whole).items():
        torch.testing.assert_close(weights(halves)[key], value, msg=key)


def test_a_checkpoint_from_before_it_could_count_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "checkpoint.safetensors", starting()
    with monkeypatch.context() as patch:
        patch.setattr(place_choice, "choose_place_weight", lambda *_, **__: place_choice.PlaceWeight())
        train(copy.deepcopy(model), sample(), settings(max_steps=4), checkpoint=path)
    tensors, document = load_tensors(path)
    del document["settings"]["training"]["place_may_count"]
    save_tensors(path, tensors, document)
    events = train(model, sample(), settings(max_steps=6), checkpoint=path)
    assert (events[0].step, events[-1].step) == (4, 6)
    assert place_of(model) is None


@pytest.mark.parametrize("scores", [[0.9, 0.5, 0.4, 0.3], [0.5, 0.9, 0.4, 0.3]])
def test_a_model_trained_with_it_is_trained_on_with_it(scores: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    model = starting()
    train(model, sample(), settings())
    before, coming = weights(model), iter(scores)

    def run(self: Any, network: torch.nn.Module) -> Any:
        assert cast("SegmentationNetwork", network).place is not None
        yield next(coming)

    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", run)
    train(model, sample(seed=1), settings())
    after = weights(model)
    assert torch.equal(before["down.0.layers.0.weight"], after["down.0.layers.0.weight"])  # its training was worse
    assert torch.equal(before["place"], after["place"]) == (scores[0] == 0.9)


@pytest.mark.parametrize("scores", [[0.9, 0.5, 0.4, 0.3], [0.5, 0.9, 0.4, 0.3], [0.1, 0.2, 0.3, 0.4]])
@pytest.mark.parametrize("before", [True, False])
def test_whether_it_counts_is_as_in_what_scores_best(
    before: bool, scores: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = starting()
    train(model, sample(), settings(max_steps=2, place_may_count=before))
    if before:  # and the new strokes say otherwise
        monkeypatch.setattr(place_choice, "choose_place_weight", lambda *_, **__: place_choice.PlaceWeight())
    coming = iter(scores)
    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", lambda *_: iter([next(coming)]))
    train(model, sample(seed=1), settings())
    assert (place_of(model) is not None) == (before if scores[0] == 0.9 else not before)


@pytest.mark.parametrize(
    ("config", "training"),
    [
        ({"classes": ("background", "a", "b")}, {}),
        ({"in_channels": 2}, {"consistency": 5.0, "noise": 0.1, "blur": 1.0}),
        ({"padding": "valid", "norm": None}, {}),
        ({"dropout": 0.3}, {"hold_on": 0.0}),
        ({}, {"precision": "float64"}),
    ],
)
def test_all_ways_of_training_know_it(config: dict[str, Any], training: dict[str, Any]) -> None:
    model = starting(**config)
    given = [sample(seed=seed, channels=config.get("in_channels", 1)) for seed in (0, 1)]
    if len(model.config.classes) == 3:
        for one in given:
            one.annotation[20:, :20][one.annotation[20:, :20] == 2] = 3
    events = train(model, given, settings(**training))
    assert place_of(model) is not None
    assert [event.step for event in events if isinstance(event, FitScored)] == [0, 3, 6]
    assert np.isfinite(nu.predict(model, given[0].image, given[0].axes, PREDICTION)).all()


def test_the_choice_from_boxes_is_that_of_adapt() -> None:
    given, model = sample(), starting()
    twin = copy.deepcopy(model)
    frames = prepare_frames([given], model.config, settings())
    boxes = cover_with_boxes(frames, (32, 32), (32, 32))
    assert len(boxes) > 2
    boxes += boxes_to_look_at(frames, (32, 32), (32, 32))
    for _ in solve_from_boxes(model.network.eval(), boxes, ClosedForm(0.01, 3.0), CPU, place_may_count=True):
        pass
    nu.adapt(twin, [given], task="classes", device="cpu")
    found, expected = (nu.predict(m, given.image, config=PREDICTION) for m in (model, twin))
    assert np.abs(found - expected).mean() < 0.03  # at the borders of boxes features differ


def test_what_is_kept_of_a_training_is_solved_from_all_strokes(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.1, 0.2, 0.3])
    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", lambda *_: iter([next(scores)]))
    model, given = starting(), sample()
    train(model, given, settings())
    frames = prepare_frames([given], model.config, settings())
    split = hold_out(frames, 0.1, model.config.classes)
    assert split.score
    boxes = [box for part in (split.train, split.score) for box in cover_with_boxes(part, (32, 32), (32, 32))]
    boxes += boxes_to_look_at(split.train, (32, 32), (32, 32))
    twin = copy.deepcopy(model.network)
    for _ in solve_from_boxes(twin, boxes, ClosedForm(0.01, 3.0), choose_device("cpu"), place_may_count=True):
        pass
    for key in ("head.weight", "head.bias", "place"):
        torch.testing.assert_close(twin.state_dict()[key], weights(model)[key], atol=1e-3, rtol=1e-3)


def test_only_what_is_lacking_is_solved() -> None:
    generator = torch.Generator().manual_seed(0)
    features, given = torch.randn(50, 3, generator=generator), torch.randn(50, 2, generator=generator)
    classes = (features[:, 0] > 0.3).long()
    known = {"ridge": 0.1, "scale": 2.0, "offset": 0.0}
    weight, bias = solve_head(features, classes, 2, given=given, **known)
    share = torch.where(classes == 0, 0.5 / (classes == 0).sum(), 0.5 / (classes == 1).sum()).double()
    x = torch.cat([features, torch.ones(50, 1)], 1).double()
    target = torch.stack([1 - 2.0 * classes, 2.0 * classes - 1], 1).double() - given.double() / 2
    square = x.T @ (x * share[:, None]) + torch.diag(torch.tensor([0.1, 0.1, 0.1, 0.0]).double())
    solved = 2 * torch.linalg.solve(square, x.T @ (target * share[:, None]))
    torch.testing.assert_close(weight, solved[:3].T.float())
    torch.testing.assert_close(bias, solved[3].float())


def test_each_half_is_segmented_by_the_other_with_the_same_place() -> None:
    network = cast("SegmentationNetwork", starting().network.eval())
    generator = torch.Generator().manual_seed(0)
    network.set_place(torch.randn(2, 49, generator=generator))
    image = torch.rand(2, 3, 16, 16, generator=generator)
    classes = torch.randint(0, 2, (2, 16, 16), generator=generator)
    form = ClosedForm()
    own, solved, _ = SolvedInTraining(network, form)(image, classes, torch.ones(2, 16, 16))
    torch.testing.assert_close(own, network(image))
    place = network.given_logits(image, (16, 16))
    assert place is not None
    maps, given = network.features(image[:, :1]).movedim(1, -1), place.movedim(1, -1)
    weight, bias = form.solve(maps[0].flatten(0, 1), classes[0].flatten(), 2, given=given[0].flatten(0, 1))
    torch.testing.assert_close(solved[1], (maps[1] @ weight.T + bias + given[1]).movedim(-1, 0), atol=1e-4, rtol=1e-4)
