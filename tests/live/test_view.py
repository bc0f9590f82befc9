"""What is in view comes first, and of a large view what is near to the person's hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_unet as nu
from napari_unet.live.events import Problem, RegionAnswered
from napari_unet.live.learner import LiveLearner
from napari_unet.predict import features
from napari_unet.predict.features import FeatureMaps
from tests.live.conftest import Person, make_learner, of, run

SHAPE = (250, 330)


def answered(events: list[Any]) -> list[Any]:
    assert not of(events, Problem)
    return [event.region for event in of(events, RegionAnswered)]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Person:
    """Return a person with an image of 4 x 6 tiles."""
    monkeypatch.setattr(features, "_SIDE", {2: 64, 3: 32})
    return Person(SHAPE)


def painted(person: Person, **settings: Any) -> LiveLearner:
    learner = make_learner(**settings)
    for label in (1, 2):
        person.paint(label)
    learner.set_annotation("a", person.sample())
    return learner


def test_what_is_in_view_is_looked_at_before_enough_is_painted(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner()
    person.paint(1)
    learner.set_annotation("a", person.sample())
    learner.look_at("a", (slice(0, 48), slice(0, 40)))
    events = run(learner)
    assert not of(events, RegionAnswered)
    assert learner._answers.adapter.cache.used > 0
    computed: list[object] = []
    infer = FeatureMaps._infer
    monkeypatch.setattr(FeatureMaps, "_infer", lambda self, *rest: computed.append(1) or infer(self, *rest))
    person.paint(2)
    learner.set_annotation("a", person.sample())
    assert of(run(learner), RegionAnswered)
    assert not computed


def test_what_is_near_to_the_first_stroke_is_looked_at_first_and_goes_on_after_another_one(
    large: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[Any] = []
    infer = FeatureMaps._infer

    def noting(self: FeatureMaps, at: Any, tile: Any) -> Any:
        computed.append(tile.inner)
        return infer(self, at, tile)

    monkeypatch.setattr(FeatureMaps, "_infer", noting)
    learner = make_learner()
    learner.set_annotation("a", large.sample())
    learner.look_at("a", (slice(0, 250), slice(0, 300)))
    while not computed:
        learner.step()
    assert {(rows.start, columns.start) for rows, columns in computed} <= {(64, 128), (128, 128), (64, 64), (128, 64)}
    computed.clear()
    large.strokes[230, 10:30] = 1
    learner.set_annotation("a", large.sample(), (slice(230, 231), slice(10, 30)))
    while not computed:
        learner.step()
    assert computed[0][0].stop == 250
    assert computed[0][1].start == 0
    assert not of(run(learner), RegionAnswered)
    covered = np.zeros(SHAPE, bool)
    for box in computed:
        covered[box] = True
    assert covered[:, 300:].any()  # a tile reaches beyond the view
    computed.clear()
    large.strokes[20, 200:230] = 2
    learner.set_annotation("a", large.sample(), (slice(20, 21), slice(200, 230)))
    assert answered(run(learner)) == [(slice(0, 250), slice(0, 300))]
    assert not computed  # all of it was known


def test_of_a_large_view_its_middle_is_answered_first_and_then_all_as_one(large: Person) -> None:
    learner = painted(large)
    learner.look_at("a")
    events = run(learner)
    part, whole = answered(events)
    assert part == (slice(64, 192), slice(128, 256))
    assert whole == (slice(0, 250), slice(0, 330))
    first, second = (event.probabilities for event in of(events, RegionAnswered))
    np.testing.assert_allclose(first, second[(slice(None), *part)], atol=0.02)
    expected = nu.predict(learner.current_model(), large.image, config=nu.PredictConfig(device="cpu"))
    np.testing.assert_allclose(second, expected, atol=0.02)
    large.paint(2)
    learner.set_annotation("a", large.sample())
    assert answered(run(learner)) == [whole]  # whose features are known now


def test_what_is_near_to_the_last_stroke_is_answered_first(large: Person) -> None:
    learner = painted(large)
    learner.step()
    learner.look_at("a", (slice(0, 250), slice(0, 300)))
    large.strokes[230, 10:30] = 1
    learner.set_annotation("a", large.sample(), (slice(230, 231), slice(10, 30)))
    assert answered(run(learner)) == [(slice(128, 250), slice(0, 128)), (slice(0, 250), slice(0, 300))]


def test_a_stroke_on_an_image_with_other_axes_leaves_the_middle_of_the_view_first(large: Person) -> None:
    learner = painted(large)
    learner.look_at("a")
    stack = nu.Sample(np.stack([large.image] * 3), np.zeros((3, *SHAPE), np.uint8), "TYX", name="stack")
    learner.set_annotation("b", stack)
    stack.annotation[1, 230, 10:30] = 1
    learner.set_annotation("b", stack, (slice(1, 2), slice(230, 231), slice(10, 30)))
    part, whole = answered(run(learner))
    assert part == (slice(64, 192), slice(128, 256))
    assert whole == (slice(0, 250), slice(0, 330))


def test_a_stroke_or_a_move_does_not_wait_for_the_rest_of_a_large_view(large: Person) -> None:
    learner = painted(large)
    learner.look_at("a")
    assert len(answered(list(learner.step()))) == 1
    learner.look_at("a", (slice(0, 60), slice(0, 60)))
    assert answered(list(learner.step())) == [(slice(0, 60), slice(0, 60))]
    learner.look_at("a")
    part = answered(list(learner.step()))
    large.strokes[230, 10:30] = 1
    changed = slice(230, 231), slice(10, 30)
    learner.set_annotation("a", large.sample(), changed)
    events = learner.step()
    assert part != answered(list(events)) == [(slice(128, 250), slice(0, 128))]
    assert of(list(events), RegionAnswered)[0].change == 2
    assert answered(run(learner)) == [(slice(0, 250), slice(0, 330))]


def test_a_view_that_is_left_is_not_looked_at_any_longer(large: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = make_learner()
    learner.set_annotation("a", large.sample())
    computed: list[int] = []
    infer = FeatureMaps._infer
    monkeypatch.setattr(
        FeatureMaps, "_infer", lambda self, at, tile: computed.append(tile.start[0]) or infer(self, at, tile)
    )
    learner.look_at("a", (slice(0, 250), slice(0, 64)))
    learner.step()
    learner.step()
    learner.look_at("a", (slice(200, 250), slice(200, 300)))
    run(learner)
    computed.clear()
    learner.look_at("a", (slice(200, 250), slice(200, 300)))
    run(learner)
    assert not computed


def test_a_slice_of_a_stack_is_answered_in_parts_but_not_several(large: Person) -> None:
    person = Person((3, *SHAPE))
    learner = make_learner()
    person.strokes[1, 2, 22:38], person.strokes[1, 12, 22:38] = 1, 2
    learner.set_annotation("a", person.sample())
    learner.look_at("a", (slice(1, 2), slice(0, 250), slice(0, 330)))
    found = answered(run(learner))
    assert [region[0] for region in found] == [slice(1, 2)] * 2
    learner.look_at("a", (slice(0, 3), slice(0, 250), slice(0, 330)))
    assert len(answered(run(learner))) == 1
