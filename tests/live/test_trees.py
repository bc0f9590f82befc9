"""Trees in the training behind the window: asked as soon as strokes need them, and grown anew with further ones."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch

import napari_unet as nu
from napari_unet.learn import place_choice, second_opinion
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.live.events import Problem, Scored
from napari_unet.live.learner import LiveLearner
from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.trees import Trees
from tests.live.conftest import QUICK, course_of, of, run, score_network_higher, shown_when_better, took
from tests.tree_task import bands

IMAGE, STROKES, TRUTH = bands()
EASY = np.where(abs(IMAGE) > 0.8, 1 + (IMAGE > 0), 0).astype(np.uint8) * (STROKES > 0)  # bright and dark pixels


@pytest.fixture(autouse=True)
def the_place_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_choice, "_GAIN", {"objects": 100.0, "classes": 100.0})
    monkeypatch.setattr(second_opinion, "_WRONG_ENCLOSURE", 1.0)


def make_learner(**settings: Any) -> LiveLearner:
    model = nu.Model.create(nu.ModelConfig(features=8, depth=1))
    model.closed_form = ClosedForm(ridge=0.01, scale=3.0)
    return LiveLearner(model, nu.TrainConfig(**{**QUICK, "w0": 0.0, **settings}), device="cpu")


def paint(learner: LiveLearner, strokes: npt.NDArray[Any]) -> None:
    learner.set_annotation("a", nu.Sample(IMAGE, strokes.copy()))


def trees_of(network: Any) -> Trees | None:
    return cast("SegmentationNetwork", network).trees


def same(first: Trees | None, second: Trees | None) -> bool:
    assert first is not None
    assert second is not None
    return torch.equal(first.values, second.values) and torch.equal(first.questions, second.questions)


def test_the_course_begins_anew_when_they_begin_to_be_asked_and_follows_further_strokes() -> None:
    learner = make_learner()
    paint(learner, EASY)
    learner.start_training()
    events = run(learner, until=took(2))
    first = course_of(learner)
    assert trees_of(first.trainer.network) is None
    paint(learner, STROKES)
    events += run(learner, until=took(4))
    second = course_of(learner)
    assert second is not first
    before = trees_of(second.trainer.network)
    assert before is not None
    before = before.copy()
    more = STROKES.copy()
    more[60:62, 40:44] = 1
    paint(learner, more)
    events += run(learner, until=took(6))
    assert not of(events, Problem)
    assert course_of(learner) is second
    now = trees_of(second.trainer.network)
    assert not same(now, before)
    assert same(now, trees_of(second.trainer.averaged_network))
    assert second.trainer.anchor is not None
    assert same(now, trees_of(second.trainer.anchor.network))


def test_the_course_begins_anew_when_they_cease_to_be_asked() -> None:
    learner = make_learner()
    paint(learner, STROKES)
    learner.start_training()
    events = run(learner, until=took(2))
    first = course_of(learner)
    assert trees_of(first.trainer.network) is not None
    paint(learner, EASY)
    events += run(learner, until=took(4))
    assert not of(events, Problem)
    assert course_of(learner) is not first
    assert trees_of(course_of(learner).trainer.network) is None


def test_a_better_network_is_shown_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    score_network_higher(monkeypatch, lambda network: trees_of(network) is not None)
    learner = make_learner()
    paint(learner, STROKES)
    model = shown_when_better(learner)
    assert trees_of(model.network) is not None
    found = nu.predict(model, IMAGE, config=nu.PredictConfig(device="cpu"))[1] > 0.5
    assert (found == TRUTH).mean() > 0.8
    course = course_of(learner)
    assert course.can_take(course._frames, learner._answers.network_to_train())


def test_random_weights_are_trained_without_and_scored_beside_an_answer_with_them() -> None:
    learner = make_learner()
    learner._answers.model.closed_form = None
    paint(learner, STROKES)
    learner.start_training()
    events = run(learner, until=took(5))
    assert not of(events, Problem)
    assert trees_of(learner._answers.network_for_score("closed form")) is not None
    assert trees_of(course_of(learner).trainer.network) is None
    assert np.isfinite([event.score for event in of(events, Scored)]).all()
