"""The statistics of batch normalisation: kept as they are, or measured anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from napari_unet.nets.device import Device

__all__ = ["freeze_statistics", "measure_statistics"]


def freeze_statistics(network: nn.Module) -> None:
    """Let a network in training normalise as it does in prediction; its weights are still learnt."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.eval()


def measure_statistics(network: nn.Module, batches: Sequence[torch.Tensor], device: Device) -> Iterator[None]:
    """Measure the normalisation of a network on batches of crops, with a pause after each.

    All but the measuring is as in prediction: there is no dropout. Layers whose weights are frozen stay as they are.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    batches : sequence of torch.Tensor
        (N, channel, \\*space) on the device; without any, nothing is measured.
    device : Device
        Where the network is.
    """
    layers = [
        module
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight.requires_grad
    ]
    if not layers or not batches:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over the batches
        layer.train()
    try:
        for image in batches:
            with torch.no_grad(), device.autocast():
                network(image)
            yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
