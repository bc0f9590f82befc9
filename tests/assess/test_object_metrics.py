"""Object-wise metrics against naive loops over pairs of objects, and cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.measure import label
from skimage.segmentation import relabel_sequential

from napari_unet.assess.metrics import average_precision, seg
from napari_unet.errors import InputError


def random_objects(seed: int, shape: tuple[int, ...] = (40, 36)) -> tuple[np.ndarray, np.ndarray]:
    """Return two label images whose objects overlap more or less."""
    rng = np.random.default_rng(seed)
    reference = np.zeros(shape, np.int64)
    predicted = np.zeros(shape, np.int64)
    for number in range(1, 9):
        centre = [rng.integers(0, n) for n in shape]
        moved = [c + rng.integers(-2, 3) for c in centre]
        radius = rng.integers(3, 8)
        for image, place, size in ((reference, centre, radius), (predicted, moved, radius + rng.integers(-2, 2))):
            grid = np.ogrid[tuple(slice(0, n) for n in shape)]
            image[sum((g - p) ** 2 for g, p in zip(grid, place, strict=True)) < size**2] = number
    predicted[predicted == 3] = 0
    predicted[predicted == 5] = 900 + (np.indices(shape)[0][predicted == 5] % 2)  # stripes: one object falls apart
    return predicted, reference


def naive_shares(predicted: np.ndarray, reference: np.ndarray) -> dict[tuple[int, int], float]:
    ids = [[int(i) for i in np.unique(image) if i] for image in (predicted, reference)]
    return {
        (a, b): ((predicted == a) & (reference == b)).sum() / ((predicted == a) | (reference == b)).sum()
        for a in ids[0]
        for b in ids[1]
    }


def naive_average_precision(predicted: np.ndarray, reference: np.ndarray, threshold: float) -> float:
    counts = [len(set(np.unique(image)) - {0}) for image in (predicted, reference)]
    hits = sum(s > 0.5 and s >= threshold for s in naive_shares(predicted, reference).values())
    total = sum(counts) - hits
    return hits / total if total else 1.0


def naive_seg(predicted: np.ndarray, reference: np.ndarray) -> float:
    shares = naive_shares(predicted, reference)
    scores = []
    for b in set(np.unique(reference)) - {0}:
        inside = predicted[reference == b]
        values, counts = np.unique(inside, return_counts=True)
        best = [int(a) for a, n in zip(values, counts, strict=True) if a and n > inside.size / 2]
        scores.append(shares[best[0], int(b)] if best else 0.0)
    return float(np.mean(scores))


@pytest.mark.parametrize("seed", range(10))
def test_random_objects_score_as_in_a_naive_loop(seed: int) -> None:
    predicted, reference = random_objects(seed, (12, 20, 18) if seed % 3 == 0 else (40, 36))
    cuts = (0.5, 0.6, 0.75, 0.9, 1.0)
    known = [naive_average_precision(predicted, reference, cut) for cut in cuts]
    assert average_precision(predicted, reference, cuts) == pytest.approx(known)
    assert average_precision(predicted, reference) == pytest.approx(known[0])
    assert seg(predicted, reference) == pytest.approx(naive_seg(predicted, reference))


@pytest.mark.parametrize("seed", range(3))
def test_ids_do_not_matter(seed: int) -> None:
    predicted, reference = random_objects(seed)
    ids = np.random.default_rng(seed).permutation(np.unique(predicted)[1:]) * 1_000_003
    renamed = np.zeros(predicted.shape, np.uint32)
    for new, old in zip(ids, np.unique(predicted)[1:], strict=True):
        renamed[predicted == old] = new
    sequential = relabel_sequential(reference)[0].astype(np.uint8)
    assert average_precision(renamed, sequential, (0.5, 0.7)) == average_precision(predicted, reference, (0.5, 0.7))
    assert seg(renamed, sequential) == pytest.approx(seg(predicted, reference))


def test_many_objects_are_matched_as_quickly_as_few() -> None:
    rng = np.random.default_rng(0)
    reference = label(rng.random((400, 400)) < 0.3, connectivity=1)
    assert reference.max() > 10_000
    assert average_precision(reference[::-1], reference[::-1], 1.0) == 1.0
    assert seg(reference, reference) == 1.0


@pytest.mark.parametrize(
    ("predicted", "reference", "precision", "known_seg"),
    [
        ([0, 0, 0], [0, 0, 0], 1.0, math.nan),
        ([5, 5, 0], [5, 5, 0], 1.0, 1.0),
        ([5, 5, 0], [0, 0, 5], 0.0, 0.0),
        ([5, 5, 0], [0, 0, 0], 0.0, math.nan),
        ([0, 0, 0], [5, 5, 0], 0.0, 0.0),
        ([1, 1, 2, 2], [1, 1, 1, 1], 0.0, 0.0),  # two halves: an overlap of exactly one half is no match
        ([1, 1, 1, 2], [1, 1, 1, 1], 0.5, 0.75),
        ([1, 1, 1, 1, 1], [1, 1, 1, 2, 2], 0.5, (0.6 + 0.4) / 2),  # merged: SEG lets one object match two
    ],
    ids=["both empty", "identical", "disjoint", "reference empty", "prediction empty", "halves", "split", "merged"],
)
def test_cases_worked_out_by_hand(
    predicted: list[int], reference: list[int], precision: float, known_seg: float
) -> None:
    assert average_precision(predicted, reference) == precision
    assert seg(predicted, reference) == pytest.approx(known_seg, nan_ok=True)


def test_pixels_that_are_not_valid_do_not_count() -> None:
    predicted, reference = random_objects(1)
    valid = np.random.default_rng(1).random(reference.shape) < 0.5
    assert average_precision(predicted, reference, valid=valid) == average_precision(predicted[valid], reference[valid])
    assert seg(predicted, reference, valid=valid) == seg(predicted[valid], reference[valid])


def test_arrays_that_do_not_fit_are_told() -> None:
    for metric in (average_precision, seg):
        with pytest.raises(InputError, match="one shape"):
            metric(np.zeros((3, 4), int), np.zeros((4, 3), int))
        with pytest.raises(InputError, match="whole numbers"):
            metric(np.zeros((3, 4)), np.zeros((3, 4), int))
        with pytest.raises(InputError, match="whole numbers"):
            metric(np.full((3, 4), -1), np.zeros((3, 4), int))
    with pytest.raises(InputError, match="`threshold`"):
        average_precision(np.zeros((3, 4), int), np.zeros((3, 4), int), (0.6, 0.3))
