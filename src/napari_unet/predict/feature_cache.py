"""What is remembered of images and of the feature maps that a network made of them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_unet.data.axes import ImageLayout
from napari_unet.data.intensity import FrameReader
from napari_unet.errors import InputError
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import Device

__all__ = ["FeatureCache"]

_MOST_BYTES = 512 * 2**20
_MOST_IMAGES = 64

_LAST = ("head.", "place", "tree_")
_WHOLE_NUMBERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes

Place = tuple[int, ...]  # of a frame in the stack


class FeatureCache:
    """Remembers feature maps, the tiles used last first, and everything at the painted pixels.

    It belongs to one network on one device at a time, and forgets when another one, or changed weights, are met.
    Images are known by their identity: one whose pixels were changed in place must be forgotten by `forget`.

    Parameters
    ----------
    max_bytes : int
        Memory for tiles, on the device where the network runs. The painted pixels, a few MB for a frame, come on top.

    Examples
    --------
    >>> cache = FeatureCache(max_bytes=100)
    >>> for name in "abc":
    ...     cache.put(name, torch.zeros(20, dtype=torch.float16))
    >>> cache.get("a") is None, cache.get("c") is None, cache.used
    (True, False, 80)
    """

    def __init__(self, max_bytes: int = _MOST_BYTES) -> None:
        if max_bytes < 0:
            raise InputError(f"Expected `max_bytes` to be at least 0, but got {max_bytes}.")
        self.max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._owner: Any = None
        self._readers: OrderedDict[Any, FrameReader] = OrderedDict()
        self._forget_maps()

    def _forget_maps(self) -> None:
        self.used = 0
        self._tiles: OrderedDict[Any, torch.Tensor] = OrderedDict()
        self._painted: dict[tuple[FrameReader, Place], tuple[npt.NDArray[np.int64], torch.Tensor]] = {}

    def renew(self, network: nn.Module, device: Device) -> None:
        """Forget all maps if the network, its weights or the device are not those that made them."""
        owner = (network, device.torch_device, device.low_precision, _checksum(network))
        if owner != self._owner:
            self._forget_maps()
            self._owner = owner

    def reader(self, image: Any, layout: ImageLayout, config: ModelConfig) -> FrameReader:
        """Return what reads an image, with its grey values measured once."""
        key = _identity(image), layout, config.low_percentile, config.high_percentile
        if key not in self._readers:
            self._readers[key] = FrameReader.open(image, layout, config.low_percentile, config.high_percentile)
            if len(self._readers) > _MOST_IMAGES:
                self._drop(self._readers.popitem(last=False)[1])
        self._readers.move_to_end(key)
        return self._readers[key]

    def share_images(self, other: FeatureCache) -> None:
        """Read images as another cache does, so that their grey values need not be measured again."""
        self._readers = other._readers.copy()

    def forget(self, image: Any) -> None:
        """Forget all about an image."""
        for key in [key for key in self._readers if key[0] == _identity(image)]:
            self._drop(self._readers.pop(key))

    def _drop(self, reader: FrameReader) -> None:
        for key in [key for key in self._tiles if key[0] is reader]:
            self.used -= self._tiles.pop(key).nbytes
        self._painted = {key: value for key, value in self._painted.items() if key[0] is not reader}

    def __contains__(self, key: Any) -> bool:
        """Whether a tile is known."""
        return key in self._tiles

    def get(self, key: Any) -> torch.Tensor | None:
        """Return a tile if it is known."""
        if key not in self._tiles:
            return None
        self._tiles.move_to_end(key)
        return self._tiles[key]

    def put(self, key: Any, tile: torch.Tensor) -> None:
        """Remember a tile, and forget those not used for the longest time where the memory is full."""
        if key in self._tiles:
            self.used -= self._tiles.pop(key).nbytes
        self._tiles[key] = tile
        self.used += tile.nbytes
        while self.used > self.max_bytes:
            self.used -= self._tiles.popitem(last=False)[1].nbytes

    def get_painted(self, reader: FrameReader, position: Place) -> tuple[npt.NDArray[np.int64], torch.Tensor] | None:
        """Return the numbers (sorted) and features (n, D) of the pixels of a frame that were asked for last."""
        return self._painted.get((reader, position))

    def put_painted(
        self, reader: FrameReader, position: Place, pixels: npt.NDArray[np.int64], features: torch.Tensor
    ) -> None:
        """Remember the features of some pixels of a frame instead of those before."""
        self._painted[reader, position] = pixels, features


def _identity(image: Any) -> Any:
    """Name an image by its memory, where it is a plain array, so that two views of the same pixels are one image."""
    if isinstance(image, np.ndarray):
        return image.__array_interface__["data"][0], image.shape, image.strides, image.dtype.str
    return id(image)


@torch.inference_mode()
def _checksum(network: nn.Module) -> tuple[int, ...]:
    """Sum up the bits of all weights but those that make the logits of features, in a few milliseconds.

    PyTorch's own counter of changes misses those by fused optimisers. On the CPU NumPy sums, which waits for no other
    thread.
    """
    weights = (value for key, value in network.state_dict().items() if not key.startswith(_LAST))
    bits = [value.view(_WHOLE_NUMBERS[value.element_size()]) for value in weights]
    if all(part.device.type == "cpu" for part in bits):
        return tuple(int(np.add.reduce(part.numpy(), axis=None, dtype=part.numpy().dtype)) for part in bits)
    return tuple(torch.stack([part.sum() for part in bits]).tolist())
