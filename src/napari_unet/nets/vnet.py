"""V-Net: a residual U-Net of large kernels for volumes."""

from __future__ import annotations

import torch
from torch import nn

from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.blocks import ConvUnit, conv, dropout_layer, up_conv
from napari_unet.nets.config import ModelConfig

__all__ = ["VNet"]

_MOST_CONVOLUTIONS = 3


class ResidualStage(nn.Module):
    """A few 5x5x5 convolutions plus what came in; the PReLU of the last one follows the sum."""

    def __init__(self, ndim: int, inputs: int, channels: int, count: int, *, norm: str | None, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(count):
            last = number == count - 1
            layers.append(
                ConvUnit(
                    ndim, inputs if number == 0 else channels, channels, 5,
                    norm=norm, activation=None if last else nn.PReLU(channels),
                )
            )  # fmt: skip
        self.layers = nn.Sequential(*layers)
        self.activation = nn.Sequential(nn.PReLU(channels), *dropout_layer(ndim, dropout))

    def forward(self, x: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, \\*space) to (N, channels, \\*space); `added` has as many channels, or one for all."""
        result: torch.Tensor = self.activation(self.layers(x) + added)
        return result


class VNet(SegmentationNetwork):
    """V-Net of Milletari et al. 2016 (arXiv 1606.04797), for volumes; the paper's has features 16 and depth 4.

    Stages of 1, 2, 3, 3 and 3 convolutions of 5x5x5 on the way down, 3, 3, 2 and 1 on the way up; 2x2x2 convolutions
    of stride 2 halve the volume, transposed ones double it. What differs: a normalisation may follow each convolution
    (none in the paper); of several image channels the mean is added to the first stage; the loss is chosen elsewhere.

    With features 16, depth 4, one channel and two classes it has 65.2 million parameters. MONAI 1.6's VNet has 45.6
    million: its stages have 1, 1, 2, 3 and 2 convolutions on the way down and 2, 2, 1 and 1 on the way up, one fewer
    in six of the nine than figure 2 of the paper draws.

    Parameters
    ----------
    config : ModelConfig
        Widths, depth, normalisation, dropout, channels and classes; ``ndim=3``.

    Examples
    --------
    >>> VNet(ModelConfig("vnet", ndim=3, features=2, depth=2))(torch.zeros(1, 1, 8, 16, 12)).shape
    torch.Size([1, 2, 8, 16, 12])
    """

    encoder = ("down", "steps_down")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        ndim, depth, norm = config.ndim, config.depth, config.norm
        widths = [config.features * 2**level for level in range(depth + 1)]
        counts = [min(level + 1, _MOST_CONVOLUTIONS) for level in range(depth + 1)]
        self.steps_down, self.steps_up = nn.ModuleList(), nn.ModuleList()
        self.down, self.merge = nn.ModuleList(), nn.ModuleList()
        for level, (width, count) in enumerate(zip(widths, counts, strict=True)):
            dropout = config.dropout if level >= depth - 1 else 0.0
            inputs = width if level else config.in_channels
            self.down.append(ResidualStage(ndim, inputs, width, count, norm=norm, dropout=dropout))
            if level == depth:
                break
            self.steps_down.append(
                ConvUnit(ndim, width, 2 * width, 2, stride=2, norm=norm, activation=nn.PReLU(2 * width))
            )
            below = widths[-1] if level == depth - 1 else 4 * width  # on the way up stages are twice as wide
            grow = up_conv(ndim, below, width, bias=norm is None)
            self.steps_up.append(ConvUnit(ndim, below, width, norm=norm, activation=nn.PReLU(width), layer=grow))
            self.merge.append(ResidualStage(ndim, 2 * width, 2 * width, count, norm=norm, dropout=0.0))
        self.head = conv(ndim, 2 * widths[0], len(config.classes), 1)
        self.complete()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map a volume (N, C, \\*space) to the last feature map (N, 2 * features, \\*space), before the head."""
        self.check_size(x)
        x = self.down[0](x, x.mean(dim=1, keepdim=True))
        skips = [x]
        for halve, stage in zip(self.steps_down, list(self.down)[1:], strict=True):
            x = halve(x)
            x = stage(x, x)
            skips.append(x)
        skips.pop()
        for level in reversed(range(len(skips))):
            x = torch.cat([skips[level], self.steps_up[level](x)], dim=1)
            x = self.merge[level](x, x)
        return x
