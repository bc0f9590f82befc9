"""Batch and crop, chosen from network, device and the memory at hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_unet.learn.config import TrainConfig
from napari_unet.learn.crop_plan import CropPlan, _generous_memory, plan_crops, smaller_plan, step_memory, wide_enough
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import Device
from napari_unet.nets.registry import ARCHITECTURES, build_network

CPU = Device(torch.device("cpu"), "CPU", None)
GPU = Device(torch.device("cuda"), "GPU", torch.bfloat16)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(17, 23), (512, 600), (5, 1000), (4, 40, 40), (60, 200, 200)])
@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("crop", [None, 8, 70])
def test_a_planned_crop_passes_through_the_network(
    shape: tuple[int, ...], depth: int, padding: Any, device: Device, crop: int | None
) -> None:
    ndim = len(shape)
    with torch.device("meta"):
        network = build_network(ModelConfig(ndim=ndim, features=2, depth=depth, padding=padding, norm="instance"))
    plan = plan_crops(TrainConfig(crop=crop), network, shape, device)
    output = network(torch.empty(plan.batch, 1, *plan.crop, device="meta"))
    for reach, written, size in zip(plan.reach, output.shape[2:], shape, strict=True):
        assert reach % 2**depth == 0
        assert reach <= written < reach + 2**depth
        assert reach < 2 * max(size, crop or 0, 2**depth) + 2**depth  # no larger than the frame asks for
    if crop is not None:
        assert max(plan.reach) <= max(crop, 2 * 2**depth) + 2**depth


def test_a_device_with_memory_gets_more_and_settings_rule() -> None:
    with torch.device("meta"):
        network = build_network(ModelConfig())
    small, large = (plan_crops(TrainConfig(), network, (1000, 1000), device) for device in (CPU, GPU))
    assert (small.batch, small.crop) == (4, (128, 128))
    assert (large.batch, large.crop) == (16, (256, 256))
    chosen = plan_crops(TrainConfig(batch_size=7, crop=64), network, (1000, 1000), CPU)
    assert (chosen.batch, chosen.crop) == (7, (64, 64))


@pytest.mark.parametrize(
    ("reach", "expected"),
    [((16, 16), (16, 32)), ((16, 32), (16, 32)), ((16, 16, 16), (16, 16, 32)), ((48, 16), (48, 16))],
)
def test_there_are_two_values_to_normalise_at_the_bottom(reach: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert wide_enough(reach, 16) == expected


def test_less_memory_gives_smaller_steps_that_fit() -> None:
    network = build_network(ModelConfig(ndim=3, features=8, depth=2))
    frame = (100, 300, 300)
    whole = plan_crops(TrainConfig(), network, frame, CPU)
    needed = step_memory(network, whole, CPU)
    assert plan_crops(TrainConfig(), network, frame, CPU, free=2 * needed) == whole
    sizes = []
    for share in (1.0, 0.5, 0.25, 0.1):
        free = int(share * needed)
        plan = plan_crops(TrainConfig(), network, frame, CPU, free=free)
        assert step_memory(network, plan, CPU) <= free
        sizes.append(plan.batch * plan.crop[0] * plan.crop[1] * plan.crop[2])
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_what_was_asked_for_is_not_made_smaller() -> None:
    network = build_network(ModelConfig(features=4, depth=2))
    frame, free = (1000, 1000), 1_000_000
    assert plan_crops(TrainConfig(batch_size=5, crop=128), network, frame, CPU, free=free).batch == 5
    assert plan_crops(TrainConfig(crop=128), network, frame, CPU, free=free) == CropPlan(1, (128, 128), (128, 128))
    batch_given = plan_crops(TrainConfig(batch_size=5), network, frame, CPU, free=free)
    assert batch_given.batch == 5
    assert batch_given.crop < (128, 128)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_with_no_memory_at_all_the_smallest_step_is_left(padding: Any) -> None:
    network = build_network(ModelConfig(features=2, depth=2, padding=padding))
    plan = plan_crops(TrainConfig(), network, (500, 500), CPU, free=0)
    assert plan.batch == 1
    assert smaller_plan(plan, 4) is None
    network(torch.zeros(1, 1, *plan.crop))


def test_the_estimate_counts_what_the_backward_pass_keeps() -> None:
    """Against a count by hand of the maps of a network of depth 1 without normalisation."""
    network = build_network(ModelConfig(features=8, depth=1, norm=None))
    weights = sum(p.numel() for p in network.parameters())
    one, two = (step_memory(network, CropPlan(n, (64, 64), (64, 64)), CPU) for n in (1, 2))
    pixels = 64 * 64
    # input, 2 + 2 convolutions and the concatenation (twice as wide) at full size; pooled, its places, 2 at half size
    maps = 4 * pixels * (1 + 8 + 8 + 16 + 8 + 8) + pixels // 4 * (4 * 8 + 8 * 8 + 4 * 16 + 4 * 16)
    largest = 4 * pixels * 16
    assert two - one == pytest.approx(maps + 4 * largest + (32 * 2 + 96) * pixels, rel=0.02)
    assert one - (two - one) == pytest.approx(4 * 11 * weights, rel=0.02)
    low = Device(torch.device("cpu"), "CPU", torch.bfloat16)
    assert step_memory(network, CropPlan(1, (64, 64), (64, 64)), low) < one
    assert all(p.grad is None and p.device.type == "cpu" for p in network.parameters())


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"sliding-window", "vnet"}))
def test_every_network_can_be_estimated(architecture: str) -> None:
    network = build_network(ModelConfig(architecture=architecture, features=4, depth=2)).eval()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    small, large = (step_memory(network, CropPlan(2, (n, n), (n, n)), CPU) for n in (32, 64))
    assert small < large < _generous_memory(network, CropPlan(2, (64, 64), (64, 64)))
    assert not network.training
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
