"""The parts that networks are put together from, in 2D and 3D from one definition."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import nn

__all__ = ["DoubleConv", "center_crop", "conv", "he_init_", "max_pool", "normalization", "up_conv"]


def conv(ndim: int, inputs: int, outputs: int, kernel: int, *, padding: int = 0, bias: bool = True) -> nn.Module:
    """Make a convolution in `ndim` dimensions."""
    kind = nn.Conv2d if ndim == 2 else nn.Conv3d
    return kind(inputs, outputs, kernel, padding=padding, bias=bias)


def up_conv(ndim: int, inputs: int, outputs: int) -> nn.Module:
    """Make the 2x up-convolution of the U-Net: kernel 2, stride 2."""
    kind = nn.ConvTranspose2d if ndim == 2 else nn.ConvTranspose3d
    return kind(inputs, outputs, 2, stride=2)


def max_pool(ndim: int) -> nn.Module:
    """Make a 2x max pooling."""
    return nn.MaxPool2d(2) if ndim == 2 else nn.MaxPool3d(2)


def normalization(kind: str | None, ndim: int, channels: int) -> nn.Module:
    """Make a normalisation layer; ``None`` gives a layer that does nothing.

    ``"batch"`` uses fixed statistics when predicting, so that tiles fit together exactly; ``"instance"`` and
    ``"group"`` measure each input anew, so that a result depends a little on the tile.
    """
    if kind == "batch":
        return nn.BatchNorm2d(channels) if ndim == 2 else nn.BatchNorm3d(channels)
    if kind == "instance":
        return (nn.InstanceNorm2d if ndim == 2 else nn.InstanceNorm3d)(channels, affine=True)
    if kind == "group":
        return nn.GroupNorm(math.gcd(8, channels), channels)
    return nn.Identity()


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each followed by normalisation and ReLU.

    Parameters
    ----------
    ndim : int
        2 or 3.
    inputs, outputs : int
        Channels.
    padding : {"same", "valid"}
        Whether the size is kept or shrinks by 4.
    norm : str or None
        See `normalization`.
    dropout : float
        Share of features dropped after the second convolution.
    """

    shrink = 4

    def __init__(
        self,
        ndim: int,
        inputs: int,
        outputs: int,
        *,
        padding: Literal["same", "valid"],
        norm: str | None,
        dropout: float = 0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                conv(ndim, channels, outputs, 3, padding=int(padding == "same"), bias=norm is None),
                normalization(norm, ndim, outputs),
                nn.ReLU(inplace=True),
            ]
        if dropout > 0:
            layers.append((nn.Dropout2d if ndim == 2 else nn.Dropout3d)(dropout))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, \\*space) to (N, outputs, \\*space), 4 smaller on each axis without padding."""
        result: torch.Tensor = self.layers(x)
        return result


def center_crop(x: torch.Tensor, size: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """Cut the middle out of (N, ..., \\*space) so that the last axes have the given size."""
    box: list[slice] = []
    for have, want in zip(x.shape[-len(size) :], size, strict=True):
        start = (have - want) // 2
        box.append(slice(start, start + want))
    index: tuple[Any, ...] = (..., *box)
    return x[index]


def he_init_(network: nn.Module) -> None:
    """Draw the weights of all convolutions from a Gaussian of standard deviation sqrt(2 / N), N = incoming nodes.

    Ronneberger et al. 2015, section 3, after He et al. 2015. An up-convolution of stride 2 and kernel 2 has one
    incoming node for each input channel. Biases start at 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nodes = module.in_channels * math.prod(module.kernel_size) // module.groups
        elif isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
            nodes = module.in_channels
        else:
            continue
        nn.init.normal_(module.weight, std=math.sqrt(2 / nodes))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
