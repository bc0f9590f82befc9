"""The two nearest objects: each way of finding them, against all pairs of pixels and one transform for each object."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from napari_unet.learn import nearest_objects
from napari_unet.learn.nearest_objects import sum_of_two_nearest


@pytest.fixture(params=["edt", "scipy"])
def _each_transform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the faster transform for all sizes, and without it."""
    if request.param == "edt":
        pytest.importorskip("edt", reason="the extra `fast` is not installed")
        monkeypatch.setattr(nearest_objects, "_LARGE", 0)
    else:
        monkeypatch.setattr(nearest_objects, "edt", None)


@pytest.fixture(params=["object by object", "by halves"])
def _each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_objects, "_BOX_GAIN", np.inf if request.param == "object by object" else 0)


def _scattered(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> np.ndarray:
    """Boxes and lines of single pixels, over each other and across each other, some in several pieces."""
    labels = np.zeros(shape, np.int64)
    for number in rng.permutation(np.arange(1, 50))[:count]:
        start = rng.integers(0, shape)
        size = rng.integers(1, np.maximum(2, np.array(shape) // 3))
        if rng.random() < 0.3:
            size[rng.integers(len(shape))] = max(shape)
        labels[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = number
    return labels


def _reference(labels: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    ids = [i for i in np.unique(labels) if i]
    if len(ids) < 2:
        return np.full(labels.shape, np.inf)
    return np.sort([ndimage.distance_transform_edt(labels != i, sampling=spacing) for i in ids], axis=0)[:2].sum(axis=0)


@pytest.mark.usefixtures("_each_transform", "_each_way")
@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_sums_up_to_the_reach_are_exact(ndim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, {1: 200, 2: 50, 3: 18, 4: 8}[ndim], ndim))
    labels = _scattered(shape, int(rng.integers(0, 30)), rng)
    spacing = tuple(float(step) for step in rng.uniform(0.3, 3, ndim)) if seed % 2 else (1.0,) * ndim
    reach = float(rng.choice([2, 9, 1000]))
    expected, result = _reference(labels, spacing), sum_of_two_nearest(labels, spacing, reach)
    assert result.dtype == np.float32
    near = expected <= reach
    np.testing.assert_allclose(result[near], expected[near], rtol=1e-5)
    assert (result[~near] > reach * (1 - 1e-6)).all()


@pytest.mark.usefixtures("_each_transform", "_each_way")
def test_sums_are_those_of_all_pairs_of_pixels(rng: np.random.Generator) -> None:
    labels, spacing = _scattered((9, 14, 11), 12, rng), (2.5, 0.7, 1.0)
    places = np.argwhere(np.ones(labels.shape)) * spacing
    ids = [i for i in np.unique(labels) if i]
    expected = np.sort([cdist(places, np.argwhere(labels == i) * spacing).min(1) for i in ids], axis=0)[:2].sum(axis=0)
    result = sum_of_two_nearest(labels, spacing, reach=100)
    np.testing.assert_allclose(result.ravel(), expected, rtol=1e-5)


@pytest.mark.usefixtures("_each_transform")
def test_long_objects_that_lie_in_each_others_boxes_are_halved() -> None:
    """Diagonal stripes: the box of each is the image, so that one transform for each would be the naive way."""
    y, x = np.ogrid[:256, :256]
    stripe, place = np.divmod(x + y, 4)
    labels = np.where(place < 3, stripe + 1, 0).astype(np.uint16)
    assert len(np.unique(labels)) == 129
    calls: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        transform = nearest_objects._squared_distance
        patch.setattr(
            nearest_objects, "_squared_distance", lambda outside, step: calls.append(1) or transform(outside, step)
        )
        result = sum_of_two_nearest(labels, (1, 1), reach=28)
    assert len(calls) <= 2 * 8 * 3  # eight digits; three slabs
    expected = _reference(labels, (1, 1))
    np.testing.assert_allclose(result, np.where(expected <= 28, expected, result), rtol=1e-5)


def test_only_objects_beyond_the_margin_of_each_other_share_a_number(rng: np.random.Generator) -> None:
    labels = np.zeros((200, 300), np.int32)
    for number in range(1, 120):
        y, x = rng.integers(0, (195, 292))
        labels[y : y + 5, x : x + 8] = number
    found = {n: box for n, box in enumerate(ndimage.find_objects(labels), start=1) if box is not None}
    numbers = nearest_objects._numbers_shared_afar(found, [20, 15])
    assert numbers[0] == -1
    assert numbers.max() < 40
    for shared in range(numbers.max() + 1):
        boxes = [found[int(n)] for n in np.flatnonzero(numbers == shared)]
        assert boxes
        for place, one in enumerate(boxes):
            for other in boxes[:place]:
                gaps = [max(a.start - b.stop, b.start - a.stop) for a, b in zip(one, other, strict=True)]
                assert gaps[0] >= 20 or gaps[1] >= 15


def test_slabs_cover_the_axis_once_with_their_margins() -> None:
    slabs, around = nearest_objects._slabs((103, 7), 5)
    assert slabs[0].start == 0
    assert slabs[-1].stop == 103
    assert all(a.stop == b.start for a, b in pairwise(slabs))
    for slab, part in zip(slabs, around, strict=True):
        assert part == slice(max(0, slab.start - 5), min(103, slab.stop + 5))
