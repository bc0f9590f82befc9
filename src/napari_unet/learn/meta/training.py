"""Training a network so that a last layer solved from strokes segments, as a generator of events."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_unet.data.episodes.episode import Episode
from napari_unet.data.episodes.stream import EpisodeStream
from napari_unet.data.episodes.workers import episodes_from_workers
from napari_unet.errors import InputError, ModelFileError, UNetError
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.events import FitEvent
from napari_unet.learn.meta.config import MetaConfig, MetaFinished, MetaProgress, MetaStarted
from napari_unet.learn.meta.learner import EpisodeBatch, MetaLearner
from napari_unet.learn.moving_average import MovingAverage
from napari_unet.learn.optimizer_state import optimizer_state, optimizer_tensors
from napari_unet.nets.device import Device, choose_device
from napari_unet.nets.registry import SegmentationModel
from napari_unet.nets.tensor_file import load_tensors, save_tensors

__all__ = ["meta_train"]

_KIND = "meta-training"
_WARMUP_STEPS = 100
_LAST_RATE = 0.02  # of the learning rate, at the end of the budget
_SMOOTHING = 0.98  # of the shown loss
_MOST_FAILURES = 50  # steps in a row whose gradient is not finite
_START = ClosedForm(ridge=0.05, scale=math.e, offset=0.0)


def meta_train(
    model: SegmentationModel,
    stream: EpisodeStream,
    config: MetaConfig,
    *,
    start: ClosedForm | None = None,
    processes: int = 0,
    device: str = "auto",
    should_stop: Callable[[], bool] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Iterator[FitEvent]:
    """Train a network so that `solve_head` on its last feature map segments from a few strokes.

    In each step the last layer is solved from the strokes of each task of each episode, and the loss is that of this
    layer on the query, another image of the same kind, and on the rest of the support. Its gradient goes through the
    solution. Channels that are alike cost, too (`napari_unet.learn.meta.decorrelation`). When the training
    ends, is stopped or is closed, the model's network gets the moving average of the weights; the settings of the
    solution are in `MetaFinished`.

    The same seed gives the same episodes in the same order, however many processes draw them.

    Parameters
    ----------
    model : Model
        What to start from; its network reads three channels.
    stream : EpisodeStream
        The episodes.
    config : MetaConfig
        Budget and rates.
    start : ClosedForm or None
        Settings of the solution to begin with; None: those that suit a network that has learnt nothing.
    processes : int
        Processes that draw episodes beside the training; 0: none.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    should_stop : callable or None
        Asked between the parts of each step; True ends the training.
    checkpoint : path-like or None
        A file to which the training is written from time to time and at its end, and from which it goes on if the file
        is there.

    Yields
    ------
    FitEvent
        `MetaStarted`, a `MetaProgress` for each step, and `MetaFinished`.

    Raises
    ------
    UNetError
        If model and episodes do not fit together, a file or a process fails, or the loss is not a number again and
        again.

    References
    ----------
    Bertinetto et al. 2019, arXiv 1805.08136: a ridge regression as the last layer of a network that learns from few
    examples.
    """
    if model.config.in_channels != 3 or model.config.ndim != len(stream.shape) or model.config.padding != "same":
        raise InputError(
            f"Expected a padded network for 3 channels and {len(stream.shape)} axes, as the episodes have, but got "
            f"{model.config.in_channels} channels and {model.config.ndim} axes, padding {model.config.padding!r}."
        )
    run = _Run(model, stream, config, start or _START, choose_device(device), checkpoint)
    try:
        with episodes_from_workers(stream, processes, run.steps * config.batch) as episodes:
            yield from run.go(episodes, should_stop or (lambda: False))
    finally:
        run.hand_over()


class _Run:
    """The state of one call of `meta_train`."""

    def __init__(
        self, model: SegmentationModel, stream: EpisodeStream, config: MetaConfig, start: ClosedForm, device: Device,
        checkpoint: str | os.PathLike[str] | None,
    ) -> None:  # fmt: skip
        self.model, self.config, self.device = model, config, device
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.settings = _signature(model, stream, config)
        self.steps, self.loss, self.failures = 0, math.nan, 0
        self.learner = MetaLearner(copy.deepcopy(model.network), start)
        device.place(self.learner)
        self.average = MovingAverage(self.learner, config.ema_decay, buffers=True)
        solution = [self.learner.log_ridge, self.learner.log_scale, self.learner.offset]
        groups: list[dict[str, Any]] = [
            {"params": list(self.learner.network.parameters())},
            {"params": solution, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=config.learning_rate, weight_decay=config.weight_decay,
            fused=device.torch_device.type in ("cpu", "cuda"),
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(device.torch_device.type, enabled=device.low_precision is torch.float16)
        self.began = time.monotonic()
        if self.checkpoint is not None and self.checkpoint.exists():
            self._load(self.checkpoint)
        self.resumed = self.saved = time.monotonic()
        self.waited = 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training, in all runs."""
        return time.monotonic() - self.began

    @property
    def fraction(self) -> float:
        """The used share of the budget."""
        shares = [0.0]
        if self.config.max_seconds is not None:
            shares.append(self.seconds / max(self.config.max_seconds, 1e-9))
        if self.config.max_steps is not None:
            shares.append(self.steps / max(self.config.max_steps, 1))
        return min(1.0, max(shares))

    def go(self, episodes: Iterator[Episode], should_stop: Callable[[], bool]) -> Iterator[FitEvent]:
        """Step until the budget is used or the caller wants to stop."""
        yield MetaStarted(self.steps, self.seconds, self.device.description)
        self.learner.train()
        stopped = False
        while not stopped and self.fraction < 1:
            for _ in self._step(episodes):
                stopped = should_stop()
                if stopped:
                    break
            else:
                yield self._report()
                if time.monotonic() - self.saved > self.config.checkpoint_seconds:
                    self._save()
        self._save()
        yield MetaFinished(self.steps, self.seconds, self._averaged.closed_form, stopped)

    def _step(self, episodes: Iterator[Episode]) -> Iterator[None]:
        """Take one step, with a pause after each of its parts; one whose gradient is not finite changes nothing."""
        began = time.monotonic()
        batch = EpisodeBatch.gather(list(islice(episodes, self.config.batch)), self.device)
        self.waited += time.monotonic() - began
        yield
        fall = 0.5 * (1 + math.cos(math.pi * self.fraction))
        rate = min(1.0, (self.steps + 1) / _WARMUP_STEPS) * (_LAST_RATE + (1 - _LAST_RATE) * fall)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * rate
        drawing = torch.Generator().manual_seed(self.steps)  # the same after an interruption
        loss = self.learner.loss(batch, self.device, self.config, drawing)
        yield
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss.segmentation + loss.likeness).backward()
        self.scaler.unscale_(self.optimizer)
        length = nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        if bool(torch.isfinite(length)):
            self.scaler.step(self.optimizer)
            self.average.update(self.learner)
            value = float(loss.segmentation.detach())
            self.loss = value if math.isnan(self.loss) else _SMOOTHING * self.loss + (1 - _SMOOTHING) * value
            self.failures = 0
        else:
            self.failures += 1
            if self.failures > _MOST_FAILURES:
                raise UNetError(
                    "The training fails again and again: its loss is not a number. Lower the learning rate."
                )
        self.scaler.update()
        self.steps += 1

    def _report(self) -> MetaProgress:
        waiting = self.waited / max(1e-9, time.monotonic() - self.resumed)
        return MetaProgress(self.steps, self.seconds, self.loss, self.fraction, waiting, self.learner.closed_form)

    @property
    def _averaged(self) -> MetaLearner:
        learner: MetaLearner = self.average.module  # type: ignore[assignment]
        return learner

    def hand_over(self) -> None:
        """Give the model the averaged weights, if there were steps."""
        if self.steps == 0:
            return
        state = self._averaged.network.state_dict()
        self.model.network.load_state_dict({key: value.cpu() for key, value in state.items()})
        self.model.network.eval()
        self.model.history = {
            **self.model.history,
            "steps": self.steps,
            "seconds": round(self.seconds, 2),
            "device": self.device.description,
        }

    def _save(self) -> None:
        """Write the whole state to the checkpoint, in one step."""
        if self.checkpoint is None:
            return
        tensors = {
            **{f"learner.{key}": value for key, value in self.learner.state_dict().items()},
            **{f"average.{key}": value for key, value in self.average.state_dict().items()},
            **{f"optimizer.{key}": value for key, value in optimizer_tensors(self.optimizer).items()},
        }
        document = {
            "kind": _KIND,
            "settings": self.settings,
            "steps": self.steps,
            "seconds": self.seconds,
            "loss": None if math.isnan(self.loss) else self.loss,
            "scaler": self.scaler.state_dict(),
        }
        save_tensors(self.checkpoint, tensors, document)
        self.saved = time.monotonic()

    def _load(self, path: Path) -> None:
        tensors, document = load_tensors(path)
        if document.get("kind") != _KIND:
            raise ModelFileError(f"{path.name} is not a checkpoint of a meta-training; choose another file.")
        if document.get("settings") != self.settings:
            raise ModelFileError(f"{path.name} is of a training with other settings; choose another file or delete it.")

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        try:
            self.learner.load_state_dict(part("learner."))
            self.average.load_state_dict(part("average."))
            self.optimizer.load_state_dict(optimizer_state(self.optimizer, part("optimizer.")))
            self.steps, self.began = int(document["steps"]), time.monotonic() - float(document["seconds"])
            self.loss = math.nan if document["loss"] is None else float(document["loss"])
            self.scaler.load_state_dict(document["scaler"])
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise ModelFileError(f"{path.name} lacks a part of its training; delete it to start anew.") from error


def _signature(model: SegmentationModel, stream: EpisodeStream, config: MetaConfig) -> dict[str, Any]:
    """Say what must be equal for a training to go on, as JSON has it."""
    training = asdict(config)
    for name in ("max_steps", "max_seconds", "checkpoint_seconds"):
        del training[name]
    words = {"model": asdict(model.config), "training": training, "episodes": stream.describe()}
    signature: dict[str, Any] = json.loads(json.dumps(words))
    return signature
