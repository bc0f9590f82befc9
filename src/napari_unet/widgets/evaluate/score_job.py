"""Scoring a labels layer against another one: what is asked for, whether it can be done, and the work itself.

Nothing here knows the window, but for the two layers that are read.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels, Layer

from napari_unet.assess.evaluation import score_frames
from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.assess.evaluation_table import EvaluationRow, EvaluationTable
from napari_unet.data.storage import atomic_path
from napari_unet.errors import InputError, MemoryLimitError
from napari_unet.widgets.annotate.label_storage import new_label_array
from napari_unet.widgets.parts.worker import StopCheck

__all__ = ["ScoreProgress", "ScoreRequest", "Scored", "make_request", "save_table", "score"]

NO_LABELS = "There is no labels layer to score: segment an image first, or open a result and its reference."


@dataclass(frozen=True, eq=False)
class ScoreRequest:
    """What is scored against what.

    Attributes
    ----------
    predicted, reference : array-like
        Two label arrays of one shape.
    layers : tuple of napari.layers.Labels
        The layers that they are of.
    axes : str
        One letter of TZYX for each axis.
    config : EvaluationConfig
        What is compared.
    with_errors : bool
        Whether the errors are drawn.
    """

    predicted: Any
    reference: Any
    layers: tuple[Labels, Labels]
    axes: str
    config: EvaluationConfig
    with_errors: bool


@dataclass(frozen=True)
class ScoreProgress:
    """So many frames are done."""

    done: int
    total: int


@dataclass(frozen=True, eq=False)
class Scored:
    """The end of a scoring.

    Attributes
    ----------
    table : EvaluationTable
        One row for each frame that was scored.
    errors : array-like or None
        uint8, of the shape of the labels: see `napari_unet.assess.object_errors.error_labels`.
    complete : bool
        Whether all frames were scored, and not stopped.
    """

    table: EvaluationTable
    errors: Any
    complete: bool


def make_request(
    predicted: Layer | None, reference: Layer | None, config: EvaluationConfig, *, with_errors: bool
) -> ScoreRequest:
    """Take from two layers what a scoring needs.

    Raises
    ------
    InputError
        If they can't be compared; the message names the layers and what to do.
    """
    if not isinstance(predicted, Labels) or not isinstance(reference, Labels):
        raise InputError(NO_LABELS)
    if predicted is reference:
        raise InputError(
            f"'{predicted.name}' is chosen as the result and as the reference: choose another layer for one of them."
        )
    first, second = (layer.data[0] if layer.multiscale else layer.data for layer in (predicted, reference))
    shapes = [tuple(int(n) for n in array.shape) for array in (first, second)]
    if shapes[0] != shapes[1]:
        sizes = [" × ".join(map(str, shape)) for shape in shapes]
        raise InputError(
            f"'{predicted.name}' has {sizes[0]} pixels, but '{reference.name}' {sizes[1]}: choose two layers of one "
            "image."
        )
    return ScoreRequest(first, second, (predicted, reference), _axes_of(predicted, config.ndim), config, with_errors)


def _axes_of(layer: Labels, ndim: int) -> str:
    """Say what the axes of a labels layer are; names that were given to them are believed."""
    named = "".join(str(label)[:1].upper() for label in layer.axis_labels)
    if len(set(named)) == layer.ndim and set(named) <= set("TZYX") and {"Y", "X"} <= set(named):
        axes = named
    elif 2 <= layer.ndim <= 4:
        axes = "TZYX"[-layer.ndim :]
    else:
        raise InputError(f"'{layer.name}' has {layer.ndim} axes; labels with 2 to 4 can be scored.")
    if ndim == 3 and "Z" not in axes:
        raise InputError(f"'{layer.name}' is no volume: choose 2 under Dimensions.")
    return axes


def score(request: ScoreRequest, should_stop: StopCheck) -> Generator[ScoreProgress | Scored | str, None, None]:
    """Score what was asked for; for a worker.

    Yields
    ------
    ScoreProgress
        After each frame.
    str
        A note, where the reference is hardly meant as it is read.
    Scored
        At the end.

    Raises
    ------
    UNetError
        If the layers hold numbers that can't be, or the memory is not enough.
    """
    rows: list[EvaluationRow] = []
    total, has_background = 1, request.config.reference_background == 1
    names = [str(layer.name) for layer in request.layers]
    try:
        shape = tuple(int(n) for n in request.predicted.shape)
        errors = new_label_array(shape, "uint8") if request.with_errors else None
        events = score_frames(
            request.predicted, request.reference, None, request.config, axes=request.axes,
            with_errors=request.with_errors, called=(f"'{names[0]}'", f"'{names[1]}'"),
            should_stop=should_stop,
        )  # fmt: skip
        for event in events:
            rows.append(EvaluationRow(event.row.name or names[0], event.row.values))
            total = event.total
            has_background = has_background or bool((np.asarray(request.reference[event.box]) == 0).any())
            if errors is not None:
                errors[event.box] = event.errors
            yield ScoreProgress(event.done, event.total)
    except MemoryError as error:
        words = f"The memory is not enough to score '{names[0]}': close other programs, or score a part of it."
        raise MemoryLimitError(words) from error
    table = EvaluationTable(tuple(rows))
    _ = table.means  # computed here, not when the window draws them
    if rows and not has_background:
        yield (
            f"'{names[1]}' holds no 0, so that nothing of it counts as background: if its 1 is the background, choose "
            "'unlabelled' beside '0 in the reference is', and score again."
        )
    yield Scored(table, errors, complete=len(rows) == total)


def save_table(table: EvaluationTable, path: Path) -> None:
    """Write a table as CSV in one step.

    Raises
    ------
    StorageError
        If it can't be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(table.to_csv(), encoding="utf-8", newline="\n")
