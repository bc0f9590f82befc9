"""The fully convolutional network: coarse and fine maps are summed, not joined, and interpolated to full size."""

from __future__ import annotations

import torch
from torch import nn

from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.blocks import contract, contracting_blocks, conv, pool, smooth_up
from napari_unet.nets.config import ModelConfig

__all__ = ["FCN"]

_SCALES = 3


class FCN(SegmentationNetwork):
    """FCN-8s of Long, Shelhamer and Darrell 2015 (arXiv 1411.4038): scores of the three coarsest levels, summed.

    Each is a 1x1 convolution; a coarser sum is doubled and added to the next finer score, and the last sum, at a
    quarter of the resolution for depth 4, is interpolated to full size. What differs: the contracting path is the
    U-Net's instead of VGG16; the sums have `features` channels, which a 1x1 head turns into classes at the end (linear
    as they are, they could be classes at once); all interpolation is fixed and linear, where the paper lets the first
    two be learnt from there; 3D as well as 2D.

    Parameters
    ----------
    config : ModelConfig
        Widths, depth, normalisation, dropout, channels and classes.

    Examples
    --------
    >>> FCN(ModelConfig("fcn", features=4, depth=2))(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        ndim, depth = config.ndim, config.depth
        widths = [config.features * 2**level for level in range(depth + 1)]
        used = min(_SCALES, depth + 1)
        self.down = contracting_blocks(config, widths)
        self.pool = pool(ndim)
        self.score = nn.ModuleList(conv(ndim, width, config.features, 1) for width in widths[-used:])
        self.grow = smooth_up(ndim)
        left = depth + 1 - used
        self.enlarge = smooth_up(ndim, 2**left) if left else nn.Identity()
        self.head = conv(ndim, config.features, len(config.classes), 1)
        self.complete()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image (N, C, \\*space) to the last feature map (N, features, \\*space), before the head."""
        self.check_size(x)
        maps = contract(x, self.down, self.pool)[-len(self.score) :]
        *finer, total = [score(x) for score, x in zip(self.score, maps, strict=True)]
        for scores in reversed(finer):
            total = scores + self.grow(total)
        result: torch.Tensor = self.enlarge(total)
        return result
