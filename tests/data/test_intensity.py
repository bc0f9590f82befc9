"""The gate that every image passes: finite, float32, contiguous, normalised, mirrored as numpy mirrors."""

from __future__ import annotations

from typing import Any

import dask.array
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_unet.data.axes import ImageLayout
from napari_unet.data.intensity import FrameReader, IntensityRange, measure_range, mirror_index
from napari_unet.errors import InputError


def _reader(image: Any, axes: str = "YX", ndim: int = 2) -> FrameReader:
    layout = ImageLayout(axes, image.shape, ndim)
    return FrameReader(image, layout, measure_range(image, layout))


def _whole(image: Any, axes: str = "YX", ndim: int = 2) -> np.ndarray:
    reader = _reader(image, axes, ndim)
    result = reader.read((), (0,) * ndim, reader.layout.frame_shape)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert np.isfinite(result).all()
    return result


def _reference(image: np.ndarray) -> np.ndarray:
    """Plain percentiles over the finite pixels, in the widest float."""
    wide = image.astype(np.float64)
    finite = np.isfinite(wide)
    low, high = np.percentile(wide[finite], (1, 99.8))
    scaled = np.zeros_like(wide)
    scaled[finite] = (wide[finite] - low) / (high - low)
    return np.clip(scaled, -10, 10)


DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">i4", ">f4", ">f8", ">u8"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_byte_order_gives_the_same_picture(dtype: str, rng: np.random.Generator) -> None:
    kind = np.dtype(dtype)
    image = rng.integers(0, 120, (31, 45)).astype(kind)
    np.testing.assert_allclose(_whole(image)[0], _reference(image), atol=1e-5)


@pytest.mark.parametrize("dtype", ["u4", "i4", "u8", "i8", "f8"])
def test_fine_grey_values_on_a_high_offset_survive(dtype: str, rng: np.random.Generator) -> None:
    values = rng.integers(0, 100, (40, 40))
    image = (values + 2**30).astype(dtype)  # float32 has steps of 128 there
    np.testing.assert_allclose(_whole(image)[0], _reference(values), atol=1e-5)


def test_uint64_up_to_its_end(rng: np.random.Generator) -> None:
    image = rng.integers(0, 2**64 - 1, (40, 40), dtype=np.uint64, endpoint=True)
    np.testing.assert_allclose(_whole(image)[0], _reference(image), atol=1e-5)


def test_bool_images_become_black_and_white() -> None:
    image = np.zeros((20, 20), bool)
    image[5:15, 5:15] = True
    np.testing.assert_array_equal(_whole(image)[0], image.astype(np.float32))


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1.0, 1e20, 1e300, 1.7e308])
def test_tiny_and_huge_float64_values(scale: float, rng: np.random.Generator) -> None:
    picture = rng.random((30, 30)) * 2 - 1
    np.testing.assert_allclose(_whole(picture * scale)[0], _reference(picture), atol=1e-5)


def test_one_huge_pixel_is_cut_off_and_spoils_nothing(rng: np.random.Generator) -> None:
    image = (rng.random((50, 50)) * 1e-3).astype(np.float32)
    expected = _reference(image)
    image[3, 3], image[4, 4] = np.finfo(np.float32).max, -np.finfo(np.float32).max
    result = _whole(image)[0]
    assert (result[3, 3], result[4, 4]) == (10, -10)
    result[3, 3], result[4, 4] = expected[3, 3], expected[4, 4]
    np.testing.assert_allclose(result, expected, atol=0.01)


def test_strange_memory_is_read_and_left_alone(rng: np.random.Generator) -> None:
    base = rng.integers(0, 200, (60, 80)).astype(np.uint16)
    for view in (base[::-1, ::-2], base.T, base[5::3, ::-1], np.broadcast_to(base[0], (20, 80))):
        np.testing.assert_allclose(_whole(view)[0], _reference(np.array(view)), atol=1e-5)
    before = base.tobytes()
    base.flags.writeable = False
    _whole(base)
    assert base.tobytes() == before


def test_nan_and_infinite_pixels_are_black_and_do_not_count(rng: np.random.Generator) -> None:
    image = rng.random((40, 40)).astype(np.float32)
    spoilt = rng.random(image.shape) < 0.3
    bad = np.where(spoilt, rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), image.shape), image)
    result = _whole(bad)[0]
    assert (result[spoilt] == 0).all()
    np.testing.assert_allclose(result, _reference(bad), atol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        np.full((17, 23), 7, np.uint8),
        np.zeros((17, 23)),
        np.full((17, 23), np.nan, np.float32),
        np.full((17, 23), np.inf),
        np.where(np.eye(17, 23), np.nan, 3.0),
        np.zeros((1, 1), bool),
    ],
    ids=["constant", "zero", "nan", "inf", "constant and nan", "one pixel"],
)
def test_images_without_contrast_are_refused_in_words(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="no contrast"):
        _reader(image)


@pytest.mark.parametrize("image", [np.zeros((4, 4), complex), np.full((4, 4), "a"), np.zeros((4, 4), object)])
def test_images_that_are_no_real_numbers_are_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="real numbers"):
        _reader(image)


def test_a_dead_channel_is_black_beside_a_living_one(rng: np.random.Generator) -> None:
    image = np.stack([np.full((20, 20), 9.0), rng.random((20, 20)), np.full((20, 20), np.nan)])
    result = _whole(image, "CYX")
    assert not result[[0, 2]].any()
    np.testing.assert_allclose(result[1], _reference(image[1]), atol=1e-5)


def test_channels_are_normalised_each_by_itself(rng: np.random.Generator) -> None:
    image = rng.random((20, 20, 3)) * [1, 1000, 1e-3] + [0, 5, 7]
    result = _whole(image, "YXS")
    for channel in range(3):
        np.testing.assert_allclose(result[channel], _reference(image[..., channel]), atol=1e-5)


@pytest.mark.parametrize("side", [64, 3000])
@pytest.mark.parametrize("ground", [0, 100])
def test_a_few_bright_pixels_on_an_even_ground_stay_bright(side: int, ground: int) -> None:
    image = np.full((side, side), ground, np.uint16)
    image[10:12, 15:18] = ground + 1000  # in the large image only a part of the pixels is sampled
    image[side - 20, side - 9] = ground + 500
    result = _whole(image)[0]
    assert result[11, 16] == 1
    assert result[side - 20, side - 9] == pytest.approx(0.5)
    assert result[0, 0] == 0


def test_bright_pixels_between_the_sampled_blocks_are_found() -> None:
    for corner in ((300, 300), (2900, 10), (1500, 2000)):
        image = np.zeros((3000, 3000), np.uint8)
        image[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3] = 200
        layout = ImageLayout("YX", image.shape)
        assert measure_range(image, layout) == IntensityRange((0.0,), (200.0,))


def test_percentiles_of_the_model_are_used(rng: np.random.Generator) -> None:
    image = rng.random((50, 50))
    layout = ImageLayout("YX", image.shape)
    measured = measure_range(image, layout, low_percentile=10, high_percentile=60)
    np.testing.assert_allclose([measured.low[0], measured.high[0]], np.percentile(image, (10, 60)))
    extremes = measure_range(image, layout, low_percentile=0, high_percentile=100)
    assert (extremes.low, extremes.high) == ((image.min(),), (image.max(),))


@pytest.mark.parametrize("shape", [(2500, 2600), (60, 300, 310), (3, 2, 40, 300, 200)])
def test_a_large_image_is_measured_close_to_all_of_its_pixels(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    image = rng.gamma(2.0, 100.0, shape).astype(np.float32)
    axes = {2: "YX", 3: "ZYX", 5: "TCZYX"}[image.ndim]
    layout = ImageLayout(axes, shape, 3 if image.ndim > 2 else 2)
    measured = measure_range(image, layout)
    channels = [image] if "C" not in axes else list(image.swapaxes(0, 1))
    for low, high, pixels in zip(measured.low, measured.high, channels, strict=True):
        np.testing.assert_allclose([low, high], np.percentile(pixels, (1, 99.8)), rtol=0.05)


# ----------------------------------------------------------------------------------------------------- mirroring


@given(size=st.integers(1, 9), before=st.integers(0, 40), after=st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_mirroring_is_numpys_reflection_however_often_it_folds(size: int, before: int, after: int) -> None:
    expected = np.pad(np.arange(size), (before, after), mode="reflect") if size > 1 else np.zeros(1 + before + after)
    np.testing.assert_array_equal(mirror_index(-before, size + after, size), expected)


@given(size=st.integers(1, 7), start=st.integers(-50, 50), length=st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_mirroring_far_away_from_the_image(size: int, start: int, length: int) -> None:
    long = np.arange(size) if size < 2 else np.pad(np.arange(size), 100, mode="reflect")
    found = mirror_index(start, start + length, size)
    if size > 1:
        np.testing.assert_array_equal(found, long[100 + start : 100 + start + length])
    assert found.min() >= 0
    assert found.max() < size


@given(data=st.data(), shape=hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6))
@settings(max_examples=80, deadline=None)
def test_reading_outside_of_the_frame_equals_numpys_padding(data: st.DataObject, shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    image = np.random.default_rng(1).random(shape)
    layout = ImageLayout("ZYX"[-ndim:], shape, ndim)
    reader = FrameReader(image, layout, IntensityRange((0.2,), (0.7,)))
    start = data.draw(st.tuples(*[st.integers(-12, 12)] * ndim))
    size = data.draw(st.tuples(*[st.integers(1, 12)] * ndim))
    padded = np.pad(reader.intensity.apply(image[None])[0], 24, mode="reflect" if min(shape) > 1 else "edge")
    if min(shape) == 1:  # numpy has no reflection of a single pixel but to repeat it
        padded = reader.intensity.apply(image[None])[0]
        for axis, n in enumerate(shape):
            width = [(0, 0)] * ndim
            width[axis] = (24, 24)
            padded = np.pad(padded, width, mode="edge" if n == 1 else "reflect")
    expected = padded[tuple(slice(24 + a, 24 + a + n) for a, n in zip(start, size, strict=True))]
    result = reader.read((), start, tuple(a + n for a, n in zip(start, size, strict=True)))
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result[0], expected)


# ------------------------------------------------------------------------------------------ reading lazily


class _CountingBlocks:
    """Makes a lazy image of random blocks, and counts how many pixels were made."""

    def __init__(self, shape: tuple[int, ...], chunk: tuple[int, ...], value: float | None = None) -> None:
        self.made = 0
        self.value = value
        self.total = int(np.prod(shape))
        self.image = dask.array.map_blocks(
            self._block, dtype=np.uint8, chunks=dask.array.core.normalize_chunks(chunk, shape)
        )
        self.made = 0

    def _block(self, block_info: Any = None) -> np.ndarray:
        shape = block_info[None]["chunk-shape"]
        self.made += int(np.prod(shape))
        if self.value is not None:
            return np.full(shape, self.value, np.uint8)
        return np.random.default_rng(self.made).integers(0, 255, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "chunk", "axes", "ndim"),
    [
        ((30_000, 30_000), (512, 512), "YX", 2),
        ((400, 1000, 1000), (64, 128, 128), "ZYX", 3),
        ((2000, 512, 512), (1, 512, 512), "TYX", 2),
    ],
)
def test_a_large_lazy_image_is_never_read_whole(
    shape: tuple[int, ...], chunk: tuple[int, ...], axes: str, ndim: int
) -> None:
    lazy = _CountingBlocks(shape, chunk)
    reader = _reader(lazy.image, axes, ndim)
    assert 0 < lazy.made < 0.15 * lazy.total
    lazy.made = 0
    middle = tuple(n // 2 // c * c for n, c in zip(shape, chunk, strict=True))[-ndim:]
    reader.read((0,) * (len(shape) - ndim), middle, tuple(m + 8 for m in middle))
    assert lazy.made == np.prod(chunk)  # one chunk for a box that lies in one


def test_not_even_an_empty_large_image_is_read_whole() -> None:
    lazy = _CountingBlocks((30_000, 30_000), (1024, 1024), value=3)
    with pytest.raises(InputError, match="no contrast"):
        _reader(lazy.image)
    assert lazy.made < 0.5 * lazy.total
