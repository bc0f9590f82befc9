"""What the dock says about a training while it runs: read off its events, without Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_unet.learn.events import FitEvent, FitFinished, FitProgress, FitRecovered, FitScored, FitStarted
from napari_unet.words import clock

if TYPE_CHECKING:
    from napari_unet.models.model import Model

__all__ = ["Curve", "TrainingStatus", "describe_model", "describe_training", "was_trained"]

_MOST_POINTS = 400


@dataclass
class Curve:
    """Points of a line over time, thinned so that there are never too many to draw."""

    points: list[tuple[float, float]] = field(default_factory=list)
    _gap: float = 0.0

    def add(self, x: float, y: float) -> None:
        """Add a point, unless it is too close to the last one or no number."""
        if not math.isfinite(y) or (self.points and x - self.points[-1][0] < self._gap):
            return
        self.points.append((x, y))
        if len(self.points) > _MOST_POINTS:
            self.points = self.points[::2]
            self._gap = 2 * (self.points[-1][0] - self.points[0][0]) / _MOST_POINTS


@dataclass
class TrainingStatus:
    """The state of a training as far as it is shown.

    Attributes
    ----------
    loss, score, closed_form : Curve
        Over the seconds of training; the last is the held-out score of the closed form.
    marks : list of float
        Seconds at which strokes were added to a training that runs.
    waits : bool
        Whether it can't begin before more is painted.
    """

    loss: Curve = field(default_factory=Curve)
    score: Curve = field(default_factory=Curve)
    closed_form: Curve = field(default_factory=Curve)
    marks: list[float] = field(default_factory=list)
    device: str = ""
    note: str = ""
    seconds: float = 0.0
    steps: int = 0
    fraction: float | None = 0.0
    seconds_left: float | None = None
    last_score: float | None = None
    best_score: float | None = None
    held_out: bool = True
    finished: bool = False
    stopped: bool = False
    waits: bool = False

    def take(self, event: FitEvent) -> None:
        """Learn from an event."""
        self.seconds, self.steps = event.seconds, event.step
        if isinstance(event, FitStarted):
            self.device, self.held_out, self.note = event.device, event.held_out, event.note
        elif isinstance(event, FitProgress):
            self.fraction, self.seconds_left = event.fraction, event.seconds_left
            self.loss.add(event.seconds, event.loss)
        elif isinstance(event, FitScored):
            self.last_score, self.best_score = event.score, event.best
            self.score.add(event.seconds, event.score)
        elif isinstance(event, FitRecovered):
            self.note = event.message
        elif isinstance(event, FitFinished):
            self.finished, self.stopped = True, event.stopped
            self.best_score = event.best if event.best is not None else self.best_score
            self.fraction = 1.0

    @property
    def score_text(self) -> str:
        """The score in words: now, best, and on what it was measured."""
        if self.last_score is None:
            if not self.held_out:
                return "no held-out score"
            return "first score follows" if self.steps else "waits for strokes" if self.waits else "preparing"
        if self.finished:
            return f"score {self.best_score:.2f} (best, held out)"
        return f"score {self.last_score:.2f} (held out), best {self.best_score:.2f}"

    @property
    def time_text(self) -> str:
        """Time gone and time left."""
        if self.finished or self.seconds_left is None:
            return clock(self.seconds)
        return f"{clock(self.seconds)}, {clock(self.seconds_left)} left"

    @property
    def headline(self) -> str:
        """All of it in one line."""
        return " · ".join(part for part in (self.score_text, self.time_text) if part)


def was_trained(status: TrainingStatus, model: Model | None) -> bool:
    """Whether a training has taken a step, now or before the model was opened; a solved last layer is none."""
    return status.steps > 0 or (model is not None and bool(model.history.get("steps")))


def describe_training(status: TrainingStatus, model: Model | None) -> str:
    """Say in one line how far the training is, or that a model was trained before."""
    if status.steps and status.last_score is None and status.held_out:
        return f"no score yet · {status.time_text}"
    if status.steps:
        return status.headline
    if model is None or not was_trained(status, model):
        return "not trained yet"
    best = model.history.get("best_score")
    return "trained before" + (f" · score {best:.2f} (held out)" if isinstance(best, float) else "")


def describe_model(model: Model | None, name: str) -> str:
    """Say in one line what a model is; `name` is that of its file, empty where it is not saved."""
    if model is None:
        return "No model yet: Train makes one."
    config = model.config
    words = [
        name or "not saved yet",
        f"{config.ndim}D, {config.in_channels} channel{'s' * (config.in_channels > 1)}, width {config.features}",
        ", ".join(config.classes),
    ]
    best = model.history.get("best_score")
    if isinstance(best, float):
        words.append(f"score {best:.2f}")
    return " · ".join(words)
