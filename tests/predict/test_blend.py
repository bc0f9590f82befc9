"""Tiles of networks that look at a whole tile overlap, and go over into each other without a seam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.blend import Blender
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictRecovered, TilePredicted
from napari_unet.predict.tiled import predict, predict_tiles
from napari_unet.predict.tiles import TileGeometry, plan_tiles

MakeModel = Callable[..., Model]


@pytest.mark.parametrize(("shape", "tile"), [((40,), (16,)), ((33, 47), (16, 24)), ((9, 20, 17), (4, 8, 8))])
def test_a_blend_of_tiles_is_the_mean_weighted_by_the_distance_to_their_ends(
    rng: np.random.Generator, shape: tuple[int, ...], tile: tuple[int, ...]
) -> None:
    overlap = 4
    boxes = [t.inner for t in plan_tiles(shape, tile, TileGeometry(4, (8, 8), 4, overlap))]
    rng.shuffle(boxes)  # type: ignore[arg-type]
    blender = Blender(overlap)
    result = np.full((2, *shape), np.nan, np.float32)
    total, weights = np.zeros((2, *shape)), np.zeros(shape)
    for number, box in enumerate(boxes):
        block = rng.random((2, *(part.stop - part.start for part in box))).astype(np.float32)
        result[(slice(None), *box)] = blender.add((), box, block)
        blender.forget(((), later) for later in boxes[number + 1 :])
        inside = np.ones(block.shape[1:])
        for axis, side in enumerate(inside.shape):
            ends = [min(i + 1, side - i, 2 * overlap + 1) for i in range(side)]
            inside *= np.reshape(ends, [-1 if i == axis else 1 for i in range(len(shape))])
        total[(slice(None), *box)] += block * inside
        weights[box] += inside
    np.testing.assert_allclose(result, total / weights, rtol=1e-4)
    assert not blender._kept  # nothing is held when nothing is to come


def test_tiles_that_none_to_come_overlaps_are_let_go() -> None:
    blender = Blender(2)
    boxes = [t.inner for t in plan_tiles((64, 256), (16, 16), TileGeometry(2, (2, 2), 2, 2))]
    most = 0
    for number, box in enumerate(boxes):
        blender.add((0,), box, np.ones((1, *(part.stop - part.start for part in box)), np.float32))
        blender.forget(((0,), later) for later in boxes[number + 1 :])
        most = max(most, sum(map(len, blender._kept.values())))
    assert most <= 18  # a row of 16 and the next one's beginning, not all 64


def test_frames_of_a_stack_are_not_mixed() -> None:
    blender = Blender(1)
    blender.add((0,), (slice(0, 4),), np.zeros((1, 4), np.float32))
    np.testing.assert_array_equal(blender.add((1,), (slice(0, 4),), np.ones((1, 4), np.float32)), np.ones((1, 4)))


def test_grown_tiles_still_read_what_the_network_needs() -> None:
    plain, grown = (
        plan_tiles((100,), (32,), TileGeometry(16, (32, 32), 16, overlap), within=None) for overlap in (0, 16)
    )
    assert [(t.inner[0].start, t.inner[0].stop) for t in grown] == [(0, 48), (16, 80), (48, 100), (80, 100)]
    assert [(t.start[0], t.stop[0]) for t in plain] == [(-16, 64), (0, 96), (32, 128), (64, 128)]
    assert [(t.start[0], t.stop[0]) for t in grown] == [(-16, 80), (-16, 112), (16, 128), (48, 128)]
    assert all(t.crop[0].stop - t.crop[0].start == t.inner[0].stop - t.inner[0].start for t in grown)


class MeanOfTile(nn.Module):
    """Says of every pixel how bright the whole tile is: as far from exact as can be."""

    divisor, halo, exact_tiling = 4, (4, 4), False

    def __init__(self, widest: int = 10_000) -> None:
        super().__init__()
        self.widest = widest

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] > self.widest:
            raise MemoryError
        mean = x.mean(dim=tuple(range(1, x.ndim)), keepdim=True).expand_as(x)
        return torch.cat([torch.zeros_like(mean), mean], dim=1)


def with_network(network: nn.Module, **settings: Any) -> Model:
    return Model(config=ModelConfig(features=1, **settings), network=network)


def make_image(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    return rng.random(shape) + np.linspace(0, 2, shape[-1])  # brighter to the right: each tile is measured otherwise


@pytest.mark.parametrize(("shape", "tile", "overlap"), [((20, 500), (20, 100), 32), ((6, 6, 200), (6, 6, 48), 16)])
@pytest.mark.parametrize("focus", [False, True])
def test_where_two_tiles_meet_one_goes_over_into_the_other(
    rng: np.random.Generator, shape: tuple[int, ...], tile: tuple[int, ...], overlap: int, focus: bool
) -> None:
    model = with_network(MeanOfTile(), ndim=len(shape))
    config = PredictConfig(tile=tile, device="cpu", precision="float32")
    result, seen = np.full((2, *shape), np.nan, np.float32), np.zeros(shape, int)
    point = tuple(side / 2 for side in shape) if focus else None
    for event in predict_tiles(model, make_image(rng, shape), "ZYX"[-len(shape) :], config, focus=point):
        if isinstance(event, TilePredicted):
            result[(slice(None), *event.box)] = event.probabilities
            seen[event.box] += 1
    assert (seen.min(), seen.max()) == (1, 2)
    profile = result[1].reshape(-1, shape[-1])
    np.testing.assert_allclose(profile, np.broadcast_to(profile[0], profile.shape), atol=1e-6)
    rises = np.diff(profile[0])
    assert profile[0, -1] - profile[0, 0] > 0.1
    assert rises.min() > -1e-6
    middles = result[1].reshape(-1, shape[-1])[0][tile[-1] // 2 :: tile[-1]]
    assert rises.max() < 1.1 * np.diff(middles).max() / (2 * overlap)  # a straight line over the whole overlap


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": "group"},
        {"norm": "instance", "padding": "valid"},
        {"architecture": "transunet"},
        {"norm": "group", "ndim": 3, "depth": 1},
        {"architecture": "transunet", "ndim": 3, "depth": 1},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_networks_that_look_at_the_whole_tile_fill_any_image(
    make_model: MakeModel, rng: np.random.Generator, settings: dict[str, Any]
) -> None:
    model = make_model(**settings)
    shape = (21, 163) if model.config.ndim == 2 else (5, 7, 61)
    axes = "ZYX"[-model.config.ndim :]
    config = PredictConfig(tile=16, device="cpu", precision="float32")
    tiles = [e for e in predict_tiles(model, make_image(rng, shape), axes, config) if isinstance(e, TilePredicted)]
    assert len(tiles) > 3
    result = np.full((2, *shape), np.nan, np.float32)
    for event in tiles:
        result[(slice(None), *event.box)] = event.probabilities
    np.testing.assert_allclose(result.sum(axis=0), 1, atol=1e-5)
    assert result[1].std() > 0.01


def test_an_image_that_fits_is_one_tile(make_model: MakeModel, rng: np.random.Generator) -> None:
    events = list(predict_tiles(make_model(norm="group"), rng.random((211, 149)), "YX", PredictConfig(device="cpu")))
    assert sum(isinstance(event, TilePredicted) for event in events) == 1


def test_a_region_of_a_stack_is_blended_within_its_frame(rng: np.random.Generator) -> None:
    model = with_network(MeanOfTile())
    frame = make_image(rng, (20, 200))
    config = PredictConfig(tile=(20, 64), device="cpu", precision="float32")
    both = predict(model, np.stack([frame, frame]), "TYX", config)
    np.testing.assert_array_equal(both[:, 0], both[:, 1])
    part = np.full_like(both, np.nan)
    region = (slice(1, 2), slice(0, 20), slice(100, 101))
    for event in predict_tiles(model, np.stack([frame, frame]), "TYX", config, region=region):
        if isinstance(event, TilePredicted):
            part[(slice(None), *event.box)] = event.probabilities
    np.testing.assert_array_equal(part[(slice(None), *region)], both[(slice(None), *region)])
    assert np.isnan(part[:, 0]).all()


def test_smaller_tiles_after_too_little_memory_are_blended_too(rng: np.random.Generator) -> None:
    model = with_network(MeanOfTile(widest=260))
    image = make_image(rng, (20, 700))
    config = PredictConfig(tile=(20, 256), device="cpu", precision="float32")
    events = list(predict_tiles(model, image, "YX", config))
    assert any(isinstance(event, PredictRecovered) for event in events)
    result = np.full((2, *image.shape), np.nan, np.float32)
    for event in events:
        if isinstance(event, TilePredicted):
            result[(slice(None), *event.box)] = event.probabilities
    rises = np.diff(result[1, 0])
    assert result[1, 0, -1] - result[1, 0, 0] > 0.1
    assert -1e-6 < rises.min() <= rises.max() < 0.02
