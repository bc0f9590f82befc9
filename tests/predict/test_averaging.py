"""Averaging over turned versions of an image: the mean of what each would give, in tiles of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from torch import nn

from napari_unet.data.axes import ImageLayout
from napari_unet.data.intensity import FrameReader, IntensityRange
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.averaging import TurnedFrames, list_turns
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictFinished, TilePredicted
from napari_unet.predict.tiled import predict, predict_tiles

FloatArray = npt.NDArray[np.float32]
MakeModel = Callable[..., Model]


def settings(averaging: str, tile: int | None = None) -> PredictConfig:
    return PredictConfig(tile=tile, device="cpu", precision="float32", averaging=averaging)  # type: ignore[arg-type]


def make_smooth(rng: np.random.Generator, shape: tuple[int, ...], sigma: float = 4.0) -> FloatArray:
    image = ndimage.gaussian_filter(rng.standard_normal(shape), (*(1,) * (len(shape) - 2), sigma, sigma))
    return np.asarray((image - image.min()) / (image.max() - image.min()), np.float32)


def test_seven_rotations_are_spread_over_the_circle_and_eight_flips_over_the_square() -> None:
    rotations = [np.eye(2), *list_turns("rotations")]
    angles = sorted(np.degrees(np.arctan2(turn[1, 0], turn[0, 0])) % 360 for turn in rotations)
    np.testing.assert_allclose(angles, np.arange(7) * 360 / 7, atol=1e-9)
    flips = {tuple(turn.ravel()) for turn in [np.eye(2), *list_turns("flips")]}
    assert len(flips) == 8
    assert all(abs(abs(a * d - b * c) - 1) < 1e-12 for a, b, c, d in flips)


CASES: list[tuple[tuple[int, ...], str, dict[str, Any]]] = [
    ((31, 37), "YX", {}),
    ((31, 37), "YX", {"padding": "valid"}),
    ((2, 45, 29), "CYX", {"in_channels": 2, "depth": 3}),
    ((7, 17, 23), "ZYX", {"ndim": 3}),
    ((2, 5, 13, 11), "CZYX", {"ndim": 3, "in_channels": 2, "padding": "valid", "depth": 1}),
    ((3, 21, 18), "ZYX", {}),
    ((1, 19), "YX", {}),
]


@pytest.mark.parametrize("tile", [16, None])
@pytest.mark.parametrize(("shape", "axes", "network"), CASES)
def test_flips_are_the_mean_of_eight_predictions_turned_by_hand(
    make_model: MakeModel, rng: np.random.Generator, shape: tuple[int, ...], axes: str, network: Any, tile: int | None
) -> None:
    model = make_model(seed=3, **network)
    image = rng.random(shape)
    results = []
    for turns in range(4):
        for mirrored in (False, True):
            turned = np.rot90(image[..., ::-1] if mirrored else image, turns, axes=(-2, -1))
            back = np.rot90(predict(model, turned, axes, settings("none")), -turns, axes=(-2, -1))
            results.append(back[..., ::-1] if mirrored else back)
    averaged = predict(model, image, axes, settings("flips", tile))
    np.testing.assert_allclose(averaged, np.mean(results, axis=0), rtol=0, atol=1e-4)
    assert np.abs(results[0] - averaged).max() > 1e-2, "the network does not care how the image lies: nothing is shown"


@pytest.mark.parametrize("side", [8, 24])
@pytest.mark.parametrize(("shape", "axes", "network"), CASES)
def test_rotations_do_not_depend_on_the_tiles(
    make_model: MakeModel, rng: np.random.Generator, shape: tuple[int, ...], axes: str, network: Any, side: int
) -> None:
    model = make_model(seed=4, **network)
    image = make_smooth(rng, shape, 2.0)
    whole = predict(model, image, axes, settings("rotations"))
    np.testing.assert_allclose(predict(model, image, axes, settings("rotations", side)), whole, rtol=0, atol=1e-3)
    np.testing.assert_allclose(whole.sum(axis=0), 1, rtol=0, atol=1e-5)
    assert np.abs(predict(model, image, axes, settings("none")) - whole).max() > 1e-2


class Pointwise(nn.Module):
    """Looks at one pixel at a time, so that its result turns with the image."""

    divisor, halo = 4, (8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x[:, :1]), 3 * x.sum(dim=1, keepdim=True) - 2], dim=1)


@pytest.mark.parametrize(
    ("shape", "axes"), [((67, 53), "YX"), ((2, 41, 58), "CYX"), ((5, 45, 37), "ZYX"), ((2, 3, 33, 47), "CZYX")]
)
@pytest.mark.parametrize("averaging", ["flips", "rotations"])
def test_a_network_that_turns_with_the_image_gives_what_it_gives_without_averaging(
    rng: np.random.Generator, shape: tuple[int, ...], axes: str, averaging: str
) -> None:
    config = ModelConfig(
        features=1, ndim=3 if "Z" in axes else 2, in_channels=2 if "C" in axes else 1,
        low_percentile=0.0, high_percentile=100.0,
    )  # fmt: skip
    model = Model(config=config, network=Pointwise())
    image = 1 + make_smooth(rng, shape)  # nowhere 0: black corners would show
    plain = predict(model, image, axes, settings("none"))
    averaged = predict(model, image, axes, settings(averaging, 20))
    difference = np.abs(averaged - plain)
    print(f"{averaging} of {shape}: {difference.mean():.1e}, at most {difference.max():.1e}")
    assert plain[1].std() > 0.05
    if averaging == "flips":
        assert difference.max() < 1e-5
    else:  # interpolated back and forth; the mirrored border has a crease
        assert difference.mean() < 1e-3
        assert difference.max() < 2e-2


def test_a_turned_frame_is_the_mirrored_image_turned_about_its_middle(rng: np.random.Generator) -> None:
    image = make_smooth(rng, (40, 61))
    reader = FrameReader(image, ImageLayout("YX", image.shape, 2), IntensityRange((0.0,), (1.0,)))
    for turn in list_turns("rotations"):
        frames = TurnedFrames(reader, turn)
        height, width = frames.shape
        (found,) = frames.read((), (-5, -3), (height + 4, width + 6))
        extent = np.abs(turn) @ [39, 60]
        offset = np.array([19.5, 30]) - turn.T @ (extent / 2 + [5, 3])
        padded = np.pad(image, 60, mode="reflect")
        expected = ndimage.affine_transform(padded, turn.T, offset + 60, (height + 9, width + 9), order=3)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-2)
        assert np.abs(found - expected).mean() < 2e-3


def test_tiles_that_are_blended_are_averaged_as_well(make_model: MakeModel, rng: np.random.Generator) -> None:
    model = make_model(norm="instance")
    image = make_smooth(rng, (70, 90), 2.0)
    whole, tiled = (predict(model, image, "YX", settings("rotations", tile)) for tile in (None, 32))
    np.testing.assert_allclose(tiled.sum(axis=0), 1, rtol=0, atol=1e-5)
    assert np.abs(tiled - whole).mean() < 0.1


def test_averaging_can_be_stopped_between_two_turns(make_model: MakeModel, rng: np.random.Generator) -> None:
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    events = list(
        predict_tiles(make_model(), rng.random((32, 32)), "YX", settings("rotations"), should_stop=should_stop)
    )
    assert asked == 4
    assert not any(isinstance(event, TilePredicted) for event in events)
    assert isinstance(events[-1], PredictFinished)
    assert events[-1].stopped
