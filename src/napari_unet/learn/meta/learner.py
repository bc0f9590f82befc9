"""A network that learns to be solved: its last feature map shall tell apart whatever was marked by strokes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from napari_unet.data.episodes.episode import Episode
from napari_unet.learn.closed_form import ClosedForm, solve_head
from napari_unet.learn.losses import segmentation_loss
from napari_unet.learn.meta.config import MetaConfig
from napari_unet.learn.meta.decorrelation import likeness, normalised_maps
from napari_unet.nets.device import Device

__all__ = ["EpisodeBatch", "MetaLearner", "MetaLoss", "TaskBatch"]


@dataclass(frozen=True, eq=False)
class TaskBatch:
    """A task of an episode on a device.

    Attributes
    ----------
    classes : torch.Tensor
        (2, pixels) int64, the truth on support and query.
    painted : torch.Tensor
        Which pixels are painted, counted along both images; int64.
    count : int
        Number of classes.
    """

    classes: torch.Tensor
    painted: torch.Tensor
    count: int


@dataclass(frozen=True, eq=False)
class EpisodeBatch:
    """Episodes on a device.

    Attributes
    ----------
    images : torch.Tensor
        (2 N, 3, \\*space) float32: support and query of the first episode, of the second, ...
    tasks : tuple of tuple of TaskBatch
        For each episode its tasks.
    """

    images: torch.Tensor
    tasks: tuple[tuple[TaskBatch, ...], ...]

    @classmethod
    def gather(cls, episodes: Sequence[Episode], device: Device) -> EpisodeBatch:
        """Bring episodes to a device."""
        images = np.concatenate([episode.images for episode in episodes])
        tasks = tuple(
            tuple(
                TaskBatch(device.tensor(task.classes.reshape(2, -1)).long(), device.tensor(task.painted), task.count)
                for task in episode.tasks
            )
            for episode in episodes
        )
        return cls(device.tensor(images).float(), tasks)


class MetaLoss(NamedTuple):
    """What a step makes smaller: the sum of both.

    Attributes
    ----------
    segmentation : torch.Tensor
        How wrong the solved layers are.
    likeness : torch.Tensor
        What it costs that channels are alike.
    """

    segmentation: torch.Tensor
    likeness: torch.Tensor


class MetaLearner(nn.Module):
    """A network whose last layer is solved from strokes in each step, with learnt settings of the solution.

    Parameters
    ----------
    network : torch.nn.Module
        Has `features`, see `napari_unet.nets.base`; its head is not used.
    start : ClosedForm
        Settings of the solution to begin with.
    """

    def __init__(self, network: nn.Module, start: ClosedForm) -> None:
        super().__init__()
        self.network = network
        self.log_ridge = nn.Parameter(torch.tensor(math.log(start.ridge)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(start.scale)))
        self.offset = nn.Parameter(torch.tensor(start.offset))

    @property
    def closed_form(self) -> ClosedForm:
        """The settings of the solution as they are now."""
        ridge, scale, offset = torch.stack([self.log_ridge, self.log_scale, self.offset]).tolist()
        return ClosedForm(math.exp(ridge), math.exp(scale), offset)

    def loss(self, batch: EpisodeBatch, device: Device, config: MetaConfig, generator: torch.Generator) -> MetaLoss:
        """Return the mean loss of the tasks, cross entropy and Dice where they are not painted, and that of likeness.

        Parameters
        ----------
        batch : EpisodeBatch
            The episodes.
        device : Device
            Where they are.
        config : MetaConfig
            What counts how much.
        generator : torch.Generator
            Draws the pixels that are looked at.
        """
        with normalised_maps(self.network) as maps:
            pixels = self._pixels(batch, device)
        losses = []
        for pair, tasks in zip(pixels.unflatten(0, (-1, 2)), batch.tasks, strict=True):
            for task in tasks:
                weight, bias = self._solve(pair, task)
                unpainted = torch.ones_like(task.classes, dtype=torch.float32)
                unpainted.view(-1).index_fill_(0, task.painted, 0.0)
                for number, share in ((0, config.rest_weight), (1, 1.0)):
                    seen = _draw(pair.shape[1], config.looked_at, generator).to(pair.device)
                    logits = pair[number].index_select(0, seen).float() @ weight.T + bias
                    truth, weights = task.classes[number][seen], unpainted[number][seen]
                    part = segmentation_loss(logits.T[None], truth[None], weights[None], dice_weight=1.0)
                    losses.append(part * (share / len(tasks)))
        found = torch.stack(losses).sum() / (len(batch.tasks) * (1 + config.rest_weight))
        if config.decorrelation == 0:
            return MetaLoss(found, torch.zeros_like(found))
        alike = likeness(maps, generator) + likeness([pixels.movedim(-1, 1)], generator)
        return MetaLoss(found, config.decorrelation * alike)

    @torch.no_grad()
    def score(self, episodes: Sequence[Episode], device: Device) -> list[float]:
        """Return for each episode the Dice on the query: the mean over its tasks and their classes but background."""
        training = self.training
        self.eval()
        scores = []
        for episode in episodes:
            batch = EpisodeBatch.gather([episode], device)
            pair = self._pixels(batch, device)
            scores.append(float(torch.stack([self._dice(pair, task) for task in batch.tasks[0]]).mean()))
        self.train(training)
        return scores

    def _dice(self, pair: torch.Tensor, task: TaskBatch) -> torch.Tensor:
        weight, bias = self._solve(pair, task)
        found, true = (pair[1].float() @ weight.T + bias).argmax(-1), task.classes[1]
        dice = [
            2 * ((found == k) & (true == k)).sum() / ((found == k).sum() + (true == k).sum()).clamp(min=1)
            for k in range(1, task.count)
        ]
        return torch.stack(dice).mean()

    def _pixels(self, batch: EpisodeBatch, device: Device) -> torch.Tensor:
        """Return the features of all images, (2 N, pixels, feature)."""
        with device.autocast():
            maps: torch.Tensor = self.network.features(batch.images)  # type: ignore[operator]
        return maps.movedim(1, -1).flatten(1, -2)

    def _solve(self, pair: torch.Tensor, task: TaskBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Solve the last layer for a task from the features of an episode's images, (2, pixels, feature)."""
        return solve_head(
            pair.flatten(0, 1).index_select(0, task.painted), task.classes.flatten().index_select(0, task.painted),
            task.count, ridge=self.log_ridge.exp(), scale=self.log_scale.exp(), offset=self.offset,
        )  # fmt: skip


def _draw(pixels: int, most: int, generator: torch.Generator) -> torch.Tensor:
    """Draw which pixels are looked at; all of them where they are few enough."""
    return torch.arange(pixels) if pixels <= most else torch.randint(pixels, (most,), generator=generator)
