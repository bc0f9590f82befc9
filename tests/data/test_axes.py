"""Axes: every order of letters, held against numpy's own transposing and indexing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations
from typing import Any

import dask.array
import numpy as np
import pytest
import zarr

from napari_unet.data.axes import ImageLayout, guess_axes
from napari_unet.errors import InputError

SIZES = {"T": 3, "C": 2, "Z": 5, "Y": 7, "X": 6, "S": 3}


def _to_zarr(array: np.ndarray) -> Any:
    store, chunks = zarr.storage.MemoryStore(), (2,) * array.ndim
    stored = zarr.create_array(store, shape=array.shape, dtype=array.dtype, chunks=chunks)
    stored[...] = array
    return stored


KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "numpy": lambda array: array,
    "dask": lambda array: dask.array.from_array(array, chunks=2),
    "zarr": _to_zarr,
}


def _all_axes(ndim: int) -> list[str]:
    """Every order of every set of axes that an `ndim` network can read."""
    space = "ZYX"[-ndim:]
    rest = sorted(set(SIZES) - set(space))
    found = []
    for count in range(len(rest) + 1):
        for chosen in combinations(rest, count):
            if not {"C", "S"} <= set(chosen):
                found += ["".join(order) for order in permutations(space + "".join(chosen))]
    return found


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_order_of_letters_reads_as_numpy_transposes(ndim: int, rng: np.random.Generator) -> None:
    space = "ZYX"[-ndim:]
    orders = _all_axes(ndim)
    assert len(orders) > 100
    for axes in orders:
        shape = tuple(SIZES[letter] for letter in axes)
        image = rng.integers(0, 1000, shape)
        layout = ImageLayout(axes, shape, ndim)
        stack = [letter for letter in axes if letter not in space + "CS"]
        channel = [letter for letter in axes if letter in "CS"]
        reference = image.transpose([axes.index(letter) for letter in [*stack, *channel, *space]])
        if not channel:
            reference = np.expand_dims(reference, len(stack))
        assert layout.channels == reference.shape[len(stack)]
        assert layout.stack_shape == reference.shape[: len(stack)]
        assert layout.frame_shape == reference.shape[len(stack) + 1 :]
        assert layout.label_axes == "".join(letter for letter in axes if letter not in "CS")
        box = tuple(slice(1, n - 1) for n in layout.frame_shape)
        positions = list(layout.frames())
        assert len(positions) == max(1, int(np.prod(layout.stack_shape)))
        position = positions[int(rng.integers(len(positions)))]
        expected = reference[position][(slice(None), *box)]
        np.testing.assert_array_equal(layout.read(image, position, box), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", ["YX", "XY", "TYX", "YXS", "CXZTY", "ZSXYT"[::-1], "TZYXC"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_results_return_to_the_order_of_the_image(axes: str, ndim: int, kind: str, rng: np.random.Generator) -> None:
    if ndim == 3 and "Z" not in axes:
        axes = "Z" + axes
    shape = tuple(int(rng.integers(3, 8)) if letter not in "CS" else 3 for letter in axes)
    image = rng.integers(0, 255, shape).astype(np.uint8)
    stored = KINDS[kind](image)
    layout = ImageLayout(axes, shape, ndim)
    channel = next((i for i, letter in enumerate(axes) if letter in "CS"), None)
    first = image if channel is None else image.take(0, axis=channel)
    labels = KINDS[kind](first)
    assert layout.label_shape == first.shape
    rebuilt = np.zeros((2, *layout.label_shape), np.uint8)
    for position in layout.frames():
        middle = layout.frame_shape[-1] // 2
        whole = (slice(None),) * (ndim - 1)
        for box in ((*whole, slice(0, middle)), (*whole, slice(middle, layout.frame_shape[-1]))):
            block = layout.read(stored, position, box)
            assert isinstance(block, np.ndarray)
            np.testing.assert_array_equal(layout.read_labels(labels, position, box), block[0])
            target = (slice(None), *layout.label_box(position, box))
            rebuilt[target] = layout.to_label_order(np.stack([block[0], 255 - block[0]]))
        np.testing.assert_array_equal(
            layout.read_labels(labels, position), layout.read(image, position, (slice(None),) * ndim)[0]
        )
    np.testing.assert_array_equal(rebuilt, np.stack([first, 255 - first]))


@pytest.mark.parametrize(("samples", "channels"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5)])
def test_alpha_is_left_out(samples: int, channels: int, rng: np.random.Generator) -> None:
    image = rng.integers(0, 255, (6, 9, samples)).astype(np.uint8)
    layout = ImageLayout("YXS", image.shape)
    assert layout.channels == channels
    np.testing.assert_array_equal(
        layout.read(image, (), (slice(None), slice(None))), np.moveaxis(image, 2, 0)[:channels]
    )
    assert ImageLayout("YXC", image.shape).channels == samples  # four true channels stay four


def test_singleton_axes_are_axes_like_others(rng: np.random.Generator) -> None:
    image = rng.random((1, 1, 1, 4, 1))
    layout = ImageLayout("TCZYX", image.shape, 2)
    assert (layout.channels, layout.stack_shape, layout.frame_shape) == (1, (1, 1), (4, 1))
    assert list(layout.frames()) == [(0, 0)]
    block = layout.read(image, (0, 0), (slice(0, 4), slice(0, 1)))
    np.testing.assert_array_equal(block, image[0, :, 0])
    assert layout.to_label_order(block).shape == (1, 1, 1, 4, 1)


def test_small_letters_will_do() -> None:
    assert ImageLayout("tcyx", (2, 3, 4, 5)).axes == "TCYX"


@pytest.mark.parametrize(
    ("axes", "shape", "ndim", "words"),
    [
        ("YQ", (4, 4), 2, "different letters of TCZYXS, but got 'YQ'"),
        ("YYX", (4, 4, 4), 2, "different letters"),
        ("YX", (4, 4, 4), 2, "one letter for each of 3 axes, but got 'YX'"),
        ("ZY", (4, 4), 2, "needs the axes YX, but the image has 'ZY'"),
        ("TYX", (4, 4, 4), 3, "needs the axes ZYX, but the image has 'TYX'"),
        ("CYXS", (2, 4, 4, 3), 2, "both channels (C) and colour samples (S)"),
        ("TYX", (0, 4, 4), 2, "empty"),
        ("", (), 2, "needs the axes YX"),
    ],
)
def test_axes_that_do_not_fit_are_named(axes: str, shape: tuple[int, ...], ndim: int, words: str) -> None:
    with pytest.raises(InputError) as caught:
        ImageLayout(axes, shape, ndim)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "rgb", "axes"),
    [
        ((64, 48), None, "YX"),
        ((20, 64, 48), None, "ZYX"),
        ((2, 20, 64, 48), None, "CZYX"),
        ((5, 2, 20, 64, 48), None, "TCZYX"),
        ((64, 48, 3), None, "YXS"),
        ((64, 48, 4), None, "YXS"),
        ((64, 48, 3), False, "ZYX"),
        ((64, 48, 2), None, "ZYX"),
        ((9, 64, 48, 3), None, "ZYXS"),
        ((7, 9, 64, 48, 3), None, "TZYXS"),
        ((3, 3, 3), None, "ZYX"),
        ((3, 3, 3), True, "YXS"),
    ],
)
def test_axes_are_guessed(shape: tuple[int, ...], rgb: bool | None, axes: str) -> None:
    assert guess_axes(shape, rgb=rgb) == axes
    ImageLayout(axes, shape)


@pytest.mark.parametrize("shape", [(), (64,), (2,) * 6, (2,) * 7, (64, 48, 2, 2, 64, 48, 3)])
def test_axes_are_not_guessed_for_strange_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="2 to 5 axes"):
        guess_axes(shape)


@pytest.mark.parametrize(("axes", "ndim"), [("TZYX", 2), ("ZTYX", 2), ("TZYX", 3), ("YXTZ", 2), ("YX", 2), ("XCTY", 2)])
def test_the_frames_of_a_region_and_their_box_hold_each_pixel_of_it_once(axes: str, ndim: int) -> None:
    layout = ImageLayout(axes, tuple(range(5, 5 + len(axes))), ndim)
    region = tuple(slice(1 + i % 2, size - 1) for i, size in enumerate(layout.label_shape))
    counts = np.zeros(layout.label_shape, int)
    positions, box = layout.frames_in(region)
    for position in positions:
        counts[layout.label_box(position, box)] += 1
    expected = np.zeros(layout.label_shape, int)
    expected[region] = 1
    np.testing.assert_array_equal(counts, expected)
    assert positions == [place for place in layout.frames() if place in set(positions)]


def test_a_region_without_bounds_is_all_of_the_image() -> None:
    layout = ImageLayout("TCYX", (5, 2, 64, 48))
    assert layout.bounds(None) == (slice(0, 5), slice(0, 64), slice(0, 48))
    assert layout.bounds((slice(3, None), slice(-4, None), slice(None, 999))) == (
        slice(3, 5), slice(60, 64), slice(0, 48),
    )  # fmt: skip
    assert layout.frames_in((slice(2, 2), slice(None), slice(None))) == ([], (slice(0, 64), slice(0, 48)))
    with pytest.raises(InputError, match="one slice for each of TYX"):
        layout.frames_in((slice(0, 3),))
