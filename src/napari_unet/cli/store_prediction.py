"""The command `predict` where results are stores on the disk: for images of any size, and for clusters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from napari_unet.cli.progress import ProgressLine, clock, stop_on_signal
from napari_unet.errors import InputError, UNetError
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictEvent, PredictFinished, PredictRecovered

if TYPE_CHECKING:
    from napari_unet.models.model import Model

__all__ = ["StoreOptions", "predict_to_stores", "wants_store"]


@dataclass(frozen=True)
class StoreOptions:
    """What the person asked for.

    Attributes
    ----------
    out : Path
        The store of the only image, ending in ``.zarr``, or the folder of the stores.
    suffix : str
        What is put behind the name of an image in a folder.
    probabilities : bool
        Whether to store probabilities instead of labels.
    task, axes : str or None
        As in `napari_unet.predict_to_store`.
    overwrite : bool
        Whether stores that are there already are made anew.
    scheduler : str or None
        Address of the scheduler of a cluster.
    workers : int or None
        Worker processes on this computer.
    """

    out: Path
    suffix: str = "_labels"
    probabilities: bool = False
    task: Literal["objects", "classes"] | None = None
    axes: str | None = None
    overwrite: bool = False
    scheduler: str | None = None
    workers: int | None = None

    def store(self, image: Path) -> Path:
        """Say where the result of an image goes."""
        if _is_store(self.out):
            return self.out
        stem = image.name.removesuffix(image.suffix).removesuffix(".ome")
        return self.out / f"{stem}{'_probabilities' if self.probabilities else self.suffix}.zarr"

    def cluster(self) -> AbstractContextManager[Any]:
        """Return the cluster that was asked for, or None, as a context manager."""
        if self.scheduler is None and self.workers is None:
            return nullcontext()
        from napari_unet.predict.cluster import open_cluster

        return open_cluster(self.scheduler, self.workers)


def wants_store(out: Path, scheduler: str | None, workers: int | None) -> bool:
    """Say whether results are stores: a cluster predicts them, or the result is called ``NAME.zarr``."""
    if scheduler is not None and workers is not None:
        raise InputError("--scheduler uses workers that run already, --workers starts some here; choose one of them.")
    return scheduler is not None or workers is not None or _is_store(out)


def _is_store(path: Path) -> bool:
    return path.suffix.lower() == ".zarr"


def predict_to_stores(model: Model, images: Sequence[Path], options: StoreOptions, config: PredictConfig) -> bool:
    """Predict images to stores, and complete those that were left; says whether all are complete.

    A line for each image is printed. An image that fails does not stop the others; Ctrl-C does, and what is done is
    kept.

    Raises
    ------
    InputError
        If two images would go to one store, or there is no such cluster.
    """
    _check_names(images, options)
    complete = True
    with ProgressLine("Predicting") as line, stop_on_signal() as should_stop, options.cluster() as client:
        for number, image in enumerate(images, start=1):
            line.title = f"{image.name} ({number} of {len(images)})"
            began = time.monotonic()
            try:
                last = _predict(line, model, image, options, config, client, should_stop)
            except UNetError as error:
                complete = False
                line.fail(str(error) if image.name in str(error) else f"{image.name}: {error}")
                continue
            store = options.store(image)
            if last.stopped:
                line.tell(
                    f"Stopped: {last.done} of {last.total} tiles of {store} are done; the same command completes it."
                )
                return False
            typer.echo(f"done\t{image.name}\t{store}\t{time.monotonic() - began:.1f} s")
    return complete


def _check_names(images: Sequence[Path], options: StoreOptions) -> None:
    owners: dict[Path, Path] = {}
    for image in images:
        store = options.store(image).absolute()
        if store == image.absolute():
            raise InputError(f"The result of {image.name} would overwrite the image; choose another name.")
        other = owners.setdefault(store, image)
        if other is not image:
            raise InputError(f"{other} and {image} would both be written to {options.store(image)}; name a folder.")


def _predict(
    line: ProgressLine, model: Model, image: Path, options: StoreOptions, config: PredictConfig, client: Any,
    should_stop: Callable[[], bool],
) -> PredictFinished:  # fmt: skip
    from napari_unet.predict.store import predict_to_store

    there = None
    event: PredictEvent
    for event in predict_to_store(
        model, image, options.store(image), options.axes, config,
        content="probabilities" if options.probabilities else "labels", task=options.task,
        overwrite=options.overwrite, client=client, should_stop=should_stop,
    ):  # fmt: skip
        there = event.done if there is None else there
        if isinstance(event, PredictRecovered):
            line.tell(event.message)
        line.show(event.done / event.total, _details(event, there))
    assert isinstance(event, PredictFinished)
    return event


def _details(event: PredictEvent, there: int) -> str:
    """Say how far it is, and how long the rest takes at the speed of this run."""
    fresh = event.done - there
    left = f"  {clock(event.seconds / fresh * (event.total - event.done))} left" if fresh else ""
    return f"tile {event.done} of {event.total}{left}"
