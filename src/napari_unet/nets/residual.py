"""The residual U-Net: units whose input is added to their output, strided down and transposed up."""

from __future__ import annotations

import torch
from torch import nn

from napari_unet.nets.activations import LearntLeakyReLU
from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.blocks import ConvUnit, conv, dropout_layer, up_conv
from napari_unet.nets.config import ModelConfig

__all__ = ["ResidualUNet", "ResidualUnit"]


class ResidualUnit(nn.Module):
    """Convolution, normalisation and PReLU, once or more, plus the input.

    Parameters
    ----------
    ndim : int
        2 or 3.
    inputs, outputs : int
        Channels. Where they differ, or the size is halved, the input goes through a convolution of its own.
    norm : str or None
        See `napari_unet.nets.blocks.normalization`.
    stride : int
        Of the first convolution.
    convolutions : int
        How many.
    dropout : float
        Share of features dropped at the end.
    """

    def __init__(
        self,
        ndim: int,
        inputs: int,
        outputs: int,
        *,
        norm: str | None,
        stride: int = 1,
        convolutions: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(convolutions):
            first = number == 0
            layers.append(
                ConvUnit(
                    ndim, inputs if first else outputs, outputs,
                    stride=stride if first else 1, norm=norm, activation=LearntLeakyReLU(),
                )
            )  # fmt: skip
        self.layers = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = conv(ndim, inputs, outputs, 3, stride=stride, padding=1)
        elif inputs != outputs:
            self.shortcut = conv(ndim, inputs, outputs, 1)
        self.dropout = nn.Sequential(*dropout_layer(ndim, dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, \\*space) to (N, outputs, \\*space), each side divided by `stride`."""
        result: torch.Tensor = self.dropout(self.layers(x) + self.shortcut(x))
        return result


class ResidualUNet(SegmentationNetwork):
    """The U-Net of residual units of Kerfoot et al. 2018 (STACOM, doi 10.1007/978-3-030-12029-0_40), MONAI's ``UNet``.

    Each level halves the image with a strided convolution, the first one already, so that little is computed at full
    resolution; transposed 3x3 convolutions double it. What differs from MONAI's: batch normalisation is the default
    instead of instance normalisation; convolutions in front of a normalisation have no bias; the last unit keeps the
    full width and a 1x1 convolution makes the classes, where MONAI's last up-convolution already has as few channels
    as classes, so that a model can be given other classes without losing more than its head.

    Parameters
    ----------
    config : ModelConfig
        Widths, depth (how often the image is halved), normalisation, dropout, channels and classes.

    Examples
    --------
    >>> ResidualUNet(ModelConfig("residual", features=4, depth=2))(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    encoder = ("down", "bottom")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        ndim, depth, norm = config.ndim, config.depth, config.norm
        widths = [config.features * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList()
        for level in range(depth):
            inputs = widths[level - 1] if level else config.in_channels
            dropout = config.dropout if level == depth - 1 else 0.0
            self.down.append(ResidualUnit(ndim, inputs, widths[level], norm=norm, stride=2, dropout=dropout))
        self.bottom = ResidualUnit(ndim, widths[-2], widths[-1], norm=norm, dropout=config.dropout)
        self.up = nn.ModuleList()
        for level in range(depth):
            inputs = widths[level] + (widths[-1] if level == depth - 1 else widths[level])
            outputs = widths[max(0, level - 1)]
            self.up.append(
                nn.Sequential(
                    ConvUnit(
                        ndim, inputs, outputs, norm=norm, activation=LearntLeakyReLU(),
                        layer=up_conv(ndim, inputs, outputs, kernel=3, bias=norm is None),
                    ),
                    ResidualUnit(ndim, outputs, outputs, norm=norm, convolutions=1),
                )
            )  # fmt: skip
        self.head = conv(ndim, widths[0], len(config.classes), 1)
        self.complete()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image (N, C, \\*space) to the last feature map (N, features, \\*space), before the head."""
        self.check_size(x)
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = self.bottom(x)
        for level in reversed(range(len(skips))):
            x = self.up[level](torch.cat([skips[level], x], dim=1))
        return x
