"""The U-Net of Ronneberger, Fischer and Brox 2015 (arXiv 1505.04597), and its padded and 3D forms."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from napari_unet.errors import InputError
from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.blocks import (
    DoubleConv,
    SpatialPyramid,
    center_crop,
    contract,
    contracting_blocks,
    conv,
    pool,
    smooth_up,
    up_conv,
)
from napari_unet.nets.config import ModelConfig

__all__ = ["UNet"]


class UNet(SegmentationNetwork):
    """Contracting path, bottom and expanding path with skip connections by concatenation.

    With ``padding="valid"``, ``norm=None``, ``features=64`` and ``depth=4`` it is the paper's network layer for
    layer: 23 convolutional layers, 572x572 in, 388x388 out. What differs otherwise: ``padding="same"`` keeps the
    size; a normalisation may follow each convolution; in 3D every layer is volumetric (Cicek et al. 2016, arXiv
    1606.06650, with the channels of the 2D network). Options that other papers brought:

    - ``bottom="dilated"``: the two convolutions of the deepest level have holes, dilation 2 and 4 (Yu and Koltun
      2016, arXiv 1511.07122); ``"pyramid"``: spatial pyramid pooling follows them, see `SpatialPyramid`;
    - ``convolution="separable"``: all 3x3 convolutions are depth-wise separable (Chollet 2017, arXiv 1610.02357);
    - ``pooling="average"``;
    - ``upsampling="interpolate"``: a 1x1 convolution that halves the channels and linear interpolation stand for the
      up-convolution (Odena et al. 2016, doi 10.23915/distill.00003);
    - ``last_features``: the last two convolutions make more, or fewer, channels than the first two, for a classifier
      that is solved from strokes on the last feature map;
    - ``smooth_logits``: what the head says of a pixel is averaged with what it says of the neighbours, see
      `napari_unet.nets.blocks.smooth`.

    Parameters
    ----------
    config : ModelConfig
        Widths, depth, padding, normalisation, dropout, channels, classes and options.

    Examples
    --------
    >>> network = UNet(ModelConfig(features=4, depth=2))
    >>> network(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    encoder = ("down", "bottom")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        ndim = config.ndim
        widths = [config.features * 2**level for level in range(config.depth + 1)]
        separable = config.convolution == "separable"
        block = partial(DoubleConv, ndim, padding=config.padding, norm=config.norm, separable=separable)
        self.down = contracting_blocks(config, widths)
        self.pool = pool(ndim, config.pooling)
        self.bottom = self.make_bottom(widths[-1])
        self.up = nn.ModuleList(self._make_up(width) for width in widths[:-1])
        merged = [config.last_width, *widths[1:-1]]
        self.merge = nn.ModuleList(block(2 * width, out) for width, out in zip(widths, merged, strict=False))
        self.head = conv(ndim, config.last_width, len(config.classes), 1)
        if config.padding == "valid":
            self.halo = _unpadded_halo(config.depth)
        self.complete()

    def make_bottom(self, channels: int) -> nn.Module:
        """Make what follows the convolutions of the deepest level."""
        if self.config.bottom == "pyramid":
            return SpatialPyramid(self.config.ndim, channels, norm=self.config.norm)
        return nn.Identity()

    def _make_up(self, width: int) -> nn.Module:
        ndim = self.config.ndim
        if self.config.upsampling == "interpolate":
            return nn.Sequential(conv(ndim, 2 * width, width, 1), smooth_up(ndim))
        return up_conv(ndim, 2 * width, width)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image (N, C, \\*space) to the last feature map (N, last_width, \\*space), before the head.

        With ``padding="valid"`` it is smaller than the input by ``2 * halo[0]``.
        """
        self.check_size(x)
        *skips, x = contract(x, self.down, self.pool)
        x = self.bottom(x)
        for level in reversed(range(len(skips))):
            x = self.up[level](x)
            x = self.merge[level](torch.cat([center_crop(skips[level], x.shape[2:]), x], dim=1))
        return x

    def check_size(self, x: torch.Tensor) -> None:
        """Refuse a map that can't be halved as often as needed, or is too short."""
        space = tuple(x.shape[2:])
        shrink = DoubleConv.shrink if self.config.padding == "valid" else 0
        for size in space:
            side, fits = size, size > 0
            for _ in self.up:
                side -= shrink
                fits = fits and side > 0 and side % 2 == 0
                side //= 2
            for _ in self.up:
                side = 2 * (side - shrink)
                fits = fits and side > shrink
            if not fits:
                raise InputError(
                    f"The network can't halve {' x '.join(map(str, space))} pixels {len(self.up)} times; "
                    "choose another tile."
                )


def _unpadded_halo(depth: int) -> tuple[int, int]:
    """Pixels that the network without padding needs before and after a box that begins at a multiple of ``2**depth``.

    The network's own shrinkage is ``4 * (2**depth - 1)`` on the way down and up and ``2 * 2**depth`` at the bottom on
    each side (92 for depth 4). A multiple of ``2**depth`` is asked for, and the network writes up to ``2**depth - 1``
    more pixels at the end; these are part of the halo after the box.
    """
    divisor = 2**depth
    before = 4 * (divisor - 1) + 2 * divisor
    surplus = (-4 * (divisor - 1)) % divisor
    return before, before + surplus
