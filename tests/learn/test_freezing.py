"""A frozen contracting path: every network says what it is, nothing of it changes, and it costs no gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from napari_unet.errors import InputError
from napari_unet.learn.fit import fit
from napari_unet.models.model import Model
from napari_unet.nets.architectures import ARCHITECTURES
from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.registry import build_network

Make = Callable[..., Any]
NETWORKS = [(name, ndim) for name, kind in ARCHITECTURES.items() for ndim in kind.ndims]


def _encoder_names(network: SegmentationNetwork) -> set[str]:
    return {name for name, _ in network.named_parameters() if name.split(".")[0] in network.encoder}


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_the_encoder_is_what_the_deepest_map_is_made_of(name: str, ndim: int) -> None:
    """The gradient of the deepest map reaches these parameters; the head and the last map need others, too."""
    network = build_network(ModelConfig(name, ndim, features=2, depth=2))
    assert isinstance(network, SegmentationNetwork)
    names = _encoder_names(network)
    everything = {name for name, _ in network.named_parameters()}
    assert names
    assert names < everything
    assert not {parameter for parameter in names if parameter.startswith(("head", "inner_heads", "up", "merge"))}
    maps: list[torch.Tensor] = []
    for part in network.encoder:
        module = network.get_submodule(part)
        for layer in module.children() if isinstance(module, nn.ModuleList) else [module]:
            layer.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    network(torch.rand(1, 1, *(network.divisor * 4 if name != "sliding-window" else 96,) * ndim))
    deepest = min(maps, key=lambda x: x.shape[-1])
    last = [x for x in maps if x.shape[-1] == deepest.shape[-1]][-1]
    if name == "sliding-window":
        return  # its layers are called by their weights, not as modules
    last.square().sum().backward()
    assert {key for key, value in network.named_parameters() if value.grad is not None} == names


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_a_frozen_encoder_stays_as_it_is(name: str, ndim: int, make_sample: Make, quick: Make) -> None:
    model = Model.create(ModelConfig(name, ndim, features=2, depth=2, dropout=0.3))
    model.history = {"steps": 1}
    for module in model.network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    sample = make_sample((64, 64) if ndim == 2 else (16, 32, 32))
    config = quick(max_steps=6, validate_every=3, freeze_encoder=True, weight_decay=0.5, batch_size=2)
    for _ in fit(model, [sample], config, device="cpu"):
        pass
    network = model.network
    assert isinstance(network, SegmentationNetwork)
    changed = {key for key, value in network.state_dict().items() if not torch.equal(before[key], value)}
    assert not {key for key in changed if key.split(".")[0] in network.encoder}
    assert {"head.weight", "head.bias"} <= changed
    others = {key for key, _ in network.named_parameters()} - _encoder_names(network)
    assert len(changed & others) > 0.5 * len(others)
    assert all(parameter.requires_grad for parameter in network.parameters())  # the next training is free again


def test_frozen_layers_are_in_no_graph_and_train_as_they_predict() -> None:
    network = build_network(ModelConfig(features=4, depth=2, dropout=0.5))
    assert isinstance(network, SegmentationNetwork)
    network.freeze_encoder()
    network.train()
    assert network.training
    assert not network.down.training
    assert network.merge.training
    outputs: list[torch.Tensor] = []
    for block in network.down.children():
        block.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    image = torch.rand(2, 1, 32, 32)
    network(image).sum().backward()
    network(image)
    assert not any(output.requires_grad for output in outputs)  # so that backward ends before them
    assert torch.equal(outputs[2], outputs[-1])  # no dropout, no statistics of the batch
    assert all(parameter.grad is None for parameter in network.down.parameters())
    assert all(parameter.grad is not None for parameter in network.merge.parameters())


def test_a_new_model_has_nothing_to_keep(make_model: Make, make_sample: Make, quick: Make) -> None:
    with pytest.raises(InputError, match="start from a trained model"):
        next(iter(fit(make_model(), [make_sample()], quick(freeze_encoder=True), device="cpu")))
