"""Objects are parted where the shape or the probability says so, and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import reconstruction

from napari_unet.assess.metrics import average_precision
from napari_unet.predict.instances import separate_objects

FloatArray = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


def disc(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> Mask:
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    squares = sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True))
    return np.asarray(squares <= radius**2)


def soft(mask: Mask, rng: np.random.Generator | None = None, ragged: float = 0.0) -> FloatArray:
    """Turn a mask into a probability that falls off over a pixel or two, with an outline `ragged` pixels rough."""
    signed = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    if rng is not None:
        noise = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 2)
        signed += ragged * noise / noise.std()
    return np.asarray(1 / (1 + np.exp(-signed)), np.float32)


def curve(shape: tuple[int, int], points: FloatArray, width: float) -> Mask:
    """Draw a curved rod through (n, 2) points."""
    line = np.zeros(shape, bool)
    line[tuple(np.round(points).astype(int).T)] = True
    return np.asarray(ndimage.distance_transform_edt(~line) <= width / 2)


def arc(bend: float, length: float, centre: tuple[float, float]) -> FloatArray:
    angle = np.linspace(-bend / 2, bend / 2, 400)
    step = length / 400
    path = np.stack([np.cumsum(np.sin(angle)), np.cumsum(np.cos(angle))], axis=1) * step
    return np.asarray(path - path.mean(axis=0) + centre)


def test_two_touching_discs_with_a_dip_in_probability_are_two() -> None:
    left, right = disc((60, 90), (30, 30), 20), disc((60, 90), (30, 58), 20)
    probability = np.where(left | right, 0.95, 0.02)
    probability[:, 44] = np.where(left[:, 44] | right[:, 44], 0.55, 0.02)  # above the threshold: no gap in the mask
    objects = separate_objects(probability)
    assert objects.max() == 2
    assert len(np.unique(objects[left & ~right & (np.arange(90) < 43)])) == 1
    assert objects[30, 30] != objects[30, 58]
    assert ((objects > 0) == (probability > 0.5)).all()


def test_a_dip_parts_even_where_the_outline_has_no_neck() -> None:
    probability = np.zeros((40, 90), np.float32)
    probability[8:32, 10:80] = 0.95
    assert separate_objects(probability).max() == 1
    probability[8:32, 44:47] = 0.52
    assert separate_objects(probability).max() == 2


@pytest.mark.parametrize("radius", [8, 14, 24, 40])
def test_touching_discs_without_any_dip_are_parted_at_their_neck(radius: int) -> None:
    shape = (2 * radius + 20, 4 * radius + 20)
    pair = disc(shape, (radius + 10, radius + 10), radius) | disc(shape, (radius + 10, 2.8 * radius + 10), radius)
    objects = separate_objects(pair.astype(np.float32))
    assert objects.max() == 2
    assert objects[radius + 10, radius + 5] != objects[radius + 10, int(2.8 * radius) + 15]


@pytest.mark.parametrize("seed", range(3))
def test_a_single_ragged_object_stays_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-60:60, -60:60]
    angle = np.arctan2(y, x)
    outline = 36 * (1 + sum(rng.uniform(-0.13, 0.13) * np.cos(k * angle + rng.uniform(0, 6)) for k in range(2, 6)))
    probability = soft(np.hypot(y, x) < outline, rng, ragged=1.5)
    assert separate_objects(probability).max() == 1


@pytest.mark.parametrize("width", [6, 10, 16])
@pytest.mark.parametrize("bend", [0.0, 1.5, 3.0])
def test_straight_and_bent_rods_are_not_cut_up(width: int, bend: float, rng: np.random.Generator) -> None:
    rod = curve((150, 150), arc(bend, 7 * width, (75, 75)), width)
    assert separate_objects(soft(rod, rng, ragged=0.04 * width)).max() == 1


@pytest.mark.parametrize(("outer", "inner", "aside"), [(14, 7, 0), (25, 17, 0), (25, 17, 2), (40, 28, 4)])
def test_rings_are_not_cut_up(outer: int, inner: int, aside: int, rng: np.random.Generator) -> None:
    ring = disc((100, 100), (50, 50), outer) & ~disc((100, 100), (50 + aside, 50), inner)
    assert separate_objects(soft(ring, rng, ragged=0.3)).max() == 1


def test_small_bumps_on_the_tail_of_a_large_body_are_no_objects() -> None:
    shape = (120, 200)
    body = disc(shape, (60, 45), 30)
    for number in range(8):
        body |= disc(shape, (60, 80 + 12 * number), 8 + number % 2)
    body[54:67, 45:160] = True
    assert separate_objects(body.astype(np.float32)).max() == 1


def test_lines_that_hang_together_by_corners_are_kept_whole() -> None:
    probability = np.zeros((50, 50), np.float32)
    probability[5:45, 5:45] = np.eye(40)
    objects = separate_objects(probability)
    assert objects.max() == 1
    assert (objects > 0).sum() == 40


@pytest.mark.parametrize("shape", [(40, 50), (1, 60), (6, 20, 30)])
def test_empty_and_full_frames(shape: tuple[int, ...]) -> None:
    assert (separate_objects(np.zeros(shape)) == 0).all()
    assert (separate_objects(np.full(shape, 0.5)) == 0).all()
    assert (separate_objects(np.full(shape, np.nan)) == 0).all()
    assert (separate_objects(np.ones(shape)) == 1).all()


def test_every_pixel_above_the_threshold_belongs_to_an_object(rng: np.random.Generator) -> None:
    for ndim in (2, 3):
        noise = ndimage.gaussian_filter(rng.random((60, 60, 24)[:ndim]), 1.5)
        probability = (noise - noise.min()) / (noise.max() - noise.min())
        objects = separate_objects(probability, threshold=0.55, min_size=0)
        np.testing.assert_array_equal(objects > 0, probability > 0.55)
        assert len(np.unique(objects)) == objects.max() + 1


def test_each_object_hangs_together(rng: np.random.Generator) -> None:
    noise = ndimage.gaussian_filter(rng.random((120, 120)), 3)
    objects = separate_objects((noise - noise.min()) / (noise.max() - noise.min()), min_size=0)
    assert objects.max() > 20
    assert all(label(objects == number, connectivity=2).max() == 1 for number in range(1, objects.max() + 1))


def markers_by_reconstruction(probability: FloatArray, depth: float) -> int:
    """Count the tops by morphological reconstruction: those that no higher one reaches above `1 - depth` of them."""
    mask = probability > 0.5
    distance = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[(slice(1, -1),) * mask.ndim]
    landscape = ndimage.gaussian_filter(distance.astype(np.float32), 1.0)
    landscape *= ndimage.gaussian_filter(probability.astype(np.float32), 1.0) * mask
    seeds = landscape * np.float32(1 - depth)
    floor = reconstruction(seeds, landscape)
    domes = label((landscape > floor) & mask, connectivity=mask.ndim)
    return len(np.unique(domes[(floor == seeds) & mask]))


@pytest.mark.parametrize("shape", [(160, 160), (24, 40, 40)])
@pytest.mark.parametrize("depth", [0.02, 0.1, 0.35, 0.7])
def test_the_number_of_objects_agrees_with_morphological_reconstruction(
    shape: tuple[int, ...], depth: float, rng: np.random.Generator
) -> None:
    noise = ndimage.gaussian_filter(rng.random(shape), 2.5)
    probability = np.clip(0.5 + (noise - np.median(noise)) / (4 * noise.std()), 0, 1).astype(np.float32)
    objects = separate_objects(probability, depth=depth, min_size=0)
    assert objects.max() == markers_by_reconstruction(probability, depth) > 1


def test_small_objects_are_left_out_and_the_rest_is_numbered_on() -> None:
    probability = np.zeros((30, 60))
    probability[5:7, 5:8] = 1  # 6 pixels
    probability[10:20, 20:30] = 1
    probability[10:20, 40:50] = 1
    assert separate_objects(probability).max() == 2
    assert set(np.unique(separate_objects(probability, min_size=6))) == {0, 1, 2, 3}
    assert separate_objects(probability, min_size=101).max() == 0


def test_spacing_decides_what_is_a_neck_in_a_volume() -> None:
    # two balls in units of length, one above the other; slices are four times as far apart as pixels
    shape, spacing = (24, 40, 40), (4.0, 1.0, 1.0)
    z, y, x = (axis * step for axis, step in zip(np.ogrid[:24, :40, :40], spacing, strict=True))
    flat = (y - 20) ** 2 + (x - 20) ** 2
    balls = (flat + (z - 30) ** 2 <= 18**2) | (flat + (z - 62) ** 2 <= 18**2)
    objects = separate_objects(balls.astype(np.float32), spacing=spacing)
    assert objects.shape == shape
    assert objects.max() == 2
    assert objects[7, 20, 20] != objects[15, 20, 20]
    rod = (y - 20) ** 2 / 9**2 + (x - 20) ** 2 / 9**2 + (z - 46) ** 2 / 40**2 <= 1
    assert separate_objects(rod.astype(np.float32), spacing=spacing).max() == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_type_of_the_probabilities_does_not_matter(dtype: Any, rng: np.random.Generator) -> None:
    probability = soft(disc((60, 90), (30, 30), 20) | disc((60, 90), (30, 66), 20), rng, 0.3)
    probability = probability.astype(np.float16)
    before = probability.copy()
    objects = separate_objects(probability.astype(dtype))
    assert objects.dtype == np.int32
    np.testing.assert_array_equal(objects, separate_objects(probability))
    np.testing.assert_array_equal(probability, before)


def parted(labels: npt.NDArray[Any]) -> Mask:
    """Foreground with a thin line between touching objects: what a network is shown as the target."""
    one = ndimage.maximum_filter(labels, 3)
    other = ndimage.minimum_filter(np.where(labels == 0, labels.max() + 1, labels), 3)
    return np.asarray((labels > 0) & (one == other))


@pytest.mark.parametrize("blur", [0.5, 1.0])
def test_real_nuclei_are_found_again_from_their_blurred_targets(
    real_data: Callable[[str], dict[str, npt.NDArray[Any]]], blur: float
) -> None:
    arrays = real_data("nuclei_fluo_dsb2018")
    scores = []
    for name in sorted(key for key in arrays if key.startswith("label")):
        truth = arrays[name].astype(np.int64)
        probability = ndimage.gaussian_filter(parted(truth).astype(np.float32), blur)
        scores.append(average_precision(separate_objects(probability), truth, 0.5))
    print(f"blur {blur}: average precision {np.mean(scores):.4f}, lowest {min(scores):.4f}")
    assert np.mean(scores) >= 0.95


def test_five_hundred_objects_in_a_large_image_take_seconds(rng: np.random.Generator) -> None:
    probability = np.zeros((2048, 2048), np.float32)
    y, x = np.mgrid[:64, :64]
    for number in range(500):
        top, left = 80 * (number // 25), 80 * (number % 25)
        ball = 1 / (1 + np.exp(np.hypot(y - 32, x - 32) - rng.uniform(12, 28)))
        probability[top : top + 64, left : left + 64] = ball
    began = time.process_time()
    objects = separate_objects(probability)
    seconds = time.process_time() - began
    print(f"2048 x 2048 pixels, {objects.max()} objects: {seconds:.2f} s")
    assert objects.max() == 500
    assert seconds < 10
