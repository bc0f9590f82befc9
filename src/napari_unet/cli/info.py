"""The command `info`: what is in a model file or an image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_unet.data.axes import ImageLayout
from napari_unet.data.files import read_image
from napari_unet.errors import InputError

__all__ = ["describe_file"]

_WORDS = {"T": "time points", "C": "channels", "Z": "slices", "Y": "rows", "X": "columns", "S": "colours"}


def describe_file(path: Path) -> list[tuple[str, str]]:
    """Describe a model file (``.safetensors``) or an image.

    Returns
    -------
    list of (str, str)
        A title and a value for each line.

    Raises
    ------
    UNetError
        If it can't be read.
    """
    return list(_describe_model(path) if path.suffix.lower() == ".safetensors" else _describe_image(path))


def _describe_model(path: Path) -> Iterator[tuple[str, str]]:
    from napari_unet.models.model import Model

    model = Model.load(path)
    config = model.config
    yield "Model", path.name
    yield "Finds", "separate objects" if model.task == "objects" else "areas of each class"
    yield "Classes", ", ".join(config.classes)
    yield (
        "Reads",
        f"{config.ndim}D images ({config.axes}) with {config.in_channels} channel{'s' * (config.in_channels > 1)}",
    )
    if model.spacing is not None:
        yield "Pixel size", _size(model.spacing)
    count = sum(parameter.numel() for parameter in model.network.parameters())
    yield "Network", f"{config.architecture}, width {config.features}, depth {config.depth}, {count:,} parameters"
    yield "Grey values", f"percentiles {config.low_percentile} to {config.high_percentile} become 0 to 1"
    for key, value in model.history.items():
        if value not in (None, "", []):
            yield f"Training: {key.replace('_', ' ')}", _value(value)


def _describe_image(path: Path) -> Iterator[tuple[str, str]]:
    image = read_image(path)
    shape = tuple(image.array.shape)
    yield "Image", image.name
    yield (
        "Axes",
        f"{image.axes}: "
        + ", ".join(f"{n} {_WORDS.get(letter, letter)}" for letter, n in zip(image.axes, shape, strict=True)),
    )
    yield "Values", str(image.array.dtype)
    yield "Pixel size", "not in the file" if image.spacing is None else _size(image.spacing)
    for ndim in (2, 3):
        try:
            layout = ImageLayout(image.axes, shape, ndim)
        except InputError:
            continue
        frames = len(list(layout.frames()))
        size = " x ".join(str(n) for n in layout.frame_shape)
        channels = f"{layout.channels} channel{'s' * (layout.channels > 1)}"
        yield f"To a {ndim}D model", f"{frames} frame{'s' * (frames > 1)} of {size} with {channels}"


def _size(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{step:g}" for step in spacing) + " um (" + "ZYX"[-len(spacing) :] + ")"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value)
    if isinstance(value, dict):  # what the training began with
        return f"{'starting weights' if value.get('pretrained') else 'a model'} of {value.get('steps', 0):,} steps"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
