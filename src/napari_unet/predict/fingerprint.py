"""Checksums of what a prediction was made from, by which it is known again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from napari_unet.data.axes import ImageLayout
from napari_unet.data.intensity import spread_blocks
from napari_unet.nets.registry import SegmentationModel

__all__ = ["image_checksum", "model_checksum"]

_SAMPLED = 1_000_000  # pixels


def model_checksum(model: SegmentationModel) -> str:
    """Return a SHA-256 of the settings and weights of a model's network, wherever they are."""
    digest = hashlib.sha256(json.dumps(asdict(model.config), sort_keys=True).encode())
    for name, value in sorted(model.network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        bits = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)  # NumPy knows no bfloat16
        digest.update(bits.numpy().data)
    return digest.hexdigest()


def image_checksum(image: Any, layout: ImageLayout) -> str:
    """Return a SHA-256 of axes, shape, type and about a million pixels, in blocks spread evenly over an image.

    Parameters
    ----------
    image : array-like
        Numpy, memory-mapped, dask or zarr.
    layout : ImageLayout
        Its axes.

    Examples
    --------
    >>> image = np.arange(12.0).reshape(3, 4)
    >>> layout = ImageLayout("YX", (3, 4))
    >>> image_checksum(image, layout) == image_checksum(np.asfortranarray(image.astype(">f8")), layout)
    True
    """
    dtype = np.dtype(image.dtype).newbyteorder("<")
    digest = hashlib.sha256(f"{layout.axes} {layout.shape} {dtype.str}".encode())
    for position, box in spread_blocks(layout, _SAMPLED):
        digest.update(np.ascontiguousarray(layout.read(image, position, box), dtype).data)
    return digest.hexdigest()
