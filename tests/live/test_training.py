"""Training that goes on while strokes come and go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import napari_unet as nu
from napari_unet.data.crops import AnnotatedFrame
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.trainer import Trainer
from napari_unet.live import schooling
from napari_unet.live.curves import Curves
from napari_unet.live.events import (
    BetterNetwork,
    Idle,
    LiveEvent,
    Problem,
    Recovered,
    RegionAnswered,
    Scored,
    SourceChanged,
    StepTaken,
)
from napari_unet.live.learner import LiveLearner
from napari_unet.live.sampler import RecentSampler
from tests.live.conftest import QUICK, Person, make_learner, of, run, took


def painted(person: Person, learner: LiveLearner, count: int = 3) -> None:
    person.paint(1, count)
    person.paint(2, count)
    learner.set_annotation("a", person.sample())
    learner.look_at("a")
    learner.start_training()


def test_it_trains_until_the_score_rises_no_more_and_wakes_at_a_stroke(person: Person) -> None:
    learner = make_learner()
    painted(person, learner)
    events = run(learner)
    assert not of(events, Problem)
    idle = of(events, Idle)[-1]
    assert "the score no longer rises" in idle.reason
    steps = of(events, StepTaken)
    assert [event.step for event in steps] == list(range(1, len(steps) + 1))
    assert learner.curves.marks == [0]
    assert learner.step() == ()
    person.paint(1)
    learner.set_annotation("a", person.sample())
    more = run(learner)
    assert of(more, StepTaken)[0].step == len(steps) + 1  # from the present weights
    assert learner.curves.marks == [0, len(steps)]
    assert {event.source for event in of(more, Scored)} == {"closed form", "network"}  # both scored on the new strokes


def test_the_network_takes_over_when_it_scores_better(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schooling, "_PATIENCE", 30)
    learner = make_learner(hold_on=0.0, place_may_count=False)
    learner._answers.model.closed_form = ClosedForm(ridge=1e6, offset=4.0)  # sees background everywhere
    painted(person, learner, 4)
    events = run(learner, until=lambda event: isinstance(event, SourceChanged))
    better, changed = of(events, BetterNetwork), of(events, SourceChanged)
    assert better
    assert changed[-1].source == learner.shown == "network"
    closed, network = changed[-1].scores
    assert network > closed
    (answer,) = of(run(learner, until=lambda event: isinstance(event, RegionAnswered)), RegionAnswered)
    assert answer.source == "network"
    model = learner.current_model()
    assert model.history["best_score"] == network
    assert model.history["steps"] == better[-1].step
    expected = nu.predict(model, person.image, config=nu.PredictConfig(device="cpu"))
    np.testing.assert_allclose(answer.probabilities, expected, atol=0.02)
    person.strokes[:] = np.where(person.strokes == 2, 0, person.strokes)  # all of a class is erased
    learner.set_annotation("a", person.sample())
    assert of(run(learner), Idle)[-1].reason == "The training waits until there is an answer."
    person.rows[2] = [14, 20, 28]
    person.paint(2, 2)
    learner.set_annotation("a", person.sample())
    more = run(learner, until=took(learner.curves.loss[-1][0] + 2))  # type: ignore[arg-type]
    assert of(more, RegionAnswered)
    assert of(more, StepTaken)


def test_a_better_network_whose_answer_fails_is_told_as_such(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        scores: dict[str, float] = {}  # noqa: RUF012
        is_solved = False

        def solve(self, images: Any) -> None:
            raise MemoryError

    learner = make_learner()
    painted(person, learner)
    run(learner, until=took(1))  # type: ignore[arg-type]
    monkeypatch.setattr(learner._schooling, "take_renewed", Broken)
    learner._follow()
    assert [problem.during for problem in of(learner._out, Problem)] == ["answer"]


@pytest.mark.parametrize("gain", [0.05, 0.2])
def test_the_network_takes_over_only_when_it_is_better_by_more_than_chance(
    gain: float, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, *[0.5 + gain] * 100])

    def run_scorer(self: Any, network: Any) -> Iterator[float | None]:
        assert self.least_gain == pytest.approx(0.1)  # a stroke of each class is held out
        yield next(scores)

    learner = make_learner()
    learner._answers.model.closed_form = ClosedForm(ridge=1.0, offset=0.0)  # as starting weights have it
    painted(person, learner, 4)
    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", run_scorer)
    events = run(learner)
    assert any(event.score == 0.5 + gain for event in of(events, Scored))
    assert bool(of(events, BetterNetwork)) == (gain > 0.1)


def test_a_new_stroke_counts_at_once_though_the_network_was_shown(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.5, *[0.9] * 1000])
    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", lambda self, network: iter([next(scores)]))
    learner = make_learner()
    learner._answers.model.closed_form = ClosedForm(ridge=1.0, offset=0.0)  # as starting weights have it
    painted(person, learner, 4)
    run(learner, until=lambda event: isinstance(event, RegionAnswered) and event.source == "network")
    before = learner._answers.model.history["steps"]
    person.paint(1)
    learner.set_annotation("a", person.sample())
    events = run(learner, until=lambda event: isinstance(event, Scored))
    (answer,) = of(events, RegionAnswered)
    assert answer.source == learner.shown == "closed form"
    assert learner._answers.model.history["steps"] == before  # solved on what was learnt, not on the start


def test_training_begins_and_ends_by_a_call(person: Person) -> None:
    learner = make_learner()
    painted(person, learner)
    run(learner, until=took(3))  # type: ignore[arg-type]
    learner.stop_training()
    events = run(learner)
    assert not of(events, StepTaken)
    assert of(events, Idle)[-1].reason == "The training is off."
    person.paint(1)
    learner.set_annotation("a", person.sample())
    assert of(run(learner), RegionAnswered)
    learner.start_training()
    assert of(run(learner, until=took(5)), StepTaken)[0].step == 4  # type: ignore[arg-type]


def test_without_held_out_strokes_it_rests_after_some_steps(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schooling, "_STEPS_UNSCORED", 6)
    learner = make_learner()
    painted(person, learner, 1)
    events = run(learner)
    assert len(of(events, StepTaken)) == 6
    assert not of(events, Scored)
    assert "there is no score" in of(events, Idle)[-1].reason
    assert learner.shown == "closed form"


def test_a_seed_means_the_same_events() -> None:
    def weights(seed: int) -> tuple[list[LiveEvent], list[torch.Tensor]]:
        person, learner = Person((64, 64)), make_learner(seed)
        painted(person, learner)
        events = run(learner, until=took(5))  # type: ignore[arg-type]
        person.paint(2)
        learner.set_annotation("a", person.sample())
        events += run(learner, until=took(10))  # type: ignore[arg-type]
        course = learner._schooling.course
        assert course is not None
        return events, [parameter.detach().clone() for parameter in course.trainer.network.parameters()]

    (first, one), (second, two), (_, other) = weights(1), weights(1), weights(2)
    assert [(type(a), a.step, a.change) for a in first] == [(type(a), a.step, a.change) for a in second]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_images_and_classes_come_and_go_during_training(person: Person) -> None:
    learner = make_learner()
    painted(person, learner)
    other = Person((80, 72), seed=3)
    other.paint(1, 2)
    other.paint(2, 2)
    run(learner, until=took(2))  # type: ignore[arg-type]
    learner.set_annotation("b", other.sample("b"))
    run(learner, until=took(4))  # type: ignore[arg-type]
    learner.remove_image("a")
    events = run(learner, until=took(6))  # type: ignore[arg-type]
    learner.set_classes(("background", "cell", "debris"))
    events += run(learner, until=took(8))  # type: ignore[arg-type]
    learner.set_classes(("background", "cell"))
    events += run(learner, until=took(10))  # type: ignore[arg-type]
    assert not of(events, Problem)
    assert learner.current_model().config.classes == ("background", "cell")


def test_volumes_are_trained_on_in_3d() -> None:
    person, learner = Person((8, 64, 64)), make_learner(ndim=3, crop=16)
    painted(person, learner)
    events = run(learner, until=took(4))  # type: ignore[arg-type]
    assert not of(events, Problem)
    assert of(events, RegionAnswered)[0].probabilities.shape == (2, 8, 64, 64)


def test_starting_weights_hold_on_to_the_answer_of_the_latest_strokes(person: Person) -> None:
    model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    model.closed_form = ClosedForm()
    learner = LiveLearner(model, nu.TrainConfig(**QUICK, place_may_count=False), device="cpu")
    painted(person, learner)
    run(learner, until=took(2))  # type: ignore[arg-type]
    course = learner._schooling.course
    assert course is not None
    assert course.trainer.anchor is not None
    before = course.trainer.anchor.network.head.weight.clone()  # type: ignore[union-attr, operator]
    person.strokes[34:38] = 2
    learner.set_annotation("a", person.sample())
    events = run(learner, until=took(4))  # type: ignore[arg-type]
    assert not of(events, Problem)
    assert not torch.equal(course.trainer.anchor.network.head.weight, before)  # type: ignore[union-attr, arg-type]


def test_completely_painted_images_are_learnt_freely(person: Person) -> None:
    model = nu.Model.create(nu.ModelConfig(features=4, depth=1), seed=5)
    model.closed_form = ClosedForm(ridge=1e6, offset=4.0)  # sees background everywhere
    learner = LiveLearner(model, nu.TrainConfig(**{**QUICK, "w0": 0.0}), device="cpu")
    painted(person, learner)
    run(learner, until=took(2))  # type: ignore[arg-type]
    careful = learner._schooling.course
    assert careful is not None
    assert careful.trainer.anchor is not None
    person.strokes[:] = person.truth + 1
    learner.set_annotation("a", person.sample())
    events = run(learner, until=lambda event: isinstance(event, SourceChanged) and event.source == "network")
    free = learner._schooling.course
    assert free is not None
    assert free is not careful
    assert free.trainer.anchor is None
    person.strokes[50, :20] = 0
    learner.set_annotation("a", person.sample())
    events += run(learner, until=took(learner.curves.loss[-1][0] + 2))  # type: ignore[arg-type]
    assert not of(events, Problem)
    assert learner._schooling.course is free


@pytest.mark.parametrize(("error", "words"), [(ValueError("oops"), "ValueError"), (RuntimeError("broken"), "Runtime")])
def test_an_exception_in_the_network_is_told_and_the_next_stroke_trains_again(
    person: Person, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    learner = make_learner()
    painted(person, learner)
    run(learner, until=took(2))  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lambda *_: (_ for _ in ()).throw(error))
        events = run(learner)
    (problem,) = of(events, Problem)
    assert (problem.during, problem.error) == ("training", error)
    assert words in problem.message
    assert "failed" in of(events, Idle)[-1].reason
    person.paint(2)
    learner.set_annotation("a", person.sample())
    events = run(learner, until=took(4))  # type: ignore[arg-type]
    assert of(events, RegionAnswered)
    assert of(events, StepTaken)


@pytest.mark.parametrize("form", [None, ClosedForm()])
def test_a_step_gives_way_and_is_taken_later(person: Person, form: ClosedForm | None) -> None:
    rng, given, always = np.random.default_rng(0), [0], False

    def gives_way() -> bool:
        given[0] += (way := always or rng.random() < 0.001)
        return bool(way)

    model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    model.closed_form = form
    learner = LiveLearner(model, nu.TrainConfig(**QUICK), device="cpu", gives_way=gives_way)
    painted(person, learner)
    events = run(learner, until=took(8))  # type: ignore[arg-type]
    assert [event.step for event in of(events, StepTaken)] == list(range(1, 9))
    assert given[0] > 0
    always = True
    more = [event for _ in range(20) for event in learner.step()]
    assert of(more, StepTaken) == []
    person.paint(1)
    learner.set_annotation("a", person.sample())
    assert of(list(learner.step()), RegionAnswered)  # an answer does not
    always = False
    more += run(learner, until=took(12))  # type: ignore[arg-type]
    assert not of(events + more, Problem)


def test_out_of_memory_makes_steps_smaller_and_then_is_told(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner()
    painted(person, learner)
    real, left = Trainer.step, [1]

    def step(self: Trainer, fraction: float | None) -> object:
        if left[0]:
            left[0] -= 1
            raise MemoryError
        return real(self, fraction)

    monkeypatch.setattr(Trainer, "step", step)
    events = run(learner, until=took(2))  # type: ignore[arg-type]
    assert "training goes on with 1 crop a step" in of(events, Recovered)[0].message
    left[0] = 100
    (problem,) = of(run(learner), Problem)
    assert "does not fit into the memory" in problem.message
    left[0] = 0
    person.paint(1)
    learner.set_annotation("a", person.sample())
    assert of(run(learner, until=took(4)), StepTaken)  # type: ignore[arg-type]


def test_recent_strokes_are_drawn_more_often_for_a_while(person: Person) -> None:
    from napari_unet.data.axes import ImageLayout
    from napari_unet.data.intensity import FrameReader, IntensityRange

    person.paint(1, 5)
    person.paint(2, 5)
    reader = FrameReader(person.image, ImageLayout("YX", (64, 64)), IntensityRange((0.0,), (1.0,)))
    weights = (person.strokes > 0).astype(np.float32)
    frame = AnnotatedFrame(reader, (), (0, 0), np.maximum(person.strokes, 1) - np.uint8(1), weights)
    recent = np.zeros((64, 64), bool)
    recent[52] = True
    sampler = RecentSampler([frame], (8, 8), (8, 8), 0, [recent])

    def share(count: int) -> float:
        return float(np.mean([(batch.weights * (batch.classes == 1))[0].any() and batch_near(batch) for batch in (
            sampler.draw(1) for _ in range(count))]))  # fmt: skip

    def batch_near(batch: object) -> bool:
        return bool((batch.image[0, 0][:, None] == person.image[52, 22:38][None, :, None]).any())  # type: ignore[attr-defined]

    early = share(100)
    assert sampler.recent_share < 0.45
    for _ in range(3000):
        sampler._choose_places()
    assert sampler.recent_share < 0.01
    assert early > 2 * share(100)


def test_curves_keep_their_ends_and_mark_a_step_once() -> None:
    curves = Curves()
    for step in (0, 0, 3, 3, 5):
        curves.mark(step)
    assert curves.marks == [0, 3, 5]
    for step in range(20_000):
        curves.mark(step)
    assert len(curves.marks) <= 4096
    assert (curves.marks[0], curves.marks[-1]) == (0, 19_999)
