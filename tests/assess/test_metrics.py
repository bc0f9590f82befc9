"""The metrics by their public names: in step with scikit-learn and naive loops, and sensible where there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, jaccard_score, zero_one_loss

from napari_unet.assess import metrics
from napari_unet.errors import InputError

Metric = Callable[..., float]
Labels = npt.NDArray[np.int64]

MASK_METRICS = [metrics.dice, metrics.iou, metrics.pixel_error]
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=7)


@st.composite
def label_pairs(draw: st.DrawFn) -> tuple[Labels, Labels]:
    shape = draw(SHAPES)
    first, second = (draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 5))) for _ in range(2))
    return first, second


def naive_average_precision(predicted: Labels, reference: Labels, threshold: float) -> float:
    found, wanted = (sorted(set(array.ravel().tolist()) - {0}) for array in (predicted, reference))
    hits = 0
    for a in found:
        for b in wanted:
            both = int(((predicted == a) & (reference == b)).sum())
            either = int(((predicted == a) | (reference == b)).sum())
            hits += both / either > threshold if threshold == 0.5 else both / either >= threshold
    total = len(found) + len(wanted) - hits
    return hits / total if total else 1.0


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_masks_score_as_in_scikit_learn(share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 13, 17)) < share
    flat = second.ravel(), first.ravel()
    assert metrics.dice(first, second) == pytest.approx(f1_score(*flat))
    assert metrics.iou(first, second) == pytest.approx(jaccard_score(*flat))
    assert metrics.pixel_error(first, second) == pytest.approx(zero_one_loss(*flat))


@given(label_pairs())
@settings(max_examples=100, deadline=None)
def test_masks_of_any_shape_keep_to_their_bounds_and_relations(pair: tuple[Labels, Labels]) -> None:
    first, second = pair
    dice, iou, error = (metric(first, second) for metric in MASK_METRICS)
    assert 0 <= iou <= dice <= 1
    assert dice == pytest.approx(2 * iou / (1 + iou))
    assert error == pytest.approx(np.mean((first != 0) != (second != 0)))
    assert [metric(second, first) for metric in MASK_METRICS] == [dice, iou, error]


@given(label_pairs(), st.sampled_from([0.5, 0.6, 0.75, 0.8, 1.0]))
@settings(max_examples=150, deadline=None)
def test_objects_score_as_in_a_naive_loop(pair: tuple[Labels, Labels], threshold: float) -> None:
    first, second = pair
    result = metrics.average_precision(first, second, threshold)
    assert result == pytest.approx(naive_average_precision(first, second, threshold))
    assert metrics.average_precision(second, first, threshold) == result


@given(label_pairs())
@settings(max_examples=50, deadline=None)
def test_what_is_identical_is_perfect(pair: tuple[Labels, Labels]) -> None:
    labels, _ = pair
    assert [metric(labels, labels) for metric in MASK_METRICS] == [1.0, 1.0, 0.0]
    assert metrics.average_precision(labels, labels * 1000, 1.0) == 1.0


def test_disjoint_masks_share_nothing() -> None:
    first, second = np.zeros((2, 10, 10), int)
    first[:4], second[6:] = 3, 3
    assert [metric(first, second) for metric in MASK_METRICS] == [0.0, 0.0, pytest.approx(0.8)]
    assert metrics.average_precision(first, second) == 0.0


@pytest.mark.parametrize("shape", [(0,), (5,), (0, 3), (4, 4)])
def test_two_empty_masks_agree(shape: tuple[int, ...]) -> None:
    nothing = np.zeros(shape, np.uint8)
    assert [metric(nothing, nothing) for metric in MASK_METRICS] == [1.0, 1.0, 0.0]
    assert metrics.average_precision(nothing, nothing) == 1.0


def test_one_empty_mask_does_not() -> None:
    nothing, something = np.zeros((4, 4), int), np.eye(4, dtype=int)
    assert [metric(nothing, something) for metric in MASK_METRICS] == [0.0, 0.0, 0.25]
    assert metrics.average_precision(nothing, something) == metrics.average_precision(something, nothing) == 0.0


def test_half_an_object_is_no_match_and_a_pixel_more_is() -> None:
    reference = np.repeat([0, 1], [4, 8])
    half, more = np.repeat([0, 9], [8, 4]), np.repeat([0, 9], [7, 5])
    assert metrics.average_precision(half, reference) == 0.0
    assert metrics.average_precision(more, reference) == 1.0


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int32, np.uint64])
def test_labels_of_any_whole_type_will_do(dtype: Any, rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, (9, 9)).astype(dtype)
    other = rng.integers(0, 2, (9, 9)).astype(np.uint8)
    expected = naive_average_precision(labels.astype(np.int64), other.astype(np.int64), 0.5)
    assert metrics.average_precision(labels, other) == expected


def test_huge_ids_are_told_apart() -> None:
    labels = np.array([2**63 + 1, 2**63 + 2, 0], np.uint64)
    assert metrics.average_precision(labels, [1, 2, 0]) == 1.0


def test_many_objects_need_little_memory(rng: np.random.Generator) -> None:
    labels = np.arange(1, 40_001).reshape(200, 200)  # a full table of pairs would have 1.6e9 entries
    assert metrics.average_precision(labels, rng.permutation(40_000).reshape(200, 200) + 1) == 1.0


@pytest.mark.parametrize("metric", [*MASK_METRICS, metrics.average_precision])
def test_arrays_of_different_shapes_are_refused(metric: Metric) -> None:
    for other in (np.zeros(5, int), np.zeros((5, 1), int), np.zeros((4, 5, 1), int)):
        with pytest.raises(InputError, match="one shape"):
            metric(np.zeros((4, 5), int), other)


@pytest.mark.parametrize("threshold", [0.0, 0.49, 1.01, float("nan")])
def test_thresholds_at_which_matches_are_not_unique_are_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="`threshold`"):
        metrics.average_precision([1, 0], [1, 0], threshold)
