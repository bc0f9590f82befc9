"""The command `evaluate`, without its options: many results against their references; one bad file stops no other."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from napari_unet.assess.evaluation import score_frames
from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.assess.evaluation_table import EvaluationRow, EvaluationTable, format_value
from napari_unet.cli.progress import ProgressLine
from napari_unet.data.files import find_images, read_annotation, read_image
from napari_unet.data.pairs import pair_files
from napari_unet.data.storage import atomic_path, check_writable
from napari_unet.errors import InputError, UNetError

__all__ = ["EvaluationFiles", "Scores", "evaluate_files", "show_scores", "write_scores"]

_HEADLINES = {
    "objects": ("Dice", "AP 0.5", "SEG", "missed", "false", "split", "merged"),
    "classes": ("pixel accuracy", "mean Dice", "mean IoU"),
}
_MOST_COLUMNS = 4  # more rows than this don't fit beside each other


@dataclass(frozen=True)
class EvaluationFiles:
    """What `evaluate` reads and writes.

    Attributes
    ----------
    results, references, probabilities : tuple of Path
        Files, folders and patterns.
    axes : str or None
        Axes of the labels where they are not as the files say.
    csv, json : Path or None
        Where the table goes.
    """

    results: tuple[Path, ...]
    references: tuple[Path, ...]
    probabilities: tuple[Path, ...] = ()
    axes: str | None = None
    csv: Path | None = None
    json: Path | None = None


@dataclass(frozen=True)
class Scores:
    """What came of an evaluation.

    Attributes
    ----------
    table : EvaluationTable
        The rows of all files that could be scored.
    pairs : tuple of (str, str)
        The result and the reference of each of these files.
    failed : tuple of str
        Why the others could not be scored.
    """

    table: EvaluationTable
    pairs: tuple[tuple[str, str], ...]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    result: Path
    reference: Path
    probabilities: Path | None


def evaluate_files(files: EvaluationFiles, config: EvaluationConfig, *, class_names: Sequence[str] = ()) -> Scores:
    """Score results against their references.

    Parameters
    ----------
    files : EvaluationFiles
        What to read; and what will be written, to find out early whether it can be.
    config : EvaluationConfig
        What is compared.
    class_names : sequence of str
        Names of the classes, background first.

    Raises
    ------
    UNetError
        If no file can be found, the files do not pair up, or a table can't be written where it is wanted.
    """
    for path, kind in ((files.csv, ".csv"), (files.json, ".json")):
        if path is not None:
            if path.suffix.lower() != kind:
                raise InputError(f"Give the table a name that ends in {kind}, not {path.name}.")
            check_writable(path)
    rows: list[EvaluationRow] = []
    pairs: list[tuple[str, str]] = []
    failed: list[str] = []
    with ProgressLine("Scoring") as line:
        tasks, left_over = _pair(files)
        for message in left_over:
            line.fail(message)
            failed.append(message)
        for number, task in enumerate(tasks, start=1):
            line.title = f"{task.result.name} ({number} of {len(tasks)})"
            try:
                rows += list(_score(line, task, files.axes, config, class_names))
            except (UNetError, MemoryError) as error:
                words = str(error) if isinstance(error, UNetError) else "it does not fit into memory."
            except Exception as error:  # a defect that one file brings out must not cost the others their scores
                logging.getLogger(__name__).debug("Unexpected error", exc_info=True)
                words = f"unexpected {type(error).__name__}: {error}. Please report it to the authors of napari-unet."
            else:
                pairs.append((str(task.result), str(task.reference)))
                continue
            named = task.result.name in words or task.reference.name in words
            failed.append(words if named else f"{task.result.name}: {words}")
            line.fail(failed[-1])
    return Scores(EvaluationTable(tuple(rows)), tuple(pairs), tuple(failed))


def _pair(files: EvaluationFiles) -> tuple[list[_Task], list[str]]:
    """Find the reference and the probabilities of each result; also say what results have no reference."""
    results, references = find_images(files.results), find_images(files.references)
    chances: dict[Path, Path] = {}
    if files.probabilities:
        names = find_images(files.probabilities)
        results = [path for path in results if path not in names]
        found = pair_files(results, names, every=False, called=("result", "probability image"))
        chances = dict(found.pairs)
    pairing = pair_files(results, references, every=False, called=("result", "reference"))
    tasks = [_Task(result, reference, chances.get(result)) for result, reference in pairing.pairs]
    left_over = [f"There is no reference for {path.name}: give both the same name." for path in pairing.alone]
    if not pairing.by_name:
        names_of = ", ".join(f"{task.result.name} with {task.reference.name}" for task in tasks[:3])
        typer.echo(f"The names differ, so the order pairs the files: {names_of}" + ", ..." * (len(tasks) > 3), err=True)
    return tasks, left_over


def _score(
    line: ProgressLine, task: _Task, axes: str | None, config: EvaluationConfig, class_names: Sequence[str]
) -> Iterator[EvaluationRow]:
    result, reference = read_annotation(task.result), read_annotation(task.reference)
    chances: Any = None
    if task.probabilities is not None:
        file = read_image(task.probabilities)
        place = file.axes.find("C")
        chances = np.asarray(file.array) if place < 0 else np.moveaxis(np.asarray(file.array), place, 0)
    letters = (axes or result.axes).upper()
    events = score_frames(
        result.array, reference.array, chances, config, axes=letters, name=result.name, class_names=class_names,
        called=(result.name, reference.name),
    )  # fmt: skip
    for event in events:
        line.show(event.done / event.total, f"frame {event.done} of {event.total}" if event.total > 1 else "")
        yield event.row


def write_scores(scores: Scores, files: EvaluationFiles, config: EvaluationConfig) -> None:
    """Write the table as CSV and JSON where that is wanted, each in one step.

    Raises
    ------
    StorageError
        If a file can't be written.
    """
    if not scores.table.rows:
        return
    if files.csv is not None:
        _write(files.csv, scores.table.to_csv())
    if files.json is not None:
        content = {
            "settings": asdict(config),
            "files": [{"result": result, "reference": reference} for result, reference in scores.pairs],
            "failed": list(scores.failed),
            **scores.table.to_json(),
        }
        _write(files.json, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    typer.echo(f"Table: {path}")


def show_scores(scores: Scores) -> None:
    """Print the table: on a terminal for a person to read, in a pipe all of it with tabs between the columns."""
    table = scores.table
    if not table.rows:
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        typer.echo(table.to_csv(separator="\t"), nl=False)
    elif len(table.rows) <= _MOST_COLUMNS:
        console.print(_upright(table))
    else:
        console.print(_across(table))
        typer.echo(f"{len(table.columns)} metrics in all: write them with --csv or --json.")


def _upright(table: EvaluationTable) -> Table:
    """Put the metrics under each other, and the few rows side by side."""
    several = len(table.rows) > 1
    drawn = Table("Metric", box=None, header_style="bold")
    for name in [row.name for row in table.rows] + ["mean"] * several:
        drawn.add_column(name, justify="right", overflow="fold")
    for column in table.columns:
        values = [row.values.get(column, float("nan")) for row in table.rows] + [table.means[column]] * several
        drawn.add_row(column, *(format_value(column, value) for value in values))
    return drawn


def _across(table: EvaluationTable) -> Table:
    """Put the rows under each other, with the metrics that say most."""
    drawn = Table(box=None, header_style="bold")
    drawn.add_column("Result", no_wrap=True)
    columns = _HEADLINES["classes" if "mean Dice" in table.columns else "objects"]
    for column in columns:
        drawn.add_column(column, justify="right")
    lines = [*((row.name, row.values) for row in table.rows), ("mean / sum", table.means)]
    for number, (name, values) in enumerate(lines):
        cells = [format_value(column, values.get(column, float("nan"))) for column in columns]
        drawn.add_row(name, *cells, style="bold" if number == len(table.rows) else "")
    return drawn
