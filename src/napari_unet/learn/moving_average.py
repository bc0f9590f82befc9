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
    buffers : bool
        Whether the statistics of the normalisation are averaged, too: enough where a training is long and its rate
        falls; in a short one they lag behind.

    Attributes
    ----------
    module : torch.nn.Module
        The averaged network. Buffers that are not averaged are those of the network at the last update.
    """

    n_averaged: torch.Tensor

    def __init__(self, network: nn.Module, decay: float, *, buffers: bool = False) -> None:
        super().__init__()
        self.module = copy.deepcopy(network)
        self.decay = decay
        self._average_buffers = buffers
        self.register_buffer("n_averaged", torch.tensor(0, device="cpu"))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the present weights of the network into the average; the first time they are copied."""
        seen = int(self.n_averaged)
        share = 1.0 if seen == 0 else 1 - min(self.decay, (1 + seen) / (10 + seen))
        (averaged, copied), (new, whole) = self._parts(self.module), self._parts(network)
        torch._foreach_lerp_(averaged, new, share)
        if copied:
            torch._foreach_copy_(copied, whole)
        self.n_averaged += 1

    def _parts(self, network: nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return what is averaged of a network, and what is copied."""
        mixed: list[torch.Tensor] = list(network.parameters())
        whole: list[torch.Tensor] = []
        for buffer in network.buffers():
            (mixed if self._average_buffers and buffer.is_floating_point() else whole).append(buffer)
        return mixed, whole
