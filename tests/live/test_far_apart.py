"""Strokes far apart on a large image: the answer is that of all of them, and each costs only what is around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_unet as nu
from napari_unet.live import painted
from napari_unet.live.events import RegionAnswered
from napari_unet.live.learner import LiveLearner
from napari_unet.models.adapt import Adapter
from tests.live.conftest import make_learner, of, run


def far_strokes(side: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return an image, and strokes of both classes in two opposite corners of it."""
    image = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    strokes = np.zeros((side, side), np.uint8)
    for corner in (10, side - 90):
        strokes[corner : corner + 4, corner : corner + 30] = strokes[
            corner + 60 : corner + 62, corner : corner + 40
        ] = 1
        strokes[corner + 10 : corner + 20, corner + 5 : corner + 15] = 2
        image[corner + 8 : corner + 22, corner + 2 : corner + 18] += 5
    return image, strokes


def parts_of(learner: LiveLearner) -> list[painted.PaintedPart]:
    return learner._images.images["a"].parts[()]


def test_the_answer_is_that_of_adapt(monkeypatch: pytest.MonkeyPatch) -> None:
    image, strokes = far_strokes(1400)
    given = np.zeros_like(strokes)
    sample = nu.Sample(image, given)
    learner = make_learner()
    region = (slice(0, 128), slice(0, 128))
    learner.look_at("a", region)
    answers: list[Any] = []
    for rows in (slice(0, 15), slice(1300, 1400), slice(15, 100), slice(0, 1400)):
        given[rows] = strokes[rows]
        learner.set_annotation("a", sample, (rows, slice(0, 1400)))
        answers += of(run(learner), RegionAnswered)
    assert len(parts_of(learner)) == 2
    model = nu.Model.create(nu.ModelConfig(features=4, depth=1), 0)
    adapter = Adapter(model, "cpu")
    adapter.adapt([sample], task="classes")
    np.testing.assert_allclose(answers[-1].probabilities, adapter.probabilities(image, region=region), atol=1e-3)
    for part in parts_of(learner):
        np.testing.assert_array_equal(part.labels, strokes[part.box])


def test_a_stroke_on_a_large_image_is_understood_without_a_look_at_what_is_far_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded: list[int] = []
    decode = painted.decode_strokes

    def counting(labels: np.ndarray, *settings: Any) -> Any:
        decoded.append(labels.size)
        return decode(labels, *settings)

    monkeypatch.setattr(painted, "decode_strokes", counting)
    image, strokes = far_strokes(4096)
    sample = nu.Sample(image, strokes)
    learner = make_learner()
    learner.set_annotation("a", sample)
    run(learner)
    assert sum(decoded) < 20_000
    first, last = parts_of(learner)
    for corner in (40, 2000):  # in a part that is there, then far from both
        decoded.clear()
        strokes[corner : corner + 2, corner : corner + 5] = 1
        learner.set_annotation("a", sample, (slice(corner, corner + 2), slice(corner, corner + 5)))
        run(learner)
        assert 0 < sum(decoded) < 10_000
    assert [part.labels.size < 10_000 for part in parts_of(learner)] == [True] * 3
    assert parts_of(learner)[0] is first
    assert parts_of(learner)[2] is last


def test_it_is_trained_and_scored_in_all_parts() -> None:
    image, strokes = far_strokes(1400)
    learner = make_learner(holdout=0.3)
    learner.set_annotation("a", nu.Sample(image, strokes))
    run(learner)
    learner.start_training()
    for _ in range(60):
        learner.step()
    assert learner._schooling.steps > 4
    course = learner._schooling.course
    assert course is not None
    assert course.scorer is not None
    assert len(course._frames.train) == 2
    assert {box.frame.origin for box in course.scorer._boxes} <= {frame.origin for frame in course._frames.score}
