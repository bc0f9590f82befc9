"""Quick strokes: true, as many and as long as asked for, beside what they tell apart; and quick."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage

from napari_unet.data.quick_strokes import quick_strokes
from napari_unet.data.simulated_strokes import simulate_strokes


def make_truth(side: int = 120) -> np.ndarray:
    truth = np.zeros((side, side), np.uint8)
    y, x = np.indices(truth.shape)
    truth[np.hypot(y - 40, x - 40) < 25] = 1
    truth[80:100, 30:110] = 2
    return truth


@pytest.mark.parametrize("width", [1.0, 2.0, 3.0, 5.0])
def test_all_that_is_painted_has_its_true_class(width: float, rng: np.random.Generator) -> None:
    truth = make_truth()
    strokes = quick_strokes(truth, (4, 3, 5), rng, width=width)
    painted = strokes > 0
    assert np.array_equal(strokes[painted], truth[painted] + 1)
    assert set(np.unique(strokes)) == {0, 1, 2, 3}


def test_a_stroke_is_a_line_of_its_length_and_width(rng: np.random.Generator) -> None:
    truth = np.zeros((400, 400), int)
    sizes = []
    for _ in range(40):
        strokes = quick_strokes(truth, (1,), rng, length=40, width=3)
        assert ndimage.label(strokes, np.ones((3, 3)))[1] == 1
        sizes.append((strokes > 0).sum())
    assert 3 * 40 * 0.7 < np.mean(sizes) < 3 * 40 * 1.4


def test_the_amount_of_paint_is_that_of_the_careful_strokes(rng: np.random.Generator) -> None:
    truth = make_truth()
    careful = [simulate_strokes(truth, task="classes", strokes_per_class=5, length=20, seed=k) for k in range(10)]
    quick = [quick_strokes(truth, (5, 5, 5), rng, length=20) for _ in range(10)]
    for value in (1, 2, 3):
        ratio = np.mean([s == value for s in quick]) / np.mean([s == value for s in careful])
        assert 0.6 < ratio < 1.4


def test_every_other_stroke_of_the_background_begins_beside_something(rng: np.random.Generator) -> None:
    truth = np.zeros((300, 300), int)
    truth[:20, :20] = 1
    distance = ndimage.distance_transform_edt(truth == 0)
    near = [distance[quick_strokes(truth, (2, 0), rng, length=4) == 1].min() < 20 for _ in range(20)]
    assert all(near)


def test_a_class_that_is_not_there_or_not_asked_for_is_not_painted(rng: np.random.Generator) -> None:
    assert set(np.unique(quick_strokes(make_truth(), (0, 2, 2, 2), rng))) == {0, 2, 3}


def test_a_thin_class_is_painted_too(rng: np.random.Generator) -> None:
    truth = np.zeros((50, 50), int)
    truth[25] = 1
    strokes = quick_strokes(truth, (1, 2), rng)
    assert (strokes == 2).any()
    assert not (strokes == 2)[truth == 0].any()


def test_the_same_numbers_give_the_same_strokes() -> None:
    first, second, other = (quick_strokes(make_truth(), (3, 3, 3), np.random.default_rng(k)) for k in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_they_are_quick(rng: np.random.Generator) -> None:
    truth = make_truth(160)

    def measure(paint: object) -> float:
        began = time.process_time()
        for _ in range(5):
            paint()  # type: ignore[operator]
        return time.process_time() - began

    careful = measure(lambda: simulate_strokes(truth, task="classes", strokes_per_class=20, length=20))
    assert measure(lambda: quick_strokes(truth, (20, 20, 20), rng)) < careful / 3
