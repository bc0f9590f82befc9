"""Whatever kind of array and order of axes an image has, its prediction is the same; what can't be used is refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import zarr

from napari_unet.errors import DeviceError, InputError
from napari_unet.models.model import Model
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.tiled import predict, predict_tiles

FloatArray = npt.NDArray[np.float32]
MakeModel = Callable[..., Model]
Whole = Callable[..., FloatArray]

PLAIN = PredictConfig(tile=16, device="cpu", precision="float32")


def run(model: Model, image: Any, axes: str | None, config: PredictConfig = PLAIN) -> FloatArray:
    result: FloatArray = predict(model, image, axes, config)
    return result


def limits(image: npt.NDArray[Any]) -> list[tuple[float, float]]:
    """Percentiles of each channel (channel, ...) of a whole stack."""
    low, high = np.percentile(image.reshape(len(image), -1), (1.0, 99.8), axis=1)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def test_each_channel_is_scaled_by_itself(make_model: MakeModel, whole: Whole, rng: np.random.Generator) -> None:
    image = rng.normal(0, 1, (3, 37, 29)) * np.array([1, 1000, 1e-3])[:, None, None] + 5
    model = make_model(in_channels=3)
    np.testing.assert_allclose(run(model, image, "CYX"), whole(model, image), rtol=0, atol=1e-4)


def test_the_alpha_of_a_colour_image_is_dropped(make_model: MakeModel, whole: Whole, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (37, 29, 4), dtype=np.uint8)
    model = make_model(in_channels=3)
    result = run(model, image, "YXS")
    np.testing.assert_array_equal(result, run(model, image[..., :3], "YXS"))
    np.testing.assert_array_equal(result, run(model, image, None))
    np.testing.assert_allclose(result, whole(model, image[..., :3].transpose(2, 0, 1)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("axes", ["TYX", "ZYX", "TZYX", "TCYX", "TZCYX"])
def test_a_2d_network_goes_through_a_stack_frame_by_frame(
    make_model: MakeModel, whole: Whole, rng: np.random.Generator, axes: str
) -> None:
    sizes = {"T": 3, "Z": 2, "C": 2, "Y": 21, "X": 34}
    image = rng.random([sizes[letter] for letter in axes])
    channel_first = np.moveaxis(image, axes.index("C"), 0) if "C" in axes else image[None]
    model = make_model(in_channels=sizes["C"] if "C" in axes else 1)
    result = run(model, image, axes)
    assert result.shape == (2, *channel_first.shape[1:])
    for place in np.ndindex(channel_first.shape[1:-2]):
        frame = channel_first[(slice(None), *place)]
        expected = whole(model, frame, limits(channel_first))
        np.testing.assert_allclose(result[(slice(None), *place)], expected, rtol=0, atol=1e-4)


def test_a_3d_network_goes_through_time_volume_by_volume(
    make_model: MakeModel, whole: Whole, rng: np.random.Generator
) -> None:
    image = rng.random((2, 5, 13, 11))
    model = make_model(ndim=3, depth=1)
    result = run(model, image, "TZYX")
    for time in range(2):
        expected = whole(model, image[time][None], limits(image[None]))
        np.testing.assert_allclose(result[:, time], expected, rtol=0, atol=1e-4)


def reordered(image: npt.NDArray[Any], axes: str, order: str) -> npt.NDArray[Any]:
    return image.transpose([axes.index(letter) for letter in order])


@pytest.mark.parametrize("order", ["".join(order) for order in permutations("CYX")] + ["XYS", "SXY"])
def test_the_order_of_the_axes_only_changes_their_order(
    make_model: MakeModel, rng: np.random.Generator, order: str
) -> None:
    channel = "S" if "S" in order else "C"
    image = rng.random((3, 21, 34))
    model = make_model(in_channels=3)
    straight = run(model, image, "CYX")
    result = run(model, reordered(image, f"{channel}YX", order), order)
    space = order.replace(channel, "")
    np.testing.assert_array_equal(result, reordered(straight, "KYX", "K" + space))


@pytest.mark.parametrize("order", ["YXT", "XYT", "XTY", "TXCY", "XCTY", "YTXC"])
def test_stacks_may_have_their_axes_in_any_order(make_model: MakeModel, rng: np.random.Generator, order: str) -> None:
    axes = "TCYX" if "C" in order else "TYX"
    image = rng.random((3, 2, 21, 34))
    image = image if "C" in order else image[:, 0]
    model = make_model(in_channels=2 if "C" in order else 1)
    result = run(model, reordered(image, axes, order), order)
    expected = reordered(run(model, image, axes), "KTYX", "K" + order.replace("C", ""))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("order", ["XYZ", "YXZ", "ZXCY", "XTYZ"])
def test_volumes_may_have_their_axes_in_any_order(make_model: MakeModel, rng: np.random.Generator, order: str) -> None:
    axes = "".join(letter for letter in "TCZYX" if letter in order)
    image = rng.random([{"T": 2, "C": 2, "Z": 5, "Y": 12, "X": 9}[letter] for letter in axes])
    model = make_model(ndim=3, depth=1, in_channels=2 if "C" in order else 1)
    space = axes.replace("C", "")
    expected = reordered(run(model, image, axes), "K" + space, "K" + order.replace("C", ""))
    np.testing.assert_array_equal(run(model, reordered(image, axes, order), order), expected)


def test_singleton_axes_are_kept(make_model: MakeModel, rng: np.random.Generator) -> None:
    image = rng.random((1, 21, 1, 34, 1))
    model = make_model()
    result = run(model, image, "TYCXZ")
    assert result.shape == (2, 1, 21, 34, 1)
    np.testing.assert_array_equal(result[:, 0, :, :, 0], run(model, image[0, :, 0, :, 0], "YX"))


@pytest.mark.parametrize("kind", ["dask", "zarr", "memmap"])
def test_arrays_out_of_memory_give_the_same_as_numpy(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path, kind: str
) -> None:
    image = rng.integers(0, 60_000, (2, 3, 41, 37), dtype=np.uint16)
    model = make_model(in_channels=3)
    stored: Any
    if kind == "dask":
        stored = da.from_array(image, chunks=(1, 2, 17, 13))  # type: ignore[no-untyped-call]
    elif kind == "zarr":
        stored = zarr.create_array(tmp_path / "image.zarr", shape=image.shape, dtype=image.dtype, chunks=(1, 1, 16, 16))
        stored[:] = image
    else:
        stored = np.memmap(tmp_path / "image.raw", image.dtype, "w+", shape=image.shape)
        stored[:] = image
    np.testing.assert_array_equal(run(model, stored, "TCYX"), run(model, image, "TCYX"))


class CountingArray:
    """An array of pixels that says which share of it was read at a time."""

    def __init__(self, data: npt.NDArray[Any]) -> None:
        self.data, self.shape, self.dtype = data, data.shape, data.dtype
        self.largest = 0

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        block: npt.NDArray[Any] = self.data[index]
        self.largest = max(self.largest, block.size)
        return block


def test_a_large_image_is_never_read_as_a_whole(make_model: MakeModel, rng: np.random.Generator) -> None:
    image = CountingArray(rng.integers(0, 255, (700, 900), dtype=np.uint8))
    config = PredictConfig(tile=128, device="cpu", precision="float32")
    run(make_model(depth=1, features=1), image, "YX", config)
    assert image.largest <= 256 * 256


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.astype(">u2"),
        lambda image: image.astype(">f8"),
        lambda image: image.astype("<i8"),
        lambda image: image.astype(np.uint64),
        lambda image: image.astype(np.float32),
        lambda image: image[::-1, ::-1].copy()[::-1, ::-1],
        lambda image: np.repeat(image, 2, axis=1)[:, ::2],
        np.asfortranarray,
    ],
    ids=["big-endian u2", "big-endian f8", "i8", "u8", "f4", "negative strides", "gaps", "fortran"],
)
def test_the_way_numbers_are_stored_does_not_matter(
    make_model: MakeModel, rng: np.random.Generator, change: Callable[[Any], Any]
) -> None:
    image = rng.integers(0, 1000, (41, 37), dtype=np.uint16)
    model = make_model()
    np.testing.assert_allclose(run(model, change(image), "YX"), run(model, image, "YX"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.float16, np.int32])
def test_small_and_signed_types_are_read_as_they_are(
    make_model: MakeModel, whole: Whole, rng: np.random.Generator, dtype: Any
) -> None:
    image = rng.integers(0, 2, (41, 37)).astype(bool) if dtype is bool else rng.integers(0, 120, (41, 37)).astype(dtype)
    if np.dtype(dtype).kind in "if":
        image -= dtype(50)
    model = make_model()
    np.testing.assert_allclose(run(model, image, "YX"), whole(model, image[None]), rtol=0, atol=1e-4)


def test_large_whole_numbers_keep_their_small_differences(make_model: MakeModel, rng: np.random.Generator) -> None:
    image = rng.integers(0, 200, (41, 37), dtype=np.uint32)
    model = make_model()
    far = image + np.uint32(4_000_000_000)
    np.testing.assert_allclose(run(model, far, "YX"), run(model, image, "YX"), rtol=0, atol=1e-5)


def test_a_read_only_image_will_do(make_model: MakeModel, rng: np.random.Generator) -> None:
    image = rng.random((41, 37))
    model = make_model()
    expected = run(model, image, "YX")
    image.setflags(write=False)
    np.testing.assert_array_equal(run(model, image, "YX"), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_pixels_that_are_no_numbers_leave_the_result_finite(
    make_model: MakeModel, rng: np.random.Generator, bad: float, padding: str
) -> None:
    image = rng.random((41, 37))
    image[rng.random(image.shape) < 0.1] = bad
    image[20:30, 5:15] = bad
    result = run(make_model(padding=padding), image, "YX")
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result.sum(axis=0), 1.0, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan, np.inf])
def test_an_image_without_contrast_is_refused(make_model: MakeModel, value: float) -> None:
    with pytest.raises(InputError, match="contrast"):
        run(make_model(), np.full((20, 20), value), "YX")


def test_one_constant_channel_among_others_is_no_problem(make_model: MakeModel, rng: np.random.Generator) -> None:
    image = rng.random((2, 20, 20))
    image[1] = 3.0
    assert np.isfinite(run(make_model(in_channels=2), image, "CYX")).all()


@pytest.mark.parametrize(
    ("shape", "axes", "settings", "words"),
    [
        ((3, 20, 20), "CYX", {}, "reads 1 channel,.* has 3"),
        ((20, 20), "YX", {"in_channels": 2}, "reads 2 channels,.* has 1"),
        ((20, 20, 4), "YXS", {"in_channels": 4}, "reads 4 channels,.* has 3"),
        ((20, 20), "YQ", {}, "'YQ'"),
        ((20, 20), "YY", {}, "'YY'"),
        ((20, 20), "ZYX", {}, "one letter for each of 2 axes"),
        ((20, 20), "TX", {}, "needs the axes YX"),
        ((20, 20), "YX", {"ndim": 3}, "needs the axes ZYX"),
        ((2, 20, 20, 3), "CYXS", {"in_channels": 3}, "both channels"),
        ((20,), None, {}, "2 to 5 axes"),
        ((0, 20), "YX", {}, "empty"),
    ],
)
def test_an_image_that_does_not_fit_is_refused_in_words(
    make_model: MakeModel, shape: tuple[int, ...], axes: str | None, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        run(make_model(**settings), np.zeros(shape), axes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [complex, "U5", object])
def test_values_that_are_no_real_numbers_are_refused(make_model: MakeModel, dtype: Any) -> None:
    with pytest.raises(InputError, match="real numbers"):
        run(make_model(), np.zeros((20, 20), dtype), "YX")


def test_tile_and_device_that_do_not_fit_are_refused(make_model: MakeModel, rng: np.random.Generator) -> None:
    image = rng.random((20, 20))
    with pytest.raises(InputError, match="`tile` to have 2 sides"):
        run(make_model(), image, "YX", PredictConfig(tile=(8, 8, 8), device="cpu"))
    with pytest.raises(DeviceError, match="abacus"):
        run(make_model(), image, "YX", PredictConfig(device="abacus"))


@pytest.mark.parametrize("name", ["region", "focus"])
def test_region_and_focus_need_an_entry_for_each_axis(
    make_model: MakeModel, rng: np.random.Generator, name: str
) -> None:
    given: Any = {name: (slice(0, 5), slice(0, 5)) if name == "region" else (3.0, 3.0)}
    with pytest.raises(InputError, match=f"`{name}`.*TYX"):
        list(predict_tiles(make_model(), rng.random((3, 20, 20)), "TYX", PLAIN, **given))
