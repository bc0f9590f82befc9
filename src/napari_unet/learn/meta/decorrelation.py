"""Channels that differ: what a network pays for maps that all show the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["likeness", "normalised_maps"]

_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm)
_POSITIONS = 2048  # of a map that are compared
_FLOOR = 1e-3  # of a channel's standard deviation, below which it is as good as constant


@contextmanager
def normalised_maps(network: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect the maps that the normalisations of a network give while it runs inside of the block."""
    maps: list[torch.Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, output: maps.append(output))
        for layer in network.modules()
        if isinstance(layer, _NORMS)
    ]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def likeness(maps: Sequence[torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    """Return how alike the channels of maps are: the mean squared correlation of two of them, averaged over the maps.

    0 where no two channels are correlated, 1 where all show the same or its negative. A training that only asks for the
    right answer leaves a network with channels that are nearly all alike, which a last layer that is solved from a few
    strokes, or a further training, can do little with.

    Parameters
    ----------
    maps : sequence of torch.Tensor
        Each (N, C, \\*space), at least two channels.
    generator : torch.Generator
        Draws the positions that are compared.

    References
    ----------
    Cogswell et al. 2016, arXiv 1511.06068, for the covariance; the correlation: Zbontar et al. 2021, arXiv 2103.03230.

    Examples
    --------
    >>> waves = torch.stack([torch.arange(64.0).sin(), torch.arange(64.0).cos(), -torch.arange(64.0).sin()])
    >>> maps = waves[None].repeat(4, 1, 1)
    >>> round(float(likeness([maps], torch.Generator().manual_seed(0))), 1)
    0.3
    """
    return torch.stack([_likeness(m.movedim(1, -1).flatten(0, -2), generator) for m in maps]).mean()


def _likeness(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Compare the columns of (n, C) at some of the rows."""
    if len(pixels) > _POSITIONS:
        pixels = pixels[torch.randint(len(pixels), (_POSITIONS,), generator=generator).to(pixels.device)]
    pixels = pixels.float()
    pixels = pixels - pixels.mean(0)
    pixels = pixels / (pixels.square().mean(0).sqrt() + _FLOOR)
    correlations = (pixels.T @ pixels / len(pixels)).square()
    channels = len(correlations)
    return (correlations.sum() - correlations.diagonal().sum()) / max(1, channels * (channels - 1))
