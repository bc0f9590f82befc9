"""How much of the images one training step looks at: chosen from device, network and free memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from napari_unet.errors import MemoryLimitError
from napari_unet.learn.config import TrainConfig
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import Device

__all__ = ["CropPlan", "plan_crops", "plan_looks", "plan_with_less", "smaller_plan", "step_memory", "wide_enough"]

_CROP_CPU = 128  # pixels, in 2D
_SHARE_OF_FREE_MEMORY = 0.6  # the rest is for images, predictions and other programs
_COPIES_OF_WEIGHTS = 11  # weights, gradients, two of the optimiser, average; the last good state of four; best; cast
_GENEROUS_MAPS = 300  # more than any network here keeps: maps of the full size with as many channels as the first
_LARGEST_MAPS = 4  # maps of the largest size that the backward pass holds beside those kept for it
_LOSS_BYTES = 32  # for each pixel and class: logits, probabilities and their gradients in 32 bits
_CROP_BYTES = 96  # for each pixel: image, classes, weights and deformation of a crop, the last batches too


@dataclass(frozen=True)
class CropPlan:
    """How much of the images one step looks at.

    Attributes
    ----------
    batch : int
        Crops in a step; where several processes train together, of each.
    crop : tuple of int
        Size of what the network reads.
    reach : tuple of int
        Size of the part in the middle that it writes.
    """

    batch: int
    crop: tuple[int, ...]
    reach: tuple[int, ...]


def plan_crops(
    config: TrainConfig, network: nn.Module, frame_shape: tuple[int, ...], device: Device, free: int | None = None, *,
    wide: bool = False,
) -> CropPlan:  # fmt: skip
    """Choose batch and crop for a network, the largest frame, a device and its memory.

    Parameters
    ----------
    config : TrainConfig
        Its `batch_size` and `crop`, where given, are taken as they are.
    network : torch.nn.Module
        What is trained.
    frame_shape : tuple of int
        Size of the largest frame.
    device : Device
        Where it is trained.
    free : int or None
        Bytes of free memory there, see `napari_unet.nets.free_memory`: batch, then crop are halved until a step takes
        at most 60 % of it. None: not known, nothing is halved.
    wide : bool
        Whether few wide crops of an image are better than many narrow ones: where each is to show some strokes of every
        class, and how they lie in the image.

    Examples
    --------
    >>> from napari_unet.nets.config import ModelConfig
    >>> from napari_unet.nets.registry import build_network
    >>> from napari_unet.nets.device import choose_device
    >>> network, cpu = build_network(ModelConfig(features=16)), choose_device("cpu", precision="float32")
    >>> plan_crops(TrainConfig(), network, (1000, 1000), cpu)
    CropPlan(batch=8, crop=(128, 128), reach=(128, 128))
    >>> plan_crops(TrainConfig(), network, (1000, 1000), cpu, free=300_000_000)
    CropPlan(batch=2, crop=(128, 128), reach=(128, 128))
    """
    large = device.torch_device.type != "cpu"
    ndim = len(frame_shape)
    divisor, (before, after) = int(network.divisor), network.halo  # type: ignore[arg-type, misc]
    padded = network.config.padding == "same"  # type: ignore[union-attr]
    if config.crop is not None:
        wanted = (config.crop,) * ndim
    elif ndim == 2:
        wanted = (256, 256) if large or wide else (_CROP_CPU, _CROP_CPU)
    else:
        wanted = (64, 128, 128) if large else (32, 64, 64)
    reach = tuple(
        max(divisor, math.ceil(min(side, n) / divisor) * divisor) for side, n in zip(wanted, frame_shape, strict=True)
    )
    reach = wide_enough(reach, divisor)
    crop = reach if padded else tuple(side + before + after for side in reach)
    narrow = network.config.features <= 16  # type: ignore[union-attr, operator]
    fast = 8 if narrow else 4
    if wide and ndim == 2:
        fast = min(fast, max(2, fast * _CROP_CPU**2 // math.prod(crop)))
    batch = config.batch_size or ((16 if large else fast) if ndim == 2 else (4 if large else 2))
    plan = CropPlan(batch, crop, reach)
    if free is None or _generous_memory(network, plan) < _SHARE_OF_FREE_MEMORY * free:
        return plan  # the exact estimate loads parts of PyTorch, which takes a second
    return _fitting(plan, config, network, device, free)


def _generous_memory(network: nn.Module, plan: CropPlan) -> int:
    """Return more bytes than a step needs, whatever the network."""
    weights = sum(parameter.numel() for parameter in network.parameters())
    config: ModelConfig = network.config  # type: ignore[assignment]
    channels = max(config.features, config.last_width)
    return 4 * (_COPIES_OF_WEIGHTS * weights + plan.batch * math.prod(plan.crop) * channels * _GENEROUS_MAPS)


def _fitting(plan: CropPlan, config: TrainConfig, network: nn.Module, device: Device, free: int) -> CropPlan:
    """Halve what was not asked for until a step fits into the memory, or nothing can be halved."""
    while step_memory(network, plan, device) > _SHARE_OF_FREE_MEMORY * free:
        batch = 1 if config.batch_size is None else plan.batch
        if config.batch_size is None and plan.batch > 1:
            plan = replace(plan, batch=plan.batch // 2)
            continue
        smaller = None if config.crop is not None else smaller_plan(replace(plan, batch=1), int(network.divisor))  # type: ignore[arg-type]
        if smaller is None:
            return plan
        plan = replace(smaller, batch=batch)
    return plan


def smaller_plan(plan: CropPlan, divisor: int) -> CropPlan | None:
    """Halve the batch, or the crop where the batch is a single one; None if neither can be halved."""
    if plan.batch > 1:
        return replace(plan, batch=plan.batch // 2)
    reach = tuple(max(divisor, side // 2 // divisor * divisor) for side in plan.reach)
    reach = wide_enough(reach, divisor)
    if math.prod(reach) >= math.prod(plan.reach):
        return None
    crop = tuple(side - old + new for side, old, new in zip(plan.crop, plan.reach, reach, strict=True))
    return CropPlan(1, crop, reach)


def plan_with_less(plan: CropPlan, divisor: int, device: Device, error: BaseException) -> tuple[CropPlan, str]:
    """Return a smaller plan after the memory was not enough, and what it is in words for the person.

    Raises
    ------
    MemoryLimitError
        If there is none.
    """
    smaller = smaller_plan(plan, divisor)
    if smaller is None:
        raise MemoryLimitError(
            f"The network does not fit into the memory of {device.description}; choose a smaller width or depth."
        ) from error
    if device.torch_device.type == "cuda":
        torch.cuda.empty_cache()
    if plan.batch > 1:
        words = f"{smaller.batch} crop{'s' * (smaller.batch > 1)} a step"
    else:
        words = f"crops of {' x '.join(map(str, smaller.reach))} pixels"
    return smaller, f"The memory was not enough; training goes on with {words}."


def plan_looks(plan: CropPlan, divisor: int, frame_shape: tuple[int, ...]) -> CropPlan:
    """Widen crops of volumes that are looked at, not learnt from: less is near an edge, beyond which nothing is seen.

    Crops of images are wide enough. Of a volume one twice as large along each axis takes the memory of two crops in a
    training step, as it needs no backward pass; where that has only room for one, nothing is widened.

    Parameters
    ----------
    plan : CropPlan
        What a training step looks at.
    divisor : int
        What sides are multiples of.
    frame_shape : tuple of int
        Size of the largest frame.

    Examples
    --------
    >>> plan_looks(CropPlan(2, (32, 64, 64), (32, 64, 64)), 16, (40, 500, 100))
    CropPlan(batch=1, crop=(48, 128, 112), reach=(48, 128, 112))
    """
    if len(plan.reach) < 3 or plan.batch == 1:
        return plan
    widest = tuple(max(side, math.ceil(n / divisor) * divisor) for side, n in zip(plan.reach, frame_shape, strict=True))
    reach = tuple(min(2 * side, most) for side, most in zip(plan.reach, widest, strict=True))
    crop = tuple(side - old + new for side, old, new in zip(plan.crop, plan.reach, reach, strict=True))
    return CropPlan(1, crop, reach)


def wide_enough(reach: tuple[int, ...], divisor: int) -> tuple[int, ...]:
    """Widen a crop that is a single pixel at the bottom of the network: a normalisation needs more than one value."""
    return reach if any(side > divisor for side in reach) else (*reach[:-1], 2 * divisor)


def step_memory(network: nn.Module, plan: CropPlan, device: Device) -> int:
    """Estimate the bytes that a training step needs: weights, optimiser, and what the backward pass needs of the maps.

    The network is run on one crop without computing anything (on PyTorch's "meta" device), and what it keeps for the
    backward pass is added up.
    """
    narrow = 4 if device.low_precision is None else 2
    empty = {
        name: torch.empty_like(tensor, device="meta").requires_grad_(isinstance(tensor, nn.Parameter))
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    given = {tensor.untyped_storage()._cdata for tensor in empty.values()}
    kept: dict[int, tuple[torch.UntypedStorage, int]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in given:
            size = narrow if tensor.is_floating_point() else tensor.element_size()
            kept[storage._cdata] = (storage, storage.nbytes() // tensor.element_size() * size)
        return tensor

    channels = int(network.input_channels)  # type: ignore[arg-type]
    image = torch.empty(1, channels, *plan.crop, device="meta")
    training = network.training
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = torch.func.functional_call(network.train(), empty, (image,))
    finally:
        network.train(training)
    sizes = [size for _, size in kept.values()]
    classes = len(network.config.classes)  # type: ignore[union-attr, arg-type]
    for_each_crop = sum(sizes) + _LARGEST_MAPS * max(sizes, default=0) + _LOSS_BYTES * classes * output[0, 0].numel()
    for_each_crop += _CROP_BYTES * math.prod(plan.crop)
    weights = sum(parameter.numel() for parameter in network.parameters())
    return int(plan.batch * for_each_crop + 4 * _COPIES_OF_WEIGHTS * weights)
