"""Rand error and variation of information against scikit-image, a loop over all pairs, and cases worked out by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label
from skimage.metrics import adapted_rand_error
from skimage.metrics import variation_of_information as known_information

from napari_unet.assess.metrics import CHALLENGE_THRESHOLDS, rand_error, variation_of_information
from napari_unet.errors import InputError


def random_partitions(seed: int, shape: tuple[int, ...] = (30, 26)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    reference = label(smooth > -0.02, connectivity=1)
    predicted = label(smooth + ndimage.gaussian_filter(rng.normal(0, 0.6, shape), 1.5) > 0.02, connectivity=1)
    return predicted, reference


def naive_rand_error(predicted: np.ndarray, reference: np.ndarray) -> float:
    pixels = [(int(a), int(b)) for a, b in zip(predicted.ravel(), reference.ravel(), strict=True) if b]
    both = first = second = 0
    for (a, b), (c, d) in combinations(pixels, 2):
        first += a == c != 0
        second += b == d
        both += a == c != 0 and b == d
    return 1 - 2 * both / (first + second) if first + second else 0.0


def with_loners(predicted: np.ndarray) -> np.ndarray:
    """Give each pixel of the background a number of its own."""
    loners = predicted.max() + 1 + np.arange(predicted.size).reshape(predicted.shape)
    return np.where(predicted == 0, loners, predicted)


@pytest.mark.parametrize("seed", range(10))
def test_rand_error_is_that_of_scikit_image(seed: int) -> None:
    predicted, reference = random_partitions(seed, (8, 14, 12) if seed % 2 else (30, 26))
    error, *_ = adapted_rand_error(reference, with_loners(predicted), ignore_labels=(0,))
    assert rand_error(predicted, reference) == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_rand_error_is_that_of_a_loop_over_all_pairs(seed: int) -> None:
    predicted, reference = random_partitions(seed, (9, 11))
    assert rand_error(predicted, reference) == pytest.approx(naive_rand_error(predicted, reference), abs=1e-12)


@pytest.mark.parametrize(
    ("predicted", "reference", "error"),
    [
        ([0, 0, 0], [0, 0, 0], 0.0),
        ([4, 4, 0], [7, 7, 0], 0.0),
        ([4, 4, 0, 0], [0, 0, 7, 7], 1.0),
        ([4, 4, 0], [0, 0, 0], 0.0),  # where the reference has background nothing is counted
        ([0, 0, 0], [7, 7, 7], 1.0),
        # one object of 6 pixels split into 4 + 2: 6 + 1 of 15 pairs are left, none is wrong; F = 14 / 22
        ([1, 1, 1, 1, 2, 2], [3, 3, 3, 3, 3, 3], 1 - 14 / 22),
        # objects of 4 and 2 pixels merged: 7 of 15 pairs belong together; F = 14 / 22
        ([3, 3, 3, 3, 3, 3], [1, 1, 1, 1, 2, 2], 1 - 14 / 22),
        # a line of background through an object of 5 pixels: 1 + 1 of 10 pairs are left; F = 4 / 12
        ([1, 1, 0, 2, 2], [3, 3, 3, 3, 3], 1 - 4 / 12),
    ],
    ids=["both empty", "identical", "disjoint", "false", "missed", "split", "merge", "split by a line"],
)
def test_rand_error_of_cases_worked_out_by_hand(predicted: list[int], reference: list[int], error: float) -> None:
    assert rand_error(predicted, reference) == pytest.approx(error)
    assert naive_rand_error(np.array(predicted), np.array(reference)) == pytest.approx(error)


def known_split_and_merge() -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities of being inside, and three cells of 3x4, 3x4 and 3x9 pixels behind one pixel of membrane."""
    inside = np.zeros((9, 11), bool)
    inside[1:4, 1:5], inside[1:4, 6:10], inside[5:8, 1:10] = True, True, True
    probabilities = np.where(inside, 0.95, 0.05)
    probabilities[2, 5] = 0.65  # the membrane between the two upper cells is weak in one pixel
    probabilities[5:8, 5] = 0.35  # a shade across the lower cell
    return probabilities, inside


def test_probabilities_are_cut_where_the_pieces_fit_best() -> None:
    probabilities, inside = known_split_and_merge()
    pairs = {n: n * (n - 1) / 2 for n in (12, 24, 27)}
    truth = 2 * pairs[12] + pairs[27]
    merged = 2 * truth / (truth + pairs[24] + pairs[27])
    split_both = 2 * (2 * pairs[12] + 2 * pairs[12]) / (truth + 4 * pairs[12])
    split_merged = 2 * (2 * pairs[12] + 2 * pairs[12]) / (truth + pairs[24] + 2 * pairs[12])
    assert rand_error(probabilities, inside, 0.2) == pytest.approx(1 - merged)  # the upper two are one
    assert rand_error(probabilities, inside, 0.5) == pytest.approx(1 - split_merged)  # and the lower one is two
    assert rand_error(probabilities, inside, 0.8) == pytest.approx(1 - split_both)  # the upper ones are right
    best = 1 - max(merged, split_merged, split_both)
    assert rand_error(probabilities, inside, CHALLENGE_THRESHOLDS) == pytest.approx(best)
    assert rand_error(inside.astype(float), inside, CHALLENGE_THRESHOLDS) == 0


def test_objects_hang_together_over_sides_not_corners() -> None:
    corners = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    assert rand_error(np.ones((4, 4)), corners, 0.5) == pytest.approx(1 - 2 * 12 / (12 + 28))
    assert rand_error(corners.astype(float), corners, 0.5) == 0


def test_reference_labels_that_touch_stay_apart_and_their_pieces_too() -> None:
    touching = np.array([[1, 1, 2, 2], [1, 1, 2, 2]])
    assert rand_error(np.ones((2, 4)), touching, 0.5) == pytest.approx(1 - 2 * 12 / (12 + 28))
    in_pieces = np.array([[1, 1, 0, 1, 1]])
    assert rand_error(in_pieces.astype(float), in_pieces, 0.5) == 0


def test_frames_of_a_stack_are_counted_one_by_one_and_added_up() -> None:
    predicted, reference = random_partitions(1, (20, 22))
    others = random_partitions(2, (20, 22))
    stacked = [np.stack(pair) for pair in zip((predicted, reference), others, strict=True)]
    moved = [np.where(other > 0, other + 1000 * n, 0) for n, other in enumerate(others, start=1)]
    apart = [np.stack(pair) for pair in zip((predicted, reference), moved, strict=True)]
    assert rand_error(*stacked, ndim=2) == pytest.approx(rand_error(*apart))
    assert rand_error(*stacked) > rand_error(*apart)  # ids that come again in the next frame are not one object
    probabilities = np.stack([known_split_and_merge()[0]] * 2)
    inside = np.stack([known_split_and_merge()[1]] * 2)
    assert rand_error(probabilities, inside, 0.5, ndim=2) == pytest.approx(rand_error(probabilities[0], inside[0], 0.5))


def test_rand_error_leaves_out_what_is_not_valid() -> None:
    predicted, reference = random_partitions(4)
    valid = np.random.default_rng(0).random(reference.shape) < 0.7
    assert rand_error(predicted, reference, valid=valid) == pytest.approx(
        rand_error(predicted[valid], reference[valid])
    )


@pytest.mark.parametrize("foreground_only", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_variation_of_information_is_that_of_scikit_image(seed: int, foreground_only: bool) -> None:
    predicted, reference = random_partitions(seed)
    merge, split = known_information(predicted, reference)
    if foreground_only:
        inside = reference > 0
        merge, split = known_information(predicted[inside], reference[inside])
    found = variation_of_information(predicted, reference, foreground_only=foreground_only)
    assert found == pytest.approx((split, merge), abs=1e-12)
    assert found.total == pytest.approx(split + merge)


@pytest.mark.parametrize(
    ("predicted", "reference", "parts"),
    [
        ([0, 0], [0, 0], (0.0, 0.0)),
        ([1, 2, 3], [7, 8, 9], (0.0, 0.0)),
        ([1, 1, 2, 2], [5, 5, 5, 5], (1.0, 0.0)),  # split in halves: one bit
        ([5, 5, 5, 5], [1, 1, 2, 2], (0.0, 1.0)),
        ([1, 2, 3, 4], [5, 5, 6, 6], (1.0, 0.0)),
        ([1, 2, 1, 2], [5, 5, 6, 6], (1.0, 1.0)),  # independent
    ],
    ids=["both empty", "identical", "split", "merge", "both split", "independent"],
)
def test_variation_of_information_of_cases_worked_out_by_hand(
    predicted: list[int], reference: list[int], parts: tuple[float, float]
) -> None:
    assert variation_of_information(predicted, reference) == pytest.approx(parts)


def test_nothing_to_compare_is_no_difference() -> None:
    assert variation_of_information([1, 2], [0, 0], foreground_only=True) == (0.0, 0.0)
    assert variation_of_information([1, 2], [1, 1], valid=[0, 0]) == (0.0, 0.0)


def test_arrays_that_do_not_fit_are_told() -> None:
    with pytest.raises(InputError, match="one shape"):
        rand_error(np.zeros((3, 4), int), np.zeros((4, 3), int))
    with pytest.raises(InputError, match="whole numbers"):
        rand_error(np.zeros((3, 4)), np.zeros((3, 4), int))  # probabilities need thresholds
    with pytest.raises(InputError, match="whole numbers"):
        variation_of_information(np.zeros((3, 4)), np.zeros((3, 4), int))
    with pytest.raises(InputError, match="`ndim`"):
        rand_error(np.zeros((3, 4), int), np.zeros((3, 4), int), ndim=3)
