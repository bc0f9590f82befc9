"""The command `demo`: the demo told on the terminal, or opened in napari."""

from __future__ import annotations

from pathlib import Path

import typer

from napari_unet.cli.progress import ProgressLine, TrainingReport, stop_on_signal
from napari_unet.data.storage import check_writable
from napari_unet.errors import InputError

__all__ = ["open_demo_window", "run_demo"]


def run_demo(folder: Path, seconds: float) -> None:
    """Run the demo with a progress bar, and say what came out and where it is.

    Raises
    ------
    napari_unet.errors.UNetError
        If a file can't be written.
    """
    from napari_unet.demo import REFERENCE, demo

    check_writable(folder / "labels.tif")
    typer.echo("A real image: tissue with a brown stain (immunohistochemistry, from scikit-image), 512 x 512 pixels.")
    typer.echo("A person's part: five strokes on unstained and four on stained tissue.")
    with stop_on_signal() as should_stop, ProgressLine("Training") as line:
        result = demo(folder, TrainingReport(line).show, seconds=seconds, should_stop=should_stop)
    typer.echo(f"Trained {result.steps} steps; everything took {result.seconds:.0f} s.")
    typer.echo(f"Dice of the stained tissue: {result.dice:.3f}")
    typer.echo(f"  against a reference by colour alone: {REFERENCE}")
    for what, path in (
        ("Picture of the result", result.overlay), ("Label image", result.labels),
        ("Strokes", result.annotation), ("Model", result.model),
    ):  # fmt: skip
        typer.echo(f"{what + ':':<23}{path}")
    typer.echo("The same in napari: napari-unet demo --gui")


def open_demo_window() -> None:
    """Open the image and its strokes in napari, with the dock beside them.

    Raises
    ------
    InputError
        If napari is not installed.
    """
    from napari_unet.demo import CLASS_NAMES, demo_image, demo_strokes

    try:
        from napari_unet.widgets.launch import open_demo
    except ModuleNotFoundError as error:
        raise InputError(
            f"The window needs napari, but {error.name} is not installed: pip install 'napari-unet[all]'"
        ) from error
    open_demo(demo_image(), demo_strokes(), CLASS_NAMES)
