"""The command `predict`, without its options: many images through one model; one that fails does not stop the rest."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from napari_unet.cli.progress import ProgressLine, clock, report_prediction
from napari_unet.data.files import ImageFile, read_image, write_image, write_labels
from napari_unet.data.storage import scratch_array
from napari_unet.errors import InputError, UNetError
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictStarted, TilePredicted

if TYPE_CHECKING:
    from napari_unet.models.model import Model

__all__ = ["Outcome", "PredictionFiles", "predict_files", "show_outcomes"]

_PROBABILITIES = "_probabilities"
_ON_DISK_FROM_BYTES = 2_000_000_000


@dataclass(frozen=True)
class PredictionFiles:
    """What `predict` writes, and how.

    Attributes
    ----------
    folder : Path
        Where the results go.
    suffix : str
        What is put behind the name of the image.
    kind : str
        Ending of the label images: ``".tif"``, ``".png"``, ``".npy"`` or ``".zarr"``.
    probabilities : bool
        Whether the probabilities are written, too.
    overwrite : bool
        Whether results that are there already are made again.
    """

    folder: Path
    suffix: str = "_labels"
    kind: str = ".tif"
    probabilities: bool = False
    overwrite: bool = False

    def label_path(self, image: Path) -> Path:
        """Say where the labels of an image go."""
        return self.folder / f"{_stem(image)}{self.suffix}{self.kind}"

    def probability_path(self, image: Path) -> Path:
        """Say where the probabilities of an image go."""
        kind = ".tif" if self.kind == ".png" else self.kind
        return self.folder / f"{_stem(image)}{_PROBABILITIES}{kind}"


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes
    ----------
    image : Path
        The image.
    found : str
        What was found, in words; or why nothing was.
    seconds : float
        How long it took.
    state : {"done", "kept", "failed"}
        ``"kept"``: the result was there already.
    """

    image: Path
    found: str
    seconds: float = 0.0
    state: str = "done"


def _stem(image: Path) -> str:
    name = image.name.replace("::", ":")
    stem, _, key = name.partition(".npz:")
    if key:
        return f"{stem}_{key}"
    return image.stem.removesuffix(".ome")


def predict_files(
    model: Model,
    images: Sequence[Path],
    files: PredictionFiles,
    *,
    task: str | None = None,
    axes: str | None = None,
    config: PredictConfig | None = None,
) -> list[Outcome]:
    """Segment many images.

    Parameters
    ----------
    model : Model
        A trained model.
    images : sequence of Path
        The images.
    files : PredictionFiles
        What to write.
    task : {"objects", "classes"} or None
        What to find; None: what the model was trained for.
    axes : str or None
        Axes of the images where they are not as the files say.
    config : PredictConfig or None
        Settings.

    Returns
    -------
    list of Outcome
        One for each image, in order.

    Raises
    ------
    InputError
        If two images would get one name, or an image would be overwritten.
    """
    _check_names(images, files)
    outcomes = []
    with ProgressLine("Predicting") as line:
        for number, image in enumerate(images, start=1):
            line.title = f"{image.name} ({number} of {len(images)})"
            began = time.monotonic()
            try:
                outcome = _predict_file(line, model, image, files, task or model.task, axes, config)
            except (UNetError, MemoryError) as error:
                words = str(error) if isinstance(error, UNetError) else "it does not fit into memory."
                line.fail(words if image.name in words else f"{image.name}: {words}")
                outcome = Outcome(image, " ".join(words.split()), time.monotonic() - began, "failed")
            except Exception as error:  # a defect that one image brings out must not cost the night's other images
                logging.getLogger(__name__).debug("Unexpected error", exc_info=True)
                words = f"unexpected {type(error).__name__}: {error}"
                line.fail(f"{image.name}: {words}. Please report it to the authors of napari-unet.")
                outcome = Outcome(image, " ".join(words.split()), time.monotonic() - began, "failed")
            outcomes.append(outcome)
    return outcomes


def _check_names(images: Sequence[Path], files: PredictionFiles) -> None:
    owners: dict[Path, Path] = {}
    sources = {image.absolute() for image in images}
    for image in images:
        targets = [files.label_path(image)] + ([files.probability_path(image)] if files.probabilities else [])
        for target in targets:
            if target.absolute() in sources:
                raise InputError(
                    f"The result of {image.name} would overwrite the image {target}; choose another folder."
                )
            other = owners.setdefault(target.absolute(), image)
            if other is not image:
                raise InputError(
                    f"{other} and {image} would both be written to {target}; predict them into different folders."
                )


def _predict_file(
    line: ProgressLine,
    model: Model,
    path: Path,
    files: PredictionFiles,
    task: str,
    axes: str | None,
    config: PredictConfig | None,
) -> Outcome:
    from napari_unet.predict.segment import labels_from_probabilities
    from napari_unet.predict.tiled import image_layout

    began = time.monotonic()
    target, extra = files.label_path(path), files.probability_path(path)
    if not files.overwrite and target.exists() and (extra.exists() or not files.probabilities):
        return Outcome(path, f"{target.name} is there already; --overwrite makes it again", state="kept")
    image = read_image(path)
    layout = image_layout(model, image.array, axes or image.axes)
    probabilities = _probabilities(line, model, image, layout.axes, config, files.folder)
    spacing = image.spacing if _fits(image, layout.label_axes) else None
    labels = labels_from_probabilities(probabilities, task, layout, spacing=spacing or model.spacing)
    if files.probabilities:
        write_image(extra, probabilities, "C" + layout.label_axes, spacing)
    write_labels(target, labels, layout.label_axes, spacing)
    return Outcome(path, _describe(labels, task, model.config.classes), time.monotonic() - began)


def _fits(image: ImageFile, label_axes: str) -> bool:
    """Whether the pixel size of a file still stands when its axes are named otherwise."""
    return image.spacing is not None and len(image.spacing) == sum(letter in "ZYX" for letter in label_axes)


def _probabilities(
    line: ProgressLine, model: Model, image: ImageFile, axes: str, config: PredictConfig | None, folder: Path
) -> npt.NDArray[np.float32]:
    from napari_unet.predict.tiled import predict_tiles

    result: npt.NDArray[np.float32] = np.empty(0, np.float32)
    for event in predict_tiles(model, image.array, axes, config):
        if isinstance(event, PredictStarted):
            large = math.prod(event.shape) * 4 > _ON_DISK_FROM_BYTES
            result = scratch_array(folder, event.shape) if large else np.empty(event.shape, np.float32)
        elif isinstance(event, TilePredicted):
            result[(slice(None), *event.box)] = event.probabilities
        report_prediction(line, event)
    return result


def _describe(labels: npt.NDArray[Any], task: str, names: Sequence[str]) -> str:
    if task == "objects":
        count = np.unique(labels[labels > 0]).size
        return f"{count} object{'s' * (count != 1)}"
    shares = np.bincount(labels.ravel(), minlength=len(names) + 1)[1:] / labels.size
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in zip(names[1:], shares[1:], strict=True))


def show_outcomes(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Print what became of each image: a table on a terminal, tab-separated lines in a pipe."""
    console = Console(highlight=False)
    if console.is_terminal:
        table = Table("Image", "Found", "Time", box=None, header_style="bold")
        colours = {"done": "", "kept": "dim", "failed": "red"}
        for outcome in outcomes:
            cells = (outcome.image.name, outcome.found, clock(outcome.seconds))
            table.add_row(*cells, style=colours[outcome.state])
        console.print(table)
    else:
        for outcome in outcomes:
            typer.echo(f"{outcome.state}\t{outcome.image.name}\t{outcome.found}\t{outcome.seconds:.1f} s")
    done = sum(outcome.state == "done" for outcome in outcomes)
    kept = sum(outcome.state == "kept" for outcome in outcomes)
    failed = len(outcomes) - done - kept
    words = [f"{done} segmented"] + [f"{kept} kept as they were"] * (kept > 0) + [f"{failed} failed"] * (failed > 0)
    typer.echo(f"{', '.join(words)}. Results: {folder}")
