"""From an image to labels: the classes of its areas, or its separated objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import ImageLayout
from napari_unet.errors import InputError
from napari_unet.nets.registry import SegmentationModel
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.instances import separate_objects
from napari_unet.predict.tiled import image_layout, predict

__all__ = ["labels_from_probabilities", "likeliest_class", "segment"]


def segment(
    model: SegmentationModel,
    image: Any,
    axes: str | None = None,
    *,
    task: Literal["objects", "classes"] | None = None,
    config: PredictConfig | None = None,
) -> npt.NDArray[Any]:
    """Segment an image.

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

    Returns
    -------
    numpy.ndarray
        Integers with the image's axes but the channels. ``"objects"``: 0 = background, 1, 2, ... one id for each
        object, different ones in each frame of a stack. ``"classes"``: 1 = background, 2, 3, ... the classes, as in
        an annotation.

    Raises
    ------
    UNetError
        If the image does not fit the model.

    Examples
    --------
    >>> import napari_unet as nu
    >>> model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    >>> nu.segment(model, np.random.default_rng(0).random((17, 23)), task="classes").dtype
    dtype('uint8')
    """
    chosen = task or model.task
    _check_task(chosen)
    layout = image_layout(model, image, axes)
    probabilities = predict(model, image, layout.axes, config)
    return labels_from_probabilities(probabilities, chosen, layout, spacing=model.spacing)


def _check_task(task: str) -> None:
    if task not in ("objects", "classes"):
        raise InputError(f"Expected `task` to be 'objects' or 'classes', but got {task!r}.")


def labels_from_probabilities(
    probabilities: npt.NDArray[np.float32],
    task: str,
    layout: ImageLayout,
    *,
    spacing: Sequence[float] | None = None,
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

    Raises
    ------
    InputError
        If the task is not known or the shapes differ.
    """
    if probabilities.shape[1:] != layout.label_shape:
        raise InputError(
            f"Expected probabilities of the shape (class, {layout.label_shape}), but got {probabilities.shape}."
        )
    _check_task(task)
    if task == "classes":
        return likeliest_class(probabilities)
    steps = None if spacing is None else tuple(spacing)[-layout.ndim :]
    labels = np.zeros(layout.label_shape, np.uint32)
    count = 0
    for position in layout.frames():
        foreground = 1 - layout.read_labels(probabilities[0], position)
        objects = separate_objects(foreground, spacing=steps)
        box = layout.label_box(position, tuple(slice(0, n) for n in layout.frame_shape))
        labels[box] = layout.to_label_order(np.where(objects > 0, objects + count, 0)[np.newaxis])[0]
        count += int(objects.max())
    return labels.astype(np.uint16) if count <= np.iinfo(np.uint16).max else labels


def likeliest_class(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Return the number of the likeliest class of each pixel, 1 = background, from probabilities (class, \\*space).

    Examples
    --------
    >>> likeliest_class(np.array([[0.7, 0.2], [0.3, 0.8]], np.float32))
    array([1, 2], dtype=uint8)
    """
    dtype = np.uint8 if len(probabilities) <= np.iinfo(np.uint8).max else np.uint16
    return np.asarray(probabilities.argmax(axis=0) + 1, dtype=dtype)
