"""The command `predict` where each result is a store on the disk: for images of any size, and for clusters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import typer

from napari_unet.cli.progress import ProgressLine, stop_on_signal
from napari_unet.errors import InputError, UNetError
from napari_unet.predict.config import PredictConfig
from napari_unet.words import clock

if TYPE_CHECKING:
    from napari_unet.batch.plan import BatchConfig
    from napari_unet.models.model import Model
    from napari_unet.predict.events import PredictEvent, PredictFinished

__all__ = ["SCHEDULER_HELP", "WORKERS_HELP", "predict_to_stores", "wants_stores"]

SCHEDULER_HELP = (
    "Let the workers of a dask.distributed cluster predict, whose scheduler has this address (tcp://host:8786). They "
    "need the images and --out under the same paths; results are zarr. Use only a cluster that is trusted."
)
WORKERS_HELP = "Let so many worker processes on this computer predict; results are zarr."


def wants_stores(out: Path, scheduler: str | None, workers: int | None) -> bool:
    """Say whether results are stores: a cluster predicts them, or the result is called ``NAME.zarr``."""
    if scheduler is not None and workers is not None:
        raise typer.BadParameter("--scheduler uses workers that run already, --workers starts some; choose one.")
    return scheduler is not None or workers is not None or _is_store(out)


def _is_store(path: Path) -> bool:
    return path.suffix.lower() == ".zarr"


def predict_to_stores(
    model: Model, images: Sequence[Path], files: BatchConfig, config: PredictConfig, *,
    scheduler: str | None = None, workers: int | None = None,
) -> bool:  # fmt: skip
    """Predict images to stores, and complete those that were left unfinished.

    A line for each image is printed. An image that fails does not stop the others. Ctrl-C does; what is done is kept.

    Parameters
    ----------
    model : Model
        A trained model.
    images : sequence of Path
        The images.
    files : BatchConfig
        What to write: into its folder, or if that is called ``NAME.zarr``, the result of the only image there. Labels,
        or with `probabilities` these instead.
    config : PredictConfig
        Settings.
    scheduler : str or None
        Address of the scheduler of a cluster.
    workers : int or None
        Worker processes to start on this computer.

    Returns
    -------
    bool
        Whether all are complete.

    Raises
    ------
    InputError
        If a name does not fit, or there is no such cluster.
    """
    stores = _name_stores(images, files)
    complete = True
    with ProgressLine("Predicting") as line, stop_on_signal() as should_stop, _cluster(scheduler, workers) as client:
        for number, (image, store) in enumerate(zip(images, stores, strict=True), start=1):
            line.title = f"{image.name} ({number} of {len(images)})"
            began = time.monotonic()
            try:
                last = _predict(line, model, image, store, files, config, client, should_stop)
            except UNetError as error:
                complete = False
                line.fail(str(error) if image.name in str(error) else f"{image.name}: {error}")
                continue
            if last.stopped:
                typer.echo(f"Stopped. {store} is not complete; the same command goes on from here.")
                return False
            typer.echo(f"done\t{image.name}\t{store}\t{time.monotonic() - began:.1f} s")
    return complete


def _name_stores(images: Sequence[Path], files: BatchConfig) -> list[Path]:
    from napari_unet.batch.plan import plan_targets

    if files.format not in ("source", "zarr"):
        raise InputError(f"These results are zarr, but --format asks for {files.format}; leave it out.")
    if files.stitch is not None:
        raise InputError("--stitch is not for results that are written tile by tile; predict to a TIFF, say.")
    if _is_store(files.folder):
        if len(images) > 1:
            raise InputError(f"{files.folder} holds the result of one image, not of {len(images)}; name a folder.")
        if files.folder.absolute() == images[0].absolute():
            raise InputError(f"The result would overwrite the image {images[0]}; choose another name.")
        return [files.folder]
    targets = plan_targets(images, replace(files, format="zarr"))
    return [target.probabilities or target.labels for target in targets]


def _cluster(scheduler: str | None, workers: int | None) -> AbstractContextManager[Any]:
    if scheduler is None and workers is None:
        return nullcontext()
    from napari_unet.predict.cluster import open_cluster

    return open_cluster(scheduler, workers)


def _predict(
    line: ProgressLine, model: Model, image: Path, store: Path, files: BatchConfig, config: PredictConfig,
    client: Any, should_stop: Callable[[], bool],
) -> PredictFinished:  # fmt: skip
    from napari_unet.predict.events import PredictFinished, PredictRecovered
    from napari_unet.predict.store import predict_to_store

    first: PredictEvent | None = None
    event: PredictEvent | None = None
    for event in predict_to_store(
        model, image, store, files.axes, config,
        content="probabilities" if files.probabilities else "labels",
        task=cast('Literal["objects", "classes"] | None', files.task),
        overwrite=files.existing == "overwrite", client=client, should_stop=should_stop,
    ):  # fmt: skip
        first = first or event
        if isinstance(event, PredictRecovered):
            line.tell(event.message)
        line.show(event.done / event.total, _details(event, first))
    assert isinstance(event, PredictFinished)
    return event


def _details(event: PredictEvent, first: PredictEvent) -> str:
    """Say how far it is, and how long the rest takes at the speed of this run."""
    fresh = event.done - first.done
    left = f"  {clock((event.seconds - first.seconds) / fresh * (event.total - event.done))} left" if fresh else ""
    return f"step {event.done} of {event.total}{left}"
