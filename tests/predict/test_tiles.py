"""Tiles cover a frame exactly once and read all that the network needs for what they write."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_unet.errors import InputError
from napari_unet.predict.tiles import Tile, TileGeometry, choose_tile, plan_tiles

Plan = tuple[tuple[int, ...], tuple[int, ...], TileGeometry]


@st.composite
def plans(draw: st.DrawFn, largest: int = 97) -> Plan:
    ndim = draw(st.integers(1, 3))
    longest = largest if ndim < 3 else min(largest, 29)
    shape = tuple(draw(st.integers(1, longest)) for _ in range(ndim))
    tile = tuple(draw(st.integers(1 if ndim == 1 else 7, longest + 10)) for _ in range(ndim))
    divisor = draw(st.sampled_from([1, 2, 3, 4, 8, 16, 32]))
    halo = (draw(st.integers(0, 50)), draw(st.integers(0, 50)))
    margin = draw(st.one_of(st.none(), st.integers(0, 2).map(lambda n: n * divisor)))
    return shape, tile, TileGeometry(divisor, halo, margin)


def coverage(shape: tuple[int, ...], tiles: list[Tile]) -> npt.NDArray[np.int64]:
    count = np.zeros(shape, np.int64)
    for tile in tiles:
        assert all(0 <= side.start < side.stop <= size for side, size in zip(tile.inner, shape, strict=True))
        count[tile.inner] += 1
    return count


def centre(tile: Tile) -> tuple[float, ...]:
    return tuple((side.start + side.stop) / 2 for side in tile.inner)


@given(plans())
@settings(max_examples=150, deadline=None)
def test_tiles_cover_every_pixel_exactly_once(plan: Plan) -> None:
    shape, tile, geometry = plan
    assert (coverage(shape, plan_tiles(shape, tile, geometry)) == 1).all()


@given(plans())
@settings(max_examples=150, deadline=None)
def test_tiles_begin_at_multiples_of_the_divisor_and_are_no_larger_than_asked_for(plan: Plan) -> None:
    shape, tile, geometry = plan
    for part in plan_tiles(shape, tile, geometry):
        for inner, side in zip(part.inner, tile, strict=True):
            assert inner.start % geometry.divisor == 0
            assert inner.stop - inner.start < side + geometry.divisor


@given(plans())
@settings(max_examples=150, deadline=None)
def test_outer_boxes_hold_inner_box_and_halo_or_end_at_the_margin(plan: Plan) -> None:
    shape, tile, geometry = plan
    for part in plan_tiles(shape, tile, geometry):
        for inner, start, stop, size in zip(part.inner, part.start, part.stop, shape, strict=True):
            first = -math.inf if geometry.margin is None else -geometry.margin
            grown = math.ceil(size / geometry.divisor) * geometry.divisor
            last = math.inf if geometry.margin is None else grown + geometry.margin
            assert start == max(first, inner.start - geometry.halo[0])
            assert min(last, inner.stop + geometry.halo[1]) <= stop <= last
            assert start <= inner.start
            assert inner.stop <= stop


@given(plans())
@settings(max_examples=150, deadline=None)
def test_outer_boxes_of_a_padded_network_are_multiples_of_the_divisor(plan: Plan) -> None:
    shape, tile, geometry = plan
    step = geometry.divisor
    rounded = TileGeometry(step, (geometry.halo[0] // step * step, geometry.halo[1] // step * step), 2 * step)
    for part in plan_tiles(shape, tile, rounded):
        assert all((stop - start) % step == 0 for start, stop in zip(part.start, part.stop, strict=True))
        assert all(start % step == 0 for start in part.start)


@given(plans())
@settings(max_examples=80, deadline=None)
def test_a_ramp_that_is_read_through_outer_boxes_and_cropped_is_the_ramp(plan: Plan) -> None:
    shape, tile, geometry = plan
    ramp = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    reach = max(geometry.halo) + (geometry.margin or 0) + geometry.divisor
    mirrored = np.pad(ramp, reach, mode="reflect")
    result = np.full(shape, -1.0)
    for part in plan_tiles(shape, tile, geometry):
        block = mirrored[tuple(slice(a + reach, b + reach) for a, b in zip(part.start, part.stop, strict=True))]
        if geometry.margin is None:  # what an unpadded network takes away before the tile
            block = block[(slice(geometry.halo[0], None),) * len(shape)]
        result[part.inner] = block[part.crop]
    np.testing.assert_array_equal(result, ramp)


@given(plans(), st.data())
@settings(max_examples=100, deadline=None)
def test_tiles_within_a_larger_tile_cover_just_that_tile(plan: Plan, data: st.DataObject) -> None:
    shape, tile, geometry = plan
    large = data.draw(st.sampled_from(plan_tiles(shape, tile, geometry)))
    smaller = tuple(max(1, side // 2) for side in tile)
    parts = plan_tiles(shape, smaller, geometry, within=large.inner)
    expected = np.zeros(shape, np.int64)
    expected[large.inner] = 1
    np.testing.assert_array_equal(coverage(shape, parts), expected)
    assert all(side.start % geometry.divisor == 0 for part in parts for side in part.inner)


@given(plans(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_region_leaves_just_the_tiles_that_touch_it(plan: Plan, data: st.DataObject) -> None:
    shape, tile, geometry = plan
    region = []
    for size in shape:
        start = data.draw(st.integers(0, size - 1))
        region.append(slice(start, data.draw(st.integers(start + 1, size + 5))))
    inside = np.zeros(shape, bool)
    inside[tuple(region)] = True
    everything = plan_tiles(shape, tile, geometry)
    assert plan_tiles(shape, tile, geometry, region=tuple(region)) == [t for t in everything if inside[t.inner].any()]


def test_open_and_negative_ends_of_a_region_mean_what_they_mean_in_numpy() -> None:
    geometry = TileGeometry(4, (4, 4), 4)
    tiles = plan_tiles((30,), (4,), geometry)
    assert plan_tiles((30,), (4,), geometry, region=(slice(None),)) == tiles
    assert plan_tiles((30,), (4,), geometry, region=(slice(-3, None),)) == tiles[6:]
    assert plan_tiles((30,), (4,), geometry, region=(slice(5, 5),)) == []
    assert plan_tiles((30,), (4,), geometry, region=(slice(40, 50),)) == []


@given(plans(), st.data())
@settings(max_examples=80, deadline=None)
def test_a_focus_sorts_by_distance_and_keeps_all_tiles(plan: Plan, data: st.DataObject) -> None:
    shape, tile, geometry = plan
    focus = tuple(data.draw(st.floats(0, size)) for size in shape)
    tiles = plan_tiles(shape, tile, geometry, focus=focus)
    distances = [math.dist(centre(t), focus) for t in tiles]
    assert distances == pytest.approx(sorted(distances))
    assert (coverage(shape, tiles) == 1).all()


def test_the_tile_under_the_focus_is_the_first_one() -> None:
    tiles = plan_tiles((64, 96), (16, 16), TileGeometry(16, (16, 16), 16), focus=(37, 50))
    assert tiles[0].inner == (slice(32, 48), slice(48, 64))


def outer_sizes(shape: tuple[int, ...], tile: tuple[int, ...], geometry: TileGeometry) -> list[int]:
    tiles = plan_tiles(shape, tile, geometry)
    return [math.prod(b - a for a, b in zip(t.start, t.stop, strict=True)) for t in tiles]


GEOMETRIES = [
    TileGeometry(4, (24, 24), 4),
    TileGeometry(16, (96, 96), 16),
    TileGeometry(4, (20, 20)),
    TileGeometry(16, (92, 96)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("shape", [(17, 23), (512, 512), (100, 3000), (2000, 2000), (1,), (12, 40, 40)])
@pytest.mark.parametrize("budget", [40_000, 400_000, 4_000_000])
def test_the_chosen_tile_is_within_the_budget_where_that_can_be(
    shape: tuple[int, ...], geometry: TileGeometry, budget: int
) -> None:
    tile = choose_tile(shape, geometry, budget)
    assert all(side % geometry.divisor == 0 for side in tile)
    smallest = math.prod(max(outer_sizes((size,), (geometry.divisor,), geometry)) for size in shape)
    assert max(outer_sizes(shape, tile, geometry)) <= max(budget, 1.5 * smallest)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("shape", [(130, 300), (37, 61, 50)])
def test_the_chosen_tile_computes_hardly_more_than_the_best_of_all(
    shape: tuple[int, ...], geometry: TileGeometry
) -> None:
    budget = 60_000 if len(shape) == 2 else 500_000
    sides = [range(geometry.divisor, size + geometry.divisor, geometry.divisor) for size in shape]
    every = {tile: outer_sizes(shape, tile, geometry) for tile in product(*(side[::2] for side in sides))}
    smallest = min(max(sizes) for sizes in every.values())
    best = min(sum(sizes) for sizes in every.values() if max(sizes) <= max(budget, smallest))
    assert sum(outer_sizes(shape, choose_tile(shape, geometry, budget), geometry)) <= 1.1 * best


def test_a_volume_whose_halo_alone_is_over_the_budget_is_not_computed_hundreds_of_times() -> None:
    shape, geometry = (51, 124, 127), TileGeometry(16, (96, 96), 16)
    work = sum(outer_sizes(shape, choose_tile(shape, geometry, 750_000), geometry))
    assert work < 5 * math.prod(shape)


def test_a_frame_that_fits_is_one_tile() -> None:
    assert choose_tile((100, 200), TileGeometry(16, (96, 96), 16), 10**6) == (112, 208)


@pytest.mark.parametrize(
    ("divisor", "halo", "margin"), [(0, (1, 1), None), (4, (-1, 1), None), (4, (8, -8), 4), (4, (8, 8), 6)]
)
def test_geometry_that_makes_no_sense_is_refused(divisor: int, halo: tuple[int, int], margin: int | None) -> None:
    with pytest.raises(InputError, match="margin"):
        TileGeometry(divisor, halo, margin)
