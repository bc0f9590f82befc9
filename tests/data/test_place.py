"""Functions of the place in a frame: the same wherever they are computed, whatever the size."""

from __future__ import annotations

import numpy as np
import pytest

from napari_unet.data.axes import ImageLayout
from napari_unet.data.intensity import FrameReader, IntensityRange
from napari_unet.data.place import PlaceLogits, place_basis, relative_places
from napari_unet.errors import InputError


def by_hand(shape: tuple[int, ...], centres: int) -> np.ndarray:
    """Return (\\*shape, centres ** axes), one Gaussian after the other."""
    grid = np.meshgrid(*[np.arange(n) / max(n - 1, 1) for n in shape], indexing="ij")
    found = []
    for centre in np.ndindex(*(centres,) * len(shape)):
        square = sum((g - c / (centres - 1)) ** 2 for g, c in zip(grid, centre, strict=True))
        found.append(np.exp(-square / 2 * (centres - 1) ** 2))
    return np.stack(found, axis=-1)


@pytest.mark.parametrize("shape", [(9, 13), (1, 7), (5, 6, 11)])
@pytest.mark.parametrize("centres", [3, 5])
def test_the_functions_are_those_computed_one_by_one(shape: tuple[int, ...], centres: int) -> None:
    pixels = np.arange(np.prod(shape))[::2]
    expected = by_hand(shape, centres).reshape(-1, centres ** len(shape))[pixels]
    assert np.abs(place_basis(pixels, shape, centres) - expected).max() < 1e-6


@pytest.mark.parametrize("shape", [(9, 13), (5, 6, 11)])
def test_the_logits_of_a_box_are_sums_of_the_functions(shape: tuple[int, ...]) -> None:
    coefficients = np.random.default_rng(0).normal(size=(3, *(4,) * len(shape))).astype(np.float32)
    start, stop = (1,) * len(shape), tuple(n - 2 for n in shape)
    box = PlaceLogits(coefficients).box(start, stop, shape)
    whole = np.moveaxis(by_hand(shape, 4) @ coefficients.reshape(3, -1).T, -1, 0)
    assert box.dtype == np.float32
    assert np.abs(box - whole[(slice(None), *map(slice, start, stop))]).max() < 1e-5


def test_a_box_beyond_the_frame_goes_on_smoothly() -> None:
    logits = PlaceLogits(np.ones((1, 3, 3), np.float32))
    wide = logits.box((-4, -4), (12, 12), (8, 8))
    assert np.array_equal(wide[:, 4:12, 4:12], logits.box((0, 0), (8, 8), (8, 8)))
    assert wide[0, 0, 0] < wide[0, 4, 4] < wide[0, 8, 8]


@pytest.mark.parametrize("shape", [(9, 13), (1, 7), (5, 6, 11)])
def test_places_go_from_0_to_1_and_on_beyond_the_frame(shape: tuple[int, ...]) -> None:
    start, stop = (-2,) * len(shape), tuple(n + 3 for n in shape)
    places = relative_places(start, stop, shape)
    assert places.dtype == np.float32
    for pixel in [(0,) * len(shape), tuple(n - 1 for n in shape), tuple(n + 2 for n in shape)]:
        expected = [i / max(n - 1, 1) for i, n in zip(pixel, shape, strict=True)]
        assert places[(slice(None), *(i + 2 for i in pixel))] == pytest.approx(expected)


def test_enclosure_that_counts_must_be_given() -> None:
    logits = PlaceLogits(np.zeros((1, 3, 3), np.float32), np.array([[2.0, -1.0]], np.float32))
    enclosed = np.stack([np.full((2, 3), 0.5, np.float32), np.full((2, 3), 0.25, np.float32)])
    np.testing.assert_allclose(logits.box((0, 0), (2, 3), (9, 9), enclosed), np.full((1, 2, 3), 0.75))
    with pytest.raises(InputError, match="was not given"):
        logits.box((0, 0), (2, 3), (9, 9))


def test_a_reader_gives_places_as_further_channels() -> None:
    image = np.arange(48.0).reshape(6, 8)
    layout, intensity = ImageLayout("YX", (6, 8)), IntensityRange((0.0,), (47.0,))
    plain = FrameReader(image, layout, intensity).read((), (-2, 1), (5, 7))
    both = FrameReader(image, layout, intensity, surroundings=2).read((), (-2, 1), (5, 7))
    assert np.array_equal(both[:1], plain)
    assert np.array_equal(both[1:], relative_places((-2, 1), (5, 7), (6, 8)))
