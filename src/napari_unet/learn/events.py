"""What a training tells its listener while it runs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FitEvent", "FitFinished", "FitProgress", "FitRecovered", "FitScored", "FitStarted"]


@dataclass(frozen=True)
class FitEvent:
    """Base of all training events.

    Attributes
    ----------
    step : int
        Optimiser steps done so far.
    seconds : float
        Seconds since the training began.
    """

    step: int
    seconds: float


@dataclass(frozen=True)
class FitStarted(FitEvent):
    """The data are prepared and the first step follows.

    Attributes
    ----------
    device : str
        The device in words, for example ``"GPU NVIDIA H200"`` or ``"CPU, 2 threads, bfloat16"``.
    held_out : bool
        Whether strokes were held out, so that there will be scores.
    note : str
        Why there is no held-out score, in words for the person; empty when there is one.
    """

    device: str
    held_out: bool
    note: str = ""


@dataclass(frozen=True)
class FitProgress(FitEvent):
    """One more step was made, or a pause between steps gives the listener a turn.

    Attributes
    ----------
    loss : float
        Loss of the step, smoothed over the last few; NaN before the first step.
    fraction : float or None
        Share of the budget that is used, 0 to 1; None without a budget.
    seconds_left : float or None
        Expected seconds to the end; None without a budget.
    """

    loss: float
    fraction: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class FitScored(FitEvent):
    """The averaged weights were scored on the held-out strokes.

    Attributes
    ----------
    score : float
        Mean Dice over the classes but background, on the held-out strokes, 0 to 1.
    best : float
        Score of the weights that are kept so far.
    improved : bool
        Whether these are kept from now on: they score best, or so nearly that the difference may be chance. Later ones
        are an average over more of the training.
    """

    score: float
    best: float
    improved: bool


@dataclass(frozen=True)
class FitRecovered(FitEvent):
    """The training met a problem, solved it and goes on.

    Attributes
    ----------
    message : str
        What happened and what was done, in words for the person.
    """

    message: str


@dataclass(frozen=True)
class FitFinished(FitEvent):
    """The training is over and the model holds the best weights.

    Attributes
    ----------
    best : float or None
        Score of the weights that are kept on the held-out strokes; None where nothing could be held out.
    stopped : bool
        Whether the caller stopped it before the budget was used.
    """

    best: float | None
    stopped: bool
