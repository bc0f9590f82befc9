"""A network that learns to be solved: its last feature map shall tell apart whatever was marked by strokes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from napari_unet.data.episodes.episode import Episode
from napari_unet.learn.closed_form import ClosedForm, solve_head
from napari_unet.learn.losses import segmentation_loss
from napari_unet.nets.device import Device

__all__ = ["EpisodeBatch", "MetaLearner"]


@dataclass(frozen=True, eq=False)
class EpisodeBatch:
    """Episodes on a device.

    Attributes
    ----------
    images : torch.Tensor
        (2 N, 3, \\*space) float32: support and query of the first episode, of the second, ...
    classes : torch.Tensor
        (2 N, pixels) int64.
    painted : tuple of torch.Tensor
        For each episode, which pixels of its two images are painted; int64.
    counts : tuple of int
        For each episode, its number of classes.
    """

    images: torch.Tensor
    classes: torch.Tensor
    painted: tuple[torch.Tensor, ...]
    counts: tuple[int, ...]

    @classmethod
    def gather(cls, episodes: Sequence[Episode], device: Device) -> EpisodeBatch:
        """Bring episodes to a device."""
        images = np.concatenate([episode.images for episode in episodes])
        classes = np.concatenate([episode.classes.reshape(2, -1) for episode in episodes])
        return cls(
            device.tensor(images).float(),
            device.tensor(classes).long(),
            tuple(device.tensor(episode.painted) for episode in episodes),
            tuple(episode.count for episode in episodes),
        )


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

    def logits(self, batch: EpisodeBatch, device: Device) -> Iterator[torch.Tensor]:
        """Solve the last layer for each episode and apply it to its images: (2, class, pixels) float32."""
        with device.autocast():
            maps = self.network.features(batch.images)  # type: ignore[operator]
        pixels = maps.movedim(1, -1).flatten(1, -2)
        for number, (painted, count) in enumerate(zip(batch.painted, batch.counts, strict=True)):
            pair = pixels[2 * number : 2 * number + 2]
            classes = batch.classes[2 * number : 2 * number + 2].flatten()
            weight, bias = solve_head(
                pair.flatten(0, 1).index_select(0, painted), classes.index_select(0, painted), count,
                ridge=self.log_ridge.exp(), scale=self.log_scale.exp(), offset=self.offset,
            )  # fmt: skip
            yield (pair.float() @ weight.T + bias).movedim(-1, 1)

    def loss(self, batch: EpisodeBatch, device: Device, rest_weight: float) -> torch.Tensor:
        """Return the mean loss of the episodes: cross entropy and Dice where they are not painted.

        Parameters
        ----------
        batch : EpisodeBatch
            The episodes.
        device : Device
            Where they are.
        rest_weight : float
            What the pixels of the support that are not painted count, beside 1 for the query.
        """
        losses = []
        for number, logits in enumerate(self.logits(batch, device)):
            weights = torch.ones_like(logits[:, 0])
            weights.view(-1).index_fill_(0, batch.painted[number], 0.0)
            for image, share in ((0, rest_weight), (1, 1.0)):
                part = slice(image, image + 1)
                classes = batch.classes[2 * number + image][None]
                losses.append(share * segmentation_loss(logits[part], classes, weights[part], dice_weight=1.0))
        return torch.stack(losses).sum() / (len(batch.counts) * (1 + rest_weight))

    @torch.no_grad()
    def score(self, episodes: Sequence[Episode], device: Device) -> list[float]:
        """Return for each episode the mean Dice over the classes but background, on the query."""
        training = self.training
        self.eval()
        scores = []
        for episode in episodes:
            batch = EpisodeBatch.gather([episode], device)
            (logits,) = self.logits(batch, device)
            found, true = logits[1].argmax(0), batch.classes[1]
            dice = [
                2 * ((found == k) & (true == k)).sum() / ((found == k).sum() + (true == k).sum()).clamp(min=1)
                for k in range(1, episode.count)
            ]
            scores.append(float(torch.stack(dice).mean()))
        self.train(training)
        return scores
