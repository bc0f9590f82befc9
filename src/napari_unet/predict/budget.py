"""How large the tiles of a prediction are, and how many are run at once: by the memory that is free and the device."""

from __future__ import annotations

from napari_unet.nets.architectures import ARCHITECTURES
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import Device
from napari_unet.nets.free_memory import free_memory

__all__ = ["batch_pixels", "pixel_budget"]

_BYTES = 11  # for each outer pixel, feature and byte of a number: measured for the plain U-Net
_MOST_CPU = 1_060_000_000  # bytes; with more, tiles gain little and a person waits longer for the next one
_MOST_GPU = 4 * _MOST_CPU
_SHARE_CPU, _SHARE_GPU = 0.25, 0.5  # of the memory that is free
_UNKNOWN = 2 * 2**30  # bytes that are taken to be free where the system does not tell
_BATCH_GPU = 2**23  # pixels that are enough to keep it busy


def pixel_budget(config: ModelConfig, device: Device, growth: float = 1.0) -> int:
    """Return how many outer pixels a tile may have, which grows by a factor before the network sees it."""
    on_cpu = device.torch_device.type == "cpu"
    free = free_memory(device.torch_device)
    share = (_SHARE_CPU if on_cpu else _SHARE_GPU) * (_UNKNOWN if free is None else free)
    number = 8 if device.double else 2 if device.low_precision is not None else 4
    each = _BYTES * number * config.features * ARCHITECTURES[config.architecture].memory
    return max(1, int(min(_MOST_CPU if on_cpu else _MOST_GPU, share) / (each * growth)))


def batch_pixels(device: Device, budget: int) -> int:
    """Return how many outer pixels the tiles of one run of the network may have together.

    Small tiles are joined on GPUs. On a CPU that gains a tenth or two for frames of less than 200 pixels and nothing
    for larger ones, and the last bits of a result would depend on the neighbours in the batch: one by one there.
    """
    return 0 if device.torch_device.type == "cpu" else min(budget, _BATCH_GPU)
