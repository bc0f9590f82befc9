"""Strokes that lie too close together for chance say that the place counts, and no others do."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_unet.data.sample import Sample
from napari_unet.learn import place_choice
from napari_unet.learn.one_place import in_one_place
from napari_unet.learn.place_choice import PlaceWeight
from napari_unet.models.adapt import Adapter
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig


def dots(background: Any, *others: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return what `in_one_place` reads of strokes of one pixel each, (n, axis) for each class."""
    groups = [np.asarray(group, float).reshape(len(group), -1) for group in (background, *others)]
    kinds = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return np.concatenate(groups), kinds, np.arange(len(kinds))


def tell(strokes: tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64]]) -> bool:
    return in_one_place(*strokes, np.ones(len(strokes[1])))


SPREAD = [(0.0, 0.1), (0.9, 0.0), (0.5, 1.0), (1.0, 0.7), (0.2, 0.6)]


def near(middle: tuple[float, float], size: float, number: int, seed: int = 0) -> npt.NDArray[np.float64]:
    return np.array(middle) + np.random.default_rng(seed).uniform(-size / 2, size / 2, (number, 2))


def test_strokes_of_an_organ_lie_in_one_place_and_those_of_cells_do_not() -> None:
    assert tell(dots(SPREAD, near((0.4, 0.6), 0.1, 4)))
    assert not tell(dots(SPREAD, near((0.5, 0.5), 1.0, 4)))
    assert not tell(dots(SPREAD, near((0.4, 0.6), 0.1, 2)))  # of two that is chance
    assert not tell(dots(SPREAD, near((0.4, 0.6), 0.1, 1)))
    assert not tell(dots(SPREAD, near((0.4, 0.6), 0.0, 2)))


def test_a_cell_that_is_filled_to_begin_with_is_none() -> None:
    for background, says in ((SPREAD[:2], False), (SPREAD[:3], True)):
        positions, kinds, strokes = dots(background, near((0.4, 0.6), 0.05, 100))
        assert in_one_place(positions, kinds, np.minimum(strokes, len(background)), np.ones(len(kinds))) is says


def test_a_place_that_is_long_along_one_axis_is_none() -> None:
    line = np.stack([np.linspace(0.1, 0.8, 8), np.full(8, 0.5)], axis=1)
    assert not tell(dots(SPREAD, line))


def test_a_person_who_looks_at_a_corner_says_nothing_of_the_rest() -> None:
    assert not tell(dots(near((0.1, 0.1), 0.2, 5), near((0.1, 0.1), 0.15, 5, seed=1)))


def test_every_class_has_to_lie_in_one_place() -> None:
    here, there = near((0.4, 0.6), 0.1, 4), near((0.7, 0.2), 0.1, 4, seed=1)
    assert tell(dots(SPREAD, here, there))
    assert not tell(dots(SPREAD, here, near((0.5, 0.5), 1.0, 4)))
    assert not tell(dots(SPREAD))  # background alone


def test_it_is_as_rare_as_it_says() -> None:
    """Where strokes of both classes lie anywhere, with the probability that the formula gives, or less."""
    rng = np.random.default_rng(0)
    found = [tell(dots(rng.uniform(size=(6, 2)), rng.uniform(size=(4, 2)))) for _ in range(4000)]
    assert 0 < np.mean(found) < 0.01


def test_strokes_that_touch_count_by_their_area() -> None:
    positions, kinds, strokes = dots(SPREAD, near((0.4, 0.6), 0.1, 40))
    joined = np.where(kinds == 1, 5, strokes)
    weights = np.where(kinds == 1, 1.0, 10.0)  # as large as four strokes of the background
    assert in_one_place(positions, kinds, joined, weights)
    assert not in_one_place(positions, kinds, joined, np.where(kinds == 1, 0.25, 10.0))


def test_strokes_in_one_plane_say_nothing_of_the_axis_across() -> None:
    for size in (0.1, 0.6):
        organ = near((0.4, 0.6), size, 4)
        flat = tell(dots(SPREAD, organ))
        assert flat == (size < 0.5)
        in_a_volume = (np.insert(np.array(points), 0, 3.0, axis=1) for points in (SPREAD, organ))
        assert tell(dots(*in_a_volume)) == flat
    assert not tell(dots([(1.0, 1.0)] * 3, [(1.0, 1.0)] * 4))  # all in one pixel


def paint(spots: list[tuple[int, int]]) -> npt.NDArray[np.uint8]:
    """Paint dots of foreground on an image whose background is painted in its corners."""
    strokes = np.zeros((96, 96), np.uint8)
    for y, x in [(4, 4), (4, 88), (88, 4), (88, 88), (48, 4)]:
        strokes[y : y + 3, x : x + 3] = 1
    for y, x in spots:
        strokes[y : y + 3, x : x + 3] = 2
    return strokes


ORGAN = [(40, 40), (40, 46), (46, 40), (46, 46)]
CELLS = [(10, 40), (40, 80), (80, 46), (46, 20)]


@pytest.fixture
def adapter(monkeypatch: pytest.MonkeyPatch) -> Adapter:
    monkeypatch.setitem(place_choice._GAIN, "classes", 9.0)  # or how far the squares are enclosed would count
    return Adapter(Model.create(ModelConfig(features=4, depth=1), seed=0), "cpu")


def chosen(adapter: Adapter, strokes: npt.NDArray[np.uint8], task: Any) -> PlaceWeight:
    image = np.random.default_rng(0).random((96, 96)).astype(np.float32)
    image[36:52, 36:52] += 2
    image[5:20, 70:85] += 2  # another one that looks the same
    samples = [Sample(image, strokes)]
    return adapter.solve(adapter.painted(samples, task=task), task=task).counted


def test_the_place_counts_for_an_organ_with_few_strokes(adapter: Adapter) -> None:
    assert chosen(adapter, paint(ORGAN), "classes").place > 0
    assert chosen(adapter, paint(CELLS), "classes").place == 0
    assert chosen(adapter, paint(ORGAN), "objects").place == 0


def test_what_looks_like_the_organ_elsewhere_is_left_out(adapter: Adapter) -> None:
    image = np.random.default_rng(0).random((96, 96)).astype(np.float32)
    image[36:52, 36:52] += 2
    image[5:20, 70:85] += 2
    found = []
    for may in (True, False):
        adapter.place_may_count = may
        adapter.adapt([Sample(image, paint(ORGAN))], task="classes")
        found.append(adapter.probabilities(image)[1])
    with_place, without = found
    assert without[8:17, 73:82].mean() > 0.5
    assert with_place[8:17, 73:82].mean() < 0.35
    assert with_place[40:48, 40:48].mean() > 0.6
