"""Training on from what a network can do already, without losing it.

A few strokes say little about the rest of an image, and a training that only looks at them soon forgets what the
network saw there. So where the start is good, the network keeps to the start's own answer wherever nothing is painted
(Li and Hoiem 2016, Learning without Forgetting, arXiv 1606.09282), and the statistics of its normalisation stay as they
are. What is painted completely leaves nothing to keep to, and the training is free.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

from napari_unet.data.crops import AnnotatedFrame, same_frames
from napari_unet.nets.blocks import center_crop

__all__ = ["Anchor", "halfway", "mostly_unpainted"]

_SPARSE = 0.5  # painted share of the frames below which starting weights know more of the rest than the strokes do


class Anchor:
    """The network that a training began with, and the pull towards its answers.

    Parameters
    ----------
    network : torch.nn.Module
        The start; copied.
    weight : float
        What the pull counts beside the painted pixels, if nothing is painted: it falls with the unpainted share.
    """

    def __init__(self, network: nn.Module, weight: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._weight = weight

    def ask(self, image: torch.Tensor) -> torch.Tensor:
        """Return what the start sees in crops: probabilities (N, class, \\*space)."""
        with torch.no_grad():
            logits: torch.Tensor = self.network(image)
        return logits.float().softmax(dim=1)

    def loss(self, logits: torch.Tensor, asked: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the cross entropy to the start's probabilities where nothing is painted, as a mean over all pixels.

        Parameters
        ----------
        logits : torch.Tensor
            (N, class, \\*space) of the network in training.
        asked : torch.Tensor
            What `ask` returned for the same crops.
        weights : torch.Tensor
            (N, \\*space); 0 where nothing is painted.
        """
        unpainted = center_crop(weights, logits.shape[2:]) <= 0
        apart = -(asked * logits.float().log_softmax(dim=1)).sum(dim=1)
        return self._weight * (apart * unpainted).mean()


def mostly_unpainted(frames: Sequence[AnnotatedFrame]) -> bool:
    """Whether so little of the frames is painted that there is something to keep to."""
    painted = sum(int((frame.weights > 0).sum()) for frame in frames)
    each = [frames[group[0]].reader.layout for group in same_frames(frames)]
    return painted < _SPARSE * sum(math.prod(layout.frame_shape) for layout in each)


def halfway(start: nn.Module, end: nn.Module) -> nn.Module:
    """Return the network whose weights are the mean of two (Wortsman et al. 2022, arXiv 2109.01903, with alpha 1/2).

    Between a start and what a careful training made of it, it is nearly as good as the better one, whichever that is.
    """
    middle = copy.deepcopy(end)
    known = start.state_dict()
    with torch.no_grad():
        for key, value in middle.state_dict().items():
            if value.is_floating_point():
                value.lerp_(known[key].to(value), 0.5)
    return middle
