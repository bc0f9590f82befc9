"""A training on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from napari_unet.errors import ModelFileError
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.trainer import Trainer
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.tensor_file import load_tensors, save_tensors

__all__ = ["Progress", "load_checkpoint", "save_checkpoint"]

# these may change from one run to the next; the batch with the number of processes
_MAY_CHANGE = ("max_seconds", "max_steps", "batch_size")


@dataclass
class Progress:
    """How far a training has come.

    Attributes
    ----------
    seconds : float
        Seconds of training so far, in all runs.
    best_score : float or None
        Score on the held-out strokes of the network that is kept.
    best_state : dict of str to torch.Tensor or None
        The state of that network, on the CPU.
    bar : float
        A network is kept only if it scores as well as this.
    highest : float
        The highest score so far.
    """

    seconds: float = 0.0
    best_score: float | None = None
    best_state: dict[str, torch.Tensor] | None = None
    bar: float = -math.inf
    highest: float = -math.inf

    def takes(self, score: float, doubt: float = 0.0) -> bool:
        """Return whether a network with this score is kept.

        Later is better where scores do not tell: what is below the highest one by no more than `doubt` is kept. The
        highest of many scores is so by chance, mostly, and a training that goes on averages more of its weights.
        """
        self.highest = max(self.highest, score)
        return self.best_score is None or score >= max(self.highest - doubt, self.bar)


def save_checkpoint(path: str | os.PathLike[str], trainer: Trainer, progress: Progress, model: ModelConfig) -> None:
    """Write the whole state of a training to one file, in one step.

    Raises
    ------
    UNetError
        If the file can't be written.
    """
    state = trainer.state()
    tensors = {**state.tensors, **{f"best.{key}": value for key, value in (progress.best_state or {}).items()}}
    document = {
        "kind": "checkpoint",
        "settings": _signature(model, trainer.config),
        "seconds": progress.seconds,
        "best_score": progress.best_score,
        "bar": _finite(progress.bar),
        "highest": _finite(progress.highest),
        "trainer": state.numbers,
    }
    save_tensors(path, tensors, document)


def load_checkpoint(path: str | os.PathLike[str], trainer: Trainer, model: ModelConfig) -> Progress:
    """Bring a trainer to the state in a file.

    Raises
    ------
    ModelFileError
        If the file is damaged, is no checkpoint, or is of a training with other settings.
    """
    tensors, document = load_tensors(path)
    name = Path(path).name
    if document.get("kind") != "checkpoint":
        raise ModelFileError(f"{name} is not a checkpoint of a training; choose another file.")
    if _completed(document.get("settings")) != _signature(model, trainer.config):
        raise ModelFileError(f"{name} is of a training with other settings; choose another file or delete it.")
    best = {key.removeprefix("best."): value for key, value in tensors.items() if key.startswith("best.")}
    try:
        bar, highest = (_or_lowest(document.get(key)) for key in ("bar", "highest"))
        progress = Progress(float(document["seconds"]), document["best_score"], best or None, bar, highest)
        trainer.load_state(tensors, document["trainer"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{name} lacks a part of its training; delete it to start anew.") from error
    return progress


def _finite(score: float) -> float | None:
    """Return a score as JSON can hold it: None for the lowest of all."""
    return score if math.isfinite(score) else None


def _or_lowest(score: float | None) -> float:
    return -math.inf if score is None else float(score)


def _completed(settings: Any) -> Any:
    """Add the settings that were not there yet when a file was written: they were as they are by default now."""
    try:
        return {**settings, "training": _signature_of_training(TrainConfig()) | settings["training"]}
    except (KeyError, TypeError):
        return None


def _signature(model: ModelConfig, config: TrainConfig) -> dict[str, Any]:
    """Say what must be equal for a training to go on; lists instead of tuples, as in JSON."""
    network = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(model).items()}
    return {"model": network, "training": _signature_of_training(config)}


def _signature_of_training(config: TrainConfig) -> dict[str, Any]:
    return {key: value for key, value in asdict(config).items() if key not in _MAY_CHANGE}
