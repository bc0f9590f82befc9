"""The last feature map in tiles is that of the whole image, is computed once, and is forgotten when it must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from napari_unet.data.axes import ImageLayout
from napari_unet.errors import InputError, MemoryLimitError
from napari_unet.models.model import Model
from napari_unet.nets.device import choose_device
from napari_unet.predict import features as module
from napari_unet.predict.feature_cache import FeatureCache
from napari_unet.predict.features import FeatureMaps, _cover

FLOAT32 = choose_device("cpu", precision="float32")
MakeModel = Callable[..., Model]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIDE", {2: 32, 3: 16})


def open_maps(
    model: Model, image: npt.NDArray[Any], axes: str = "YX", cache: FeatureCache | None = None, device: Any = FLOAT32
) -> FeatureMaps:
    cache = FeatureCache() if cache is None else cache
    model.network.eval()
    cache.renew(model.network, device)
    layout = ImageLayout(axes, image.shape, model.config.ndim)
    return FeatureMaps(model, cache.reader(image, layout, model.config), device, cache)


def join(maps: FeatureMaps, position: tuple[int, ...] = ()) -> npt.NDArray[np.float32]:
    """Put the map of a frame together from its tiles."""
    result = np.full((maps.depth, *maps.shape), np.nan, np.float32)
    for number, block in maps.read(position, range(len(maps.tiles))):
        result[(slice(None), *maps.tiles[number].inner)] = maps.without_margin(number, block).float().numpy()
    return result


def whole(model: Model, maps: FeatureMaps, position: tuple[int, ...] = (), margin: int = 0) -> npt.NDArray[np.float32]:
    """Run the network once over a frame with a mirrored margin of one divisor around, of which a part is returned."""
    step = maps.geometry.divisor
    stop = tuple(-(-size // step) * step + step for size in maps.shape)
    block = torch.from_numpy(maps.reader.read(position, (-step,) * len(stop), stop))
    with torch.inference_mode():
        found: Any = model.network.features(block[None])  # type: ignore[operator]
    box = tuple(slice(step - margin, step + size + margin) for size in maps.shape)
    result: npt.NDArray[np.float32] = found[(0, slice(None), *box)].numpy()
    return result


@pytest.mark.parametrize("most", [1, 100_000_000])  # tile by tile, and all at once
@pytest.mark.parametrize(
    ("axes", "shape", "ndim", "channels"),
    [
        ("YX", (75, 101), 2, 1),
        ("CYX", (3, 33, 95), 2, 3),
        ("TYX", (2, 40, 37), 2, 1),
        ("ZYXS", (2, 40, 37, 3), 2, 3),
        ("ZYX", (7, 33, 41), 3, 1),
        ("TZCYX", (2, 18, 2, 17, 35), 3, 2),
    ],
)
def test_tiles_are_the_map_of_the_whole_frame(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch,
    axes: str, shape: tuple[int, ...], ndim: int, channels: int, most: int,
) -> None:  # fmt: skip
    model = make_model(ndim=ndim, in_channels=channels)
    monkeypatch.setattr(module, "pixel_budget", lambda *_: most)
    monkeypatch.setattr(module, "_OVER_ONE_TILE", 0.0)
    maps = open_maps(model, np.random.default_rng(0).random(shape), axes)
    for position in maps.reader.layout.frames():
        expected = whole(model, maps, position)
        found = join(maps, position)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize(("axes", "shape"), [("YX", (300, 75)), ("ZYX", (18, 33, 71))])
@pytest.mark.parametrize("most", [1, 100_000_000])
def test_where_logits_are_smoothed_a_pixel_around_each_tile_is_known_too(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, axes: str, shape: tuple[int, ...], most: int
) -> None:
    monkeypatch.setattr(module, "pixel_budget", lambda *_: most)
    monkeypatch.setattr(module, "_OVER_ONE_TILE", 0.0)
    model = make_model(ndim=len(axes), smooth_logits=True)
    maps = open_maps(model, np.random.default_rng(0).random(shape), axes)
    expected = whole(model, maps, margin=1)
    assert len(maps.tiles) > 1
    for number, block in maps.read((), range(len(maps.tiles))):
        box = tuple(slice(part.start + 1, part.stop + 1) for part in maps.box(number))
        known = expected[(slice(None), *box)]
        np.testing.assert_allclose(block.float().numpy(), known, rtol=2e-3, atol=2e-3 * np.abs(known).max())


def test_16_bit_devices_keep_their_format(make_model: MakeModel) -> None:
    device = choose_device("cpu")
    maps = open_maps(make_model(), np.random.default_rng(0).random((40, 40)), device=device)
    for _, block in maps.read((), range(len(maps.tiles))):
        assert block.dtype == (device.low_precision or torch.float16)
        assert block.movedim(0, -1).is_contiguous()


@pytest.mark.parametrize("settings", [{"norm": "instance"}, {"architecture": "transunet"}, {"padding": "valid"}])
def test_other_networks_give_what_their_tiles_give(make_model: MakeModel, settings: dict[str, Any]) -> None:
    model = make_model(**settings)
    maps = open_maps(model, np.random.default_rng(0).random((45, 70)))
    assert (maps.overlap > 0) == ("padding" not in settings)
    for number, block in maps.read((), range(len(maps.tiles))):
        tile = maps.tiles[number]
        given = torch.from_numpy(maps.reader.read((), tile.start, tile.stop))[None]
        with torch.inference_mode():
            features: Any = model.network.features(given)  # type: ignore[operator]
        expected = features[(0, slice(None), *tile.crop)]
        torch.testing.assert_close(block.float(), expected, rtol=2e-3, atol=2e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(("axes", "shape"), [("YX", (275, 101)), ("ZYX", (18, 33, 71))])
def test_pixels_are_gathered_from_their_tiles_and_kept(
    make_model: MakeModel, axes: str, shape: tuple[int, ...], smooth: bool
) -> None:
    chance = np.random.default_rng(0)
    model = make_model(ndim=len(axes), smooth_logits=smooth)
    maps = open_maps(model, chance.random(shape), axes, FeatureCache(max_bytes=0))
    assert len(maps.tiles) > 1
    runs = count_runs(maps)
    first = np.sort(chance.choice(int(np.prod(shape)), 50, replace=False))
    flat = join(maps).reshape(maps.depth, -1)
    np.testing.assert_array_equal(maps.gather((), first).float().numpy(), flat[:, first].T)
    before = len(runs)
    maps.gather((), first[10:30])
    assert len(runs) == before
    second = np.union1d(first[15:25], [3, 7, 1000])
    np.testing.assert_array_equal(maps.gather((), second).float().numpy(), flat[:, second].T)
    assert len(runs) > before


def count_runs(maps: FeatureMaps) -> list[Any]:
    """Note every run of the network from now on."""
    runs: list[Any] = []
    infer = maps._infer

    def watched(position: tuple[int, ...], tile: Any) -> torch.Tensor:
        runs.append(tile)
        return infer(position, tile)

    maps._infer = watched  # type: ignore[method-assign]
    return runs


def test_a_tile_is_computed_once(make_model: MakeModel) -> None:
    maps = open_maps(make_model(), np.random.default_rng(0).random((75, 101)))
    runs = count_runs(maps)
    first = join(maps)
    assert len(runs) == 1  # the frame fits at once
    np.testing.assert_array_equal(join(maps), first)
    assert len(runs) == 1


def test_only_tiles_that_touch_the_region_are_read(make_model: MakeModel) -> None:
    maps = open_maps(make_model(), np.random.default_rng(0).random((75, 101)))
    assert maps.grid == (3, 4)
    assert maps.touching((slice(0, 32), slice(31, 33))) == [0, 1]
    assert maps.touching((slice(70, 999), slice(None))) == [8, 9, 10, 11]
    assert maps.touching() == list(range(12))


def test_the_cache_stays_within_its_bound_and_drops_what_was_used_longest_ago() -> None:
    cache = FeatureCache(max_bytes=1000)
    tile = torch.zeros(150, dtype=torch.float16)
    for name in "abc":
        cache.put(name, tile)
    cache.get("a")
    cache.put("d", tile)
    assert [name for name in "abcd" if cache.get(name) is not None] == ["a", "c", "d"]
    cache.put("e", torch.zeros(600, dtype=torch.float16))
    assert cache.used <= 1000
    with pytest.raises(InputError):
        FeatureCache(max_bytes=-1)


def test_a_small_cache_gives_the_same_map(make_model: MakeModel) -> None:
    model, image = make_model(), np.random.default_rng(0).random((75, 101))
    expected = join(open_maps(model, image))
    np.testing.assert_allclose(join(open_maps(model, image, cache=FeatureCache(5000))), expected, rtol=2e-3, atol=1e-2)


@pytest.mark.parametrize("how", ["load", "optimiser", "statistics"])
def test_changed_weights_are_noticed(make_model: MakeModel, how: str) -> None:
    model, image, cache = make_model(), np.random.default_rng(0).random((40, 40)), FeatureCache()
    before = join(open_maps(model, image, cache=cache))
    if how == "load":
        model.network.load_state_dict(make_model(seed=1).network.state_dict())
    elif how == "optimiser":
        optimiser = torch.optim.AdamW(model.network.parameters(), lr=0.1, fused=True)
        model.network(torch.rand(2, 1, 16, 16)).sum().backward()
        optimiser.step()
    else:
        model.network.train()
        model.network(torch.rand(2, 1, 16, 16))
    after = join(open_maps(model, image, cache=cache))
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(after, join(open_maps(model, image)))


def test_a_new_head_changes_nothing(make_model: MakeModel) -> None:
    model, image, cache = make_model(), np.random.default_rng(0).random((40, 40)), FeatureCache()
    join(open_maps(model, image, cache=cache))
    with torch.no_grad():
        model.network.head.weight.zero_()  # type: ignore[union-attr, operator]
    maps = open_maps(model, image, cache=cache)
    runs = count_runs(maps)
    join(maps)
    assert not runs


def test_an_image_is_known_by_its_memory_and_can_be_forgotten(make_model: MakeModel) -> None:
    model, image, cache = make_model(), np.random.default_rng(0).random((40, 40)), FeatureCache()
    join(open_maps(model, image, cache=cache))
    same = open_maps(model, image[:], cache=cache)
    runs = count_runs(same)
    before = join(same)
    assert not runs
    other = open_maps(model, image.copy(), cache=cache)
    assert other.reader is not same.reader
    image[:20] = 0.5
    np.testing.assert_array_equal(join(open_maps(model, image, cache=cache)), before)
    cache.forget(image)
    assert np.abs(join(open_maps(model, image, cache=cache)) - before).max() > 1e-3


def test_too_little_memory_means_smaller_pieces_and_then_a_sentence(make_model: MakeModel) -> None:
    maps = open_maps(make_model(), np.random.default_rng(0).random((75, 101)))
    expected = join(maps)
    maps.cache.clear()
    infer, most = maps._infer, 100_000

    def scarce(position: tuple[int, ...], tile: Any) -> torch.Tensor:
        if np.prod(np.subtract(tile.stop, tile.start)) > most:
            raise MemoryError
        return infer(position, tile)

    maps._infer = scarce  # type: ignore[method-assign]
    for most in (10_000, 0):
        if most:
            np.testing.assert_allclose(join(maps), expected, rtol=2e-3, atol=1e-2)
            maps.cache.clear()
        else:
            with pytest.raises(MemoryLimitError, match="single tile"):
                join(maps)


def test_cells_are_covered_within_the_bound_and_cheaply() -> None:
    def cost(low: tuple[int, ...], high: tuple[int, ...]) -> int:
        return int(np.prod([b - a + 1.5 for a, b in zip(low, high, strict=True)]))

    chance = np.random.default_rng(0)
    for share in (0.05, 0.5, 1.0):
        wanted = chance.random((12, 9)) < share
        boxes = _cover(np.argwhere(wanted), cost, most=40)
        covered = np.zeros(wanted.shape, int)
        for low, high in boxes:
            covered[low[0] : high[0], low[1] : high[1]] += 1
            assert cost(low, high) <= 40
        assert (covered[wanted] == 1).all()
        assert sum(cost(*box) for box in boxes) <= sum(cost((0, 0), (1, 1)) for _ in np.argwhere(wanted))
