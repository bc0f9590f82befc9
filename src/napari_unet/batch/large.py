"""One image whose result does not fit into memory: predicted and labelled on the disk, tile by tile.

All that is made on the way lies in a hidden folder beside the result: the probabilities as a `TileStore`, then the
labels. A run that was stopped or killed leaves it there, and the next one goes on from it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_unet.data.axes import ImageLayout
from napari_unet.data.box_view import BoxView
from napari_unet.data.image_search import ending_of
from napari_unet.data.storage import StorageError, atomic_path
from napari_unet.models.model import Model
from napari_unet.nets.free_memory import free_memory
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictFinished, PredictRecovered
from napari_unet.predict.fingerprint import image_checksum, model_checksum
from napari_unet.predict.frame_objects import FrameForeground, labelling_steps
from napari_unet.predict.segment import likeliest_class
from napari_unet.predict.store import predict_to_store
from napari_unet.predict.store_errors import told_as_incomplete
from napari_unet.predict.tile_store import TileStore
from napari_unet.words import disk_size

__all__ = ["LargeResult", "fits_in_memory", "keeps_tiles", "segment_on_disk", "work_folder"]

_SHARE = 0.25  # of the free memory that a result may take
_MOST_BYTES = 4_000_000_000  # that it may take in any case
_UNKNOWN = 2 * 2**30  # bytes that are taken to be free where the system does not tell
_LABEL_BYTES = 8  # for each pixel: labels, and a copy of them where they are written
_LEVELS = 4 / 3  # of an array: what it takes together with versions of half, a quarter, ... the size
_CHUNK = 512  # side of the chunks of the labels
_PREDICTING = 0.8  # of the time, about; the rest is labelling
StopCheck = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class LargeResult:
    """What was made on the disk.

    Attributes
    ----------
    labels : BoxView
        (\\*space) uint8, uint16 or uint32, as `napari_unet.segment` returns them.
    probabilities : BoxView
        (class, \\*space) float32.
    """

    labels: BoxView
    probabilities: BoxView


def fits_in_memory(layout: ImageLayout, classes: int) -> bool:
    """Say whether the result of an image may be held in memory: up to 4 GB, and a quarter of what is free."""
    free = free_memory(torch.device("cpu"))
    limit = min(_MOST_BYTES, _SHARE * (_UNKNOWN if free is None else free))
    return math.prod(layout.label_shape) * (4 * classes + _LABEL_BYTES) <= limit


def work_folder(labels: Path) -> Path:
    """Name the hidden folder for what is made on the way to a result, in whatever format that is written.

    Examples
    --------
    >>> work_folder(Path("slide_labels.tif")).name
    '.slide_labels.unfinished'
    """
    return labels.with_name(f".{labels.name.removesuffix(ending_of(labels))}.unfinished")


@contextmanager
def keeps_tiles(labels: Path) -> Iterator[None]:
    """Tell of a full disk as an error of this image alone, for smaller ones may still fit.

    Raises
    ------
    napari_unet.data.storage.StorageError
        In place of one that an `OSError` caused: it names the result, and how to go on.
    """
    try:
        yield
    except StorageError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        with told_as_incomplete(labels):
            raise


def segment_on_disk(
    model: Model, image: Any, layout: ImageLayout, folder: Path, config: PredictConfig, *, task: str,
    spacing: Sequence[float] | None = None, stitch: float | None = None, overwrite: bool = False,
    should_stop: StopCheck | None = None,
) -> Iterator[float | str | LargeResult]:  # fmt: skip
    """Segment an image of any size, in a fixed amount of memory.

    Parameters
    ----------
    model : Model
        A trained model.
    image : array-like
        Read piece by piece.
    layout : ImageLayout
        Its axes.
    folder : Path
        For what is made on the way, see `work_folder`. What is there of the same image, model and settings is gone on
        from; what is there of others is removed. The result is read from it: remove it afterwards.
    config : PredictConfig
        Settings.
    task : {"objects", "classes"}
        What to find.
    spacing : sequence of float or None
        Distance of pixels along the last of the axes ZYX; None: equal.
    stitch : float or None
        See `napari_unet.segment`.
    overwrite : bool
        Whether to begin anew in any case.
    should_stop : callable or None
        Asked before each tile; True ends the work.

    Yields
    ------
    float, str or LargeResult
        How far it is, 0 to 1; messages for the person; and last, unless it was stopped, the result.

    Raises
    ------
    napari_unet.data.storage.StorageError
        If the disk is full, or can't be written for another reason.
    """
    stops = should_stop or (lambda: False)
    settings = [image_checksum(image, layout), model_checksum(model), task, spacing, stitch, str(config)]
    work = folder / hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    for old in folder.iterdir() if folder.is_dir() else ():
        if overwrite or old != work:
            shutil.rmtree(old, ignore_errors=True)
    _check_space(work, layout, len(model.config.classes))
    path = work / "probabilities.zarr"
    for event in predict_to_store(
        model, image, path, layout.axes, config, content="probabilities", task=task,  # type: ignore[arg-type]
        spacing=spacing, should_stop=stops,
    ):  # fmt: skip
        if isinstance(event, PredictRecovered):
            yield event.message
        elif not isinstance(event, PredictFinished):
            yield _PREDICTING * event.done / event.total
        elif event.stopped:
            return
    store = TileStore.open(path)
    try:
        if task == "objects":
            steps = partial(_label_objects, store, layout, spacing=spacing, stitch=stitch, scratch=work / "searched")
        else:
            steps = partial(_label_classes, store)
        for share in _write_labels(work / "labels.zarr", layout, steps, stops):
            yield _PREDICTING + (1 - _PREDICTING) * share
    except _Stopped:
        return
    yield _open_result(store, work / "labels.zarr")


class _Stopped(Exception):
    """The caller stopped the labelling; what is written of the labels is no use."""


def _check_space(work: Path, layout: ImageLayout, classes: int) -> None:
    """Refuse an image whose intermediate results the disk can't hold, before hours of work."""
    needed = math.prod(layout.label_shape) * (4 * classes * _LEVELS + _LABEL_BYTES)
    there = next(place for place in (work, *work.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(there).free + sum(file.stat().st_size for file in work.rglob("*") if file.is_file())
    if needed > free:
        raise StorageError(
            f"The image is segmented on the disk, as it is too large for the memory: that takes up to "
            f"{disk_size(round(needed))}, and {disk_size(free)} are free; choose a folder on another disk."
        )


def _write_labels(
    path: Path, layout: ImageLayout, steps: Callable[[Any], Generator[float, None, int]], should_stop: StopCheck
) -> Iterator[float]:
    """Write labels in one step, unless they are there already; the highest of them is noted."""
    import zarr

    if path.exists():
        return
    shape = layout.label_shape
    chunks = tuple(min(n, _CHUNK) if axis in "YX" else 1 for axis, n in zip(layout.label_axes, shape, strict=True))
    with atomic_path(path) as temporary:
        labels = zarr.create_array(temporary, shape=shape, chunks=chunks, dtype=np.uint32)
        labelling = steps(labels)
        while True:
            if should_stop():
                raise _Stopped
            try:
                yield next(labelling)
            except StopIteration as end:
                labels.attrs["highest"] = int(end.value)
                return


def _label_objects(
    store: TileStore, layout: ImageLayout, labels: Any, *, spacing: Sequence[float] | None, stitch: float | None,
    scratch: Path,
) -> Generator[float, None, int]:  # fmt: skip
    background = store.levels()[0][0]
    frame = partial(FrameForeground, background, layout, of_background=True)
    return labelling_steps(frame, layout, labels, spacing=spacing, stitch=stitch, scratch=scratch)


def _label_classes(store: TileStore, labels: Any) -> Generator[float, None, int]:
    probabilities, total = store.levels()[0], math.prod(store.grid)
    for number, index in enumerate(product(*map(range, store.grid)), start=1):
        box = store.box(index)
        labels[box] = likeliest_class(np.asarray(probabilities[(slice(None), *box)]))
        yield number / total
    return len(store.record.classes)


def _open_result(store: TileStore, path: Path) -> LargeResult:
    import zarr

    labels: Any = zarr.open_array(path, mode="r")
    dtype = np.min_scalar_type(labels.attrs["highest"])
    if store.record.task == "objects":
        dtype = np.promote_types(dtype, np.uint16)  # as `napari_unet.segment` has them
    probabilities = store.levels()[0]
    return LargeResult(
        BoxView(labels.__getitem__, tuple(labels.shape), dtype),
        BoxView(probabilities.__getitem__, tuple(probabilities.shape), np.dtype(np.float32)),
    )
