"""The networks by name. A new one is a file with a class and a line in `napari_unet.nets.architectures`."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

import torch
from torch import nn

from napari_unet.nets.architectures import ARCHITECTURES
from napari_unet.nets.config import ModelConfig

__all__ = ["ARCHITECTURES", "SegmentationModel", "build_network"]


class SegmentationModel(Protocol):
    """What training and prediction need of a model; `napari_unet.Model` is one.

    Attributes
    ----------
    config : ModelConfig
        What the network is made of and reads.
    network : torch.nn.Module
        Returns logits (N, class, \\*space); has `divisor` and `halo`, see `napari_unet.nets.base`.
    task : str
        ``"objects"`` or ``"classes"``.
    spacing : tuple of float or None
        Distance of pixels (ZYX order) of the images it was trained on.
    history : dict
        What is known about its training, as JSON values.
    closed_form : ClosedForm or None
        How its last layer is solved from strokes; None where the network was not trained for that.
    """

    config: ModelConfig
    network: nn.Module
    task: str
    spacing: tuple[float, ...] | None
    history: dict[str, Any]
    closed_form: Any


def build_network(config: ModelConfig) -> nn.Module:
    """Build the network of a config with fresh weights, in float32 on the CPU.

    Examples
    --------
    >>> sum(p.numel() for p in build_network(ModelConfig(features=4, depth=1)).parameters())
    1682
    """
    module, _, name = ARCHITECTURES[config.architecture].source.partition(":")
    network: nn.Module = getattr(import_module(f"napari_unet.nets.{module}"), name)(config)
    return network.to(torch.float32)
