"""One frame of a result and of its reference, in one form: what the numbers mean is settled here and nowhere after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.assess.partition_metrics import connected_pieces
from napari_unet.data.axes import ImageLayout
from napari_unet.errors import InputError

__all__ = ["LabelFrame", "read_frame"]

_MOST_CLASSES = 200


@dataclass(frozen=True, eq=False)
class LabelFrame:
    """A frame of a result and of its reference.

    Attributes
    ----------
    predicted, reference : numpy.ndarray
        (\\*space) whole numbers: 0 = background, otherwise ids of objects or numbers of classes.
    valid : numpy.ndarray or None
        (\\*space) bool, which pixels are labelled in both; None: all.
    probabilities : numpy.ndarray or None
        (class, \\*space) real numbers, the first class being background.
    """

    predicted: npt.NDArray[Any]
    reference: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_] | None
    probabilities: npt.NDArray[Any] | None


def read_frame(
    layout: ImageLayout,
    position: tuple[int, ...],
    arrays: tuple[Any, Any, Any],
    config: EvaluationConfig,
    called: tuple[str, str],
) -> LabelFrame:
    """Read a frame.

    Parameters
    ----------
    layout : ImageLayout
        The axes of the labels.
    position : tuple of int
        Position in the stack.
    arrays : tuple of array-like
        The result, the reference, and probabilities (class, \\*shape), (\\*shape) of the foreground, or None.
    config : EvaluationConfig
        What the numbers mean.
    called : tuple of str
        What messages call the result and the reference.

    Raises
    ------
    InputError
        If there are numbers that the config does not allow.
    """
    predicted, reference, chances = arrays
    read = [layout.read_labels(array, position) for array in (predicted, reference)]
    classes = config.task == "classes"
    masks = [config.masks in (what, "both") for what in ("result", "reference")]
    result, first = _decode(read[0], config.predicted_background, mask=masks[0], classes=classes, called=called[0])
    truth, second = _decode(read[1], config.reference_background, mask=masks[1], classes=classes, called=called[1])
    valid = first if second is None else second if first is None else first & second
    return LabelFrame(result, truth, valid, None if chances is None else _read_chances(layout, position, chances))


def _read_chances(layout: ImageLayout, position: tuple[int, ...], chances: Any) -> npt.NDArray[Any]:
    if chances.ndim == len(layout.shape):
        inside = layout.read_labels(chances, position)
        return np.stack([1 - inside, inside])
    return np.stack([layout.read_labels(chances[index], position) for index in range(chances.shape[0])])


def _decode(
    labels: npt.NDArray[Any], background: int, *, mask: bool, classes: bool, called: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Bring labels into the form with 0 as background, and tell which pixels are labelled (None: all)."""
    if labels.dtype.kind not in "bui" or (labels.dtype.kind == "i" and labels.size and labels.min() < 0):
        raise InputError(f"There are no labels in {called}: they must be whole numbers from 0 on.")
    values = labels.astype(np.uint8) if labels.dtype.kind == "b" else labels
    valid: npt.NDArray[np.bool_] | None = None
    if background:
        valid = np.asarray(values >= background)
        values = np.where(values > background, values, 0)
    if mask:
        inside = np.asarray(values != 0)
        return inside.astype(np.uint8) if classes else connected_pieces(inside), valid
    if classes:
        values = np.where(values > 0, values - background, 0)
        highest = int(values.max(initial=0)) + background
        if highest > _MOST_CLASSES:
            raise InputError(
                f"The number {highest} in {called} is no class. If that is a mask with one number for all that is not "
                "background, say so under Masks (--masks); if it holds objects, compare objects."
            )
    return values, valid
