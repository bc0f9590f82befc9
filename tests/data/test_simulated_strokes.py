"""Simulated strokes say only what is true, and look like a person's: few, thin, curved, in one piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import skeletonize

from napari_unet.data.simulated_strokes import simulate_strokes
from napari_unet.data.synthetic import cells
from napari_unet.errors import InputError


def assert_true(annotation: np.ndarray, truth: np.ndarray) -> None:
    """Check that whatever is painted has the value of what lies under it."""
    painted = annotation > 0
    np.testing.assert_array_equal(annotation[painted].astype(int), truth[painted].astype(int) + 1)


def stripes() -> np.ndarray:
    """Return three areas beside each other: background, class 1 and class 2."""
    return np.repeat(np.arange(3), 40)[np.newaxis].repeat(100, axis=0)


@pytest.mark.parametrize("width", [1, 3, 6])
def test_strokes_on_objects_stay_inside_one_object_each(width: float) -> None:
    truth = cells((256, 256), coverage=0.4, touching=0.9, seed=1).labels
    annotation = simulate_strokes(truth, strokes_per_class=10, width=width, seed=2)
    assert_true(annotation, truth)
    objects = np.setdiff1d(annotation, [0, 1])
    assert objects.size == 10
    for value in objects:
        assert label(annotation == value, connectivity=2).max() == 1
    assert 1 < label(annotation == 1).max() <= 10


def test_strokes_on_real_nuclei_stay_inside_them(real_data: Callable[[str], dict[str, np.ndarray]]) -> None:
    data = real_data("nuclei_fluo_dsb2018")
    for i in range(4):
        truth = data[f"label_{i:02d}"]
        annotation = simulate_strokes(truth, strokes_per_class=6, seed=i)
        assert_true(annotation, truth)
        assert len(np.setdiff1d(annotation, [0, 1])) == min(6, len(np.unique(truth)) - 1)


def test_every_class_gets_its_strokes() -> None:
    truth = stripes()
    annotation = simulate_strokes(truth, task="classes", strokes_per_class=3, length=30, seed=5)
    assert_true(annotation, truth)
    for value in (1, 2, 3):
        assert 1 <= label(annotation == value, connectivity=2).max() <= 3
    assert (annotation > 0).mean() < 0.15


@pytest.mark.parametrize("width", [1, 3, 5, 8])
def test_a_stroke_is_as_wide_as_the_brush(width: float) -> None:
    annotation = simulate_strokes(np.zeros((200, 200), int), strokes_per_class=1, length=60, width=width, seed=3)
    stroke = annotation == 1
    along = skeletonize(stroke)
    assert 2 * np.median(ndimage.distance_transform_edt(stroke)[along]) == pytest.approx(width, abs=1.5)


def test_a_stroke_with_room_has_about_the_asked_for_length() -> None:
    lengths = []
    for seed in range(10):
        annotation = simulate_strokes(np.zeros((300, 300), int), strokes_per_class=1, length=50, width=1, seed=seed)
        lengths.append(int((annotation == 1).sum()))
    assert 30 <= np.mean(lengths) <= 60


def test_the_same_seed_paints_the_same() -> None:
    truth = cells((100, 100), seed=1).labels
    np.testing.assert_array_equal(simulate_strokes(truth, seed=1), simulate_strokes(truth, seed=1))
    assert (simulate_strokes(truth, seed=1) != simulate_strokes(truth, seed=2)).any()


def test_a_region_thinner_than_the_brush_is_painted_all_the_same() -> None:
    truth = np.zeros((60, 60), int)
    truth[30, 5:55] = 1
    annotation = simulate_strokes(truth, task="classes", strokes_per_class=2, width=5)
    assert_true(annotation, truth)
    assert (annotation == 2).sum() > 10


@pytest.mark.parametrize("slices", [[0, 5], [np.int64(0), -3], [(0,), (5,)]])
def test_only_the_chosen_slices_of_a_volume_are_painted(slices: list[Any]) -> None:
    truth = cells((8, 70, 70), "ZYX", seed=1).labels
    annotation = simulate_strokes(truth, slices=slices, strokes_per_class=3)
    assert_true(annotation, truth)
    assert np.flatnonzero(annotation.any(axis=(1, 2))).tolist() == [0, 5]


def test_without_a_choice_the_middle_of_a_stack_is_painted() -> None:
    truth = cells((4, 5, 60, 60), "TZYX", seed=1).labels
    annotation = simulate_strokes(truth, strokes_per_class=2)
    assert np.argwhere(annotation.any(axis=(2, 3))).tolist() == [[2, 2]]


@pytest.mark.parametrize("truth", [np.zeros((1, 1), int), np.ones((1, 1), int), np.ones((40, 30), int)])
def test_an_image_of_one_region_gets_strokes_of_that_region_only(truth: np.ndarray) -> None:
    annotation = simulate_strokes(truth, task="classes", strokes_per_class=2)
    assert_true(annotation, truth)
    assert np.setdiff1d(annotation, [0]).tolist() == [int(truth[0, 0]) + 1]


@pytest.mark.parametrize(("highest", "dtype"), [(1, np.uint8), (254, np.uint8), (255, np.uint16), (65535, np.uint32)])
def test_the_type_holds_the_highest_id(highest: int, dtype: type) -> None:
    truth = np.zeros((20, 20), np.int64)
    truth[5:15, 5:15] = highest
    annotation = simulate_strokes(truth)
    assert annotation.dtype == dtype
    assert_true(annotation, truth)


@pytest.mark.parametrize(
    ("truth", "arguments", "message"),
    [
        (np.zeros(5, int), {}, "two axes"),
        (np.zeros((5, 5)), {}, "whole numbers"),
        (np.full((5, 5), -1), {}, "from 0 on"),
        (np.zeros((5, 5), int), {"task": "cells"}, "task"),
        (np.zeros((5, 5), int), {"strokes_per_class": 0}, "strokes_per_class"),
        (np.zeros((5, 5), int), {"length": 0}, "length"),
        (np.zeros((5, 5), int), {"width": 0.5}, "width"),
        (np.zeros((5, 5), int), {"slices": [0]}, "no slice 0"),
        (np.zeros((3, 5, 5), int), {"slices": [3]}, "no slice 3"),
        (np.zeros((3, 5, 5), int), {"slices": [(0, 1)]}, "no slice"),
    ],
)
def test_what_cannot_be_painted_is_named(truth: np.ndarray, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate_strokes(truth, **arguments)
