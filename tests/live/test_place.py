"""The place in the image in the training behind the window: it counts as soon as the strokes say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

import napari_unet as nu
from napari_unet.learn import painted_pixels, place_choice, second_opinion
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.painted_pixels import PaintedPixels
from napari_unet.live.events import BetterNetwork, Problem, Scored
from napari_unet.live.learner import LiveLearner
from napari_unet.live.schooling import Schooling
from napari_unet.models import adapt
from napari_unet.nets.base import SegmentationNetwork
from tests.live.conftest import QUICK, course_of, of, run, score_network_higher, shown_when_better, took
from tests.place_task import organ

SHAPE = (60, 72)


@pytest.fixture(autouse=True)
def few_strokes_tell_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painted_pixels, "_FEWEST", 3)
    monkeypatch.setattr(painted_pixels, "_FEWEST_FOR_PLACE", 3)
    for bound in ("_WRONG_ENCLOSURE", "_WRONG", "_WRONG_AFTER_ALL"):
        monkeypatch.setattr(second_opinion, bound, 1.0)  # nobody is asked what random weights leave wrong


def make_learner(**settings: Any) -> LiveLearner:
    model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    model.closed_form = ClosedForm(ridge=0.01, scale=3.0)
    return LiveLearner(model, nu.TrainConfig(**{**QUICK, "w0": 0.0, **settings}), device="cpu")


def paint(learner: LiveLearner, rows: int) -> nu.Sample:
    """Paint the strokes of the first rows; there are five."""
    image, annotation, _ = organ(SHAPE)
    annotation[2 + rows * (SHAPE[0] - 4) // 5 :] = 0
    sample = nu.Sample(image, annotation)
    learner.set_annotation("a", sample)
    return sample


def place_of(network: Any) -> torch.Tensor | None:
    return cast("SegmentationNetwork", network).place


def test_it_counts_from_the_strokes_on_that_show_it_and_follows_further_ones() -> None:
    learner = make_learner()
    image = paint(learner, 2).image
    learner.start_training()
    events = run(learner, until=took(2))
    first = course_of(learner)
    assert not first.trainer.surroundings
    learner.set_annotation("a", nu.Sample(image, organ(SHAPE)[1]))
    events += run(learner, until=took(4))
    second = course_of(learner)
    assert second is not first
    assert second.trainer.surroundings
    before = place_of(second.trainer.network).clone()  # type: ignore[union-attr]
    more = organ(SHAPE)[1]
    more[30:33, 40:44] = 1
    learner.set_annotation("a", nu.Sample(image, more))
    events += run(learner, until=took(6))
    assert not of(events, Problem)
    assert course_of(learner) is second
    now, anchor = place_of(second.trainer.network), second.trainer.anchor
    assert now is not None
    assert anchor is not None
    assert not torch.equal(now, before)
    assert torch.equal(now, cast("torch.Tensor", place_of(anchor.network)))
    assert torch.equal(now, cast("torch.Tensor", place_of(second.trainer.averaged_network)))


@pytest.mark.parametrize("task", ["objects", "classes"])
def test_who_chooses_whether_it_counts_knows_what_the_strokes_mean(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    plain = place_choice.choose_place_weight
    monkeypatch.setattr(
        place_choice,
        "choose_place_weight",
        lambda *given, **named: told.append(named["task"]) or plain(*given, **named),
    )
    learner = make_learner(task=task)
    paint(learner, 5)
    learner.set_classes(("background", "foreground", "other"))
    run(learner)
    assert told
    assert set(told) == {task}


def test_a_better_network_is_shown_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    score_network_higher(monkeypatch, lambda network: place_of(network) is not None)
    learner = make_learner()
    sample = paint(learner, 5)
    model = shown_when_better(learner)
    assert place_of(model.network) is not None
    found = nu.predict(model, sample.image, config=nu.PredictConfig(device="cpu"))[1] > 0.5
    assert (found == organ(SHAPE)[2]).mean() > 0.85
    course = course_of(learner)
    assert course.can_take(course._frames, learner._answers.network_to_train())


def test_it_counts_only_on_the_features_of_a_better_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with_place, counts = adapt.solve_with_place, [False]

    def solve(painted: PaintedPixels, **named: Any) -> Any:
        one = replace(painted, strokes=0 * painted.strokes)
        return with_place(painted if counts[0] else one, **named)

    learner = make_learner()
    monkeypatch.setattr(adapt, "solve_with_place", solve)
    monkeypatch.setattr(Schooling, "least_gain", -1.0)
    paint(learner, 5)
    learner.start_training()
    events = run(learner, until=lambda event: isinstance(event, BetterNetwork))
    assert place_of(learner._answers.network_for_score("closed form")) is None
    counts[0] = True
    events = run(learner, until=lambda event: isinstance(event, Scored))
    assert place_of(learner._answers.network_for_score("closed form")) is not None
    assert not of(events, Problem)


def test_a_large_image_is_not_read_whole_to_see_what_is_enclosed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet.data.intensity._LARGE", SHAPE[0] * SHAPE[1] - 1)
    monkeypatch.setattr("napari_unet.data.intensity.EnclosureMap", lambda *_: pytest.fail("it was read"))
    learner = make_learner()
    paint(learner, 5)
    learner.start_training()
    events = run(learner, until=took(5))
    assert not of(events, Problem)
    assert of(events, Scored)
    assert place_of(learner._answers.network_for_score("closed form")) is not None


def test_it_does_not_count_where_it_is_not_wanted() -> None:
    learner = make_learner(place_may_count=False)
    paint(learner, 5)
    learner.start_training()
    events = run(learner, until=took(5))
    assert not of(events, Problem)
    assert of(events, Scored)
    assert not course_of(learner).trainer.surroundings
    assert place_of(learner.current_model().network) is None


def test_random_weights_are_trained_without_it_and_scored_beside_an_answer_with_it() -> None:
    learner = make_learner()
    learner._answers.model.closed_form = None
    paint(learner, 5)
    learner.start_training()
    events = run(learner, until=took(5))
    assert not of(events, Problem)
    assert place_of(learner._answers.network_for_score("closed form")) is not None
    assert not course_of(learner).trainer.surroundings
    assert {event.source for event in of(events, Scored)} == {"closed form", "network"}
    assert np.isfinite([event.score for event in of(events, Scored)]).all()
