"""How far each network looks is read off the network, and proven by changing pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_unet.models.model import Model
from napari_unet.nets.architectures import ARCHITECTURES
from napari_unet.nets.blocks import smooth_up
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.reach import Field, Reach, measure_reach
from napari_unet.nets.registry import build_network
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.tiled import predict

NETWORKS = [(name, ndim) for name, kind in ARCHITECTURES.items() for ndim in kind.ndims]
OPTIONS: list[dict[str, Any]] = [
    {"bottom": "dilated"},
    {"bottom": "pyramid"},
    {"convolution": "separable"},
    {"pooling": "average"},
    {"upsampling": "interpolate"},
    {"last_features": 7},
    {"smooth_logits": True},
]
CONFIGS = [{"architecture": name, "ndim": ndim} for name, ndim in NETWORKS if name != "sliding-window"]
CONFIGS += [{"ndim": ndim, **option} for option in OPTIONS for ndim in (2, 3)]


def identify(settings: dict[str, Any]) -> str:
    return "-".join(map(str, settings.values()))


def make_network(**settings: Any) -> nn.Module:
    """Make a network in which nothing is dead and nothing cancels out: all weights are positive."""
    torch.manual_seed(0)
    network = build_network(ModelConfig(**({"features": 2, "depth": 2, "norm": None} | settings))).double().eval()
    for parameter in network.parameters():
        parameter.data.abs_()
    return network


def places_that_matter(network: nn.Module, ndim: int, divisor: int, room: int) -> tuple[int, int]:
    """Change one plane of the input after the other; returns how far beyond a tile of one divisor it is noticed."""
    begin = -(-room // divisor) * divisor
    sides = (2 * begin + divisor, *(divisor,) * (ndim - 1))
    x = torch.rand(1, 1, *sides, dtype=torch.float64) + 0.5

    def tile() -> torch.Tensor:
        with torch.no_grad():
            return network(x)[:, :, begin : begin + divisor]  # type: ignore[no-any-return]

    def matters(place: int) -> bool:
        kept = x[:, :, place].clone()
        x[:, :, place] *= 1e9
        changed = not torch.equal(tile(), expected)
        x[:, :, place] = kept
        return changed

    expected = tile()
    before = max((begin - place for place in range(begin) if matters(place)), default=0)
    after = max(
        (place - begin - divisor + 1 for place in range(begin + divisor, sides[0]) if matters(place)), default=0
    )
    return before, after


# ------------------------------------------------------------------------------------------------ layers, one by one

LAYERS: dict[str, tuple[nn.Module, int]] = {
    "nothing": (nn.Identity(), 1),
    "one by one": (nn.Conv2d(1, 2, 1), 1),
    "three by three": (nn.Conv2d(1, 1, 3, padding=1), 1),
    "with holes": (nn.Conv2d(1, 1, 3, padding=4, dilation=4), 1),
    "even kernel": (nn.Sequential(nn.Conv2d(1, 1, 2, padding=1), nn.Conv2d(1, 1, 2)), 1),
    "pooled and doubled": (nn.Sequential(nn.MaxPool2d(2), nn.ConvTranspose2d(1, 1, 2, stride=2)), 2),
    "mean and doubled": (nn.Sequential(nn.AvgPool2d(2), nn.ConvTranspose2d(1, 1, 2, stride=2)), 2),
    "smoothed": (
        nn.Sequential(nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False), nn.AvgPool2d(2, stride=1)),
        1,
    ),
    "pooled in windows": (nn.MaxPool2d(5, stride=1, padding=2), 1),
    "strided": (
        nn.Sequential(
            nn.Conv2d(1, 1, 3, stride=2, padding=1),
            nn.ConvTranspose2d(1, 1, 3, stride=2, padding=1, output_padding=1),
        ),
        2,
    ),
    "wide up-convolution": (nn.Sequential(nn.MaxPool2d(2), nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1)), 2),
    "interpolated": (nn.Sequential(nn.MaxPool2d(2), smooth_up(2)), 2),
    "interpolated by four": (nn.Sequential(nn.MaxPool2d(4), nn.Conv2d(1, 1, 3, padding=1), smooth_up(2, 4)), 4),
    "interpolated by three": (nn.Sequential(nn.AvgPool2d(3), smooth_up(2, 3)), 3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_does_to_places_is_what_it_does_to_pixels(name: str) -> None:
    network, divisor = LAYERS[name]
    network = network.double().eval()
    for parameter in network.parameters():
        parameter.data.abs_().add_(0.1)
    reach = measure_reach(network, 2, 1, divisor)
    assert reach.local
    assert (reach.before, reach.after) == places_that_matter(network, 2, divisor, 12)


def test_paths_that_meet_again_are_all_followed() -> None:
    class Fork(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left = functional.avg_pool2d(x, 3, stride=1, padding=1)
            return torch.cat([left * x, functional.max_pool2d(x, 7, stride=1, padding=3)], dim=1).mean(1, keepdim=True)

    assert measure_reach(Fork(), 2, 1, 1) == Reach(3, 3, local=True)


class Summed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x, dim=2)


class Shrunk(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.max_pool2d(x, 2)


class Cut(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., 1:, :]


class Aligned(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = functional.max_pool2d(x, 2)
        return functional.interpolate(half, scale_factor=2, mode="bilinear", align_corners=True)


class Uneven(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(x, (3, 1), stride=1, padding=(1, 0))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Summed(), "What cumsum does to places is not known"),
        (Shrunk(), "keep the size"),
        (Cut(), "cuts nothing off"),
        (Aligned(), "without aligned corners"),
        (Uneven(), "the same number for each axis"),
        (nn.MaxPool2d(2, ceil_mode=True), "depends on the size"),
    ],
)
def test_a_layer_whose_reach_is_not_known_is_an_error_at_once(layer: nn.Module, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        measure_reach(layer, 2, 1, 2)


def test_tracing_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Dropout2d(0.5))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert measure_reach(network, 2, 1, 1) == Reach(1, 1, local=True)
    assert network.training
    assert network[1].training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_field_has_the_size_that_a_map_would_have() -> None:
    block = nn.Sequential(nn.Conv3d(2, 6, 3, padding=1), nn.MaxPool3d(2), nn.ConvTranspose3d(6, 4, 2, stride=2))
    assert tuple(block(Field(3, 2, 8)).shape) == tuple(block(torch.zeros(1, 2, 8, 8, 8)).shape)


# ----------------------------------------------------------------------------------------------------- whole networks


@pytest.mark.parametrize("settings", [s for s in CONFIGS if s.get("architecture") != "transunet"], ids=identify)
def test_the_halo_is_exact(settings: dict[str, Any]) -> None:
    """The pixel at the end of the reach changes the tile, and none beyond it does."""
    depth = 2 if settings["ndim"] == 2 else 1
    network: Any = make_network(**settings, depth=depth)
    reach = measure_reach(network, settings["ndim"], 1, network.divisor)
    found = places_that_matter(network, settings["ndim"], network.divisor, max(network.halo) + 3)
    assert (reach.before, reach.after) == found
    assert network.halo == reach.halo(network.divisor)
    assert all(needed <= have < needed + network.divisor for needed, have in zip(found, network.halo, strict=True))
    assert network.exact_tiling


@pytest.mark.parametrize("depth", [1, 3, 4])
@pytest.mark.parametrize("name", sorted(ARCHITECTURES.keys() - {"sliding-window", "transunet", "vnet"}))
def test_what_lies_beyond_the_halo_changes_nothing_at_any_depth(name: str, depth: int) -> None:
    network: Any = make_network(architecture=name, depth=depth)
    before, after = network.halo
    divisor = network.divisor
    x = torch.rand(1, 1, divisor, before + after + 3 * divisor, dtype=torch.float64)
    other = x * 1e3
    other[..., divisor : 2 * divisor + before + after] = x[..., divisor : 2 * divisor + before + after]
    tile = (..., slice(divisor + before, 2 * divisor + before))
    with torch.no_grad():
        assert torch.equal(network(x)[tile], network(other)[tile])


@pytest.mark.parametrize(
    ("settings", "exact"),
    [
        ({"norm": "batch"}, True),
        ({"norm": None, "padding": "valid"}, True),
        ({"norm": "group"}, False),
        ({"norm": "instance"}, False),
        ({"norm": "group", "padding": "valid"}, False),
        ({"architecture": "unet++", "norm": "instance"}, False),
        ({"architecture": "transunet"}, False),
        ({"architecture": "sliding-window"}, True),
        ({"architecture": "sliding-window", "norm": "group"}, False),
    ],
)
def test_networks_that_look_at_the_whole_map_say_so(settings: dict[str, Any], exact: bool) -> None:
    network: Any = build_network(ModelConfig(**({"features": 4, "depth": 1} | settings)))
    assert network.exact_tiling is exact


# -------------------------------------------------------------------------------------------- through the prediction


def make_model(**settings: Any) -> Model:
    """Make a model whose weights and statistics are random throughout, and whose logits are of the order of 1."""
    model = Model.create(ModelConfig(**({"features": 3, "depth": 2} | settings)), seed=3)
    torch.manual_seed(4)
    with torch.no_grad():
        for module in model.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        network: Any = model.network.eval()
        side = 4 * network.divisor + (sum(network.halo) if model.config.padding == "valid" else 0)
        logits = network(torch.rand(1, 1, *(side,) * model.config.ndim))
        network.head.weight /= logits.std()
        network.head.bias.copy_(-logits.mean(dim=(0, *range(2, logits.ndim))) / logits.std())
    return model


@pytest.mark.parametrize(
    "settings",
    [{"architecture": n, "ndim": d} for n, d in NETWORKS if n != "transunet"]
    + [{"ndim": 2, **option} for option in OPTIONS],
    ids=identify,
)
def test_tiles_and_the_whole_image_give_the_same(settings: dict[str, Any], rng: np.random.Generator) -> None:
    flat = settings["ndim"] == 2
    model = make_model(**settings, depth=2 if flat else 1)
    network: Any = model.network
    shape = (sum(network.halo) + 5 * network.divisor + 1, 13) if flat else (sum(network.halo) + 9, 7, 5)
    image = rng.random(shape)
    small, whole = (
        predict(model, image, "ZYX"[-len(shape) :], PredictConfig(tile=tile, device="cpu", precision="float32"))
        for tile in ((3 * network.divisor, *shape[1:]), 10_000)
    )
    assert np.abs(small - whole).max() < 1e-5
    assert whole[1].std() > 0.01, "the network says the same everywhere, which proves nothing"
