"""The command `predict`, without its options: shows a batch on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from napari_unet.batch.events import BatchFinished, BatchNote, ImageFinished, ImageProgress
from napari_unet.batch.record import BatchRow
from napari_unet.cli.progress import ProgressLine, stop_on_signal
from napari_unet.errors import UNetError
from napari_unet.predict.config import PredictConfig
from napari_unet.words import clock

if TYPE_CHECKING:
    from napari_unet.batch.plan import BatchConfig
    from napari_unet.models.model import Model

__all__ = ["predict_files"]


def predict_files(
    model: Model, images: Sequence[Path], files: BatchConfig, config: PredictConfig | None = None
) -> bool:
    """Segment many images and show how it goes and what became of them.

    Parameters
    ----------
    model : Model
        A trained model.
    images : sequence of Path
        The images.
    files : BatchConfig
        What to write.
    config : PredictConfig or None
        Settings.

    Returns
    -------
    bool
        Whether all images were gone through and none failed.

    Raises
    ------
    UNetError
        If the results can't be written at all.
    """
    from napari_unet.batch.run import run_batch

    rows: list[BatchRow] = []
    complete = False
    try:
        with ProgressLine("Predicting") as line, stop_on_signal() as should_stop:
            for event in run_batch(model, images, files, config, should_stop=should_stop):
                if isinstance(event, ImageProgress):
                    line.title = f"{event.image.name} ({event.done + 1} of {event.total})"
                    left = "" if event.seconds_left is None else f"{clock(event.seconds_left)} left"
                    line.show((event.done + event.fraction) / event.total, left)
                elif isinstance(event, ImageFinished):
                    rows.append(event.row)
                    _tell(line, event.image.name, event.row)
                elif isinstance(event, BatchNote):
                    line.tell(event.message)
                elif isinstance(event, BatchFinished):
                    complete = not event.stopped
    except UNetError:
        if rows:
            _show_rows(rows, files.folder)
        raise
    _show_rows(rows, files.folder)
    if not complete:
        typer.echo("Stopped. The same command with --resume goes on from here.")
    return complete and not any(row.state == "failed" for row in rows)


def _tell(line: ProgressLine, name: str, row: BatchRow) -> None:
    """Say what is worth knowing of an image at once."""
    if row.error:
        line.fail(row.error if name in row.error else f"{name}: {row.error}")
    elif row.note:
        line.tell(f"{name}: {row.note}")


def _show_rows(rows: Sequence[BatchRow], folder: Path) -> None:
    """Print what became of each image: a table on a terminal, tab-separated lines in a pipe."""
    console = Console(highlight=False)
    if console.is_terminal:
        table = Table("Image", "Found", "Time", box=None, header_style="bold")
        colours = {"done": "", "kept": "dim", "failed": "red"}
        for row in rows:
            table.add_row(Path(row.file).name, _result(row), clock(row.seconds), style=colours[row.state])
        console.print(table)
    else:
        for row in rows:
            typer.echo(f"{row.state}\t{Path(row.file).name}\t{_result(row)}\t{row.seconds:.1f} s")
    done = sum(row.state == "done" for row in rows)
    kept = sum(row.state == "kept" for row in rows)
    failed = len(rows) - done - kept
    words = [f"{done} segmented"] + [f"{kept} kept as they were"] * (kept > 0) + [f"{failed} failed"] * (failed > 0)
    typer.echo(f"{', '.join(words)}. Results: {folder}")


def _result(row: BatchRow) -> str:
    if row.error:
        return row.error
    area = "" if row.area is None else f"{row.area:.4g} {row.unit}"
    return ", ".join(part for part in (row.found, area) if part) or Path(row.result).name
