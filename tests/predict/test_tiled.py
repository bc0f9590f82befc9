"""A prediction in tiles is the prediction in one piece, whatever the sizes of image and tile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from torch import nn

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import TilePredicted
from napari_unet.predict.tiled import predict, predict_tiles

FloatArray = npt.NDArray[np.float32]
MakeModel = Callable[..., Model]
Whole = Callable[..., FloatArray]

# (shape, tile, depth)
FLAT: list[tuple[tuple[int, ...], int | tuple[int, int], int]] = [
    ((17, 23), 16, 2),
    ((17, 23), 8, 1),
    ((17, 23), 16, 3),
    ((31, 37), (8, 24), 2),
    ((131, 53), 16, 3),
    ((101, 67), (32, 16), 3),
    ((64, 64), 32, 4),
    ((97, 41), (16, 48), 4),
    ((211, 149), 32, 4),
    ((37, 251), (64, 16), 4),
    ((5, 7), 64, 3),
    ((1, 19), 8, 2),
    ((2, 3), 4, 4),
    ((23, 17), 1, 1),
    ((127, 61), (40, 24), 2),
]
DEEP: list[tuple[tuple[int, ...], int | tuple[int, int, int], int]] = [
    ((7, 17, 23), (4, 8, 12), 2),
    ((5, 11, 13), 6, 1),
    ((13, 19, 17), (8, 16, 24), 3),
    ((3, 29, 7), (1, 16, 4), 1),
    ((1, 17, 9), 8, 2),
    ((2, 5, 3), 64, 2),
    ((11, 23, 31), (12, 4, 20), 2),
    ((17, 13, 11), (2, 14, 10), 1),
    ((5, 9, 61), (4, 8, 8), 2),
    ((3, 83, 7), (8, 16, 8), 3),
]


def make_image(rng: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Make a picture with structures of several sizes and a few very bright pixels."""
    image = rng.normal(100.0, 10.0, shape) + 60 * ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    image.flat[rng.integers(0, image.size, 1 + image.size // 200)] += 1000
    return np.asarray(image)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("shape", "tile", "depth"), [*FLAT, *DEEP])
def test_tiles_agree_with_one_forward_pass_over_the_mirrored_image(
    make_model: MakeModel,
    whole: Whole,
    rng: np.random.Generator,
    padding: str,
    shape: tuple[int, ...],
    tile: int | tuple[int, ...],
    depth: int,
) -> None:
    features = 2 if len(shape) == 3 and depth > 2 else 5
    model = make_model(seed=1, ndim=len(shape), depth=depth, features=features, padding=padding)
    image = make_image(rng, shape)
    config = PredictConfig(tile=tile, device="cpu", precision="float32")
    tiled = predict(model, image, "ZYX"[-len(shape) :], config)
    expected = whole(model, image[None])
    difference = float(np.abs(tiled - expected).max())
    print(f"{padding} depth {depth}, image {shape}, tile {tile}: largest difference {difference:.1e}")
    assert tiled.shape == (2, *shape)
    assert tiled.dtype == np.float32
    assert difference < 1e-4
    assert expected[1].std() > 0.02, "the network says the same everywhere, which proves nothing"


@pytest.mark.parametrize("norm", [None, "batch"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_tile_that_is_chosen_gives_the_same_result_as_a_small_one(
    make_model: MakeModel, rng: np.random.Generator, padding: str, norm: str | None
) -> None:
    model = make_model(padding=padding, norm=norm, classes=("background", "a", "b"))
    image = make_image(rng, (61, 83))
    small, chosen = (
        predict(model, image, "YX", PredictConfig(tile=tile, device="cpu", precision="float32")) for tile in (20, None)
    )
    np.testing.assert_allclose(small, chosen, rtol=0, atol=1e-4)
    np.testing.assert_allclose(chosen.sum(axis=0), 1.0, rtol=0, atol=1e-5)


def test_these_tests_would_notice_a_halo_that_is_too_small(make_model: MakeModel, rng: np.random.Generator) -> None:
    model = make_model(padding="same", depth=3)
    image = make_image(rng, (80, 80))
    config = PredictConfig(tile=16, device="cpu", precision="float32")
    right = predict(model, image, "YX", config)
    model.network.halo = (8, 8)  # type: ignore[assignment]
    assert np.abs(predict(model, image, "YX", config) - right).max() > 1e-3


class AddOne(nn.Module):
    """Background 0, foreground the grey value plus 1: what comes out tells which pixel went in."""

    def __init__(self, divisor: int = 4, halo: tuple[int, int] = (8, 8)) -> None:
        super().__init__()
        self.divisor, self.halo = divisor, halo

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x[:, :1]), x[:, :1] + 1], dim=1)


class Shift(AddOne):
    """An unpadded network that looks only at the pixel `by` before the one it writes, along each axis."""

    def __init__(self, by: int, divisor: int = 4) -> None:
        super().__init__(divisor, (max(by, 0), max(-by, 0)))
        self.by = by

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, last = max(-self.by, 0), max(self.by, 0)
        box: Any = (..., *(slice(first, n - last) for n in x.shape[2:]))
        return super().forward(x[box])


def with_network(network: nn.Module, **settings: Any) -> Model:
    config = ModelConfig(features=1, low_percentile=0.0, high_percentile=100.0, **settings)
    return Model(config=config, network=network)


def logistic(grey: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    scaled = (grey.astype(np.float64) - grey.min()) / (grey.max() - grey.min())
    return np.asarray(1 / (1 + np.exp(-(scaled + 1))))


@pytest.mark.parametrize("shape", [(17, 23), (97, 41), (3, 5), (1, 64), (7, 17, 23), (1, 5, 1)])
@pytest.mark.parametrize("tile", [1, 12, 500])
def test_a_network_that_adds_one_gives_each_pixel_back_plus_one(shape: tuple[int, ...], tile: int) -> None:
    image = np.arange(np.prod(shape)).reshape(shape)
    model = with_network(AddOne(), ndim=len(shape), padding="same")
    result = predict(model, image, "ZYX"[-len(shape) :], PredictConfig(tile=tile, device="cpu", precision="float32"))
    np.testing.assert_allclose(result[1], logistic(image), rtol=0, atol=2e-7)
    np.testing.assert_allclose(result[0], 1 - logistic(image), rtol=0, atol=2e-7)


@pytest.mark.parametrize("shape", [(17, 23), (97, 41), (3, 5), (7, 17, 23)])
@pytest.mark.parametrize("by", [3, -3, 11])
def test_an_unpadded_network_that_shifts_sees_the_mirror_image_beyond_the_border(
    shape: tuple[int, ...], by: int
) -> None:
    image = np.arange(np.prod(shape)).reshape(shape)
    model = with_network(Shift(by), ndim=len(shape), padding="valid")
    result = predict(model, image, "ZYX"[-len(shape) :], PredictConfig(tile=8, device="cpu", precision="float32"))
    grown = np.pad(image, abs(by), mode="reflect")
    moved = grown[tuple(slice(abs(by) - by, abs(by) - by + size) for size in shape)]
    scaled = (moved - image.min()) / (image.max() - image.min())
    np.testing.assert_allclose(result[1], 1 / (1 + np.exp(-(scaled + 1))), rtol=0, atol=2e-7)


def test_the_same_input_gives_the_same_result_twice_and_is_not_changed(
    make_model: MakeModel, rng: np.random.Generator
) -> None:
    model = make_model(dropout=0.5)
    model.network.train()
    image = make_image(rng, (40, 52))
    before = image.copy()
    weights = {name: value.clone() for name, value in model.network.state_dict().items()}
    first, second = (predict(model, image, "YX", PredictConfig(tile=16, device="cpu")) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, before)
    assert all(torch.equal(value, weights[name]) for name, value in model.network.state_dict().items())


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_sixteen_bit_numbers_give_nearly_the_same(
    make_model: MakeModel, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, padding: str
) -> None:
    model = make_model(padding=padding)
    image = make_image(rng, (40, 52))
    exact = predict(model, image, "YX", PredictConfig(device="cpu", precision="float32"))
    monkeypatch.setattr("napari_unet.nets.device._cpu_computes_bfloat16", lambda: True)
    rough = predict(model, image, "YX", PredictConfig(device="cpu", precision="auto"))
    difference = np.abs(rough - exact)
    print(f"bfloat16, {padding}: difference {difference.mean():.1e}, at most {difference.max():.1e}")
    assert rough.dtype == np.float32
    assert 0 < difference.mean() < 0.01  # 8 bits, through a network of random weights
    assert difference.max() < 0.15


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_gpu_gives_what_the_cpu_gives(make_model: MakeModel, rng: np.random.Generator, ndim: int) -> None:
    model = make_model(ndim=ndim)
    image = make_image(rng, (9, 61, 83)[-ndim:])
    axes = "ZYX"[-ndim:]
    cpu = predict(model, image, axes, PredictConfig(device="cpu", precision="float32"))
    blocks = predict_tiles(model, image, axes, PredictConfig(tile=32, device="cuda", precision="float32"))
    gpu = np.empty_like(cpu)
    for event in blocks:
        if isinstance(event, TilePredicted):
            gpu[(slice(None), *event.box)] = event.probabilities
    np.testing.assert_allclose(gpu, cpu, rtol=0, atol=5e-3)  # convolutions of GPUs round to TF32
