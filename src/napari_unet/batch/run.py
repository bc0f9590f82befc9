"""Going through many images: read, predict, label, write, note; one that fails does not stop the rest."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.batch.events import BatchEvent, BatchFinished, BatchNote, BatchStarted, ImageFinished, ImageProgress
from napari_unet.batch.large import LargeResult, fits_in_memory, keeps_tiles, segment_on_disk, work_folder
from napari_unet.batch.measure import measure
from napari_unet.batch.plan import BatchConfig, Target, plan_targets
from napari_unet.batch.record import BatchRecord, BatchRow
from napari_unet.data.axes import ImageLayout
from napari_unet.data.calibration import Calibration
from napari_unet.data.colours import fit_colours
from napari_unet.data.files import ImageFile, read_image, write_image, write_labels
from napari_unet.data.image_readers import is_imagej_file
from napari_unet.data.image_search import ending_of
from napari_unet.data.storage import StorageError
from napari_unet.errors import InputError, UNetError
from napari_unet.models.model import Model
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictRecovered, PredictStarted, TilePredicted
from napari_unet.predict.fingerprint import model_checksum
from napari_unet.predict.segment import check_task, labels_from_probabilities
from napari_unet.predict.tiled import image_layout, predict_tiles

__all__ = ["run_batch"]

_LOG = logging.getLogger(__name__)
_OF_THE_DISK = {
    errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO,
}  # fmt: skip
StopCheck = Callable[[], bool]


def run_batch(
    model: Model,
    images: Sequence[Path],
    config: BatchConfig,
    predict_config: PredictConfig | None = None,
    *,
    should_stop: StopCheck | None = None,
) -> Iterator[BatchEvent]:
    """Segment many images.

    Each result is written in one step, and noted in the table ``results.csv`` of the folder. An image that can't be
    segmented gets its row with the reason, and the others go on. Results of earlier runs among the images are left out.
    A large image is predicted to a hidden folder beside its result, from which a later run goes on; see
    `napari_unet.batch.large`.

    Parameters
    ----------
    model : Model
        A trained model.
    images : sequence of Path
        The images, see `napari_unet.data.image_search.find_images`.
    config : BatchConfig
        What to write.
    predict_config : PredictConfig or None
        Settings of the prediction; None: the defaults.
    should_stop : callable or None
        Asked before each run of the network; True ends the batch. An image that is not done then leaves no result.

    Yields
    ------
    BatchEvent
        `BatchStarted`, then for each image some `ImageProgress` and one `ImageFinished`, now and then a `BatchNote`,
        and `BatchFinished`.

    Raises
    ------
    InputError
        If an image would be overwritten, or something foreign is where the results go.
    StorageError
        If the folder can't be written to, or the disk is full; what is done so far stays.

    Examples
    --------
    >>> import tempfile
    >>> import napari_unet as nu
    >>> model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     image = Path(folder, "cells.tif")
    ...     write_image(image, np.random.default_rng(0).random((32, 32), np.float32), "YX")
    ...     events = list(run_batch(model, [image], BatchConfig(Path(folder, "out"))))
    ...     sorted(path.name for path in Path(folder, "out").glob("*.*"))
    ['.napari-unet.jsonl', 'cells_labels.tif', 'results.csv']
    """
    config = config if config.task is not None else replace(config, task=model.task)
    record = BatchRecord(config.folder)
    earlier = record.results
    left_out = [image for image in images if image.absolute() in earlier]
    targets = plan_targets([image for image in images if image.absolute() not in earlier], config)
    batch = _Batch(model, config, predict_config or PredictConfig(), record, should_stop or (lambda: False))
    clock = _Clock(len(targets))
    yield BatchStarted(*clock.now(), record.table)
    if left_out:
        yield BatchNote(
            *clock.now(), f"{len(left_out)} of the images are results of an earlier run: they are left out."
        )
    table_written = True
    for target in targets:
        if batch.should_stop():
            break
        row = yield from batch.run(target, clock)
        if row is None:
            break
        record.add_row(target.image, row)
        clock.count(worked=row.state != "kept")
        yield ImageFinished(*clock.now(), target.image, row)
        try:
            record.write_table()
            table_written = True
        except StorageError as error:  # open in a spreadsheet, say; the next image tries again
            if table_written:
                yield BatchNote(*clock.now(), f"{error} The images go on.")
            table_written = False
    yield BatchFinished(*clock.now(), stopped=clock.done < clock.total)


class _Clock:
    """Knows how far the batch is, and how long the rest will take."""

    def __init__(self, total: int) -> None:
        self.done, self.total = 0, total
        self._began = time.monotonic()
        self._worked = 0  # images that took time, unlike those whose result was there

    def count(self, *, worked: bool) -> None:
        self.done += 1
        self._worked += worked

    def now(self, fraction: float = 0.0) -> tuple[int, int, float, float | None]:
        """Return the first fields of an event; `fraction` is how far the image at work is."""
        seconds = time.monotonic() - self._began
        share = self._worked + fraction
        left = seconds / share * (self.total - self.done - fraction) if share > 0 else None
        return self.done, self.total, seconds, left


@dataclass
class _Batch:
    """What stays the same from image to image."""

    model: Model
    config: BatchConfig
    predict_config: PredictConfig
    record: BatchRecord
    should_stop: StopCheck

    def __post_init__(self) -> None:
        self.mark = _mark_of(self.model, self.config, self.predict_config)

    def run(self, target: Target, clock: _Clock) -> Generator[BatchEvent, None, BatchRow | None]:
        """Go through one image; returns None if it was stopped.

        Raises
        ------
        StorageError
            If no other image could be written either.
        """
        began = time.monotonic()
        file = str(target.image)
        try:
            kept = self._kept(target)
            row = kept if kept is not None else (yield from self._segment(target, clock, began))
        except StorageError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _OF_THE_DISK:
                raise
            row = BatchRow(file, "failed", seconds=time.monotonic() - began, error=str(error))
        except (UNetError, MemoryError) as error:
            words = str(error) if isinstance(error, UNetError) else "It does not fit into memory."
            row = BatchRow(file, "failed", seconds=time.monotonic() - began, error=" ".join(words.split()))
        except Exception as error:  # a defect that one image brings out must not cost the night's other images
            _LOG.error("Unexpected error over %s", target.image, exc_info=error)
            words = f"unexpected {type(error).__name__}: {error}"
            row = BatchRow(file, "failed", seconds=time.monotonic() - began, error=" ".join(words.split()))
        return row

    def _kept(self, target: Target) -> BatchRow | None:
        """Return the row of an image whose result stays as it is, or None if it is to be made."""
        present = [path for path in target.files if path.exists()]
        if not present or self.config.existing == "overwrite":
            return None
        complete = len(present) == len(target.files)
        if self.config.existing == "keep":
            if not complete:
                return None
            note = "The result was there already."
        elif not all(self.record.is_ours(target.image, path) for path in present):
            note = "The result that is there was changed since, or made by something else: it was left alone."
        elif complete and self.record.is_current(target.image, self.mark):
            note = ""
        else:
            return None
        known = self.record.known_row(target.image) or BatchRow(str(target.image), result=str(target.labels))
        return replace(known, state="kept", note=note or known.note)

    def _segment(self, target: Target, clock: _Clock, began: float) -> Generator[BatchEvent, None, BatchRow | None]:
        image = read_image(target.image)
        array, axes, note = fit_colours(
            image.array, (self.config.axes or image.axes).upper(), self.model.config.in_channels
        )
        layout = image_layout(self.model, array, axes)
        task = self.config.task or self.model.task
        check_task(task, layout, self.config.stitch)
        if ending_of(target.labels) == ".png" and sorted(layout.label_axes) != ["X", "Y"]:
            raise InputError(f"{image.name} is a stack, which a PNG can't hold; choose another format.")
        calibration = _calibration_of(image, layout)
        yield ImageProgress(*clock.now(), target.image, 0.0)
        spacing = calibration.spacing or self.model.spacing
        large = not fits_in_memory(layout, len(self.model.config.classes))
        with keeps_tiles(target.labels) if large else nullcontext():
            make = self._make_on_disk if large else self._make_in_memory
            made = yield from make(array, layout, task, spacing, target, clock)
            if made is None:
                return None
            labels, probabilities = made
            keeps = self.config.existing == "keep"
            written = [path for path in target.files if not (keeps and path.exists())]
            for path in written:
                if path == target.labels:
                    imagej = labels.dtype != np.uint32 and is_imagej_file(target.image)
                    write_labels(path, labels, layout.label_axes, calibration=calibration, imagej=imagej)
                else:
                    write_image(path, probabilities, "C" + layout.label_axes, calibration=calibration)
        classes = self.model.config.classes
        found = measure(labels, layout.label_axes, task, classes, calibration)
        row = BatchRow(
            str(target.image), result=str(target.labels), objects=found.objects, area=sum(found.areas.values()),
            areas=found.areas if len(found.areas) > 1 else {}, unit=found.unit, found=found.words,
            seconds=time.monotonic() - began, note=note,
        )  # fmt: skip
        self.record.note_results(target.image, self.mark, written, row)
        shutil.rmtree(work_folder(target.labels), ignore_errors=True)
        return row

    def _make_in_memory(
        self, array: Any, layout: ImageLayout, task: str, spacing: Sequence[float] | None, target: Target,
        clock: _Clock,
    ) -> Generator[BatchEvent, None, tuple[Any, Any] | None]:  # fmt: skip
        """Return labels and probabilities, or None if it was stopped."""
        probabilities = yield from self._predict(array, layout.axes, target, clock)
        if probabilities is None:
            return None
        stitch = self.config.stitch
        return labels_from_probabilities(probabilities, task, layout, spacing=spacing, stitch=stitch), probabilities

    def _make_on_disk(
        self, array: Any, layout: ImageLayout, task: str, spacing: Sequence[float] | None, target: Target,
        clock: _Clock,
    ) -> Generator[BatchEvent, None, tuple[Any, Any] | None]:  # fmt: skip
        """Return labels and probabilities of a large image, or None if it was stopped."""
        for event in segment_on_disk(
            self.model, array, layout, work_folder(target.labels), self.predict_config,
            task=task, spacing=spacing, stitch=self.config.stitch, overwrite=self.config.existing == "overwrite",
            should_stop=self.should_stop,
        ):  # fmt: skip
            if isinstance(event, LargeResult):
                return event.labels, event.probabilities
            if isinstance(event, str):
                yield BatchNote(*clock.now(), event)
            else:
                yield ImageProgress(*clock.now(event), target.image, event)
        return None

    def _predict(
        self, array: Any, axes: str, target: Target, clock: _Clock
    ) -> Generator[BatchEvent, None, npt.NDArray[np.float32] | None]:
        """Return the probabilities (class, \\*space), or None if it was stopped."""
        result: npt.NDArray[np.float32] = np.empty(0, np.float32)
        done = total = 0
        for event in predict_tiles(self.model, array, axes, self.predict_config, should_stop=self.should_stop):
            if isinstance(event, PredictStarted):
                result = np.empty(event.shape, np.float32)
            elif isinstance(event, TilePredicted):
                result[(slice(None), *event.box)] = event.probabilities
                yield ImageProgress(*clock.now(event.done / event.total), target.image, event.done / event.total)
            elif isinstance(event, PredictRecovered):
                yield BatchNote(*clock.now(), event.message)
            done, total = event.done, event.total
        return result if done == total else None


def _calibration_of(image: ImageFile, layout: ImageLayout) -> Calibration:
    """Leave the pixel size of a file away where its axes are named otherwise and it no longer stands."""
    fits = image.calibration.lengths(layout.label_axes) is not None
    return image.calibration if fits else Calibration(unit=image.calibration.unit)


def _mark_of(model: Model, config: BatchConfig, predict_config: PredictConfig) -> str:
    """Return a mark that is the same for the same model and all settings that the result depends on."""
    settings = {
        "model": model_checksum(model),
        "spacing": model.spacing,
        "task": config.task,
        "axes": config.axes,
        "stitch": config.stitch,
        "probabilities": config.probabilities,
        "averaging": predict_config.averaging,
        "precision": predict_config.precision,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
