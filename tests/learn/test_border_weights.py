"""The weight map of the paper, against one distance transform for each object, sorted."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from napari_unet.errors import InputError
from napari_unet.learn.border_weights import balance_weights, border_weights


def _naive(
    labels: np.ndarray, w0: float, sigma: float, balance: bool, valid: np.ndarray, spacing: tuple[float, ...]
) -> np.ndarray:
    """Equation 2 of the paper, word by word, in double precision."""
    objects = np.where(valid, labels, 0)
    ids = [i for i in np.unique(objects) if i != 0]
    weights = np.zeros(labels.shape)
    if balance:
        for side in (objects == 0, objects > 0):
            chosen = side & valid
            if chosen.any():
                both = ((objects == 0) & valid).any() and ((objects > 0) & valid).any()
                weights[chosen] = valid.sum() / ((1 + both) * chosen.sum())
    else:
        weights[valid] = 1
    if len(ids) >= 2:
        distances = np.sort([ndimage.distance_transform_edt(objects != i, sampling=spacing) for i in ids], axis=0)
        border = w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
        weights += np.where(valid, border, 0)
    return weights


def _random_objects(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> np.ndarray:
    """Boxes and balls anywhere, also across the border of the image and over each other."""
    labels = np.zeros(shape, np.uint16)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    for number in range(count):
        centre = rng.uniform(-2, np.array(shape) + 2)
        radius = rng.uniform(1, max(2.0, min(shape) / 5), len(shape))
        order = rng.choice([2, np.inf])
        inside = np.linalg.norm((grid - centre) / radius, ord=order, axis=-1) <= 1
        labels[inside] = rng.choice([number + 1, 60_000 + number])
    return labels


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("ndim", [2, 3])
def test_weights_equal_the_naive_reference(ndim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 60 if ndim == 2 else 18, ndim))
    labels = _random_objects(shape, int(rng.integers(0, 9)), rng)
    spacing = tuple(rng.uniform(0.3, 3, ndim)) if seed % 2 else (1.0,) * ndim
    valid = rng.random(shape) < rng.choice([0.2, 0.8]) if seed % 3 else np.ones(shape, bool)
    w0, sigma, balance = float(rng.choice([0, 1, 10])), float(rng.uniform(0.5, 8)), bool(rng.integers(2))
    result = border_weights(labels, w0=w0, sigma=sigma, class_balance=balance, valid=valid, spacing=spacing)
    expected = _naive(labels, w0, sigma, balance, valid, spacing)
    assert result.dtype == np.float32
    assert result.shape == shape
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_distances_are_those_to_the_pixels_of_the_objects(rng: np.random.Generator) -> None:
    """Independent of any distance transform: all pairs of pixels."""
    labels = _random_objects((17, 23), 4, rng)
    spacing = (0.7, 1.3)
    places = np.argwhere(np.ones(labels.shape)) * spacing
    ids = [i for i in np.unique(labels) if i]
    assert len(ids) > 2
    distances = np.sort([cdist(places, np.argwhere(labels == i) * spacing).min(1) for i in ids], axis=0)
    expected = 1 + 10 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * 3.0**2)).reshape(labels.shape)
    result = border_weights(labels, sigma=3.0, class_balance=False, spacing=spacing)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_the_middle_of_a_gap_has_the_weight_of_the_formula() -> None:
    labels = np.zeros((31, 40), np.uint8)
    labels[5:26, 5:17], labels[5:26, 20:35] = 1, 2
    weights = border_weights(labels, w0=10, sigma=5, class_balance=False)
    assert weights[15, 18] == pytest.approx(1 + 10 * np.exp(-((2 + 2) ** 2) / 50), rel=1e-6)
    assert weights[15, 17] == pytest.approx(1 + 10 * np.exp(-((1 + 3) ** 2) / 50), rel=1e-6)
    assert weights[15, 10] == pytest.approx(1 + 10 * np.exp(-((0 + 10) ** 2) / 50), rel=1e-6)
    assert weights[0, 0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("objects", [0, 1])
def test_fewer_than_two_objects_have_no_border(objects: int) -> None:
    labels = np.zeros((20, 20), np.uint16)
    labels[4:9, 4:9] = objects * 60_000
    assert (border_weights(labels, class_balance=False) == 1).all()
    balanced = border_weights(labels)
    assert balanced.mean() == pytest.approx(1)
    if objects:
        assert balanced[labels > 0].sum() == pytest.approx(balanced[labels == 0].sum(), rel=1e-5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.uint64, ">u2", ">i4"])
def test_every_type_of_labels(dtype: Any) -> None:
    labels = np.zeros((12, 30), dtype)
    labels[3:9, 3:12] = 1
    if dtype is not bool:
        labels[3:9, 14:27] = 90
    expected = _naive(labels.astype(int), 10, 5, True, np.ones(labels.shape, bool), (1, 1))
    np.testing.assert_allclose(border_weights(labels), expected, rtol=1e-5)


def test_ids_play_no_part(rng: np.random.Generator) -> None:
    labels = _random_objects((40, 40), 6, rng)
    _, numbers = np.unique(labels, return_inverse=True)
    shuffled = np.concatenate([[0], rng.permutation(np.arange(1, 60_000))[: numbers.max()]])[numbers]
    np.testing.assert_array_equal(border_weights(labels), border_weights(shuffled.reshape(labels.shape)))


def test_the_unpainted_weighs_nothing_and_defines_no_border(rng: np.random.Generator) -> None:
    labels = np.zeros((30, 60), np.uint16)
    labels[5:25, 5:20], labels[5:25, 23:40], labels[5:25, 43:55] = 1, 2, 3
    valid = rng.random(labels.shape) < 0.7
    valid[labels == 2] = False
    weights = border_weights(labels, valid=valid)
    assert (weights[~valid] == 0).all()
    assert (weights[valid] > 0).all()
    without = labels.copy()
    without[labels == 2] = 0
    np.testing.assert_array_equal(weights, border_weights(without, valid=valid))
    changed = labels.copy()
    changed[~valid] = 77
    np.testing.assert_array_equal(weights, border_weights(changed, valid=valid))


def test_classes_are_balanced_over_the_painted_pixels_only(rng: np.random.Generator) -> None:
    labels = _random_objects((40, 50), 5, rng)
    valid = rng.random(labels.shape) < 0.5
    weights = border_weights(labels, w0=0, valid=valid)
    assert weights[valid].mean() == pytest.approx(1, rel=1e-5)
    assert weights[labels > 0].sum() == pytest.approx(weights[labels == 0].sum(), rel=1e-5)


@pytest.mark.parametrize("counts", [(100, 1), (3, 50, 7), (5, 0, 9, 1), (12,)])
def test_every_class_has_the_same_sum(counts: tuple[int, ...], rng: np.random.Generator) -> None:
    classes = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    valid = np.ones(classes.shape, bool)
    weights = balance_weights(classes, valid)
    present = [i for i, count in enumerate(counts) if count]
    sums = [weights[classes == i].sum() for i in present]
    np.testing.assert_allclose(sums, classes.size / len(present), rtol=1e-5)
    assert not balance_weights(classes, ~valid).any()


def test_a_large_frame_with_many_objects_stays_exact_beyond_the_reach_that_is_looked_at() -> None:
    """Objects are looked at in their surroundings only; what is left out is below what float32 shows."""
    labels = np.zeros((64, 400), np.uint16)
    for number, x in enumerate(range(3, 395, 22)):
        labels[20:44, x : x + 10 + number % 9] = number + 1
    expected = _naive(labels, 10, 2, False, np.ones(labels.shape, bool), (1, 1))
    np.testing.assert_allclose(border_weights(labels, sigma=2, class_balance=False), expected, atol=1e-5)


def test_labels_are_only_read(rng: np.random.Generator) -> None:
    labels = _random_objects((20, 20), 4, rng)
    labels.flags.writeable = False
    before = labels.tobytes()
    border_weights(labels)
    assert labels.tobytes() == before


@pytest.mark.parametrize(
    ("labels", "arguments"),
    [
        (np.zeros((4, 4)), {}),
        (np.array([[-1, 0]]), {}),
        (np.zeros((4, 4), np.uint8), {"sigma": 0}),
        (np.zeros((4, 4), np.uint8), {"sigma": float("nan")}),
        (np.zeros((4, 4), np.uint8), {"w0": -1}),
        (np.zeros((4, 4), np.uint8), {"spacing": (1.0,)}),
        (np.zeros((4, 4), np.uint8), {"spacing": (1.0, 0.0)}),
        (np.zeros((4, 4), np.uint8), {"spacing": (1.0, float("nan"))}),
        (np.zeros((4, 4), np.uint8), {"valid": np.ones((4, 5), bool)}),
    ],
)
def test_what_makes_no_sense_is_refused(labels: np.ndarray, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Expected"):
        border_weights(labels, **arguments)


def _balls(shape: tuple[int, ...], count: int, radius: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Balls that do not lie over each other, drawn each in its box."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint16)
    for number in range(1, count + 1):
        centre, size = rng.integers(0, shape), rng.integers(*radius, endpoint=True)
        box = tuple(slice(max(0, c - size), min(n, c + size + 1)) for c, n in zip(centre, shape, strict=True))
        away = sum((g - c) ** 2 for g, c in zip(np.mgrid[box], centre, strict=True))
        part = labels[box]
        part[(away <= size**2) & (part == 0)] = number
    return labels


@pytest.mark.timed
def test_many_objects_cost_little_more_than_one_distance_transform() -> None:
    """Side by side in one run, with a wide margin; the figures stand in the benchmark."""
    labels = _balls((384, 384), 60, (8, 14))
    valid = np.ones(labels.shape, bool)
    ours, naive = [], []
    for _ in range(3):
        began = time.perf_counter()
        result = border_weights(labels)
        between = time.perf_counter()
        expected = _naive(labels, 10, 5, True, valid, (1, 1))
        ours.append(between - began)
        naive.append(time.perf_counter() - between)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert min(ours) * 8 < min(naive)


# the peak of the process alone: what getrusage says begins with the memory of the process that started it
_MEMORY = """
import pathlib, sys
import numpy as np
from napari_unet.learn.border_weights import border_weights
border_weights(np.load(sys.argv[1]))
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of a process from /proc")
def test_a_large_volume_takes_the_memory_of_a_few_volumes(tmp_path: Path) -> None:
    """An eighth of 256 x 512 x 512 with 500 objects; there the whole process has to stay under 3 GB."""
    labels = _balls((128, 256, 256), 60, (10, 20))
    np.save(tmp_path / "labels.npy", labels)
    run = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(tmp_path / "labels.npy")], capture_output=True, text=True, check=True
    )
    python_itself, more = 250e6, (3e9 - 250e6) / (256 * 512 * 512)  # bytes; bytes for each voxel
    assert 1024 * int(run.stdout) < python_itself + more * labels.size
