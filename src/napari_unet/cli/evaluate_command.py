"""The command `evaluate` and its options; what it does stands in `evaluation`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.cli.options import reports_errors, with_settings

__all__ = ["EVALUATE_HELP", "evaluate"]

EVALUATE_HELP = """Score results against references: Dice, IoU, average precision, SEG, Rand error and more.

A result and a reference belong together when their names do: cells7_labels.tif and cells7.png, or the same name in two
folders. Nothing is guessed from the numbers in the files: say with --reference-zero and --masks what they mean. Of a
stack each frame gets a row. A file that can't be scored does not stop the others; the exit code is then 1.

\b
Examples:
  napari-unet evaluate segmented/ --reference truth/
  napari-unet evaluate segmented/ --reference "masks/*.png" --masks reference --csv scores.csv
  napari-unet evaluate areas.tif --reference strokes.tif --task classes --reference-zero unlabelled
  napari-unet evaluate volume_labels.tif --reference volume.tif --ndim 3 --json scores.json
"""
_FILES = "Files, folders or patterns of label images: TIFF, PNG, NPY, NPZ (also file.npz:name), zarr, NIfTI."


@with_settings(EvaluationConfig)
@reports_errors
def evaluate(
    results: Annotated[list[Path], typer.Argument(metavar="PREDICTED...", help=_FILES)],
    reference: Annotated[
        list[Path], typer.Option("--reference", "-r", help="The references; may be given several times. " + _FILES)
    ],
    probabilities: Annotated[
        list[Path] | None,
        typer.Option("--probabilities", help="What `predict --probabilities` wrote, for the precision-recall curve."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names of the classes, background first, with commas between them.")
    ] = None,
    axes: Annotated[
        str | None, typer.Option("--axes", help="Axes of the labels, one letter of TZYX each, if not as the file says.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table to this file, NAME.csv.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the table to this file, NAME.json.")] = None,
    *,
    chosen: dict[type[Any], dict[str, Any]],
) -> None:
    """Score results."""
    from napari_unet.cli.evaluation import EvaluationFiles, evaluate_files, show_scores, write_scores

    config = EvaluationConfig(**chosen[EvaluationConfig])
    names = () if classes is None else tuple(name.strip() for name in classes.split(","))
    files = EvaluationFiles(tuple(results), tuple(reference), tuple(probabilities or ()), axes, csv, json)
    scores = evaluate_files(files, config, class_names=names)
    show_scores(scores)
    write_scores(scores, files, config)
    if scores.failed:
        raise typer.Exit(1)
