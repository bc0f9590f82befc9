"""From annotated images to painted frames with a weight for every pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_unet.data.axes import ImageLayout
from napari_unet.data.crops import AnnotatedFrame
from napari_unet.data.intensity import FrameReader
from napari_unet.data.painted_area import boxes_apart
from napari_unet.data.sample import Sample
from napari_unet.data.strokes import decode_strokes
from napari_unet.errors import AnnotationError, InputError
from napari_unet.learn.border_weights import border_weights
from napari_unet.learn.config import TrainConfig
from napari_unet.nets.config import ModelConfig

__all__ = ["balance_classes", "fit_shape", "prepare_frames", "relative_spacing"]

OpenImage = Callable[[Any, ImageLayout, ModelConfig], FrameReader]


def _open_image(image: Any, layout: ImageLayout, model: ModelConfig) -> FrameReader:
    return FrameReader.open(image, layout, model.low_percentile, model.high_percentile)


def prepare_frames(
    samples: Sequence[Sample], model: ModelConfig, config: TrainConfig, open_image: OpenImage = _open_image
) -> list[AnnotatedFrame]:
    """Find the painted parts of the frames of all samples and weight their pixels.

    A frame has several where what is painted lies far apart, see `napari_unet.data.painted_area.boxes_apart`.

    An image without strokes gives nothing, or, where `TrainConfig.consistency` learns from the unpainted part, a frame
    that does not count.

    The border term is that of `border_weights`; the class term balances the classes over all samples together, so
    that each has the same sum and the mean is 1.

    Parameters
    ----------
    samples : sequence of Sample
        The annotated images.
    model : ModelConfig
        Says how the images are read.
    config : TrainConfig
        Says what the strokes mean and how borders are weighted.
    open_image : callable
        Takes image, layout and `model`, and returns what reads the image.

    Raises
    ------
    InputError
        If an image can't be read as the model needs it; the message names it.
    AnnotationError
        If nothing is painted, one class only, or something that the encoding does not have.
    """
    if not samples:
        raise InputError("There is nothing to train on: give at least one annotated image.")
    frames: list[AnnotatedFrame] = []
    for number, sample in enumerate(samples, start=1):
        name = sample.name or f"image {number}"
        try:
            frames += _prepare_sample(sample, model, config, open_image)
        except InputError as error:
            raise type(error)(f"{name}: {error}") from error
    return balance_classes(frames, model.classes)


def _prepare_sample(
    sample: Sample, model: ModelConfig, config: TrainConfig, open_image: OpenImage
) -> list[AnnotatedFrame]:
    layout = ImageLayout(sample.axes, tuple(sample.image.shape), model.ndim)
    if layout.channels != model.in_channels:
        raise InputError(
            f"The model reads {model.in_channels} channel{'s' * (model.in_channels > 1)}, "
            f"but the image has {layout.channels}."
        )
    annotation = fit_shape(sample.annotation, layout)
    spacing = relative_spacing(sample.spacing, model.ndim)
    reader = None
    frames = []
    for position in layout.frames():
        painted = layout.read_labels(annotation, position)
        for box in boxes_apart(painted):
            reader = reader or open_image(sample.image, layout, model)
            targets = decode_strokes(painted[box], config.task, len(model.classes))
            weights = border_weights(
                targets.objects, w0=config.w0, sigma=config.sigma, class_balance=False, valid=targets.valid,
                spacing=spacing,
            )  # fmt: skip
            origin = tuple(part.start for part in box)
            frames.append(AnnotatedFrame(reader, position, origin, targets.classes, weights))
    if not frames and config.consistency > 0:
        frames.append(_unpainted_frame(open_image(sample.image, layout, model)))
    return frames


def _unpainted_frame(reader: FrameReader) -> AnnotatedFrame:
    """Stand for an image that only its looks are learnt of: a single pixel that does not count."""
    place, shape = (0,) * reader.layout.ndim, (1,) * reader.layout.ndim
    position = (0,) * len(reader.layout.stack_shape)
    return AnnotatedFrame(reader, position, place, np.zeros(shape, np.uint8), np.zeros(shape, np.float32))


def relative_spacing(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Express the spacing of the last `ndim` axes in pixels of the finest one; unknown means equal."""
    if spacing is None:
        return (1.0,) * ndim
    steps = tuple(float(step) for step in spacing)[-ndim:]
    if len(steps) != ndim or not all(0 < step < math.inf for step in steps):
        raise InputError(f"Expected a positive pixel size for each of {ndim} axes, but got {tuple(spacing)}.")
    return tuple(step / min(steps) for step in steps)


def fit_shape(annotation: Any, layout: ImageLayout) -> Any:
    """Check that strokes fit an image; axes of length 1 may be missing or more.

    Raises
    ------
    AnnotationError
        If they do not.
    """
    shape = tuple(annotation.shape)
    if shape == layout.label_shape:
        return annotation
    if tuple(n for n in shape if n > 1) == tuple(n for n in layout.label_shape if n > 1):
        return np.asarray(annotation).reshape(layout.label_shape)  # singleton axes only
    raise AnnotationError(
        f"The strokes have the shape {shape}, but the image needs {layout.label_shape} ({layout.label_axes})."
    )


def balance_classes(frames: Sequence[AnnotatedFrame], names: tuple[str, ...]) -> list[AnnotatedFrame]:
    """Bring the class term of the weights to all frames together: each class has the same sum, and the mean is 1.

    Raises
    ------
    AnnotationError
        If nothing or one class only is painted.
    """
    counts = np.zeros(len(names), np.int64)
    for frame in frames:
        counts += np.bincount(frame.classes[frame.weights > 0], minlength=len(names))
    painted = np.flatnonzero(counts)
    if painted.size == 0:
        raise AnnotationError("Nothing is painted: paint a few strokes of background and of each class.")
    if painted.size == 1:
        other = next(name for index, name in enumerate(names) if index != painted[0])
        raise AnnotationError(f"Only {names[painted[0]]} is painted: paint a few strokes of {other}, too.")
    share = np.zeros(len(names), np.float32)
    share[painted] = counts.sum() / (painted.size * counts[painted])
    return [
        replace(f, weights=np.where(f.weights > 0, f.weights - 1 + share[f.classes], 0).astype(np.float32))
        for f in frames
    ]
