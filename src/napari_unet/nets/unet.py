"""The U-Net of Ronneberger, Fischer and Brox 2015 (arXiv 1505.04597), and its padded and 3D forms."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from napari_unet.errors import InputError
from napari_unet.nets.blocks import DoubleConv, center_crop, conv, he_init_, max_pool, up_conv
from napari_unet.nets.config import ModelConfig

__all__ = ["UNet"]


class UNet(nn.Module):
    """Contracting path, bottom and expanding path with skip connections by concatenation.

    With ``padding="valid"``, ``norm=None``, ``features=64`` and ``depth=4`` it is the paper's network layer for
    layer: 23 convolutional layers, 572x572 in, 388x388 out. What differs otherwise: ``padding="same"`` keeps the
    size; a normalisation may follow each convolution; in 3D every layer is volumetric (Cicek et al. 2016, arXiv
    1606.06650, with the channels of the 2D network).

    Parameters
    ----------
    config : ModelConfig
        Widths, depth, padding, normalisation, dropout, channels and classes.

    Attributes
    ----------
    divisor : int
        Tiles must begin at multiples of this many pixels, for the pooling to fall on the same places.
    halo : tuple of int
        Pixels before and after a tile that the network must see for an exact result, and that it needs as input.

    Examples
    --------
    >>> network = UNet(ModelConfig(features=4, depth=2))
    >>> network(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        ndim, depth = config.ndim, config.depth
        widths = [config.features * 2**level for level in range(depth + 1)]
        block = partial(DoubleConv, ndim, padding=config.padding, norm=config.norm)
        self.config = config
        self.divisor = 2**depth
        self.halo = _halo(depth, config.padding)
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            inputs = config.in_channels if level == 0 else widths[level - 1]
            dropout = config.dropout if level >= depth - 1 else 0.0  # the end of the contracting path
            self.down.append(block(inputs, width, dropout=dropout))
        self.pool = max_pool(ndim)
        self.up = nn.ModuleList(up_conv(ndim, 2 * width, width) for width in widths[:-1])
        self.merge = nn.ModuleList(block(2 * width, width) for width in widths[:-1])
        self.head = conv(ndim, config.features, len(config.classes), 1)
        he_init_(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image to logits.

        Parameters
        ----------
        x : torch.Tensor
            (N, C, \\*space). With ``padding="same"`` each side must be a multiple of `divisor`; with ``"valid"`` each
            pooling must meet an even size.

        Returns
        -------
        torch.Tensor
            (N, class, \\*space), smaller than the input by ``2 * halo[0]`` with ``padding="valid"``.

        Raises
        ------
        InputError
            If a side can't be halved `depth` times, or is too short.
        """
        result: torch.Tensor = self.head(self.features(x))
        return result

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image (N, C, \\*space) to the last feature map (N, features, \\*space), before the head."""
        self._check_size(tuple(x.shape[2:]))
        skips = []
        for level, block in enumerate(self.down):
            x = block(x)
            if level < len(self.up):
                skips.append(x)
                x = self.pool(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](x)
            x = self.merge[level](torch.cat([center_crop(skips[level], x.shape[2:]), x], dim=1))
        return x

    def _check_size(self, space: tuple[int, ...]) -> None:
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


def _halo(depth: int, padding: str) -> tuple[int, int]:
    """Pixels that the network needs before and after a box that begins and ends at multiples of ``2**depth``.

    Going down from the result, each level adds the reach of two convolutions, and the up-convolution rounds outwards to
    its cells of 2 pixels.

    Without padding the network's own shrinkage is ``4 * (2**depth - 1)`` on the way down and up and ``2 * 2**depth``
    at the bottom on each side (92 for depth 4). A multiple of ``2**depth`` is asked for, and the network writes
    up to ``2**depth - 1`` more pixels at the end; these are part of the halo after the box.
    """
    divisor = 2**depth
    if padding == "valid":
        before = 4 * (divisor - 1) + 2 * divisor
        surplus = (-4 * (divisor - 1)) % divisor
        return before, before + surplus
    first = 0  # first pixel that is needed, at the level that is being looked at, for a box that begins at 0
    for _ in range(depth):
        first = (first - 2) // 2
    lowest = (first - 2) * divisor - 2 * (divisor - 1)
    reach = -(lowest // divisor) * divisor
    return reach, reach
