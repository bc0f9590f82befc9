"""The networks by name. A new one is a file with a class and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from napari_unet.errors import InputError
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.unet import UNet

__all__ = ["ARCHITECTURES", "SegmentationModel", "build_network"]

ARCHITECTURES: dict[str, Callable[[ModelConfig], nn.Module]] = {
    "unet": UNet,
}


class SegmentationModel(Protocol):
    """What training and prediction need of a model; `napari_unet.Model` is one.

    Attributes
    ----------
    config : ModelConfig
        What the network is made of and reads.
    network : torch.nn.Module
        Returns logits (N, class, \\*space); has `divisor` and `halo`.
    task : str
        ``"objects"`` or ``"classes"``.
    spacing : tuple of float or None
        Distance of pixels (ZYX order) of the images it was trained on.
    history : dict
        What is known about its training, as JSON values.
    """

    config: ModelConfig
    network: nn.Module
    task: str
    spacing: tuple[float, ...] | None
    history: dict[str, Any]


def build_network(config: ModelConfig) -> nn.Module:
    """Build the network of a config with fresh weights, in float32 on the CPU.

    Raises
    ------
    InputError
        If there is no architecture of that name.

    Examples
    --------
    >>> sum(p.numel() for p in build_network(ModelConfig(features=4, depth=1)).parameters())
    1682
    """
    if config.architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise InputError(f"There is no network called {config.architecture!r}; there are: {known}.")
    return ARCHITECTURES[config.architecture](config).to(torch.float32)
