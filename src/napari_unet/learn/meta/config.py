"""Settings of a meta-training, and what it tells its listener."""

from __future__ import annotations

from dataclasses import dataclass

from napari_unet.errors import InputError
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.events import FitEvent

__all__ = ["MetaConfig", "MetaFinished", "MetaProgress", "MetaStarted"]


@dataclass(frozen=True)
class MetaConfig:
    """How to meta-train.

    Attributes
    ----------
    max_steps, max_seconds : int, float or None
        The budget, over which the learning rate falls to 2 %; at least one is needed.
    batch : int
        Episodes in a step.
    learning_rate, weight_decay : float
        Of AdamW; the settings of the solution do not decay.
    ema_decay : float
        Decay of the moving average of weights and statistics.
    rest_weight : float
        What the pixels of the support that are not painted count, beside 1 for the query.
    decorrelation : float
        What it costs that channels of the network are alike, see `napari_unet.learn.meta.decorrelation`.
    looked_at : int
        Most pixels of an image by which each task is judged; they are drawn anew in each step.
    checkpoint_seconds : float
        How often the training is written to its checkpoint.

    Raises
    ------
    InputError
        If there is no budget, or a number is out of range.
    """

    max_steps: int | None = None
    max_seconds: float | None = None
    batch: int = 3
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    ema_decay: float = 0.998
    rest_weight: float = 0.5
    decorrelation: float = 1.0
    looked_at: int = 4096
    checkpoint_seconds: float = 120.0

    def __post_init__(self) -> None:
        if self.max_steps is None and self.max_seconds is None:
            raise InputError("A meta-training needs a budget: give `max_steps` or `max_seconds`.")
        if min(self.batch, self.looked_at) < 1 or not self.learning_rate > 0 or not 0 <= self.ema_decay < 1:
            raise InputError("Expected `batch` and `learning_rate` above 0, and `ema_decay` from 0 to below 1.")
        if self.decorrelation < 0:
            raise InputError("Expected `decorrelation` to be at least 0.")


@dataclass(frozen=True)
class MetaStarted(FitEvent):
    """The data are at hand and the first step follows.

    Attributes
    ----------
    device : str
        The device in words.
    """

    device: str


@dataclass(frozen=True)
class MetaProgress(FitEvent):
    """One more step was made.

    Attributes
    ----------
    loss : float
        Loss, smoothed over the last steps.
    fraction : float
        Share of the budget that is used.
    waiting : float
        Share of the time that was spent waiting for episodes.
    closed_form : ClosedForm
        The settings of the solution as they are now.
    """

    loss: float
    fraction: float
    waiting: float
    closed_form: ClosedForm


@dataclass(frozen=True)
class MetaFinished(FitEvent):
    """The training is over and the model's network has the averaged weights.

    Attributes
    ----------
    closed_form : ClosedForm
        The learnt settings of the solution.
    stopped : bool
        Whether the caller stopped it before the budget was used.
    """

    closed_form: ClosedForm
    stopped: bool
