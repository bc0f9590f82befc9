"""The last layer of a network, applied to features that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn

from napari_unet.nets.trees import tree_logits
from napari_unet.predict.features import FeatureMaps

if TYPE_CHECKING:
    from napari_unet.nets.base import SegmentationNetwork

__all__ = ["apply_head"]


@torch.inference_mode()
def apply_head(
    maps: FeatureMaps, number: int, features: torch.Tensor, position: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Return the probabilities (K, \\*inner) of a map (D, \\*box) whose channels lie side by side.

    Where the map is bfloat16, weights are split into two numbers of that format, which together are nearly as exact
    as float32, so that the map need not be converted. The rest is left to NumPy: it waits for no other thread, as
    PyTorch does in each operation while a training uses all cores.

    Parameters
    ----------
    maps : FeatureMaps
        Knows the network, which has the last layer, and reads the image.
    number : int
        Which tile of the frame the map is of.
    features : torch.Tensor
        What `maps` read there, of the tile and the margin around it.
    position : tuple of int
        Position of the frame in the stack.
    """
    network, reader, inner = cast("SegmentationNetwork", maps.network), maps.reader, maps.tiles[number].inner
    head = cast("nn.Conv2d", network.head)
    weight, bias = head.weight.detach().flatten(1), cast("torch.Tensor", head.bias).detach()
    rows = features.movedim(0, -1).reshape(-1, len(features)).T
    if features.dtype == torch.bfloat16:
        coarse = weight.to(torch.bfloat16)
        parts = torch.cat([coarse, (weight - coarse).to(torch.bfloat16)]) @ rows
    else:
        parts = weight @ rows.float()
    logits: npt.NDArray[np.float32] = parts.float().cpu().numpy().reshape(-1, len(weight), rows.shape[1]).sum(axis=0)
    logits += bias.cpu().numpy()[:, None]
    if maps.margin:
        smoothed = _smooth(logits.reshape(-1, *features.shape[1:]))
        logits = maps.without_margin(number, smoothed).reshape(len(weight), -1)
    place, trees = network.place_logits, network.trees
    if place is not None:
        start, stop = tuple(part.start for part in inner), tuple(part.stop for part in inner)
        enclosed = reader.enclosed_box(position, start, stop) if place.looks_at_enclosure else None
        box = place.box(start, stop, reader.layout.frame_shape, enclosed)
        logits += box.reshape(len(weight), -1)
    if trees is not None:
        logits += tree_logits(trees, maps.greys(position, number)).cpu().numpy().reshape(len(weight), -1)
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits.reshape(-1, *(part.stop - part.start for part in inner))


def _smooth(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Do to logits (K, \\*box) what `napari_unet.nets.blocks.smooth` does."""
    for axis in range(1, logits.ndim):
        logits = ndimage.convolve1d(logits, (0.25, 0.5, 0.25), axis, mode="nearest")
    return logits
