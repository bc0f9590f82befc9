"""Holding out: whole strokes, nothing both learnt and scored, every class still learnt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_unet.data.axes import ImageLayout
from napari_unet.data.crops import AnnotatedFrame
from napari_unet.data.intensity import FrameReader, IntensityRange
from napari_unet.learn.holdout import count_strokes, hold_out

NAMES = ("background", "cell", "membrane")


def _frame(annotation: np.ndarray, origin: tuple[int, ...] | None = None) -> AnnotatedFrame:
    layout = ImageLayout("ZYX"[-annotation.ndim :], annotation.shape, annotation.ndim)
    reader = FrameReader(np.zeros(annotation.shape), layout, IntensityRange((0.0,), (1.0,)))
    classes = np.maximum(annotation.astype(int) - 1, 0).astype(np.uint8)
    weights = (annotation > 0).astype(np.float32) * np.float32(1.5)
    return AnnotatedFrame(reader, (), origin or (0,) * annotation.ndim, classes, weights)


def _strokes(shape: tuple[int, ...], count: int, rng: np.random.Generator, classes: int = 2) -> np.ndarray:
    """Short strokes of all classes that may touch and cross each other."""
    annotation = np.zeros(shape, np.uint8)
    for number in range(count):
        start = rng.integers(0, np.array(shape) - 3)
        box = tuple(
            slice(int(a), int(a) + (int(rng.integers(3, 12)) if axis == number % len(shape) else 2))
            for axis, a in enumerate(start)
        )
        annotation[box] = number % classes + 1
    return annotation


def _components(frame: AnnotatedFrame) -> list[np.ndarray]:
    structure = np.ones((3,) * frame.classes.ndim)
    found = []
    for index in np.unique(frame.classes[frame.weights > 0]):
        numbered, count = ndimage.label((frame.weights > 0) & (frame.classes == index), structure)
        found += [numbered == i for i in range(1, count + 1)]
    return found


CASES: list[tuple[tuple[int, ...], int, int]] = [
    ((120, 150), 12, 2), ((120, 150), 40, 3), ((200, 40), 20, 2), ((12, 60, 60), 16, 2), ((17, 23), 5, 2),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "count", "classes"), CASES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_learnt_and_scored_are_disjoint_parts_of_what_is_painted(
    shape: tuple[int, ...], count: int, classes: int, seed: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    frames = [_frame(_strokes(shape, count, rng, classes)) for _ in range(2)]
    split = hold_out(frames, share, NAMES, seed)
    assert len(split.train) == 2
    scored = {id(s.classes): s for s in split.score}
    for frame, train in zip(frames, split.train, strict=True):
        score = scored.get(id(frame.classes))
        other = np.zeros(shape, np.float32) if score is None else score.weights
        assert not ((train.weights > 0) & (other > 0)).any()
        np.testing.assert_array_equal(train.weights + other, frame.weights)
    for side in (split.train, split.score) if split.score else (split.train,):
        kept = {int(i) for f in side for i in np.unique(f.classes[f.weights > 0])}
        assert kept == set(range(classes))  # every class is learnt, and scored where anything is
    assert bool(split.score) == (split.note == "")


@pytest.mark.parametrize("shape", [(300, 300), (20, 80, 80)])
def test_strokes_are_held_out_whole(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    frame = _frame(_strokes(shape, 30, rng))
    split = hold_out([frame], 0.3, NAMES, seed=1)
    (score,) = split.score
    for stroke in _components(frame):
        held = score.weights[stroke] > 0
        assert held.all() or not held.any()


@pytest.mark.parametrize("share", [0.1, 0.2, 0.4])
def test_about_the_share_is_held_out_of_each_class(share: float, rng: np.random.Generator) -> None:
    frames = [_frame(_strokes((300, 300), 60, rng, 3)) for _ in range(3)]
    split = hold_out(frames, share, NAMES)
    for index in range(3):
        painted, held = (
            sum(float(f.weights[f.classes == index].sum()) for f in side) for side in (frames, split.score)
        )
        assert 0.8 * share < held / painted <= 1.6 * share


def test_an_image_that_is_annotated_throughout_falls_into_regions(rng: np.random.Generator) -> None:
    annotation = np.ones((240, 300), np.uint8)
    annotation[rng.integers(0, 240, 60)[:, None], rng.integers(0, 300, 60)] = 2
    annotation[40:60, 40:60] = annotation[150:190, 200:230] = annotation[100:110, 100:120] = 2
    split = hold_out([_frame(annotation)], 0.2, NAMES)
    (score,), (train,) = split.score, split.train
    held = (score.weights > 0) & (score.classes == 0)
    assert 0.1 < held.sum() / (annotation == 1).sum() < 0.35
    numbered, _ = ndimage.label(held, np.ones((3, 3)))
    assert np.median(np.bincount(numbered[numbered > 0])[1:]) > 200  # compact places, no scattered pixels
    assert (train.weights > 0).any()


@pytest.mark.parametrize("shape", [(240, 300), (24, 60, 60)])
def test_a_stroke_below_the_limit_is_not_cut_and_one_above_is(shape: tuple[int, ...]) -> None:
    annotation = np.zeros(shape, np.uint8)
    annotation[..., : shape[-1] // 3] = 1  # a third of the frame: cut
    for place in (0.5, 0.7, 0.9):
        annotation[..., : shape[-2] // 3, int(place * shape[-1])] = 2  # below a tenth: whole
        annotation[..., int(place * shape[-1])][..., shape[-2] // 2 :] = 2
    frame = _frame(annotation)
    cut = whole = 0
    for seed in range(6):
        (score,) = hold_out([frame], 0.3, NAMES, seed).score
        for stroke in _components(frame):
            share = (score.weights[stroke] > 0).mean()
            if stroke.mean() <= 0.1:
                assert share in (0, 1)
                whole += share == 1
            else:
                cut += 0 < share < 1
    assert cut == 6
    assert whole > 0


@pytest.mark.parametrize(
    ("painted", "lacking"),
    [
        ({1: 1, 2: 1}, "background and cell"),
        ({1: 1, 2: 5}, "background"),
        ({1: 5, 2: 1}, "cell"),
        ({1: 3, 2: 3, 3: 1}, "membrane"),
    ],
)
def test_too_little_to_hold_out_is_said_and_all_is_learnt(painted: dict[int, int], lacking: str) -> None:
    annotation = np.zeros((100, 100), np.uint8)
    for value, count in painted.items():
        for number in range(count):
            annotation[10 * number + 3 * value, 5:30] = value
    frame = _frame(annotation)
    split = hold_out([frame], 0.2, NAMES)
    assert split.score == ()
    assert split.note.endswith(f"paint one more stroke of {lacking}.")
    np.testing.assert_array_equal(split.train[0].weights, frame.weights)


def test_one_pixel_of_each_class_is_too_little() -> None:
    annotation = np.zeros((17, 23), np.uint8)
    annotation[3, 3], annotation[10, 20] = 1, 2
    split = hold_out([_frame(annotation)], 0.2, NAMES)
    assert not split.score
    assert "background and cell" in split.note


def test_a_stroke_that_is_nearly_all_of_its_class_stays_in_training() -> None:
    annotation = np.zeros((200, 200), np.uint8)
    annotation[10:14, 10:190] = 1
    annotation[30, 30] = 1
    annotation[100:104, 10:90] = annotation[120:124, 10:90] = 2
    for seed in range(10):
        split = hold_out([_frame(annotation)], 0.2, NAMES, seed)
        (score,) = split.score
        assert (score.weights[30, 30] > 0) == bool((score.classes[score.weights > 0] == 0).any())
        assert not (score.weights[10:14] > 0).any()


def test_nothing_is_held_out_where_nothing_shall_be(rng: np.random.Generator) -> None:
    frame = _frame(_strokes((100, 100), 20, rng))
    split = hold_out([frame], 0, NAMES)
    assert split.score == ()
    assert "no score" in split.note
    np.testing.assert_array_equal(split.train[0].weights, frame.weights)


def test_a_seed_means_the_same_choice(rng: np.random.Generator) -> None:
    frames = [_frame(_strokes((200, 200), 40, rng))]

    def chosen(seed: int) -> Any:
        return hold_out(frames, 0.2, NAMES, seed).score[0].weights.tobytes()

    assert chosen(1) == chosen(1)
    assert len({chosen(seed) for seed in range(5)}) > 1


def test_the_frames_that_went_in_are_as_before(rng: np.random.Generator) -> None:
    frame = _frame(_strokes((100, 100), 20, rng))
    before = frame.weights.tobytes()
    hold_out([frame], 0.4, NAMES)
    assert frame.weights.tobytes() == before


def test_strokes_are_counted_for_the_class_that_has_fewest() -> None:
    first, second = np.zeros((40, 50), np.uint8), np.zeros((30, 20), np.uint8)
    first[2:5, 2:20] = first[10, 3:30] = 1
    first[20:23, 2:9] = 2
    second[4:6, 3:18] = 1
    frames = [_frame(first), _frame(second)]
    assert count_strokes(frames) == 1
    second[10:12, 3:18] = 2
    assert count_strokes([_frame(first), _frame(second)]) == 2
    whole = np.ones((60, 60), np.uint8)
    whole[:, 30:] = 2
    assert count_strokes([_frame(whole)]) > 10
