"""A training from the outside: its events, what the model holds afterwards, and the ways in which it may end."""

from __future__ import annotations

import copy
import gc
import math
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet.data.axes import ImageLayout
from napari_unet.data.intensity import FrameReader, measure_range
from napari_unet.data.sample import Sample
from napari_unet.errors import AnnotationError, DeviceError, InputError
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.events import FitEvent, FitFinished, FitProgress, FitScored, FitStarted
from napari_unet.learn.fit import fit
from napari_unet.models.model import Model
from tests.quickness import Attempts, Bound

Make = Callable[..., Any]


def _weights(model: Model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.network.state_dict().items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _finite(model: Model) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in model.network.state_dict().values())


def _fit(model: Model, samples: Any, config: TrainConfig, **options: Any) -> list[FitEvent]:
    samples = samples if isinstance(samples, list) else [samples]
    return list(fit(model, samples, config, device="cpu", **options))


# ------------------------------------------------------------------------------------------------------- events


def test_events_come_in_order(make_model: Make, make_sample: Make, quick: Make) -> None:
    events = _fit(make_model(), make_sample(), quick(max_steps=12))
    assert isinstance(events[0], FitStarted)
    assert isinstance(events[-1], FitFinished)
    assert {type(event) for event in events[1:-1]} == {FitProgress, FitScored}
    started, finished = events[0], events[-1]
    assert started.step == 0
    assert started.device.startswith("CPU")
    assert (started.held_out, started.note) == (True, "")
    assert (finished.step, finished.stopped) == (12, False)
    steps = [event.step for event in events]
    assert steps == sorted(steps)
    assert set(steps) == set(range(13))
    seconds = [event.seconds for event in events]
    assert seconds == sorted(seconds)
    scored = [event for event in events if isinstance(event, FitScored)]
    assert [event.step for event in scored] == [5, 10, 12]  # and once more at the end
    assert all(0 <= event.score <= 1 for event in scored)
    kept = [event.score for event in scored if event.improved]
    assert kept[0] == scored[0].score
    assert kept[-1] == scored[-1].best == finished.best


def test_progress_tells_the_loss_the_share_and_the_time_left(make_model: Make, make_sample: Make, quick: Make) -> None:
    events = [e for e in _fit(make_model(), make_sample(), quick()) if isinstance(e, FitProgress)]
    assert math.isnan(events[0].loss)
    assert all(event.loss > 0 for event in events if event.step > 2)
    for event in events:
        assert event.fraction == pytest.approx(event.step / 10)
        if event.step:
            assert event.seconds_left == pytest.approx(event.seconds * (10 - event.step) / event.step, abs=0.01)
    counted = [sum(event.step == step for event in events) for step in range(10)]
    assert min(counted) >= 2  # a turn for the listener several times in a step


def test_without_a_budget_there_is_no_share_and_no_time_left(make_model: Make, make_sample: Make, quick: Make) -> None:
    running = fit(make_model(), [make_sample()], quick(max_steps=None), device="cpu")
    events = [next(running) for _ in range(20)]
    running.close()  # type: ignore[attr-defined]
    progress = [event for event in events if isinstance(event, FitProgress)]
    assert {(event.fraction, event.seconds_left) for event in progress} == {(None, None)}


@pytest.mark.timed
def test_the_listener_gets_a_turn_at_least_every_fifth_of_a_second(
    make_model: Make, make_sample: Make, quick: Make
) -> None:
    for attempt in Attempts():
        last, gaps = None, []
        for event in fit(make_model(), [make_sample()], quick(max_steps=30), device="cpu"):
            now = time.monotonic()
            if last is not None and not isinstance(event, FitStarted):
                gaps.append(now - last)
            last = now
        attempt.hold("longest wait in seconds", max(gaps), Bound(0.2, 2))


# --------------------------------------------------------------------------------------------------- what is learnt


def test_loss_falls_and_the_objects_are_found(make_model: Make, make_sample: Make, quick: Make, blobs: Make) -> None:
    model = make_model(features=8, depth=2)
    sample = make_sample((96, 96))
    events = _fit(model, sample, quick(max_steps=60, crop=32, learning_rate=0.01))
    losses = [event.loss for event in events if isinstance(event, FitProgress) and event.step > 3]
    assert losses[-1] < 0.6 * losses[0]
    image, truth = blobs((96, 96), 5)  # another image of the kind
    layout = ImageLayout("YX", image.shape)
    pixels = FrameReader(image, layout, measure_range(image, layout)).read((), (0, 0), (96, 96))
    with torch.no_grad():
        found = model.network(torch.from_numpy(pixels[None])).argmax(1)[0].numpy() == 1
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.9


@pytest.mark.parametrize("steps", [12, 40])
def test_batch_normalisation_predicts_as_it_trains(
    steps: int, make_model: Make, make_sample: Make, quick: Make
) -> None:
    """The averaged network's statistics fit its weights, even after a few steps: evaluation agrees with training."""
    model = make_model(features=8, depth=2)
    sample = make_sample((96, 96))
    _fit(model, sample, quick(max_steps=steps, crop=64, grey=0.0, elastic=0.0, scaling=0.0, rotation=0.0, shift=0.0))
    layout = ImageLayout("YX", (96, 96))
    pixels = FrameReader(sample.image, layout, measure_range(sample.image, layout)).read((), (0, 0), (96, 96))
    x = torch.from_numpy(pixels[None])
    twin = copy.deepcopy(model.network).train()
    with torch.no_grad():
        evaluated, trained = model.network(x).softmax(1), twin(x).softmax(1)
    assert not model.network.training
    assert (evaluated - trained).abs().mean() < 0.05
    assert (evaluated.argmax(1) == trained.argmax(1)).float().mean() > 0.95


@pytest.mark.parametrize("settings", [{}, {"dropout": 0.5}, {"norm": None}, {"norm": "group", "dropout": 0.3}])
def test_the_same_seed_gives_the_same_weights(
    settings: dict[str, Any], make_model: Make, make_sample: Make, quick: Make
) -> None:
    results = []
    for seed, disturbance in ((3, 1), (3, 2), (4, 1)):
        torch.manual_seed(disturbance)  # what else draws from PyTorch's random numbers plays no part
        state = torch.get_rng_state()
        model = make_model(**settings)
        for _ in fit(model, [make_sample()], quick(seed=seed, max_steps=7), device="cpu"):
            pass
        assert torch.equal(torch.get_rng_state(), state)
        results.append(_weights(model))
    assert _same(results[0], results[1])
    assert not _same(results[0], results[2])


def test_the_best_weights_are_kept_not_the_last(
    make_model: Make, make_sample: Make, quick: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.3, 0.9, 0.5, 0.85, 0.75])
    kept = []

    def run(self: Any, network: torch.nn.Module) -> Iterator[float | None]:
        kept.append({key: value.clone() for key, value in network.state_dict().items()})
        yield None
        yield next(scores)

    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", run)
    model = make_model()
    events = _fit(model, make_sample(), quick(max_steps=10, validate_every=2))
    assert [event.improved for event in events if isinstance(event, FitScored)] == [True, True, False, True, False]
    assert _same(_weights(model), kept[3])  # of those between which the score of one stroke does not tell, the later
    assert model.history["best_score"] == 0.85


def test_the_model_knows_what_it_was_trained_for(make_model: Make, make_sample: Make, quick: Make) -> None:
    model = make_model(classes=("background", "a"))
    model.history["made"] = "by hand"
    sample = make_sample()
    samples = [Sample(sample.image, sample.annotation, "YX", (0.5, 0.25), "first"), make_sample(seed=2)]
    _fit(model, samples, quick(task="classes"))
    assert (model.task, model.spacing) == ("classes", (0.5, 0.25))
    assert model.history["steps"] == 10
    assert model.history["images"] == ["first", "blobs"]
    assert model.history["made"] == "by hand"
    assert model.history["device"].startswith("CPU")
    assert 0 <= model.history["best_score"] <= 1


def test_a_trained_model_can_be_saved_and_trained_on(
    make_model: Make, make_sample: Make, quick: Make, tmp_path: Any
) -> None:
    model = make_model()
    _fit(model, make_sample(), quick())
    model.save(tmp_path / "model.safetensors")
    again = Model.load(tmp_path / "model.safetensors")
    assert _same(_weights(again), _weights(model))
    _fit(again, make_sample(), quick())
    assert not _same(_weights(again), _weights(model))


# ---------------------------------------------------------------------------------------------------- ways to end


def test_the_model_is_untouched_until_the_end(make_model: Make, make_sample: Make, quick: Make) -> None:
    model = make_model()
    before, network = _weights(model), model.network
    for event in fit(model, [make_sample()], quick(), device="cpu"):
        if not isinstance(event, FitFinished):
            assert _same(_weights(model), before)
    assert model.network is network
    assert not _same(_weights(model), before)


@pytest.mark.parametrize("holdout", [0.2, 0.0])
@pytest.mark.parametrize("end", ["close", "drop", "throw", "stop"])
def test_however_it_is_ended_the_model_gets_the_weights_so_far(
    end: str, holdout: float, make_model: Make, make_sample: Make, quick: Make
) -> None:
    model = make_model()
    before = _weights(model)
    stop = False
    running = fit(
        model, [make_sample()], quick(max_steps=None, holdout=holdout), device="cpu", should_stop=lambda: stop
    )
    for event in running:
        if event.step == 7 and end != "stop":
            break
        stop = event.step >= 7
        if isinstance(event, FitFinished):
            assert event.stopped
    if end == "close":
        running.close()  # type: ignore[attr-defined]
    elif end == "drop":
        del running
        gc.collect()
    elif end == "throw":
        with pytest.raises(KeyboardInterrupt):
            running.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert not _same(_weights(model), before)
    assert _finite(model)
    assert not model.network.training
    assert model.history["steps"] == 7


def test_stopped_in_the_first_step_the_model_is_as_before(make_model: Make, make_sample: Make, quick: Make) -> None:
    for stop_after in (1, 2):
        model = make_model()
        before = _weights(model)
        asked = iter([False] * stop_after)
        events = _fit(model, make_sample(), quick(), should_stop=lambda asked=asked: next(asked, True))
        assert isinstance(events[-1], FitFinished)
        assert (events[-1].step, events[-1].stopped) == (0, True)
        assert _same(_weights(model), before)
        assert "steps" not in model.history


def test_stopping_before_the_first_score_keeps_what_was_learnt(
    make_model: Make, make_sample: Make, quick: Make
) -> None:
    model = make_model()
    before = _weights(model)
    for event in (running := fit(model, [make_sample()], quick(validate_every=1000), device="cpu")):
        if event.step == 3:
            running.close()  # type: ignore[attr-defined]
    assert not _same(_weights(model), before)
    assert model.history["best_score"] is None


@pytest.mark.timed
def test_a_wish_to_stop_is_heard_at_once(make_model: Make, make_sample: Make, quick: Make) -> None:
    for delay in (0.3, 0.45, 0.8):
        for attempt in Attempts():
            deadline = time.monotonic() + delay
            events = _fit(
                make_model(features=8, depth=2),
                make_sample((128, 128)),
                quick(max_steps=None, crop=64),
                should_stop=lambda deadline=deadline: time.monotonic() > deadline,
            )
            attempt.hold("seconds after the wish", time.monotonic() - deadline, Bound(0.5, 5))
            assert isinstance(events[-1], FitFinished)
            assert events[-1].stopped


@pytest.mark.timed
def test_the_time_is_kept(make_model: Make, make_sample: Make, quick: Make) -> None:
    _fit(make_model(), make_sample(), quick(max_steps=1))  # the first of a program takes longer
    for attempt in Attempts():
        began = time.monotonic()
        events = _fit(make_model(), make_sample(), quick(max_steps=None, max_seconds=1.0))
        seconds = time.monotonic() - began
        assert seconds > 0.9
        attempt.hold("seconds", seconds, Bound(1.6, 6))
        finished = events[-1]
        assert isinstance(finished, FitFinished)
        attempt.hold("steps missing of 6", 6 - finished.step, Bound(0, 4))
    assert not finished.stopped
    shares = [event.fraction for event in events if isinstance(event, FitProgress)]
    assert shares == sorted(shares)
    assert all(event.seconds_left <= 1 for event in events if isinstance(event, FitProgress))


@pytest.mark.parametrize("budget", [{"max_steps": 0}, {"max_seconds": 0.0, "max_steps": None}])
def test_no_budget_at_all_changes_nothing(
    budget: dict[str, Any], make_model: Make, make_sample: Make, quick: Make
) -> None:
    model = make_model()
    before = _weights(model)
    events = _fit(model, make_sample(), quick(**budget))
    assert [type(event) for event in events] == [FitStarted, FitFinished]
    assert _same(_weights(model), before)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"annotation": np.zeros((64, 64), np.uint8)}, AnnotationError),
        ({"annotation": np.ones((64, 64), np.uint8)}, AnnotationError),
        ({"annotation": np.ones((64, 63), np.uint8)}, AnnotationError),
        ({"image": np.full((64, 64), np.nan)}, InputError),
        ({"axes": "ZY"}, InputError),
    ],
)
def test_bad_input_changes_nothing(
    change: dict[str, Any], kind: Any, make_model: Make, make_sample: Make, quick: Make
) -> None:
    sample, model = make_sample(), make_model()
    values = {"image": sample.image, "annotation": sample.annotation, "axes": "YX", "name": "blobs"} | change
    before = _weights(model)
    with pytest.raises(kind):
        _fit(model, Sample(**values), quick())
    assert _same(_weights(model), before)
    assert model.history == {}


def test_a_device_that_is_not_there_is_said(make_model: Make, make_sample: Make, quick: Make) -> None:
    with pytest.raises(DeviceError):
        list(fit(make_model(), [make_sample()], quick(), device="nonsense"))


def test_nothing_is_left_behind(make_model: Make, make_sample: Make, quick: Make) -> None:
    """A finished training holds neither the images nor its own copies of the network."""
    sample, model = make_sample(), make_model()
    image = weakref.ref(sample.image)
    running = fit(model, [sample], quick(), device="cpu")
    for _ in running:
        pass
    del sample, running
    gc.collect()
    assert image() is None
