"""The command `train`, without its options: from files to a model file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from napari_unet.cli.annotation_doubts import doubt_annotations
from napari_unet.cli.progress import ProgressLine, TrainingReport, stop_on_signal
from napari_unet.data.axes import ImageLayout
from napari_unet.data.files import find_images
from napari_unet.data.pairs import LabelsAre, pair_files, read_sample
from napari_unet.data.sample import Sample
from napari_unet.data.storage import check_writable
from napari_unet.errors import AnnotationError, InputError
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.events import FitFinished
from napari_unet.nets.config import ModelConfig
from napari_unet.words import clock

if TYPE_CHECKING:
    from napari_unet.learn.distributed import Processes
    from napari_unet.models.model import Model

__all__ = ["DEFAULT_SECONDS", "TrainingFiles", "train_on_files"]

DEFAULT_SECONDS = 300.0
_INTERRUPTED = 130


@dataclass(frozen=True)
class TrainingFiles:
    """What `train` reads and writes.

    Attributes
    ----------
    images, annotations : tuple of Path
        Files, folders and patterns.
    out : Path
        The model to write.
    start : Path or None
        A model to start from; None: the starting weights, unless the network's settings were chosen.
    from_scratch : bool
        Whether to begin with random weights instead.
    checkpoint : Path or None
        Where the training is kept, to go on after a kill.
    axes : str or None
        Axes of the images where they are not as the files say.
    labels_are : {"annotation", "ground-truth"}
        What 0 means in the annotations.
    unpainted_is_background : bool
        Whether 0 becomes background.
    """

    images: tuple[Path, ...]
    annotations: tuple[Path, ...]
    out: Path
    start: Path | None = None
    from_scratch: bool = False
    checkpoint: Path | None = None
    axes: str | None = None
    labels_are: LabelsAre = "annotation"
    unpainted_is_background: bool = False


def train_on_files(
    files: TrainingFiles,
    network: dict[str, Any],
    training: dict[str, Any],
    *,
    classes: tuple[str, ...] | None = None,
    device: str = "auto",
) -> None:
    """Train a model on files and write it.

    Parameters
    ----------
    files : TrainingFiles
        What to read and write.
    network, training : dict
        Chosen fields of `ModelConfig` and `TrainConfig`.
    classes : tuple of str or None
        Names of the classes, background first; None: made up.
    device : str
        Where to train.

    Raises
    ------
    UNetError
        If the files, the settings or the device can't be used, or the model can't be written.
    typer.Exit
        With code 130 if it was stopped before the first step, so that there is nothing to write.
    """
    from napari_unet.cli.processes import training_processes

    with training_processes(device) as (processes, place):
        _train(files, network, training, classes, place, processes)


def _train(
    files: TrainingFiles,
    network: dict[str, Any],
    training: dict[str, Any],
    classes: tuple[str, ...] | None,
    device: str,
    processes: Processes,
) -> None:
    own_checkpoint = files.checkpoint is None and processes.size > 1
    if own_checkpoint:  # the more processes, the likelier one is lost
        files = replace(files, checkpoint=files.out.with_suffix(f".checkpoint{files.out.suffix}"))
    _check_out(files)
    if training.get("max_seconds") is None and training.get("max_steps") is None:
        training = {**training, "max_seconds": DEFAULT_SECONDS}
    config = TrainConfig(**training)
    samples = _read_samples(files, config.task, named=classes is not None)
    model = _make_model(files, samples, config, network, classes)
    from napari_unet.learn.fit import fit

    if files.checkpoint is not None and files.checkpoint.exists():
        typer.echo(f"Going on from {files.checkpoint}.", err=True)
    finished = None
    with stop_on_signal() as should_stop, ProgressLine("Training") as line:
        report, told = TrainingReport(line), False
        try:
            events = fit(
                model, samples, config, device=device, should_stop=should_stop, checkpoint=files.checkpoint,
                processes=processes,
            )  # fmt: skip
            with closing(events):  # type: ignore[type-var]
                for event in events:
                    report.show(event)
                    finished = event if isinstance(event, FitFinished) else finished
                    if should_stop() and not told and finished is None:
                        line.tell("Stopping; the best model so far is kept. Ctrl-C once more ends at once.")
                        told = True
        except AnnotationError as error:
            raise AnnotationError(f"{error}{_hint(files)}") from error
        if report.steps == 0 and finished is not None and finished.stopped:
            line.tell("Stopped before the first step: no model was written.")
            raise typer.Exit(_INTERRUPTED)
        if processes.leads:
            model.save(files.out)
            if own_checkpoint and files.checkpoint is not None and finished is not None and not finished.stopped:
                files.checkpoint.unlink(missing_ok=True)
    seconds = "" if finished is None else f" in {clock(finished.seconds)}"
    score = "no score (see above)" if report.best is None else f"best held-out score (Dice) {report.best:.3f}"
    typer.echo(
        f"{'Stopped' if finished is not None and finished.stopped else 'Done'}: {report.steps} steps{seconds}, {score}."
    )
    typer.echo(f"Model: {files.out}")


def _check_out(files: TrainingFiles) -> None:
    """Find out now, not after an hour, whether the model can be written."""
    for path, what in ((files.out, "model"), (files.checkpoint, "checkpoint")):
        if path is None:
            continue
        if path.suffix.lower() != ".safetensors":
            raise InputError(f"Give the {what} a name that ends in .safetensors, not {path.name}.")
        check_writable(path)
    if files.checkpoint is not None and files.checkpoint.absolute() == files.out.absolute():
        raise InputError("The model and the checkpoint need different names.")


def _read_samples(files: TrainingFiles, task: str, *, named: bool) -> list[Sample]:
    pairing = pair_files(find_images(files.images), find_images(files.annotations))
    typer.echo(f"Training on {len(pairing.pairs)} annotated image{'s' * (len(pairing.pairs) > 1)}:", err=True)
    for image, annotation in pairing.pairs:
        typer.echo(f"  {image.name}  with  {annotation.name}", err=True)
    if not pairing.by_name and len(pairing.pairs) > 1:
        typer.echo("The names do not tell the pairs, so they were paired in this order; check it.", err=True)
    if pairing.alone:
        typer.echo(f"Not used, without annotation: {', '.join(path.name for path in pairing.alone[:5])}"
                   f"{f' and {len(pairing.alone) - 5} more' if len(pairing.alone) > 5 else ''}", err=True)  # fmt: skip
    samples = [
        read_sample(
            image, annotation, task=task, axes=files.axes, labels_are=files.labels_are,
            unpainted_is_background=files.unpainted_is_background,
        )
        for image, annotation in pairing.pairs
    ]  # fmt: skip
    doubt = doubt_annotations(
        [annotation for _, annotation in pairing.pairs], samples, task,
        zero_is_background=files.labels_are == "ground-truth", named=named,
    )  # fmt: skip
    if doubt:
        typer.echo(f"Warning: {doubt}", err=True)
    return samples


def _make_model(
    files: TrainingFiles,
    samples: Sequence[Sample],
    config: TrainConfig,
    network: dict[str, Any],
    classes: tuple[str, ...] | None,
) -> Model:
    from napari_unet.models.model import Model

    if files.start is not None:
        if files.from_scratch:
            raise InputError("Choose one: --start goes on with a model, --from-scratch begins with random weights.")
        return _start_from(files.start, samples, config, network, classes)
    made = ModelConfig(**network)
    layout = ImageLayout(samples[0].axes, tuple(samples[0].image.shape), made.ndim)
    names = classes or _class_names(samples, config.task)
    own = sorted(set(network) - {"ndim"})
    if not files.from_scratch and not own:
        return Model.pretrained(layout.channels, made.ndim, names)
    if not files.from_scratch:
        chosen = ", ".join(f"--{name.replace('_', '-')}" for name in own)
        typer.echo(
            f"Training from scratch: the starting weights are for another network than {chosen} asks for.", err=True
        )
    return Model.create(replace(made, in_channels=layout.channels, classes=names), seed=config.seed)


def _start_from(
    path: Path,
    samples: Sequence[Sample],
    config: TrainConfig,
    network: dict[str, Any],
    classes: tuple[str, ...] | None,
) -> Model:
    """Load a model, and adapt it where the images, the annotations or the chosen settings ask for another one."""
    from napari_unet.models.model import Model
    from napari_unet.models.transfer import transfer

    known = Model.load(path)
    wanted = replace(known.config, **network)
    layout = ImageLayout(samples[0].axes, tuple(samples[0].image.shape), wanted.ndim)
    names = known.config.classes
    found = _class_names(samples, config.task)
    wanted = replace(wanted, in_channels=layout.channels, classes=classes or (*names, *found[len(names) :]))
    if wanted == known.config:
        return known
    moved = transfer(known, wanted, seed=config.seed)
    typer.echo(f"Starting from {path.name}: {moved.note}", err=True)
    return moved.model


def _class_names(samples: Sequence[Sample], task: str) -> tuple[str, ...]:
    highest = 2 if task == "objects" else max(int(np.max(sample.annotation, initial=0)) for sample in samples)
    if highest <= 2:
        return ("background", "foreground")
    return ("background", *(f"class {number}" for number in range(2, highest + 1)))


def _hint(files: TrainingFiles) -> str:
    if files.labels_are == "ground-truth" or files.unpainted_is_background:
        return ""
    return " (If 0 means background in the annotation, add --labels-are ground-truth or --unpainted background.)"
