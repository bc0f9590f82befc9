"""The sliding-window network from before the U-Net: a classifier of the pixel in the middle of a window."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from napari_unet.errors import InputError
from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.blocks import conv, dropout_layer, normalization
from napari_unet.nets.config import ModelConfig

__all__ = ["SlidingWindow"]

_MAPS = 48
_KERNELS = (4, 5, 4, 4)  # each followed by a 2x pooling
_HIDDEN = 200


class SlidingWindow(SegmentationNetwork):
    """Network N4 of Ciresan et al. 2012 (NIPS 25, "Deep neural networks segment neuronal membranes").

    Windows of 95x95 pixels go through convolutions of 48 maps with kernels 4x4, 5x5, 4x4 and 4x4, each followed by 2x2
    max pooling, a fully connected layer of 200 nodes and one for the classes. `classify_windows` does just that, one
    run for every window. `forward` gives the same for all pixels of an image in one run, with the same weights: what
    would be computed again in neighbouring windows is computed once, by pooling at every pixel and by kernels with
    holes in the distance of the pixels that a window would keep. It is unpadded, and the border is mirrored as in the
    paper. What differs: ReLU as activation; a normalisation may follow each convolution; any number of classes.

    Parameters
    ----------
    config : ModelConfig
        Normalisation, dropout (before the last layer), channels and classes; the rest is fixed. ``ndim=2``.

    Attributes
    ----------
    window : int
        Side of the window.

    Examples
    --------
    >>> network = SlidingWindow(ModelConfig("sliding-window"))
    >>> network(torch.zeros(1, 1, 96, 98)).shape
    torch.Size([1, 2, 2, 4])
    >>> network.classify_windows(torch.zeros(3, 1, 95, 95)).shape
    torch.Size([3, 2])
    """

    encoder = ("convolutions", "norms")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        side, inputs = 1, config.in_channels
        for kernel in _KERNELS:
            self.convolutions.append(conv(2, inputs, _MAPS, kernel, bias=config.norm is None))
            self.norms.append(normalization(config.norm, 2, _MAPS))
            inputs = _MAPS
        self.hidden = conv(2, _MAPS, _HIDDEN, 3)  # fully connected: 3x3 is what is left of a window
        self.dropout = nn.Sequential(*dropout_layer(2, config.dropout))
        self.head = conv(2, _HIDDEN, len(config.classes), 1)
        side = 3
        for kernel in reversed(_KERNELS):
            side = 2 * side + kernel - 1
        self.window = side
        self.divisor = 1
        self.halo = (side // 2, side // 2)
        self.complete()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map an image (N, C, Y, X) to the last feature map (N, 200, Y - 94, X - 94), before the head."""
        if min(x.shape[2:]) < self.window:
            raise InputError(f"The network needs at least {self.window} pixels a side; choose another tile.")
        distance = 1  # between pixels that a window would keep as neighbours
        for layer, norm in zip(self.convolutions, self.norms, strict=True):
            x = _with_holes(layer, x, distance)
            x = functional.max_pool2d(functional.relu(norm(x)), 2, stride=1, dilation=distance)
            distance *= 2
        x = functional.relu(_with_holes(self.hidden, x, distance))
        result: torch.Tensor = self.dropout(x)
        return result

    def classify_windows(self, windows: torch.Tensor) -> torch.Tensor:
        """Map windows (N, C, 95, 95) to the logits (N, class) of the pixels in their middle, the slow way."""
        if tuple(windows.shape[2:]) != (self.window, self.window):
            raise InputError(f"Expected windows of {self.window} x {self.window} pixels, but got {windows.shape[2:]}.")
        x = windows
        for layer, norm in zip(self.convolutions, self.norms, strict=True):
            x = functional.max_pool2d(functional.relu(norm(layer(x))), 2)
        logits: torch.Tensor = self.head(self.dropout(functional.relu(self.hidden(x))))
        return logits.flatten(1)


def _with_holes(layer: nn.Module, x: torch.Tensor, distance: int) -> torch.Tensor:
    """Convolve with a layer's weights spread out to every `distance`-th pixel."""
    weights = dict(layer.named_parameters())
    return functional.conv2d(x, weights["weight"], weights.get("bias"), dilation=distance)
