"""The start of a training of starting weights: the last layer, solved from the strokes to train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import nn

from napari_unet.learn.closed_form import ClosedForm, solve_head
from napari_unet.learn.painted_boxes import PaintedBox
from napari_unet.nets.blocks import center_crop
from napari_unet.nets.device import Device

__all__ = ["solve_from_boxes"]

_MOST_PIXELS = 2_000  # of one class in one box


def solve_from_boxes(
    network: nn.Module, boxes: Sequence[PaintedBox], form: ClosedForm, device: Device
) -> Iterator[None]:
    """Solve the head of a network from what is painted in boxes, in place; pauses after each box.

    The same as `napari_unet.adapt`, but for what a training needs: a part of the strokes may be held out, and boxes
    are as large as those that are scored. Of many pixels every n-th is taken.

    Parameters
    ----------
    network : torch.nn.Module
        On the device, in evaluation mode.
    boxes : sequence of PaintedBox
        What is painted.
    form : ClosedForm
        How to solve.
    device : Device
        Where the network runs.
    """
    head = cast("nn.Conv2d", network.head)
    count = head.out_channels
    features, classes, weights = [], [], []
    for box in boxes:
        with torch.inference_mode(), device.autocast():
            maps: torch.Tensor = network.features(device.tensor(box.image))  # type: ignore[operator]
        known = center_crop(box.classes, maps.shape[2:])[0].flatten()
        rows = maps[0].flatten(1).T
        for kind in range(count):
            own = torch.nonzero(known == kind)[:, 0]
            step = max(1, -(-len(own) // _MOST_PIXELS))
            chosen = own[::step]
            features.append(rows[chosen.to(rows.device)].float())
            classes.append(torch.full((len(chosen),), kind))
            weights.append(torch.full((len(chosen),), float(step)))
        yield
    weight, bias = solve_head(
        torch.cat(features), torch.cat(classes).to(device.torch_device), count,
        weights=torch.cat(weights).to(device.torch_device), ridge=form.ridge, scale=form.scale, offset=form.offset,
    )  # fmt: skip
    with torch.no_grad():
        head.weight.copy_(weight.reshape(head.weight.shape))
        cast("torch.Tensor", head.bias).copy_(bias)
