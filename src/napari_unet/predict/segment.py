"""From an image to labels: the classes of its areas, or its separated objects."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import ImageLayout
from napari_unet.data.storage import scratch_array
from napari_unet.errors import InputError
from napari_unet.nets.registry import SegmentationModel
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import TilePredicted
from napari_unet.predict.frame_objects import FrameForeground, label_frames
from napari_unet.predict.stitch import check_stitching
from napari_unet.predict.tiled import image_layout, predict_tiles

__all__ = ["check_task", "labels_from_probabilities", "likeliest_class", "segment"]

_ON_DISK_FROM_BYTES = 2_000_000_000


def segment(
    model: SegmentationModel,
    image: Any,
    axes: str | None = None,
    *,
    task: Literal["objects", "classes"] | None = None,
    config: PredictConfig | None = None,
    out: Any | None = None,
    stitch: float | None = None,
) -> Any:
    """Segment an image.

    The image is gone through in tiles and the labels in blocks. For objects, the foreground's probability is kept
    meanwhile: in memory up to 2 GB, otherwise in a temporary file.

    Parameters
    ----------
    model : Model
        A trained model.
    image : array-like
        Any real dtype; numpy, memory-mapped, dask or zarr.
    axes : str or None
        One letter for each axis of `image`; None: see `napari_unet.data.axes.guess_axes`.
    task : {"objects", "classes"} or None
        What to find; None: what the model was trained for.
    config : PredictConfig or None
        Settings; None: the defaults.
    out : array-like or None
        Where to write, integers with the image's axes but the channels: anything that takes ``out[box] = block``, for
        example a zarr array. None: a new array.
    stitch : float or None
        For objects in volumes that a 2D model goes through plane by plane: objects of neighbouring planes are one if
        their intersection over union is at least this (0.1 is a good start); see
        `napari_unet.predict.stitch.stitch_planes`. None: each plane has objects of its own.

    Returns
    -------
    array-like
        `out`, or a new array: integers with the image's axes but the channels. ``"objects"``: 0 = background, 1, 2, ...
        one id for each object, different ones in each frame of a stack. ``"classes"``: 1 = background, 2, 3, ... the
        classes, as in an annotation.

    Raises
    ------
    UNetError
        If the image does not fit the model, `out` not the image, or there are no planes to stitch.

    Examples
    --------
    >>> import napari_unet as nu
    >>> model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    >>> nu.segment(model, np.random.default_rng(0).random((17, 23)), task="classes").dtype
    dtype('uint8')
    """
    chosen = task or model.task
    layout = image_layout(model, image, axes)
    check_task(chosen, layout, stitch)
    if out is not None and tuple(out.shape) != layout.label_shape:
        raise InputError(f"Expected `out` to have the shape {layout.label_shape}, but got {tuple(out.shape)}.")
    if chosen == "classes":
        return _classes(model, image, layout, config, out)
    with tempfile.TemporaryDirectory(prefix="napari-unet-") as folder:
        large = math.prod(layout.label_shape) * 4 > _ON_DISK_FROM_BYTES
        shape = layout.label_shape
        foreground = scratch_array(folder, shape) if large else np.empty(shape, np.float32)
        for event in predict_tiles(model, image, layout.axes, config):
            if isinstance(event, TilePredicted):
                foreground[event.box] = 1 - event.probabilities[0]
        frame = partial(FrameForeground, foreground, layout)
        return label_frames(frame, layout, out, spacing=model.spacing, stitch=stitch)


def _classes(
    model: SegmentationModel, image: Any, layout: ImageLayout, config: PredictConfig | None, out: Any | None
) -> Any:
    """Write the likeliest class of each pixel, tile by tile."""
    for event in predict_tiles(model, image, layout.axes, config):
        if isinstance(event, TilePredicted):
            labels = likeliest_class(event.probabilities)
            if out is None:
                out = np.empty(layout.label_shape, labels.dtype)
            out[event.box] = labels
    return out


def check_task(task: str, layout: ImageLayout, stitch: float | None = None) -> None:
    """Check what is to be found in an image, before the work.

    Raises
    ------
    InputError
        If the task is not known, or there is nothing to stitch.
    """
    if task not in ("objects", "classes"):
        raise InputError(f"Expected `task` to be 'objects' or 'classes', but got {task!r}.")
    if stitch is None:
        return
    if task == "classes":
        raise InputError("Only objects can be stitched, not classes; leave stitching out or look for objects.")
    check_stitching(stitch, layout)


def labels_from_probabilities(
    probabilities: npt.NDArray[np.float32],
    task: str,
    layout: ImageLayout,
    *,
    spacing: Sequence[float] | None = None,
    stitch: float | None = None,
) -> npt.NDArray[Any]:
    """Turn the probabilities of a whole image into labels; see `segment`.

    Parameters
    ----------
    probabilities : numpy.ndarray
        (class, \\*space) float32.
    task : str
        ``"objects"`` or ``"classes"``.
    layout : ImageLayout
        The axes of the image.
    spacing : sequence of float or None
        Distance of pixels along the last of the axes ZYX; None: equal.
    stitch : float or None
        As in `segment`.

    Raises
    ------
    InputError
        If the task is not known, the shapes differ, or there are no planes to stitch.
    """
    if probabilities.shape[1:] != layout.label_shape:
        raise InputError(
            f"Expected probabilities of the shape (class, {layout.label_shape}), but got {probabilities.shape}."
        )
    check_task(task, layout, stitch)
    if task == "classes":
        return likeliest_class(probabilities)
    frame = partial(FrameForeground, probabilities[0], layout, of_background=True)
    labels: npt.NDArray[Any] = label_frames(frame, layout, spacing=spacing, stitch=stitch)
    return labels


def likeliest_class(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Return the number of the likeliest class of each pixel, 1 = background, from probabilities (class, \\*space).

    Examples
    --------
    >>> likeliest_class(np.array([[0.7, 0.2], [0.3, 0.8]], np.float32))
    array([1, 2], dtype=uint8)
    """
    dtype = np.uint8 if len(probabilities) <= np.iinfo(np.uint8).max else np.uint16
    return np.asarray(probabilities.argmax(axis=0) + 1, dtype=dtype)
