"""Scoring a result against a reference: encodings, stacks, unlabelled pixels, and the table."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest

from napari_unet.assess import metrics
from napari_unet.assess.evaluation import evaluate_labels, score_frames
from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.assess.evaluation_table import EvaluationRow, EvaluationTable, format_value
from napari_unet.assess.object_errors import error_labels
from napari_unet.data.strokes import separate_touching
from napari_unet.errors import InputError


def objects(seed: int = 0, shape: tuple[int, ...] = (40, 36)) -> tuple[np.ndarray, np.ndarray]:
    """Return a result and a reference with some objects, 0 = background."""
    rng = np.random.default_rng(seed)
    reference, predicted = np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    for number in range(1, 7):
        centre = [rng.integers(0, n) for n in shape]
        radius = rng.integers(4, 8)
        for image, shift in ((reference, 0), (predicted, rng.integers(-2, 3))):
            image[sum((g - c - shift) ** 2 for g, c in zip(grid, centre, strict=True)) < radius**2] = number
    return predicted, reference


def test_objects_get_the_values_of_the_single_metrics() -> None:
    predicted, reference = objects()
    table = evaluate_labels(predicted, reference, config=EvaluationConfig(warping=True), name="cells")
    (row,) = table.rows
    assert row.name == "cells"
    cuts = np.round(np.arange(0.5, 0.99, 0.05), 2).tolist()
    parts = metrics.variation_of_information(predicted, reference)
    assert dict(row.values) | {"missed": 0, "false": 0, "split": 0, "merged": 0} == {
        "pixels": 1440,
        "reference objects": len(np.unique(reference)) - 1,
        "predicted objects": len(np.unique(predicted)) - 1,
        "missed": 0,
        "false": 0,
        "split": 0,
        "merged": 0,
        "Dice": metrics.dice(predicted, reference),
        "IoU": metrics.iou(predicted, reference),
        "pixel error": metrics.pixel_error(predicted, reference),
        "pixel accuracy": metrics.pixel_accuracy(predicted > 0, reference > 0),
        "sensitivity": metrics.sensitivity(predicted, reference),
        "specificity": metrics.specificity(predicted, reference),
        "AP 0.5": metrics.average_precision(predicted, reference),
        "AP 0.75": metrics.average_precision(predicted, reference, 0.75),
        "AP 0.5:0.95": pytest.approx(np.mean(metrics.average_precision(predicted, reference, cuts))),
        "SEG": metrics.seg(predicted, reference),
        "Rand error": metrics.rand_error(predicted, reference),
        "VI split": parts.split,
        "VI merge": parts.merge,
        "warping error": metrics.warping_error(separate_touching(predicted), separate_touching(reference)),
    }


def test_result_of_objects_against_painted_objects_counts_painted_pixels_only() -> None:
    predicted, reference = objects()
    painted = np.where(np.random.default_rng(1).random(reference.shape) < 0.5, reference + 1, 0)
    painted = painted.astype(np.uint16)
    config = EvaluationConfig(reference_zero="unlabelled")
    row = evaluate_labels(predicted, painted, config=config).rows[0].values
    known = evaluate_labels(predicted[painted > 0][None], reference[painted > 0][None]).rows[0].values
    for name in ("pixels", "reference objects", "Dice", "AP 0.5", "SEG", "Rand error", "VI split", "specificity"):
        assert row[name] == pytest.approx(known[name]), name
    assert row["pixels"] == (painted > 0).sum()


@pytest.mark.parametrize("predicted_zero", ["usual", "background", "unlabelled"])
@pytest.mark.parametrize("reference_zero", ["background", "unlabelled"])
@pytest.mark.parametrize("task", ["objects", "classes"])
def test_encodings_are_read_as_they_are_said_to_be(task: str, reference_zero: str, predicted_zero: str) -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, (20, 30))
    guess = np.where(rng.random(truth.shape) < 0.8, truth, rng.integers(0, 4, truth.shape))
    plain = {"reference_zero": "background", "predicted_zero": "background"}
    known = evaluate_labels(guess, truth, config=EvaluationConfig(task=task, **plain))  # type: ignore[arg-type]
    config = EvaluationConfig(task=task, reference_zero=reference_zero, predicted_zero=predicted_zero)  # type: ignore[arg-type]
    usual = "unlabelled" if task == "classes" else "background"
    shift = int((usual if predicted_zero == "usual" else predicted_zero) == "unlabelled")
    encoded = (guess + shift).astype(np.uint8), (truth + (reference_zero == "unlabelled")).astype(np.uint8)
    found = evaluate_labels(*encoded, config=config)
    assert found.columns == known.columns
    assert list(found.means.values()) == pytest.approx(list(known.means.values()))


def test_classes_get_the_values_of_the_single_metrics() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, (20, 30))
    guess = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 3, truth.shape))
    chances = rng.random((3, 20, 30)) + 0.5 * np.stack([truth == n for n in range(3)])
    config = EvaluationConfig(task="classes")
    values = evaluate_labels(guess + 1, truth, chances, config, class_names=("rest", "tumour")).rows[0].values
    assert values["pixel accuracy"] == pytest.approx((guess == truth).mean())
    assert values["Dice: tumour"] == metrics.dice(guess == 1, truth == 1)
    assert values["IoU: class 2"] == metrics.iou(guess == 2, truth == 2)
    assert values["AUPRC: class 2"] == metrics.auprc(chances[2], truth == 2)
    assert values["mean Dice"] == pytest.approx((values["Dice: tumour"] + values["Dice: class 2"]) / 2)


def test_masks_fall_into_pieces_only_when_said() -> None:
    predicted, reference = objects()
    mask = np.where(predicted > 0, 255, 0).astype(np.uint8)
    alone = evaluate_labels(mask, reference).means
    assert alone["predicted objects"] == 1
    in_pieces = evaluate_labels(mask, reference, config=EvaluationConfig(masks="result")).means
    assert in_pieces["predicted objects"] > 1
    assert in_pieces["reference objects"] == len(np.unique(reference)) - 1
    classes = EvaluationConfig(task="classes", masks="both")
    assert evaluate_labels(mask, reference * 40, config=classes).means["mean Dice"] == metrics.dice(mask, reference)
    with pytest.raises(InputError, match="number 255 in the result"):
        evaluate_labels(mask, reference, config=EvaluationConfig(task="classes"))


@pytest.mark.parametrize("axes", ["TYX", "YXT"])
def test_stack_is_scored_frame_by_frame(axes: str) -> None:
    frames = [objects(seed) for seed in range(3)]
    stacked = [np.stack(images) for images in zip(*frames, strict=True)]
    chances = np.random.default_rng(0).random(stacked[0].shape).astype(np.float32)
    order = ["TYX".index(letter) for letter in axes]
    arrays = [array.transpose(order) for array in (*stacked, chances)]
    table = evaluate_labels(*arrays, axes=axes, name="movie")
    assert [row.name for row in table.rows] == ["movie t=0", "movie t=1", "movie t=2"]
    for row, (predicted, reference), values in zip(table.rows, frames, chances, strict=True):
        assert row.values == evaluate_labels(predicted, reference, values).rows[0].values
    scores = [row.values["Dice"] for row in table.rows]
    assert table.means["Dice"] == pytest.approx(np.mean(scores))
    assert table.means["pixels"] == 3 * 40 * 36


def test_volume_is_scored_as_one_or_slice_by_slice() -> None:
    predicted, reference = objects(1, (9, 20, 18))
    assert len(evaluate_labels(predicted, reference).rows) == 9
    (row,) = evaluate_labels(predicted, reference, config=EvaluationConfig(ndim=3, warping=True)).rows
    assert row.values["AP 0.5"] == metrics.average_precision(predicted, reference)
    assert row.values["warping error"] >= 0


@pytest.mark.parametrize("axes", ["TYX", "YTX"])
def test_errors_are_drawn_where_the_frames_lie(axes: str) -> None:
    frames = [objects(seed) for seed in range(2)]
    order = ["TYX".index(letter) for letter in axes]
    predicted, reference = (np.stack(images).transpose(order) for images in zip(*frames, strict=True))
    drawn = np.full(predicted.shape, 9, np.uint8)
    for event in score_frames(predicted, reference, axes=axes, with_errors=True):
        assert event.errors is not None
        drawn[event.box] = event.errors
    known = np.stack([error_labels(*frame) for frame in frames]).transpose(order)
    assert np.array_equal(drawn, known)


def test_errors_of_classes_are_those_of_their_pieces() -> None:
    truth = np.array([[1, 1, 1, 1, 1, 0, 2, 2, 0, 1]])
    guess = np.array([[1, 1, 0, 1, 1, 0, 1, 1, 0, 1]])
    config = EvaluationConfig(task="classes", predicted_zero="background")
    (event,) = score_frames(guess, truth, config=config, with_errors=True)
    assert event.errors is not None
    assert event.errors.tolist() == [[3, 3, 1, 3, 3, 0, 2, 2, 0, 0]]  # where the class is another it is false
    (event,) = score_frames(truth, guess, config=config, with_errors=True)
    assert event.errors is not None
    assert event.errors.tolist() == [[4, 4, 2, 4, 4, 0, 2, 2, 0, 0]]


def test_scoring_ends_when_told() -> None:
    stack = np.zeros((5, 8, 8), np.uint8)
    seen: list[int] = []
    for event in score_frames(stack, stack, axes="TYX", should_stop=lambda: len(seen) >= 2):
        seen.append(event.done)
    assert seen == [1, 2]


def test_empty_images_agree_and_what_is_undefined_is_left_out_of_the_means() -> None:
    predicted, reference = objects()
    empty = np.zeros_like(reference)
    table = evaluate_labels(np.stack([predicted, empty]), np.stack([reference, empty]), axes="TYX")
    first, second = (row.values for row in table.rows)
    assert second["Dice"] == second["AP 0.5"] == 1
    assert math.isnan(second["SEG"])
    assert math.isnan(second["sensitivity"])
    assert table.means["SEG"] == first["SEG"]
    assert table.means["Dice"] == pytest.approx((first["Dice"] + 1) / 2)


@pytest.mark.parametrize(
    ("arguments", "config", "words"),
    [
        ((np.zeros((4, 5), int), np.zeros((5, 4), int)), {}, r"\(4, 5\) in the result and \(5, 4\) in the reference"),
        ((np.zeros((4, 5)), np.zeros((4, 5), int)), {}, "no labels in the result"),
        ((np.zeros((4, 5), int), np.full((4, 5), -1)), {}, "no labels in the reference"),
        ((np.zeros((4, 5), int), np.zeros((4, 5), int)), {"ndim": 3}, "axis Z"),
        ((np.zeros((4, 5), int), np.zeros((4, 5), int), np.zeros((2, 5, 4))), {}, "probabilities have the shape"),
        ((np.zeros((4, 5), int), np.full((4, 5), 255)), {"task": "classes"}, "number 255 in the reference"),
    ],
)
def test_what_does_not_fit_is_told(arguments: tuple[np.ndarray, ...], config: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        evaluate_labels(*arguments, config=EvaluationConfig(**config))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="channels"):
        evaluate_labels(np.zeros((3, 4, 5), int), np.zeros((3, 4, 5), int), axes="CYX")


def test_table_as_csv_and_json_holds_the_same_numbers() -> None:
    rows = (EvaluationRow("a, b", {"pixels": 12.0, "Dice": 0.25, "SEG": math.nan}), EvaluationRow("c", {"Dice": 1.0}))
    table = EvaluationTable.join([EvaluationTable(rows[:1]), EvaluationTable(rows[1:])])
    lines = list(csv.reader(io.StringIO(table.to_csv())))
    assert lines == [
        ["name", "pixels", "Dice", "SEG"],
        ["a, b", "12", "0.25", ""],
        ["c", "", "1.0", ""],
        ["mean (sum of counts)", "12", "0.625", ""],
    ]
    known = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert known["rows"][0] == {"name": "a, b", "values": {"pixels": 12, "Dice": 0.25, "SEG": None}}
    assert known["means"] == {"pixels": 12, "Dice": 0.625, "SEG": None}
    assert format_value("SEG", math.nan) == "-"
    with pytest.raises(TypeError):
        rows[0].values["Dice"] = 2.0  # type: ignore[index]
