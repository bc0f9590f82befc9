"""The recurrent residual U-Net: every convolution looks several times at what it made itself."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.blocks import ConvUnit, contract, conv, dropout_layer, normalization, pool, up_conv
from napari_unet.nets.config import ModelConfig

__all__ = ["RecurrentUNet"]

_STEPS = 2  # the paper's t


class RecurrentConv(nn.Module):
    """A convolution of the input plus a convolution of the layer's own last state, a few times over.

    ``state(0) = relu(norm(feed(x)))`` and ``state(t) = relu(norm(feed(x) + recur(state(t - 1))))``, equation 2 of the
    paper. Each step has a normalisation of its own, for the signal grows from step to step.
    """

    def __init__(self, ndim: int, channels: int, *, norm: str | None) -> None:
        super().__init__()
        self.feed = conv(ndim, channels, channels, 3, padding=1, bias=norm is None)
        self.recur = conv(ndim, channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(normalization(norm, ndim, channels) for _ in range(1 + _STEPS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, channels, \\*space) to the same shape."""
        drive = self.feed(x)
        state = functional.relu(self.norms[0](drive))
        for norm in list(self.norms)[1:]:
            state = functional.relu(norm(drive + self.recur(state)))
        return state


class RecurrentResidualBlock(nn.Module):
    """A 1x1 convolution to the right number of channels, normalised, plus two recurrent convolutions of it."""

    def __init__(self, ndim: int, inputs: int, outputs: int, *, norm: str | None, dropout: float = 0.0) -> None:
        super().__init__()
        self.match = ConvUnit(ndim, inputs, outputs, 1, norm=norm, activation=None)
        self.layers = nn.Sequential(*(RecurrentConv(ndim, outputs, norm=norm) for _ in range(2)))
        self.dropout = nn.Sequential(*dropout_layer(ndim, dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, \\*space) to (N, outputs, \\*space)."""
        x = self.match(x)
        result: torch.Tensor = self.dropout(x + self.layers(x))
        return result


class RecurrentUNet(SegmentationNetwork):
    """R2U-Net of Alom et al. 2018 (arXiv 1802.06955): a U-Net of recurrent residual convolutions, two steps each.

    As there, the kernel for the input and the one for the layer's own state are two (some implementations share one,
    with half the weights). What differs: a normalisation follows each step, and the 1x1 convolution, without which the
    sums would grow from block to block; 3D as well as 2D.

    Parameters
    ----------
    config : ModelConfig
        Widths, depth, normalisation, dropout, channels and classes.

    Examples
    --------
    >>> RecurrentUNet(ModelConfig("recurrent", features=4, depth=2))(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        ndim, norm = config.ndim, config.norm
        widths = [config.features * 2**level for level in range(config.depth + 1)]
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            inputs = widths[level - 1] if level else config.in_channels
            dropout = config.dropout if level >= config.depth - 1 else 0.0
            self.down.append(RecurrentResidualBlock(ndim, inputs, width, norm=norm, dropout=dropout))
        self.pool = pool(ndim)
        self.up = nn.ModuleList(up_conv(ndim, 2 * width, width) for width in widths[:-1])
        self.merge = nn.ModuleList(RecurrentResidualBlock(ndim, 2 * width, width, norm=norm) for width in widths[:-1])
        self.head = conv(ndim, widths[0], len(config.classes), 1)
        self.complete()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image (N, C, \\*space) to the last feature map (N, features, \\*space), before the head."""
        self.check_size(x)
        *skips, x = contract(x, self.down, self.pool)
        for level in reversed(range(len(skips))):
            x = self.merge[level](torch.cat([skips[level], self.up[level](x)], dim=1))
        return x
