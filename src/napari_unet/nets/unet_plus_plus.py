"""U-Net++: the gap between contracting and expanding path is filled with nested, densely joined nodes."""

from __future__ import annotations

import torch
from torch import nn

from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.blocks import DoubleConv, contract, contracting_blocks, conv, pool, up_conv
from napari_unet.nets.config import ModelConfig

__all__ = ["UNetPlusPlus"]


class UNetPlusPlus(SegmentationNetwork):
    """U-Net++ of Zhou et al. 2018 (arXiv 1807.10165).

    Node (level, step) reads all nodes before it on its level and the one below the last of these, doubled. With
    ``deep_supervision=True`` each node of the finest level has a head of its own, and the heads of the inner ones are
    trained, too (see ``auxiliary`` of `SegmentationNetwork.forward`); the result is always that of the last node,
    where the paper can also average the heads. What differs: nothing else in 2D; 3D as well.

    Parameters
    ----------
    config : ModelConfig
        Widths, depth, normalisation, dropout, channels, classes and deep supervision.

    Examples
    --------
    >>> network = UNetPlusPlus(ModelConfig("unet++", features=4, depth=2, deep_supervision=True))
    >>> network(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    >>> network(torch.zeros(1, 1, 32, 48), auxiliary=True).shape
    torch.Size([2, 1, 2, 32, 48])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        ndim, depth = config.ndim, config.depth
        widths = [config.features * 2**level for level in range(depth + 1)]
        self.down = contracting_blocks(config, widths)
        self.pool = pool(ndim)
        self.up = nn.ModuleList()  # by step, then by level
        self.merge = nn.ModuleList()
        for step in range(1, depth + 1):
            levels = widths[: depth + 1 - step]
            self.up.append(nn.ModuleList(up_conv(ndim, 2 * width, width) for width in levels))
            self.merge.append(
                nn.ModuleList(DoubleConv(ndim, (step + 1) * width, width, norm=config.norm) for width in levels)
            )
        self.head = conv(ndim, widths[0], len(config.classes), 1)
        inner = depth - 1 if config.deep_supervision else 0
        self.inner_heads = nn.ModuleList(conv(ndim, widths[0], len(config.classes), 1) for _ in range(inner))
        self.complete()

    def forward(self, x: torch.Tensor, *, auxiliary: bool = False) -> torch.Tensor:
        """Map an image to logits; see `SegmentationNetwork.forward`."""
        if not auxiliary:
            return super().forward(x)
        *inner, last = self._finest(x)
        logits = [head(nodes) for head, nodes in zip(self.inner_heads, inner, strict=False)]
        return torch.stack([self.head(last), *logits])

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image (N, C, \\*space) to the last feature map (N, features, \\*space), before the head."""
        return self._finest(x)[-1]

    def _finest(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the nodes of the finest level, (N, features, \\*space), after the contracting path's own."""
        self.check_size(x)
        rows = [[node] for node in contract(x, self.down, self.pool)]
        for ups, merges in zip(self.up, self.merge, strict=True):
            for level, (up, merge) in enumerate(zip(_listed(ups), _listed(merges), strict=True)):
                below = rows[level + 1][len(rows[level]) - 1]
                rows[level].append(merge(torch.cat([*rows[level], up(below)], dim=1)))
        return rows[0][1:]


def _listed(modules: nn.Module) -> list[nn.Module]:
    return list(modules.children())
