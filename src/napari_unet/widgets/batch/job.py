"""The work of the dock "U-Net: Batch", for a worker: a batch, and opening an image with its result."""

from __future__ import annotations

import copy
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_unet.batch.events import BatchEvent, ImageProgress
from napari_unet.batch.plan import BatchConfig
from napari_unet.batch.record import BatchRow
from napari_unet.data.files import ImageFile, read_annotation, read_image
from napari_unet.data.image_search import find_images
from napari_unet.predict.config import PredictConfig
from napari_unet.widgets.parts.torch_loading import load_torch
from napari_unet.widgets.parts.worker import StopCheck
from napari_unet.widgets.training.train_job import torch_threads

if TYPE_CHECKING:
    from napari_unet.models.model import Model

__all__ = ["BatchRequest", "LayerToAdd", "open_pair", "run_images"]

_SHOW_EVERY_SECONDS = 0.1
_LAZY_FROM_BYTES = 400_000_000
_SAMPLED = 1_000_000  # pixels from which the contrast is taken


@dataclass(frozen=True, eq=False)
class BatchRequest:
    """All that a batch needs to know, taken from the window before it starts.

    Attributes
    ----------
    model : Model or Path
        The model, or its file.
    images : tuple of Path
        Files, folders and patterns.
    config : BatchConfig
        What to write.
    predict_config : PredictConfig
        How to predict.
    threads : int
        Cores for PyTorch.
    """

    model: Model | Path
    images: tuple[Path, ...]
    config: BatchConfig
    predict_config: PredictConfig = field(default_factory=PredictConfig)
    threads: int = 1


@dataclass(frozen=True, eq=False)
class LayerToAdd:
    """A layer that is ready for the window.

    Attributes
    ----------
    kind : {"image", "labels"}
        What it is.
    data : array-like
        Its pixels; read piece by piece where they are many.
    options : dict
        Name, scale, units and the like, as napari takes them.
    path : Path
        The file.
    """

    kind: str
    data: Any
    options: dict[str, Any]
    path: Path


def run_images(request: BatchRequest, should_stop: StopCheck) -> Generator[BatchEvent | None, None, None]:
    """Segment the images; call it in a worker.

    Yields
    ------
    BatchEvent
        Those of `napari_unet.batch.run.run_batch`, progress at most ten times a second.

    Raises
    ------
    UNetError
        If there are no images, or the results can't be written.
    """
    load_torch()
    yield None
    from napari_unet.batch.run import run_batch
    from napari_unet.models.model import Model

    yield None
    images = find_images(request.images)
    model = Model.load(request.model) if isinstance(request.model, Path) else copy.deepcopy(request.model)
    shown = 0.0
    with torch_threads(request.threads):
        for event in run_batch(model, images, request.config, request.predict_config, should_stop=should_stop):
            if isinstance(event, ImageProgress):
                if time.monotonic() - shown < _SHOW_EVERY_SECONDS:
                    continue
                shown = time.monotonic()
            yield event


def open_pair(row: BatchRow, should_stop: StopCheck) -> Generator[LayerToAdd, None, None]:
    """Read an image and its result; call it in a worker.

    Yields
    ------
    LayerToAdd
        The image, and the result if there is one.

    Raises
    ------
    FileFormatError
        If a file is gone or damaged.
    """
    yield _image_layer(read_image(row.file), Path(row.file))
    if row.result and not should_stop():
        yield _label_layer(read_image(row.result), Path(row.result))


def _image_layer(file: ImageFile, path: Path) -> LayerToAdd:
    data, axes = _in_reach(file.array), file.axes
    options: dict[str, Any] = {"name": file.name, **_place(file, axes.replace("C", "").replace("S", ""))}
    if axes.endswith("S"):
        options["rgb"] = True
    else:
        options |= {"channel_axis": axes.index("C")} if "C" in axes else {"colormap": "gray"}
        low, high = _contrast(data)
        if high > low:
            options["contrast_limits"] = (low, high)
    return LayerToAdd("image", data, options, path)


def _label_layer(file: ImageFile, path: Path) -> LayerToAdd:
    data = _in_reach(file.array)
    if isinstance(data, np.ndarray) and data.dtype not in (np.uint8, np.uint16, np.uint32):
        file = read_annotation(path)
        data = np.asarray(file.array)
    return LayerToAdd("labels", data, {"name": file.name, **_place(file, file.axes)}, path)


def _in_reach(array: Any) -> Any:
    """Read an array, or wrap a large one so that napari reads what it shows."""
    if isinstance(array, np.memmap) or not isinstance(array, np.ndarray):
        if array.nbytes > _LAZY_FROM_BYTES:
            import dask.array

            chunks = getattr(array, "chunks", "auto")
            return dask.array.from_array(array, chunks=chunks, asarray=False)
        return np.asarray(array)
    return array


def _contrast(data: Any) -> tuple[float, float]:
    steps = max(1, int(np.ceil((data.size / _SAMPLED) ** (1 / data.ndim))))
    sample = np.asarray(data[(slice(None, None, steps),) * data.ndim])
    finite = sample[np.isfinite(sample)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _place(file: ImageFile, axes: str) -> dict[str, Any]:
    """Return scale, units and names of a layer's axes; time points are counted."""
    lengths = file.calibration.lengths(axes)
    spatial = [letter for letter in axes if letter in "ZYX"]
    steps = dict(zip([letter for letter in "ZYX" if letter in axes], lengths or [1.0] * len(spatial), strict=True))
    unit = {"µm": "um", "Å": "angstrom"}.get(file.calibration.unit, file.calibration.unit)
    known = lengths is not None
    return {
        "scale": [steps.get(letter, 1.0) for letter in axes],
        "units": [unit if known and letter in "ZYX" else "pixel" for letter in axes],
        "axis_labels": list(axes.lower()),
    }
