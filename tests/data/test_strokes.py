"""What strokes mean: both tasks, any ids, and a line of background between objects that touch."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_unet.data.strokes import decode_strokes, from_ground_truth, separate_touching
from napari_unet.errors import AnnotationError


def _touching(objects: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of ids that are neighbours, also over a corner; one plain loop over pixels."""
    pairs = set()
    steps = list(product((-1, 0, 1), repeat=objects.ndim))
    for place in np.argwhere(objects):
        for step in steps:
            other = tuple(place + step)
            if all(0 <= i < n for i, n in zip(other, objects.shape, strict=True)):
                a, b = int(objects[tuple(place)]), int(objects[other])
                if b and a != b:
                    pairs.add((min(a, b), max(a, b)))
    return pairs


def test_classes_become_indices_and_the_unpainted_is_not_valid() -> None:
    annotation = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)
    targets = decode_strokes(annotation, "classes", 3)
    assert targets.classes.tolist() == [[0, 0, 1], [2, 0, 0]]
    assert targets.valid.tolist() == [[False, True, True], [True, False, True]]
    assert targets.classes.dtype == np.uint8
    assert not targets.objects.any()


def test_object_ids_of_any_size_are_one_class() -> None:
    for dtype in (np.uint8, np.uint16, np.int32, np.int64, np.uint64, np.dtype(">u2")):
        annotation = np.zeros((12, 12), dtype)
        annotation[1:4, 1:4], annotation[7:11, 7:11], annotation[0] = 3, 200, 1
        targets = decode_strokes(annotation, "objects")
        assert set(np.unique(targets.objects)) == {0, 3, 200}
        np.testing.assert_array_equal(targets.classes, annotation > 1)
        np.testing.assert_array_equal(targets.valid, annotation > 0)


def test_a_class_that_the_model_lacks_is_named() -> None:
    annotation = np.array([[1, 3], [200, 0]], np.uint8)
    with pytest.raises(AnnotationError, match="the value 200, but there are only 2 classes"):
        decode_strokes(annotation, "classes", 2)


@pytest.mark.parametrize("annotation", [np.array([[0.0, 1.0]]), np.array([[0, -1, 2]]), np.array([["a"]])])
@pytest.mark.parametrize("task", ["objects", "classes"])
def test_what_is_no_annotation_is_refused(annotation: np.ndarray, task: str) -> None:
    with pytest.raises(AnnotationError):
        decode_strokes(annotation, task)  # type: ignore[arg-type]


def test_annotations_are_only_read() -> None:
    annotation = np.array([[1, 2, 2, 3, 3]], np.uint8)
    annotation.flags.writeable = False
    before = annotation.tobytes()
    decode_strokes(annotation, "objects")
    decode_strokes(annotation, "classes", 3)
    assert annotation.tobytes() == before


@pytest.mark.parametrize("task", ["objects", "classes"])
def test_empty_and_bool_annotations(task: str) -> None:
    targets = decode_strokes(np.zeros((5, 6), np.uint8), task)  # type: ignore[arg-type]
    assert not targets.valid.any()
    marked = decode_strokes(np.eye(5, dtype=bool), task)  # type: ignore[arg-type]
    np.testing.assert_array_equal(marked.valid, np.eye(5, dtype=bool))
    assert not marked.classes.any()


@given(
    objects=hnp.arrays(
        np.uint16,
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7),
        elements=st.sampled_from([0, 0, 0, 2, 3, 60000]),
    )
)
@settings(max_examples=120, deadline=None)
def test_no_two_objects_touch_afterwards_but_where_both_would_vanish(objects: np.ndarray) -> None:
    result = separate_touching(objects)
    assert ((result == objects) | (result == 0)).all()
    assert set(np.unique(result)) == set(np.unique(objects)) | ({0} if (result == 0).any() else set())
    kept_whole = {i for i in np.unique(objects) if i and np.array_equal(result == i, objects == i)}
    for a, b in _touching(result):
        assert {a, b} <= kept_whole
    neighbours = ndimage.generate_binary_structure(objects.ndim, objects.ndim)
    for place in np.argwhere((objects > 0) & (result == 0)):  # only pixels that touched another object were taken
        box = tuple(slice(max(0, i - 1), i + 2) for i in place)
        around = objects[box]
        assert neighbours.shape == (3,) * objects.ndim
        assert ((around > 0) & (around != objects[tuple(place)])).any()


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_puzzle_of_thick_pieces_is_taken_apart(ndim: int, rng: np.random.Generator) -> None:
    shape = (36, 41) if ndim == 2 else (14, 18, 21)
    seeds = rng.integers(0, np.array(shape), (7, ndim))
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    puzzle = np.argmin([((grid - seed) ** 2).sum(-1) for seed in seeds], 0).astype(np.uint8) + 2
    assert _touching(puzzle)
    targets = decode_strokes(puzzle, "objects")
    assert not _touching(targets.objects)
    assert targets.valid.all()
    line = targets.classes == 0
    assert 0 < line.mean() < 0.6
    inside = np.ones(shape, bool)  # further than a pixel from another piece nothing changes
    for i in np.unique(puzzle):
        inside &= (puzzle == i) | ~ndimage.binary_dilation(puzzle == i, np.ones((3,) * ndim))
    np.testing.assert_array_equal(line, ~inside)


def test_a_thin_object_beside_a_thick_one_keeps_its_pixels() -> None:
    objects = np.zeros((9, 9), np.uint8)
    objects[2:7, 1:4], objects[4, 4] = 5, 9
    result = separate_touching(objects)
    assert result[4, 4] == 9
    assert not _touching(result)


def test_objects_apart_and_unlabelled_gaps_are_left_alone() -> None:
    annotation = np.array([[2, 2, 0, 3, 3, 1, 4]], np.uint8)
    targets = decode_strokes(annotation, "objects")
    assert targets.objects.tolist() == [[2, 2, 0, 3, 3, 0, 4]]
    assert targets.valid.tolist() == [[True, True, False, True, True, True, True]]


@pytest.mark.parametrize(("highest", "dtype"), [(1, "u1"), (254, "u1"), (255, "u2"), (65534, "u2"), (65535, "u4")])
def test_ground_truth_is_shifted_by_one_into_the_smallest_type(highest: int, dtype: str) -> None:
    for given_type in (np.uint32, np.int64, np.dtype(">u4")):
        labels = np.array([[0, 1, highest]], given_type)
        result = from_ground_truth(labels)
        assert result.dtype == np.dtype(dtype)
        assert result.tolist() == [[1, 2, highest + 1]]


def test_ground_truth_of_bools_and_of_nothing() -> None:
    assert from_ground_truth(np.array([True, False])).tolist() == [2, 1]
    assert from_ground_truth(np.zeros((0, 4), np.uint8)).shape == (0, 4)


@pytest.mark.parametrize("labels", [np.array([0.0, 1.0]), np.array([-1, 0])])
def test_ground_truth_must_be_whole_numbers(labels: np.ndarray) -> None:
    with pytest.raises(AnnotationError, match="whole numbers from 0 on"):
        from_ground_truth(labels)
