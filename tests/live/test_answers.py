"""An answer at every change, before any training."""

from __future__ import annotations

import numpy as np
import pytest

import napari_unet as nu
from napari_unet.errors import AnnotationError, InputError
from napari_unet.live.events import Idle, Problem, RegionAnswered, StrokesMissing
from napari_unet.live.learner import LiveLearner
from napari_unet.predict.features import FeatureMaps
from tests.live.conftest import QUICK, Person, make_learner, of, run

REGION = (slice(4, 50), slice(10, 64))


def test_what_is_missing_is_said_until_there_is_an_answer_and_a_score(person: Person) -> None:
    learner = make_learner()
    learner.look_at("a", REGION)
    texts, answers = [], []
    for label in (None, 1, 2, 2, 1, 1):
        if label:
            person.paint(label)
        learner.set_annotation("a", person.sample())
        events = run(learner)
        texts += [event.text for event in of(events, StrokesMissing)]
        answers.append(len(of(events, RegionAnswered)))
    assert texts == [
        "Only background is painted: paint a stroke of foreground, too.",
        "For a score, paint 1 more stroke of background and 1 more stroke of foreground.",
        "For a score, paint 1 more stroke of background.",
        "",
    ]
    assert answers == [0, 0, 1, 1, 1, 1]  # one for each change


@pytest.mark.parametrize("shape", [(64, 64), (4, 64, 64)])
def test_the_answer_is_that_of_adapt_whatever_came_before(shape: tuple[int, ...]) -> None:
    person = Person(shape)
    learner = make_learner(ndim=len(shape))
    region = ((slice(1, 3),) if len(shape) == 3 else ()) + REGION
    learner.look_at("a", region)
    for label in (1, 2, 1, 2):
        person.paint(label)
        learner.set_annotation("a", person.sample())
        learner.step()
    person.strokes[..., 2, :] = 0  # erased
    changed = (slice(None),) * (len(shape) - 2) + (slice(2, 3), slice(0, 64))
    learner.set_annotation("a", person.sample(), changed)
    (answer,) = of(run(learner), RegionAnswered)
    assert (answer.source, answer.key, answer.region) == ("closed form", "a", region)
    model = nu.Model.create(nu.ModelConfig(features=4, depth=1, ndim=len(shape)), 0)
    nu.adapt(model, [person.sample()], task="classes", device="cpu")
    expected = nu.predict(model, person.image, person.sample().axes, nu.PredictConfig(device="cpu"))
    np.testing.assert_allclose(answer.probabilities, expected[(slice(None), *region)], atol=0.05)
    mine = nu.predict(learner.current_model(), person.image, person.sample().axes, nu.PredictConfig(device="cpu"))
    np.testing.assert_allclose(mine, expected, atol=0.02)


def test_several_changes_are_answered_together_and_no_change_is_not(person: Person) -> None:
    learner = make_learner()
    learner.look_at("a", REGION)
    for label in (1, 2, 1, 2):
        person.paint(label)
        learner.set_annotation("a", person.sample())
    (answer,) = of(run(learner), RegionAnswered)
    assert answer.change == 1  # the annotation was read when all was painted
    learner.set_annotation("a", person.sample())
    assert not run(learner)
    assert learner.change == 1


def test_undo_is_answered_by_what_was_answered_before(person: Person) -> None:
    learner = make_learner()
    learner.look_at("a", REGION)
    person.paint(1, 2)
    person.paint(2, 2)
    learner.set_annotation("a", person.sample())
    (first,) = of(run(learner), RegionAnswered)
    before = person.strokes.copy()
    person.paint(2)
    learner.set_annotation("a", person.sample())
    (second,) = of(run(learner), RegionAnswered)
    person.strokes[:] = before
    learner.set_annotation("a", person.sample())
    (third,) = of(run(learner), RegionAnswered)
    assert not np.array_equal(first.probabilities, second.probabilities)
    np.testing.assert_allclose(first.probabilities, third.probabilities, atol=1e-5)


def test_one_more_stroke_runs_no_network(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner()
    learner.look_at("a")
    person.paint(1)
    person.paint(2)
    learner.set_annotation("a", person.sample())
    run(learner)
    monkeypatch.setattr(FeatureMaps, "_infer", lambda *_: pytest.fail("the network ran"))
    person.paint(2)
    learner.set_annotation("a", person.sample(), (slice(0, 64), slice(20, 40)))
    events = run(learner)
    assert of(events, RegionAnswered)
    assert not of(events, Problem)


def test_another_look_is_answered_without_a_change(person: Person) -> None:
    learner = make_learner()
    person.paint(1)
    person.paint(2)
    learner.set_annotation("a", person.sample())
    assert not of(run(learner), RegionAnswered)  # nothing is in view
    other = Person((64, 64), seed=5)
    learner.set_annotation("b", other.sample())
    learner.look_at("b")
    (answer,) = of(run(learner), RegionAnswered)
    assert answer.key == "b"
    assert answer.region == (slice(0, 64), slice(0, 64))
    expected = nu.predict(learner.current_model(), other.image, config=nu.PredictConfig(device="cpu"))
    np.testing.assert_allclose(answer.probabilities, expected, atol=0.05)


def test_other_pixels_of_an_image_are_answered_where_it_is_looked_at(person: Person) -> None:
    learner = make_learner()
    person.paint(1, 3)
    person.paint(2, 3)
    learner.look_at("a", REGION)
    learner.set_annotation("a", person.sample())
    (before,) = of(run(learner), RegionAnswered)
    person.image = -person.image
    learner.set_annotation("a", person.sample())
    (after,) = of(run(learner), RegionAnswered)
    assert (after.region, after.change) == (REGION, before.change + 2)
    assert not np.array_equal(after.probabilities, before.probabilities)
    learner.remove_image("a")
    assert not of(run(learner), RegionAnswered)
    learner.set_annotation("a", person.sample())
    (again,) = of(run(learner), RegionAnswered)
    np.testing.assert_array_equal(again.probabilities, after.probabilities)


def test_an_image_of_another_shape_is_answered_when_it_is_looked_at(person: Person) -> None:
    learner = make_learner()
    person.paint(1)
    person.paint(2)
    learner.look_at("a", (slice(60, 64), slice(0, 64)))
    learner.set_annotation("a", person.sample())
    assert len(of(run(learner), RegionAnswered)) == 1
    person.image, person.strokes = person.image[:40], person.strokes[:40]
    learner.set_annotation("a", person.sample())
    events = run(learner)
    assert not of(events, RegionAnswered)
    assert not of(events, Problem)
    learner.look_at("a", (slice(0, 40), slice(0, 64)))
    assert len(of(run(learner), RegionAnswered)) == 1


def test_removing_an_image_takes_its_strokes_away(person: Person) -> None:
    learner = make_learner()
    other = Person((64, 64), seed=5)
    person.paint(1)
    other.paint(2)
    learner.set_annotation("a", person.sample())
    learner.set_annotation("b", other.sample())
    learner.look_at("a")
    assert of(run(learner), RegionAnswered)
    learner.remove_image("b")
    events = run(learner)
    assert not of(events, RegionAnswered)
    (missing,) = of(events, StrokesMissing)
    assert missing.for_answer
    assert "paint a stroke of foreground" in missing.text
    with pytest.raises(InputError, match="no result yet"):
        learner.current_model()
    learner.remove_image("b")
    learner.remove_image("a")
    (missing,) = of(run(learner), StrokesMissing)
    assert missing.text == "Paint a stroke of background and one of another class."


def test_classes_are_renamed_added_and_removed(person: Person) -> None:
    learner = make_learner()
    learner.look_at("a")
    person.paint(1)
    person.paint(2)
    learner.set_annotation("a", person.sample())
    run(learner)
    learner.set_classes(("background", "cell"))
    assert of(run(learner), RegionAnswered)
    learner.set_classes(("background", "cell", "debris"))
    events = run(learner)
    assert of(events, RegionAnswered)[-1].probabilities.shape == (3, 64, 64)
    assert ("debris", 2) in of(events, StrokesMissing)[-1].counts
    person.paint(2, value=3)
    learner.set_annotation("a", person.sample())
    found = of(run(learner), RegionAnswered)[-1].probabilities.argmax(0)
    assert set(np.unique(found)) == {0, 1, 2}
    learner.set_classes(("background", "cell"))
    (problem,) = of(run(learner), Problem)
    assert isinstance(problem.error, AnnotationError)
    assert "cells: The annotation holds the value 3" in problem.message
    person.strokes[person.strokes == 3] = 0
    learner.set_annotation("a", person.sample())
    assert of(run(learner), RegionAnswered)[-1].probabilities.shape == (2, 64, 64)


def test_what_can_not_be_used_is_told_and_the_next_change_works(person: Person) -> None:
    learner = make_learner()
    learner.look_at("a")
    learner.set_annotation("bad", nu.Sample(np.zeros((2, 64, 64)), np.zeros((64, 64), np.uint8), "CYX"))
    person.paint(1)
    person.paint(2)
    learner.set_annotation("a", person.sample())
    events = run(learner)
    (problem,) = of(events, Problem)
    assert (problem.during, "channel" in problem.message) == ("strokes", True)
    assert of(events, RegionAnswered)
    flat = nu.Sample(np.zeros((64, 64)), person.strokes, name="flat")
    learner.set_annotation("b", flat)
    (problem,) = of(run(learner), Problem)
    assert "no contrast" in problem.message
    learner.remove_image("b")
    assert of(run(learner), RegionAnswered)


def test_a_failure_before_anything_is_painted_is_not_told_as_one_of_the_training(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner()
    learner.set_annotation("a", person.sample())
    learner.look_at("a", (slice(0, 64), slice(0, 64)))
    with monkeypatch.context() as patch:
        patch.setattr(FeatureMaps, "_infer", lambda *_: (_ for _ in ()).throw(ValueError()))
        (problem,) = of(run(learner), Problem)
    assert (problem.during, problem.message) == (
        "answer",
        "The result could not be brought up to date (ValueError); paint on to try it again.",
    )
    person.paint(1)
    person.paint(2)
    learner.set_annotation("a", person.sample())
    assert of(run(learner), RegionAnswered)


def test_out_of_memory_is_told_and_the_next_stroke_is_answered(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner()
    learner.look_at("a")
    person.paint(1)
    person.paint(2)
    learner.set_annotation("a", person.sample())
    with monkeypatch.context() as patch:
        patch.setattr(FeatureMaps, "_infer", lambda *_: (_ for _ in ()).throw(MemoryError()))
        (problem,) = of(run(learner), Problem)
    assert "memory" in problem.message
    person.paint(2)
    learner.set_annotation("a", person.sample())
    assert of(run(learner), RegionAnswered)


def test_objects_have_one_id_each(person: Person) -> None:
    model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    learner = LiveLearner(model, nu.TrainConfig(**{**QUICK, "task": "objects"}), device="cpu")
    learner.look_at("a")
    person.paint(1)
    person.strokes[10:30, 10:20], person.strokes[10:30, 20:30] = 7, 132
    learner.set_annotation("a", person.sample())
    (answer,) = of(run(learner), RegionAnswered)
    assert answer.probabilities.shape == (2, 64, 64)
    assert learner.current_model().task == "objects"
    (part,) = learner._images.images["a"].parts[()]
    assert len(np.unique(part.strokes)) == 4  # two boxes, a line, a stroke


def test_a_call_wakes_who_waits(person: Person) -> None:
    learner = make_learner()
    assert of(run(learner), Idle)[0].reason == "The training waits until there is an answer."
    assert not learner.wait(0.01)
    learner.set_annotation("a", person.sample())
    assert learner.wait(10)
