"""The parts that networks are put together from, in 2D and 3D from one definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from napari_unet.nets.config import ModelConfig

__all__ = [
    "ConvUnit",
    "DoubleConv",
    "SpatialPyramid",
    "center_crop",
    "contract",
    "contracting_blocks",
    "conv",
    "dropout_layer",
    "he_init_",
    "max_pool",
    "normalization",
    "pool",
    "separable_conv",
    "smooth",
    "smooth_up",
    "up_conv",
]


class CarefulConv3d(nn.Conv3d):
    """A convolution that is computed in 32 bits where its kernel is larger than the map.

    On CPUs, PyTorch 2.13 returns garbage (up to not-a-number) as the gradient of the weights of a 16-bit 3D
    convolution if the map has fewer planes than the kernel, as it has at the bottom of a network: two planes are
    enough. The maps are tiny there, so that 32 bits cost nothing.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, \\*space) to (N, outputs, \\*space)."""
        if torch.is_autocast_enabled("cpu") and self._is_larger_than(x.shape[2:]):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)

    def _is_larger_than(self, space: Sequence[int]) -> bool:
        widths = (step * (size - 1) + 1 for size, step in zip(self.kernel_size, self.dilation, strict=True))
        return any(width > side for width, side in zip(widths, space, strict=True))


class UpConv2d(nn.ConvTranspose2d):
    """A transposed convolution whose bias is added by itself while training.

    On CPUs, PyTorch computes the gradient of this bias inside the convolution, where it takes five times as long as
    those of input and weights together.
    """

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """Map (N, inputs, \\*space) to (N, outputs, \\*enlarged space)."""
        if self.bias is None or output_size is not None or not self.training:
            return super().forward(x, output_size)
        return _convolve_up(functional.conv_transpose2d, self, self.bias, x)


class UpConv3d(nn.ConvTranspose3d):
    """As `UpConv2d`, in 3D."""

    def forward(self, x: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """Map (N, inputs, \\*space) to (N, outputs, \\*enlarged space)."""
        if self.bias is None or output_size is not None or not self.training:
            return super().forward(x, output_size)
        return _convolve_up(functional.conv_transpose3d, self, self.bias, x)


def _convolve_up(
    function: Callable[..., torch.Tensor], layer: UpConv2d | UpConv3d, bias: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    layout = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
    result = function(x, layer.weight, None, *layout)
    return result.add_(bias.to(result.dtype).reshape(-1, *(1,) * (x.ndim - 2)))


def conv(
    ndim: int, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1,
    groups: int = 1, bias: bool = True,
) -> nn.Module:  # fmt: skip
    """Make a convolution in `ndim` dimensions."""
    kind = nn.Conv2d if ndim == 2 else CarefulConv3d
    return kind(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias)


def separable_conv(
    ndim: int, inputs: int, outputs: int, kernel: int, *, padding: int = 0, dilation: int = 1, bias: bool = True
) -> nn.Module:
    """Make a depth-wise separable convolution: one kernel for each channel, then 1x1 across the channels.

    Chollet 2017, Xception, arXiv 1610.02357.
    """
    depthwise = conv(ndim, inputs, inputs, kernel, padding=padding, dilation=dilation, groups=inputs, bias=False)
    return nn.Sequential(depthwise, conv(ndim, inputs, outputs, 1, bias=bias))


def up_conv(ndim: int, inputs: int, outputs: int, *, kernel: int = 2, bias: bool = True) -> nn.Module:
    """Make an up-convolution that doubles the size: kernel 2 and stride 2 in the U-Net; kernel 3 overlaps."""
    kind = UpConv2d if ndim == 2 else UpConv3d
    extra = kernel - 2
    return kind(inputs, outputs, kernel, stride=2, padding=extra, output_padding=extra, bias=bias)


def smooth_up(ndim: int, factor: int = 2) -> nn.Module:
    """Make an upsampling by linear interpolation between the centres of pixels."""
    return nn.Upsample(scale_factor=factor, mode="bilinear" if ndim == 2 else "trilinear", align_corners=False)


def smooth(x: torch.Tensor) -> torch.Tensor:
    """Average a map (N, C, \\*space) with its neighbours, 1-2-1 along each axis; at the edges they are repeated.

    Patterns that alternate from pixel to pixel, as up-convolutions of stride 2 leave them, are gone then.

    Examples
    --------
    >>> smooth(torch.tensor([[[[0.0, 4, 0, 4, 0]] * 3]]))[0, 0, 1].tolist()
    [1.0, 2.0, 2.0, 2.0, 1.0]
    """
    average = functional.avg_pool2d if x.ndim == 4 else functional.avg_pool3d
    twice = average(x, 2, stride=1, padding=1, count_include_pad=False)  # the means of two neighbours, and of these
    return average(twice, 2, stride=1)


def max_pool(ndim: int, size: int = 2) -> nn.Module:
    """Make a max pooling over cells of `size` pixels a side."""
    return nn.MaxPool2d(size) if ndim == 2 else nn.MaxPool3d(size)


def pool(ndim: int, kind: Literal["max", "average"] = "max") -> nn.Module:
    """Make a 2x pooling."""
    if kind == "max":
        return max_pool(ndim)
    return nn.AvgPool2d(2) if ndim == 2 else nn.AvgPool3d(2)


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


def dropout_layer(ndim: int, share: float) -> list[nn.Module]:
    """Make a dropout of whole features, as a list that is empty where nothing is dropped."""
    return [(nn.Dropout2d if ndim == 2 else nn.Dropout3d)(share)] if share > 0 else []


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
    dilations : tuple of int
        Distance of the pixels that the first and the second kernel look at.
    separable : bool
        Whether the convolutions are depth-wise separable.
    """

    shrink = 4

    def __init__(
        self,
        ndim: int,
        inputs: int,
        outputs: int,
        *,
        padding: Literal["same", "valid"] = "same",
        norm: str | None,
        dropout: float = 0,
        dilations: tuple[int, int] = (1, 1),
        separable: bool = False,
    ) -> None:
        super().__init__()
        convolution = separable_conv if separable else conv
        layers: list[nn.Module] = []
        for channels, dilation in zip((inputs, outputs), dilations, strict=True):
            margin = dilation if padding == "same" else 0
            layers += [
                convolution(ndim, channels, outputs, 3, padding=margin, dilation=dilation, bias=norm is None),
                normalization(norm, ndim, outputs),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers, *dropout_layer(ndim, dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, \\*space) to (N, outputs, \\*space), 4 smaller on each axis without padding."""
        result: torch.Tensor = self.layers(x)
        return result


class ConvUnit(nn.Sequential):
    """One padded convolution, or a layer that is given in its place, with normalisation and activation.

    Parameters
    ----------
    ndim : int
        2 or 3.
    inputs, outputs : int
        Channels.
    kernel, stride : int
        Of the convolution; the kernel is odd, or as wide as the stride and then not padded.
    norm : str or None
        See `normalization`.
    activation : torch.nn.Module or None
        What follows; None: nothing.
    layer : torch.nn.Module or None
        Instead of the convolution; it should have no bias where a normalisation follows.
    """

    def __init__(
        self,
        ndim: int,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        norm: str | None,
        activation: nn.Module | None,
        layer: nn.Module | None = None,
    ) -> None:
        margin = kernel // 2 if kernel % 2 else 0
        layer = layer or conv(ndim, inputs, outputs, kernel, stride=stride, padding=margin, bias=norm is None)
        parts = [layer, normalization(norm, ndim, outputs), activation]
        super().__init__(*(part for part in parts if part is not None and not isinstance(part, nn.Identity)))


class SpatialPyramid(nn.Module):
    """The strongest signal in windows of several sizes around each place, joined with the place itself.

    The form of He et al. 2015 (arXiv 1406.4729) that YOLOv3-SPP made usual: windows of 5, 9 and 13 places instead of
    shares of the whole image, so that a result does not depend on the size of image or tile.

    Parameters
    ----------
    ndim : int
        2 or 3.
    channels : int
        Channels in and out.
    norm : str or None
        See `normalization`.
    """

    windows = (5, 9, 13)

    def __init__(self, ndim: int, channels: int, *, norm: str | None) -> None:
        super().__init__()
        self._pool = functional.max_pool2d if ndim == 2 else functional.max_pool3d
        inputs = (1 + len(self.windows)) * channels
        self.mix = ConvUnit(ndim, inputs, channels, 1, norm=norm, activation=nn.ReLU(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, channels, \\*space) to the same shape."""
        pooled = [self._pool(x, side, stride=1, padding=side // 2) for side in self.windows]
        result: torch.Tensor = self.mix(torch.cat([x, *pooled], dim=1))
        return result


def contracting_blocks(config: ModelConfig, widths: Sequence[int]) -> nn.ModuleList:
    """Make the blocks of the U-Net's contracting path, one for each level."""
    blocks = nn.ModuleList()
    for level, width in enumerate(widths):
        inputs = config.in_channels if level == 0 else widths[level - 1]
        dropout = config.dropout if level >= len(widths) - 2 else 0.0  # the end of the contracting path
        deepest = level == len(widths) - 1
        dilations = (2, 4) if config.bottom == "dilated" and deepest else (1, 1)
        blocks.append(
            DoubleConv(
                config.ndim, inputs, width, padding=config.padding, norm=config.norm, dropout=dropout,
                dilations=dilations, separable=config.convolution == "separable",
            )
        )  # fmt: skip
    return blocks


def contract(x: torch.Tensor, blocks: nn.ModuleList, pooling: nn.Module) -> list[torch.Tensor]:
    """Go down the contracting path; returns the map of every level, the finest first."""
    maps: list[torch.Tensor] = []
    for block in blocks:
        maps.append(block(pooling(maps[-1]) if maps else x))
    return maps


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
    incoming node for each input channel. A depth-wise convolution is not followed by a ReLU that would halve the
    signal: sqrt(1 / N). Biases start at 0.
    """
    for module in network.modules():
        gain, nodes = 2.0, 1.0
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nodes = module.in_channels * math.prod(module.kernel_size) / module.groups
            gain = 1.0 if module.groups > 1 else 2.0
        elif isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
            nodes = module.in_channels * math.prod(module.kernel_size) / math.prod(module.stride)
        else:
            continue
        nn.init.normal_(module.weight, std=math.sqrt(gain / nodes))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
