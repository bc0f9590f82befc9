"""Scores a result against a reference: one row of metrics for each frame, and a table of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.assess.evaluation_table import EvaluationRow, EvaluationTable
from napari_unet.assess.inputs import Overlaps, overlaps
from napari_unet.assess.label_frames import LabelFrame, read_frame
from napari_unet.assess.object_errors import ERROR_KINDS, error_labels, find_object_errors
from napari_unet.assess.object_metrics import precision_at, seg_of
from napari_unet.assess.partition_metrics import connected_pieces, information_of, rand_error
from napari_unet.assess.pixel_metrics import (
    auprc,
    dice,
    iou,
    pixel_accuracy,
    pixel_error,
    sensitivity,
    specificity,
)
from napari_unet.assess.warping import warping_error
from napari_unet.data.axes import ImageLayout, guess_axes
from napari_unet.data.strokes import separate_touching
from napari_unet.errors import InputError

__all__ = ["FrameScored", "evaluate_labels", "score_frames"]

_PRECISION_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


@dataclass(frozen=True, eq=False)
class FrameScored:
    """A frame of a stack was scored.

    Attributes
    ----------
    done, total : int
        Frames that were scored, and that there are.
    row : EvaluationRow
        Its metrics.
    errors : numpy.ndarray or None
        (\\*space in the order of the labels' axes) the errors, see `error_labels`; None if they were not asked for.
    box : tuple
        Where `errors` lies in the labels.
    """

    done: int
    total: int
    row: EvaluationRow
    errors: npt.NDArray[np.uint8] | None = None
    box: tuple[Any, ...] = ()


def evaluate_labels(
    predicted: Any,
    reference: Any,
    probabilities: Any = None,
    config: EvaluationConfig | None = None,
    *,
    axes: str | None = None,
    name: str = "",
    class_names: Sequence[str] = (),
) -> EvaluationTable:
    """Score a result against a reference.

    Parameters
    ----------
    predicted, reference : array-like of int
        Label images of one shape. What their numbers mean is said by `config`. Pixels that are not labelled in one of
        them are left out.
    probabilities : array-like, optional
        (class, \\*shape) as `napari_unet.predict` returns them, or (\\*shape) of the foreground; for the area under the
        precision-recall curve.
    config : EvaluationConfig, optional
        What is compared.
    axes : str, optional
        One letter of TZYX for each axis of the label images; a guess from the number of axes where not given.
    name : str
        What the rows are called; frames of a stack get their position behind it.
    class_names : sequence of str
        Names of the classes, background first, for ``task="classes"``.

    Returns
    -------
    EvaluationTable
        One row for each frame.

    Raises
    ------
    InputError
        If the arrays do not fit together, or hold numbers that the config does not allow.

    Examples
    --------
    >>> table = evaluate_labels([[1, 1, 0, 2]], [[5, 5, 0, 0]])
    >>> table.means["Dice"], table.means["AP 0.5"]
    (0.8, 0.5)
    """
    rows = [
        event.row
        for event in score_frames(
            predicted, reference, probabilities, config, axes=axes, name=name, class_names=class_names
        )
    ]
    return EvaluationTable(tuple(rows))


def score_frames(
    predicted: Any,
    reference: Any,
    probabilities: Any = None,
    config: EvaluationConfig | None = None,
    *,
    axes: str | None = None,
    name: str = "",
    class_names: Sequence[str] = (),
    with_errors: bool = False,
    called: tuple[str, str] = ("the result", "the reference"),
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[FrameScored]:
    """Score a result against a reference frame by frame; the streaming form of `evaluate_labels`.

    Parameters
    ----------
    predicted, reference, probabilities, config, axes, name, class_names
        See `evaluate_labels`; numpy, dask, zarr or the like, read frame by frame.
    with_errors : bool
        Whether the errors are drawn, too.
    called : tuple of str
        What messages call the result and the reference.
    should_stop : callable, optional
        Asked before each frame.

    Yields
    ------
    FrameScored
        One for each frame.
    """
    config = EvaluationConfig() if config is None else config
    result, truth, chances = (_as_array(array) for array in (predicted, reference, probabilities))
    layout = _make_layout(result, truth, axes, config.ndim, called)
    if chances is not None and tuple(chances.shape[-len(layout.shape) :]) != layout.shape:
        raise InputError(f"The probabilities have the shape {chances.shape}, but the labels {layout.shape}.")
    positions = list(layout.frames())
    for number, position in enumerate(positions, start=1):
        if should_stop is not None and should_stop():
            return
        frame = read_frame(layout, position, (result, truth, chances), config, called)
        words = [f"{letter.lower()}={place}" for letter, place in zip(layout.stack_letters, position, strict=True)]
        scores = _score_objects(frame, config) if config.task == "objects" else _score_classes(frame, class_names)
        row = EvaluationRow(" ".join([*([name] if name else []), *words]), scores)
        errors = None
        if with_errors:
            drawn = _draw_errors(frame, config.task)
            errors = layout.to_label_order(drawn[np.newaxis])[0]
        box = layout.label_box(position, tuple(slice(0, n) for n in layout.frame_shape))
        yield FrameScored(number, len(positions), row, errors, box)


def _as_array(array: Any) -> Any:
    return array if array is None or hasattr(array, "shape") else np.asarray(array)


def _make_layout(predicted: Any, reference: Any, axes: str | None, ndim: int, called: tuple[str, str]) -> ImageLayout:
    shapes = [tuple(int(n) for n in array.shape) for array in (predicted, reference)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"The shapes differ, {shapes[0]} in {called[0]} and {shapes[1]} in {called[1]}: choose two that belong "
            "together."
        )
    letters = guess_axes(shapes[0], rgb=False).replace("C", "T") if axes is None else axes.upper()
    if set(letters) - set("TZYX"):
        raise InputError(f"Labels have the axes TZYX, no channels, but got {letters!r}.")
    if ndim == 3 and "Z" not in letters:
        raise InputError(f"Volumes need an axis Z, but the labels have {letters!r}; compare them slice by slice.")
    return ImageLayout(letters, shapes[0], ndim)


def _score_objects(frame: LabelFrame, config: EvaluationConfig) -> dict[str, float]:
    predicted, reference, valid = frame.predicted, frame.reference, frame.valid
    met = overlaps(*_counted(predicted, reference, valid))
    scores = {
        "pixels": float(met.counts.sum()),
        "reference objects": float(met.reference_objects),
        "predicted objects": float(met.predicted_objects),
    }
    scores |= _count_errors(met)
    scores |= {
        "Dice": dice(predicted, reference, valid=valid),
        "IoU": iou(predicted, reference, valid=valid),
        "pixel error": pixel_error(predicted, reference, valid=valid),
        "pixel accuracy": 1 - pixel_error(predicted, reference, valid=valid),
        "sensitivity": sensitivity(predicted, reference, valid=valid),
        "specificity": specificity(predicted, reference, valid=valid),
    }
    precisions = [precision_at(met, cut) for cut in _PRECISION_THRESHOLDS]
    information = information_of(met)
    scores |= {
        "AP 0.5": precisions[0],
        "AP 0.75": precisions[5],
        "AP 0.5:0.95": float(np.mean(precisions)),
        "SEG": seg_of(met),
        "Rand error": rand_error(predicted, reference, valid=valid),
        "VI split": information.split,
        "VI merge": information.merge,
    }
    if frame.probabilities is not None:
        scores["AUPRC"] = auprc(1 - frame.probabilities[0], reference, valid=valid)
    if config.warping:
        scores["warping error"] = warping_error(separate_touching(predicted), separate_touching(reference), valid=valid)
    return scores


def _counted(
    predicted: npt.NDArray[Any], reference: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    return (predicted.ravel(), reference.ravel()) if valid is None else (predicted[valid], reference[valid])


def _count_errors(met: Overlaps) -> dict[str, float]:
    wrong = find_object_errors(met)
    return {
        "missed": float(wrong.missed.size),
        "false": float(wrong.false.size),
        "split": float(wrong.split.size),
        "merged": float(wrong.merged.size),
    }


def _score_classes(frame: LabelFrame, names: Sequence[str]) -> dict[str, float]:
    predicted, reference, valid = frame.predicted, frame.reference, frame.valid
    first, second = _counted(predicted, reference, valid)
    present = [int(n) for n in np.union1d(np.unique(first), np.unique(second)) if n]
    each: dict[str, float] = {}
    for index in present:
        name = names[index] if index < len(names) else f"class {index}"
        a, b = first == index, second == index
        each |= {
            f"Dice: {name}": dice(a, b),
            f"IoU: {name}": iou(a, b),
            f"sensitivity: {name}": sensitivity(a, b),
            f"specificity: {name}": specificity(a, b),
        }
        if frame.probabilities is not None and index < len(frame.probabilities):
            each[f"AUPRC: {name}"] = auprc(frame.probabilities[index], reference == index, valid=valid)
    return {
        "pixels": float(first.size),
        "pixel accuracy": pixel_accuracy(first, second),
        "pixel error": 1 - pixel_accuracy(first, second),
        "mean Dice": _mean(value for key, value in each.items() if key.startswith("Dice: ")),
        "mean IoU": _mean(value for key, value in each.items() if key.startswith("IoU: ")),
    } | each


def _mean(values: Iterator[float]) -> float:
    """Return the mean of what is defined; of nothing it is not defined."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _draw_errors(frame: LabelFrame, task: str) -> npt.NDArray[np.uint8]:
    """Draw the errors of a frame; for classes those of the connected pieces of each class."""
    predicted, reference, valid = frame.predicted, frame.reference, frame.valid
    if task == "objects":
        return error_labels(predicted, reference, valid=valid)
    drawn = np.zeros(reference.shape, np.uint8)
    for index in np.union1d(np.unique(predicted), np.unique(reference)):
        if index:
            wrong = error_labels(
                connected_pieces(predicted == index), connected_pieces(reference == index), valid=valid
            )
            drawn[wrong > 0] = wrong[wrong > 0]
    other_class = (predicted != reference) & (predicted > 0) & (reference > 0)
    drawn[other_class if valid is None else other_class & valid] = ERROR_KINDS.index("false") + 1
    return drawn
