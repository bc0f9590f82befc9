"""The score: Dice over all held-out pixels, each once, as scikit-learn counts it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn

from napari_unet.data.axes import ImageLayout
from napari_unet.data.crops import AnnotatedFrame
from napari_unet.data.intensity import FrameReader, IntensityRange
from napari_unet.learn.scoring import Scorer
from napari_unet.nets.device import Device

CPU = Device(torch.device("cpu"), "CPU", None)


class _Thresholds(nn.Module):
    """Sorts pixels by their grey value into classes; writes a part in the middle of what it reads."""

    def __init__(self, classes: int, shrink: int = 0) -> None:
        super().__init__()
        self.classes, self.shrink, self.input_channels = classes, shrink, 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.shrink:
            x = x[(..., *(slice(self.shrink, -self.shrink),) * (x.ndim - 2))]
        centres = torch.arange(self.classes).reshape(1, -1, *(1,) * (x.ndim - 2)) / self.classes
        return -(x - centres).abs()


def _predict(image: np.ndarray, classes: int) -> np.ndarray:
    return np.abs(image[..., None] - np.arange(classes, dtype=np.float32) / classes).argmin(-1)


def _frame(image: np.ndarray, annotation: np.ndarray, origin: tuple[int, ...] | None = None) -> AnnotatedFrame:
    layout = ImageLayout("ZYX"[-image.ndim :], image.shape, image.ndim)
    reader = FrameReader(image, layout, IntensityRange((0.0,), (1.0,)))
    origin = origin or (0,) * image.ndim
    part = annotation[tuple(slice(o, None) for o in origin)]
    return AnnotatedFrame(
        reader, (), origin, np.maximum(part.astype(int) - 1, 0).astype(np.uint8), (part > 0).astype(np.float32) * 3
    )


def _random_case(shape: tuple[int, ...], classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    image = rng.random(shape).astype(np.float32)
    annotation = rng.integers(1, classes + 1, shape).astype(np.uint8)
    annotation[rng.random(shape) < 0.4] = 0
    return image, annotation


def _score(scorer: Scorer, network: nn.Module) -> float:
    results = list(scorer.run(network))
    assert results[:-1] == [None] * (len(results) - 1)
    score = results[-1]
    assert score is not None
    return score


def _reference(frames: list[tuple[np.ndarray, np.ndarray]], classes: int) -> float:
    truth = np.concatenate([annotation[annotation > 0].astype(int) - 1 for _, annotation in frames])
    predicted = np.concatenate([_predict(image, classes)[annotation > 0] for image, annotation in frames])
    present = [i for i in range(1, classes) if (truth == i).any()]
    return float(f1_score(truth, predicted, labels=present, average="macro", zero_division=0))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    ("shape", "reach", "shrink"),
    [((30, 40), (32, 48), 0), ((60, 70), (32, 16), 0), ((17, 23), (16, 16), 0), ((60, 70), (32, 32), 7),
     ((9, 20, 31), (8, 16, 16), 0), ((9, 12, 31), (8, 16, 16), 3)],
)  # fmt: skip
def test_score_is_the_dice_of_all_held_out_pixels(
    shape: tuple[int, ...], reach: tuple[int, ...], shrink: int, classes: int, rng: np.random.Generator
) -> None:
    image, annotation = _random_case(shape, classes, rng)
    box = tuple(side + 2 * shrink for side in reach)
    scorer = Scorer([_frame(image, annotation)], box, reach, classes, CPU)
    assert _score(scorer, _Thresholds(classes, shrink)) == pytest.approx(_reference([(image, annotation)], classes))


def test_several_frames_are_counted_together(rng: np.random.Generator) -> None:
    cases = [_random_case((20 + 9 * n, 40), 3, rng) for n in range(4)]
    cases[2][1][:12] = 0  # with its painted part cut out below
    frames = [_frame(*case) for case in cases[:2]] + [_frame(*cases[2], origin=(12, 0)), _frame(*cases[3])]
    scorer = Scorer(frames, (32, 32), (32, 32), 3, CPU)
    assert _score(scorer, _Thresholds(3)) == pytest.approx(_reference(cases, 3))


def test_a_class_that_is_not_held_out_does_not_count(rng: np.random.Generator) -> None:
    image, annotation = _random_case((30, 30), 3, rng)
    annotation[annotation == 3] = 1
    scorer = Scorer([_frame(image, annotation)], (32, 32), (32, 32), 3, CPU)
    assert _score(scorer, _Thresholds(3)) == pytest.approx(_reference([(image, annotation)], 3))


@pytest.mark.parametrize(("flip", "expected"), [(False, 1.0), (True, 0.0)])
def test_perfect_and_wrong(flip: bool, expected: float) -> None:
    image = np.zeros((30, 30), np.float32)
    image[10:20, 10:20] = 0.5
    annotation = (image > 0).astype(np.uint8) + 1
    if flip:
        image = 0.5 - image
    assert _score(Scorer([_frame(image, annotation)], (32, 32), (32, 32), 2, CPU), _Thresholds(2)) == expected


def test_every_image_has_a_say_however_large_the_first_is(rng: np.random.Generator) -> None:
    """The number of boxes is bounded; one fully annotated image must not take them all."""
    big = np.zeros((600, 600), np.float32)
    big[:, ::2] = 0.5
    right = (big > 0).astype(np.uint8) + 1
    small = big[:40, :40].copy()
    wrong = 3 - right[:40, :40]
    frames = [_frame(big, right), _frame(small, wrong), _frame(small, wrong)]
    scorer = Scorer(frames, (32, 32), (32, 32), 2, CPU)
    assert len(scorer._boxes) == 24
    assert 0 < _score(scorer, _Thresholds(2)) < 0.95


def test_rare_foreground_in_much_background_is_always_scored() -> None:
    image = np.zeros((800, 800), np.float32)
    image[700:703, 700:703] = 0.5
    annotation = (image > 0).astype(np.uint8) + 1
    empty = _frame(np.zeros((800, 800), np.float32), np.ones((800, 800), np.uint8))
    scorer = Scorer([*[empty] * 30, _frame(image, annotation)], (32, 32), (32, 32), 2, CPU)
    score = _score(scorer, _Thresholds(2))
    assert math.isfinite(score)
    assert score == 1


def test_the_same_boxes_every_time_and_frames_left_alone(rng: np.random.Generator) -> None:
    image, annotation = _random_case((100, 100), 2, rng)
    frame = _frame(image, annotation)
    before = frame.weights.tobytes()
    scorer = Scorer([frame], (32, 32), (32, 32), 2, CPU)
    assert _score(scorer, _Thresholds(2)) == _score(scorer, _Thresholds(2))
    assert _score(Scorer([frame], (32, 32), (32, 32), 2, CPU), _Thresholds(2)) == _score(scorer, _Thresholds(2))
    assert frame.weights.tobytes() == before


def test_there_is_a_pause_after_each_box(rng: np.random.Generator) -> None:
    scorer = Scorer([_frame(*_random_case((64, 64), 2, rng))], (16, 16), (16, 16), 2, CPU)
    assert len(list(scorer.run(_Thresholds(2)))) == len(scorer._boxes) + 1
    assert len(scorer._boxes) > 10


@pytest.mark.parametrize("strokes", [1, 3, 4])
def test_where_nearly_all_of_many_strokes_is_right_as_good_is_enough(strokes: int) -> None:
    annotation = np.zeros((40, 40), np.uint8)
    for number in range(strokes):
        annotation[4 * number, 2:20], annotation[4 * number, 22:38] = 1, 2
    scorer = Scorer([_frame(np.zeros((40, 40), np.float32), annotation)], (16, 16), (16, 16), 2, CPU)
    gain = 0.1 / strokes**0.5
    assert scorer.least_gain == pytest.approx(gain)
    assert scorer.bar(0.5) == pytest.approx(0.5 + gain)
    assert scorer.bar(0.92) == pytest.approx(0.95 if strokes == 4 else 0.92 + gain)
    assert scorer.bar(0.97) == pytest.approx(0.97 if strokes == 4 else 0.97 + gain)
    assert scorer.bar(1.0) == pytest.approx(1.0 if strokes == 4 else 1.0 + gain)


def test_in_a_volume_perfect_strokes_say_nothing_of_the_other_slices() -> None:
    annotation = np.zeros((3, 40, 40), np.uint8)
    for number in range(4):
        annotation[1, 4 * number, 2:20], annotation[1, 4 * number, 22:38] = 1, 2
    scorer = Scorer([_frame(np.zeros((3, 40, 40), np.float32), annotation)], (3, 16, 16), (3, 16, 16), 2, CPU)
    assert scorer.least_gain == pytest.approx(0.05)
    assert scorer.bar(1.0) == pytest.approx(1.05)
