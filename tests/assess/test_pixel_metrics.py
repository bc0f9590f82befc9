"""Pixel-wise metrics against scikit-learn, on random, empty, identical and disjoint masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from napari_unet.assess.metrics import (
    CHALLENGE_THRESHOLDS,
    auprc,
    dice,
    iou,
    pixel_accuracy,
    pixel_error,
    pixel_f_error,
    sensitivity,
    specificity,
)
from napari_unet.errors import InputError

ALL = (dice, iou, pixel_error, pixel_accuracy, sensitivity, specificity)


def random_masks(seed: int, shape: tuple[int, ...] = (23, 17)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference = rng.random(shape) < rng.uniform(0.1, 0.9)
    return reference ^ (rng.random(shape) < rng.uniform(0.05, 0.6)), reference


def expected(predicted: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Return what scikit-learn says."""
    truth, guess = reference.ravel().astype(int), predicted.ravel().astype(int)
    return {
        "dice": sk.f1_score(truth, guess, zero_division=1.0),
        "iou": sk.jaccard_score(truth, guess, zero_division=1.0),
        "pixel_error": sk.zero_one_loss(truth, guess),
        "pixel_accuracy": sk.accuracy_score(truth, guess),
        "sensitivity": sk.recall_score(truth, guess, zero_division=math.nan),
        "specificity": sk.recall_score(1 - truth, 1 - guess, zero_division=math.nan),
    }


@pytest.mark.parametrize("seed", range(12))
def test_random_masks_score_as_in_scikit_learn(seed: int) -> None:
    predicted, reference = random_masks(seed, (5, 7, 6) if seed % 2 else (23, 17))
    for name, value in expected(predicted, reference).items():
        (metric,) = [m for m in ALL if m.__name__ == name]
        assert metric(predicted, reference) == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize(
    ("predicted", "reference", "values"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], (1.0, 1.0, 0.0, 1.0, math.nan, 1.0)),
        ([1, 1, 1, 1], [1, 1, 1, 1], (1.0, 1.0, 0.0, 1.0, 1.0, math.nan)),
        ([1, 0, 0, 1], [1, 0, 0, 1], (1.0, 1.0, 0.0, 1.0, 1.0, 1.0)),
        ([1, 1, 0, 0], [0, 0, 1, 1], (0.0, 0.0, 1.0, 0.0, 0.0, 0.0)),
        ([1, 1, 0, 0], [0, 0, 0, 0], (0.0, 0.0, 0.5, 0.5, math.nan, 0.5)),
        ([0, 0, 0, 0], [1, 0, 0, 0], (0.0, 0.0, 0.25, 0.75, 0.0, 1.0)),
    ],
    ids=["both empty", "both full", "identical", "disjoint", "reference empty", "prediction empty"],
)
def test_special_masks_have_the_values_worked_out_by_hand(
    predicted: list[int], reference: list[int], values: tuple[float, ...]
) -> None:
    for metric, value in zip(ALL, values, strict=True):
        assert metric(predicted, reference) == pytest.approx(value, nan_ok=True), metric.__name__
    if any(reference):
        known = expected(np.array(predicted), np.array(reference))
        assert [known[m.__name__] for m in ALL] == pytest.approx(list(values), nan_ok=True)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.__name__)
def test_pixels_that_are_not_valid_do_not_count(metric: object) -> None:
    predicted, reference = random_masks(3)
    valid = np.random.default_rng(4).random(reference.shape) < 0.6
    assert callable(metric)
    assert metric(predicted, reference, valid=valid) == pytest.approx(metric(predicted[valid], reference[valid]))
    changed = np.where(valid, predicted, ~predicted)
    assert metric(changed, reference, valid=valid) == metric(predicted, reference, valid=valid)


def test_accuracy_of_classes_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    truth, guess = rng.integers(0, 5, (2, 30, 20))
    assert pixel_accuracy(guess, truth) == pytest.approx(sk.accuracy_score(truth.ravel(), guess.ravel()))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ties", [False, True])
def test_area_under_the_curve_is_that_of_scikit_learn(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random((40, 30)) < 0.2
    probabilities = np.clip(0.3 * truth + 0.7 * rng.random(truth.shape), 0, 1)
    if ties:
        probabilities = np.round(probabilities, 1)
    known = sk.average_precision_score(truth.ravel(), probabilities.ravel())
    assert auprc(probabilities, truth) == pytest.approx(known, abs=1e-12)
    assert auprc(probabilities.astype(np.float32), truth) == pytest.approx(known, abs=1e-6)
    valid = rng.random(truth.shape) < 0.5
    known = sk.average_precision_score(truth[valid], probabilities[valid])
    assert auprc(probabilities, truth, valid=valid) == pytest.approx(known, abs=1e-12)


def test_area_under_special_curves() -> None:
    truth = np.array([0, 1, 1, 0])
    assert auprc(truth.astype(float), truth) == 1.0
    assert auprc(np.full(4, 0.3), truth) == 0.5  # nothing is known: the share of the foreground
    assert auprc(1.0 - truth, truth) == 0.5
    assert math.isnan(auprc([0.1, 0.2], [0, 0]))
    assert auprc([0.1, 0.2], [1, 1]) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_challenge_pixel_error_is_one_minus_the_best_f_score(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random((25, 30)) < 0.7
    probabilities = np.clip(0.4 * truth + 0.6 * rng.random(truth.shape), 0, 1)
    scores = [sk.f1_score(truth.ravel(), (probabilities > cut).ravel()) for cut in CHALLENGE_THRESHOLDS]
    assert pixel_f_error(probabilities, truth) == pytest.approx(1 - max(scores))
    assert pixel_f_error(probabilities, truth, 0.5) == pytest.approx(1 - scores[5])


def test_arrays_that_do_not_fit_are_told() -> None:
    for metric in ALL:
        with pytest.raises(InputError, match="one shape"):
            metric(np.zeros((3, 4)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="`valid`"):
        dice(np.zeros((3, 4)), np.zeros((3, 4)), valid=np.ones(3))
    with pytest.raises(InputError, match="finite"):
        auprc([0.1, np.nan], [0, 1])
    with pytest.raises(InputError, match="threshold"):
        pixel_f_error([0.1, 0.2], [0, 1], [])
