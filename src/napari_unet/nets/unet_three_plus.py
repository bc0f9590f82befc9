"""U-Net 3+: every level of the expanding path reads every scale at once."""

from __future__ import annotations

import torch
from torch import nn

from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.blocks import ConvUnit, contract, contracting_blocks, conv, max_pool, pool, smooth_up
from napari_unet.nets.config import ModelConfig

__all__ = ["UNetThreePlus"]


class FullScaleNode(nn.Module):
    """One level of the expanding path.

    Maps of all levels are brought to this level's size and to `features` channels each, joined, and convolved: finer
    ones of the contracting path by max pooling, coarser ones of the expanding path by linear interpolation.

    Parameters
    ----------
    config : ModelConfig
        Width, normalisation and dimensions.
    level : int
        0 is the finest.
    channels : list of int
        Channels of the maps that it reads, by level.
    """

    def __init__(self, config: ModelConfig, level: int, channels: list[int]) -> None:
        super().__init__()
        ndim = config.ndim
        self.branches = nn.ModuleList()
        for other, inputs in enumerate(channels):
            unit = ConvUnit(ndim, inputs, config.features, norm=config.norm, activation=nn.ReLU(inplace=True))
            if other < level:
                branch = nn.Sequential(max_pool(ndim, 2 ** (level - other)), unit)
            elif other > level:
                branch = nn.Sequential(unit, smooth_up(ndim, 2 ** (other - level)))
            else:
                branch = nn.Sequential(unit)
            self.branches.append(branch)
        joined = len(channels) * config.features
        self.fuse = ConvUnit(ndim, joined, joined, norm=config.norm, activation=nn.ReLU(inplace=True))

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Map the maps of all levels, the finest first, to (N, (depth + 1) * features, \\*space)."""
        brought = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        result: torch.Tensor = self.fuse(torch.cat(brought, dim=1))
        return result


class UNetThreePlus(SegmentationNetwork):
    """U-Net 3+ of Huang et al. 2020 (arXiv 2004.08790), with full-scale skip connections.

    ``deep_supervision=True`` trains a head on every level of the expanding path, interpolated to full size (see
    ``auxiliary`` of `SegmentationNetwork.forward`). What differs: where a coarser map is read, its convolution comes
    before the interpolation, with the same weights in number but a fraction of the work; heads are 1x1 instead of 3x3
    convolutions; the branch that asks whether the image holds the organ at all is left out; 3D as well as 2D.

    Parameters
    ----------
    config : ModelConfig
        Widths, depth, normalisation, dropout, channels, classes and deep supervision.

    Examples
    --------
    >>> UNetThreePlus(ModelConfig("unet3+", features=4, depth=2))(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        ndim, depth = config.ndim, config.depth
        widths = [config.features * 2**level for level in range(depth + 1)]
        joined = (depth + 1) * config.features
        self.down = contracting_blocks(config, widths)
        self.pool = pool(ndim)
        self.nodes = nn.ModuleList()
        for level in range(depth):
            channels = [*widths[: level + 1], *[joined] * (depth - 1 - level), widths[-1]]
            self.nodes.append(FullScaleNode(config, level, channels))
        self.head = conv(ndim, joined, len(config.classes), 1)
        self.inner_heads = nn.ModuleList()
        for level, inputs in enumerate([*[joined] * (depth - 1), widths[-1]], start=1):
            if config.deep_supervision:
                grow = smooth_up(ndim, 2**level)
                self.inner_heads.append(nn.Sequential(conv(ndim, inputs, len(config.classes), 1), grow))
        self.complete()

    def forward(self, x: torch.Tensor, *, auxiliary: bool = False) -> torch.Tensor:
        """Map an image to logits; see `SegmentationNetwork.forward`."""
        if not auxiliary:
            return super().forward(x)
        finest, *inner = self._expand(x)
        logits = [head(node) for head, node in zip(self.inner_heads, inner, strict=False)]
        return torch.stack([self.head(finest), *logits])

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image (N, C, \\*space) to the last map (N, (depth + 1) * features, \\*space), before the head."""
        return self._expand(x)[0]

    def _expand(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of the expanding path, the finest first, and the bottom."""
        self.check_size(x)
        maps = contract(x, self.down, self.pool)
        for level in reversed(range(len(self.nodes))):
            maps[level] = self.nodes[level](maps)  # finer levels still hold the contracting path's maps
        return maps
