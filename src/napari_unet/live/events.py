"""What live learning tells its listener."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box

__all__ = [
    "BetterNetwork",
    "Idle",
    "LiveEvent",
    "Part",
    "Problem",
    "Recovered",
    "RegionAnswered",
    "Scored",
    "Source",
    "SourceChanged",
    "StepTaken",
    "StrokesMissing",
]

Source = Literal["closed form", "network"]  # the last layer solved from the strokes, or the network as it was trained
Part = Literal["strokes", "answer", "training", "rest", "uncertainty", "model"]


@dataclass(frozen=True)
class LiveEvent:
    """Base of all events.

    Attributes
    ----------
    step : int
        Training steps so far.
    change : int
        How often the strokes, classes or images have changed so far.
    """

    step: int
    change: int


@dataclass(frozen=True, eq=False)
class RegionAnswered(LiveEvent):
    """The visible region was segmented anew, or a part of it, where all of it takes its time and follows.

    Attributes
    ----------
    key : hashable
        The image.
    region : tuple of slice
        The part of the image, without its channel axis.
    probabilities : numpy.ndarray
        (class, \\*region) float32 in 0..1.
    source : {"closed form", "network"}
        Whose result it is.
    """

    key: Hashable
    region: Box
    probabilities: npt.NDArray[np.float32]
    source: Source


@dataclass(frozen=True)
class StrokesMissing(LiveEvent):
    """What is to be painted before there can be an answer, or a score.

    Attributes
    ----------
    text : str
        In words for the person; empty where nothing is missing any more.
    counts : tuple of (str, int)
        For each class that lacks strokes its name and how many.
    for_answer : bool
        Whether nothing can be shown before; else only the score is missing.
    """

    text: str
    counts: tuple[tuple[str, int], ...]
    for_answer: bool


@dataclass(frozen=True)
class StepTaken(LiveEvent):
    """The training took a step.

    Attributes
    ----------
    loss : float
        Smoothed over the last steps.
    """

    loss: float


@dataclass(frozen=True)
class Scored(LiveEvent):
    """A result was scored on the held-out strokes.

    Attributes
    ----------
    source : {"closed form", "network"}
        What was scored: for the network its averaged weights.
    score : float
        Mean Dice over the classes but background, 0 to 1.
    best : float
        The best score of this source on these strokes.
    """

    source: Source
    score: float
    best: float


@dataclass(frozen=True)
class BetterNetwork(LiveEvent):
    """The trained network has become better on the held-out strokes.

    Attributes
    ----------
    score : float
        Its score.
    """

    score: float


@dataclass(frozen=True)
class SourceChanged(LiveEvent):
    """From now on the result of another source is shown; what is not in view is to be predicted anew.

    Attributes
    ----------
    source : {"closed form", "network"}
        Whose result is shown.
    scores : tuple of float or None
        Held-out score of the closed form, and of the network; None: not known.
    """

    source: Source
    scores: tuple[float | None, float | None]


@dataclass(frozen=True)
class Idle(LiveEvent):
    """There is nothing to do before the next change.

    Attributes
    ----------
    reason : str
        Why, in words for the person.
    """

    reason: str


@dataclass(frozen=True)
class Recovered(LiveEvent):
    """A problem was solved and the training goes on.

    Attributes
    ----------
    message : str
        What happened and what was done, in words for the person.
    """

    message: str


@dataclass(frozen=True, eq=False)
class Problem(LiveEvent):
    """Something failed. The next change is tried again.

    Attributes
    ----------
    during : {"strokes", "answer", "training", "rest", "uncertainty", "model"}
        What failed. The last three are told by the window: what is not in view, its uncertainty, handing the model on.
    message : str
        In words for the person.
    error : Exception
        The error itself.
    """

    during: Part
    message: str
    error: Exception
