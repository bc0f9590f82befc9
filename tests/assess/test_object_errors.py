"""Missed, false, split and merged objects, in cases worked out by hand and against a naive search."""

from __future__ import annotations

import numpy as np
import pytest

from napari_unet.assess.inputs import overlaps
from napari_unet.assess.object_errors import ERROR_KINDS, error_labels, find_object_errors
from napari_unet.errors import InputError

MISSED, FALSE, SPLIT, MERGED = (ERROR_KINDS.index(kind) + 1 for kind in ("missed", "false", "split", "merged"))


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Return a result and a reference: 1 right, 2 missed, 3 split into 31 and 32, 4 and 5 merged to 45, 9 false."""
    reference = np.zeros((12, 20), np.uint16)
    predicted = np.zeros((12, 20), np.uint16)
    reference[1:4, 1:4] = predicted[1:4, 1:4] = 1
    reference[1:4, 6:9] = 2
    reference[6:9, 1:7], predicted[6:9, 1:4], predicted[6:9, 4:7] = 3, 31, 32
    reference[6:9, 9:12], reference[6:9, 13:16], predicted[6:9, 9:16] = 4, 5, 45
    predicted[1:3, 15:19] = 9
    return predicted, reference


def naive_errors(predicted: np.ndarray, reference: np.ndarray) -> dict[str, list[int]]:
    a_ids = [int(i) for i in np.unique(predicted) if i]
    b_ids = [int(i) for i in np.unique(reference) if i]

    def part(inner: np.ndarray, outer: np.ndarray) -> bool:
        return bool((inner & outer).sum() > inner.sum() / 2)

    pieces = {b: [a for a in a_ids if part(predicted == a, reference == b)] for b in b_ids}
    members = {a: [b for b in b_ids if part(reference == b, predicted == a)] for a in a_ids}
    return {
        "missed": [b for b in b_ids if not pieces[b] and not any(b in found for found in members.values())],
        "false": [a for a in a_ids if not members[a] and not any(a in found for found in pieces.values())],
        "split": [b for b in b_ids if len(pieces[b]) > 1],
        "merged": [a for a in a_ids if len(members[a]) > 1],
    }


def test_each_kind_of_error_is_found_and_drawn() -> None:
    predicted, reference = scene()
    wrong = find_object_errors(overlaps(predicted.ravel(), reference.ravel()))
    assert (wrong.missed.tolist(), wrong.false.tolist(), wrong.split.tolist(), wrong.merged.tolist()) == (
        [2], [9], [3], [45],
    )  # fmt: skip
    drawn = error_labels(predicted, reference)
    assert drawn.dtype == np.uint8
    expected = np.zeros(drawn.shape, np.uint8)
    expected[1:4, 6:9] = MISSED
    expected[1:3, 15:19] = FALSE
    expected[6:9, 12] = FALSE  # the bridge between 4 and 5
    expected[6:9, 1:7] = SPLIT
    expected[6:9, 9:12] = expected[6:9, 13:16] = MERGED
    assert np.array_equal(drawn, expected)


def test_identical_and_empty_images_have_no_errors() -> None:
    _, reference = scene()
    assert not error_labels(reference, reference).any()
    assert not error_labels(np.zeros((4, 4), int), np.zeros((4, 4), int)).any()
    assert set(np.unique(error_labels(reference, np.zeros_like(reference)))) == {0, FALSE}
    assert set(np.unique(error_labels(np.zeros_like(reference), reference))) == {0, MISSED}


def test_shifted_border_is_missed_and_false_pixels_but_no_wrong_object() -> None:
    reference = np.zeros((8, 10), int)
    reference[2:6, 2:8] = 1
    predicted = np.roll(reference, 1, axis=1)
    drawn = error_labels(predicted, reference)
    assert np.argwhere(drawn == MISSED).tolist() == [[y, 2] for y in range(2, 6)]
    assert np.argwhere(drawn == FALSE).tolist() == [[y, 8] for y in range(2, 6)]
    wrong = find_object_errors(overlaps(predicted.ravel(), reference.ravel()))
    assert not any(getattr(wrong, kind).size for kind in ERROR_KINDS)


@pytest.mark.parametrize("seed", range(8))
def test_random_objects_are_judged_as_in_a_naive_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, (2, 60))
    images = [np.repeat(rng.integers(0, 12, 60), size)[:100] for size in sizes]
    predicted, reference = (np.resize(image, 100) for image in images)
    wrong = find_object_errors(overlaps(predicted, reference))
    known = naive_errors(predicted, reference)
    assert {kind: getattr(wrong, kind).tolist() for kind in ERROR_KINDS} == known
    drawn = error_labels(predicted, reference)
    assert np.array_equal(drawn == MISSED, (predicted == 0) & (reference != 0))
    assert np.array_equal(drawn == FALSE, (predicted != 0) & (reference == 0))
    assert set(reference[drawn == SPLIT]) <= set(known["split"])
    assert set(predicted[drawn == MERGED]) <= set(known["merged"])


def test_nothing_is_drawn_where_it_is_not_valid() -> None:
    predicted, reference = scene()
    valid = np.ones(reference.shape, bool)
    valid[:5] = False
    drawn = error_labels(predicted, reference, valid=valid)
    assert not drawn[:5].any()
    assert np.array_equal(drawn[5:], error_labels(predicted, reference)[5:])
    with pytest.raises(InputError, match="one shape"):
        error_labels(predicted, reference[:3])
