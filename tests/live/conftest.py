"""A person who paints on synthetic images, and a small learner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import napari_unet as nu
from napari_unet.learn.scoring import Scorer
from napari_unet.live.course import Course
from napari_unet.live.events import BetterNetwork, LiveEvent, Problem, StepTaken
from napari_unet.live.learner import LiveLearner

QUICK: dict[str, Any] = {"task": "classes", "validate_every": 4, "crop": 32, "batch_size": 2}


class Person:
    """Paints strokes along the last axis of an image whose bright boxes are the foreground."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.truth = np.zeros(shape, bool)
        self.truth[..., 8:30, 6:40] = self.truth[..., 40:60, 20:60] = True
        self.image = rng.normal(size=shape).astype(np.float32) + 3 * self.truth
        self.strokes = np.zeros(shape, np.uint8)
        self.rows = {1: [2, 4, 34, 36, 62], 2: [12, 18, 26, 44, 52]}

    def paint(self, label: int, count: int = 1, value: int | None = None) -> None:
        """Paint the next strokes of background (1) or foreground (2)."""
        for _ in range(count):
            row = self.rows[label].pop(0)
            self.strokes[..., row, 22:38] = label if value is None else value

    def sample(self, name: str = "cells") -> nu.Sample:
        return nu.Sample(self.image, self.strokes, "ZYX"[-self.strokes.ndim :], name=name)


def make_learner(seed: int = 0, **settings: Any) -> LiveLearner:
    ndim = settings.pop("ndim", 2)
    model = nu.Model.create(nu.ModelConfig(features=4, depth=1, ndim=ndim), seed)
    return LiveLearner(model, nu.TrainConfig(**{**QUICK, "seed": seed, **settings}), device="cpu")


def run(learner: LiveLearner, most: int = 3000, until: Callable[[LiveEvent], bool] | None = None) -> list[LiveEvent]:
    """Step until it idles, or something happens."""
    events: list[LiveEvent] = []
    for _ in range(most):
        new = learner.step()
        events += new
        if learner.idle or (until is not None and any(until(event) for event in new)):
            return events
    raise AssertionError(f"still busy after {most} parts")


def course_of(learner: LiveLearner) -> Course:
    course = learner._schooling.course
    assert course is not None
    return course


def took(steps: int) -> Any:
    return lambda event: isinstance(event, StepTaken) and event.step >= steps


def score_network_higher(monkeypatch: pytest.MonkeyPatch, sees: Callable[[torch.nn.Module], bool]) -> None:
    """Have the trained network score higher than the closed form; each network that is scored has to be as expected."""
    scores = iter([0.5, 0.9, 0.5, 0.9] + 50 * [0.1])

    def score(self: Scorer, network: torch.nn.Module) -> Iterator[float]:
        assert sees(network)
        yield next(scores)

    monkeypatch.setattr(Scorer, "run", score)


def shown_when_better(learner: LiveLearner) -> nu.Model:
    """Look at the image "a" and train until a better network is shown; returns its model."""
    learner.look_at("a")
    learner.start_training()
    events = run(learner, until=lambda event: isinstance(event, BetterNetwork))
    events += run(learner, until=took(6))
    assert not of(events, Problem)
    assert learner.shown == "network"
    return learner.current_model()


def of(events: list[LiveEvent], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def person() -> Person:
    return Person((64, 64))
