"""TransUNet: a transformer on the deepest feature map, so that every place of the image can look at every other."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from napari_unet.nets.reach import look_everywhere
from napari_unet.nets.unet import UNet

__all__ = ["TransUNet", "rotate"]

_LAYERS = 4
_HEAD_WIDTH = 32
_MLP_RATIO = 4


class TransUNet(UNet):
    """TransUNet of Chen et al. 2021 (arXiv 2102.04306): a U-Net with a transformer between its two paths.

    What differs: the contracting path is the U-Net's instead of a ResNet-50, and the transformer has 4 layers as wide
    as the deepest map instead of 12 layers of 768 (ViT-B), for it learns from a person's few images and not from
    ImageNet; positions enter attention as differences (rotary embedding, Su et al. 2021, arXiv 2104.09864) instead of
    a learnt vector for each place, so that any size of image can be read; the expanding path upsamples with the U-Net's
    up-convolutions; 3D as well as 2D (as in Chen et al. 2023, arXiv 2310.07781).

    Parameters
    ----------
    config : ModelConfig
        Widths, depth, normalisation, dropout, channels and classes.

    Examples
    --------
    >>> from napari_unet.nets.config import ModelConfig
    >>> TransUNet(ModelConfig("transunet", features=4, depth=2))(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 2, 32, 48])
    """

    def make_bottom(self, channels: int) -> nn.Module:
        """Make the transformer."""
        return Transformer(channels, self.config.depth, self.config.dropout)


class Transformer(nn.Module):
    """Layers of attention between all places of a map.

    Parameters
    ----------
    channels : int
        Channels of the map, a multiple of ``2**depth``.
    depth : int
        Bounds the number of heads, so that it divides the channels.
    dropout : float
        Share of values dropped after each layer while training.
    """

    def __init__(self, channels: int, depth: int, dropout: float) -> None:
        super().__init__()
        heads = 2 ** min(depth, max(0, int(math.log2(channels / _HEAD_WIDTH)))) if channels > _HEAD_WIDTH else 1
        self.layers = nn.ModuleList(TransformerLayer(channels, heads, dropout) for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, channels, \\*space) to the same shape."""
        return look_everywhere(x, self._look)

    def _look(self, x: torch.Tensor) -> torch.Tensor:
        space = tuple(x.shape[2:])
        tokens = x.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens, space)
        result: torch.Tensor = self.norm(tokens).transpose(1, 2).reshape(x.shape)
        return result.to(x.dtype)


class TransformerLayer(nn.Module):
    """Attention and a small network for each place, each added to what came in and normalised before."""

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.join = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, _MLP_RATIO * channels), nn.GELU(), nn.Linear(_MLP_RATIO * channels, channels)
        )
        self.dropout = nn.Dropout1d(dropout) if dropout > 0 else nn.Identity()

    def forward(self, tokens: torch.Tensor, space: tuple[int, ...]) -> torch.Tensor:
        """Map tokens (N, place, channel), the places of a map of size `space`, to the same shape."""
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.query_key_value(self.norm1(tokens)).chunk(3, dim=2)
        )
        query, key = rotate(query, space), rotate(key, space)
        seen = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.dropout(self.join(seen.transpose(1, 2).flatten(2)))
        result: torch.Tensor = tokens + self.dropout(self.mlp(self.norm2(tokens)))
        return result


def rotate(x: torch.Tensor, space: tuple[int, ...]) -> torch.Tensor:
    """Rotate pairs of channels by angles that grow with the position, so that products depend on differences only.

    Each axis has its share of the pairs, with wavelengths from about 6 to about 600 places.

    Parameters
    ----------
    x : torch.Tensor
        (N, head, place, channel) queries or keys.
    space : tuple of int
        Size of the map whose places these are, in C order.

    Examples
    --------
    >>> x = torch.ones(1, 1, 12, 8)
    >>> product = rotate(x, (3, 4)) @ rotate(x, (3, 4)).mT
    >>> bool(torch.isclose(product[0, 0, 0, 5], product[0, 0, 6, 11]))  # both one down and one to the right
    True
    """
    pairs = x.shape[-1] // 2 // len(space)  # of each axis; channels that are left over are not rotated
    rates = 100 ** -(torch.arange(pairs, device=x.device, dtype=torch.float32) / max(1, pairs))
    places = torch.meshgrid(
        *(torch.arange(side, device=x.device, dtype=torch.float32) for side in space), indexing="ij"
    )
    angles = torch.cat([place.reshape(-1, 1) * rates for place in places], dim=1)  # (place, pair)
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    used = 2 * angles.shape[1]
    first, second = x[..., :used:2], x[..., 1:used:2]
    turned = torch.stack([first * cosine - second * sine, first * sine + second * cosine], dim=-1).flatten(-2)
    return torch.cat([turned, x[..., used:]], dim=-1)
