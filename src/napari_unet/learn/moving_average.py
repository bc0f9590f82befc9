"""The moving average of the weights of a network in training."""

from __future__ import annotations

import copy

import torch
from torch import nn

__all__ = ["MovingAverage"]


class MovingAverage(nn.Module):
    """Average with a decay that grows to `decay`, so that the random start is soon forgotten.

    The count of the updates stays in the computer's memory, so that a GPU is never waited for.

    Parameters
    ----------
    network : torch.nn.Module
        What is averaged; copied.
    decay : float
        Share of the old average that an update keeps; at first ``(1 + updates) / (10 + updates)`` if that is less.

    Attributes
    ----------
    module : torch.nn.Module
        The averaged network. Its buffers are those of the network at the last update.
    """

    n_averaged: torch.Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network)
        self.decay = decay
        self.register_buffer("n_averaged", torch.tensor(0, device="cpu"))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the present weights of the network into the average; the first time they are copied."""
        seen = int(self.n_averaged)
        share = 1.0 if seen == 0 else 1 - min(self.decay, (1 + seen) / (10 + seen))
        torch._foreach_lerp_([*self.module.parameters()], [*network.parameters()], share)
        buffers = list(self.module.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(network.buffers()))
        self.n_averaged += 1
