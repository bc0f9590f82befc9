"""The attention U-Net: skip connections pass on what the deeper level finds worth looking at."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.blocks import DoubleConv, contract, contracting_blocks, conv, pool, smooth_up
from napari_unet.nets.config import ModelConfig

__all__ = ["AttentionGate", "AttentionUNet"]


class AttentionGate(nn.Module):
    """Additive attention: each place of a skip connection is multiplied by a number between 0 and 1.

    The number comes from the skip and from the coarser map below it, on the grid of the latter.

    Parameters
    ----------
    ndim : int
        2 or 3.
    channels, gate_channels : int
        Channels of the skip and of the coarser map.
    """

    def __init__(self, ndim: int, channels: int, gate_channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.shrink = pool(ndim, "average")
        self.from_skip = conv(ndim, channels, inner, 1, bias=False)
        self.from_gate = conv(ndim, gate_channels, inner, 1)
        self.score = conv(ndim, inner, 1, 1)
        self.grow = smooth_up(ndim)

    def forward(self, skip: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """Weight `skip` (N, channels, \\*space); `gate` has half its size."""
        joined = functional.relu(self.from_skip(self.shrink(skip)) + self.from_gate(gate))
        weights: torch.Tensor = self.grow(torch.sigmoid(self.score(joined)))
        return skip * weights


class AttentionUNet(SegmentationNetwork):
    """The attention U-Net of Oktay et al. 2018 (arXiv 1804.03999).

    As there, upsampling is linear interpolation without weights, and the gates work on the grid of the coarser map.
    What differs: the skip is brought to that grid by averaging (the paper leaves open how); all skips have a gate, the
    finest, too; one gate each and no deep supervision, which the authors added later; 2D as well as 3D.

    Parameters
    ----------
    config : ModelConfig
        Widths, depth, normalisation, dropout, channels and classes.

    Examples
    --------
    >>> AttentionUNet(ModelConfig("attention", features=4, depth=2))(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        ndim = config.ndim
        widths = [config.features * 2**level for level in range(config.depth + 1)]
        self.down = contracting_blocks(config, widths)
        self.pool = pool(ndim)
        self.grow = smooth_up(ndim)
        self.gates = nn.ModuleList(AttentionGate(ndim, width, 2 * width) for width in widths[:-1])
        self.merge = nn.ModuleList(DoubleConv(ndim, 3 * width, width, norm=config.norm) for width in widths[:-1])
        self.head = conv(ndim, widths[0], len(config.classes), 1)
        self.complete()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image (N, C, \\*space) to the last feature map (N, features, \\*space), before the head."""
        self.check_size(x)
        *skips, x = contract(x, self.down, self.pool)
        for level in reversed(range(len(skips))):
            skip = self.gates[level](skips[level], x)
            x = self.merge[level](torch.cat([skip, self.grow(x)], dim=1))
        return x
