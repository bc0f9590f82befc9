"""What a training or a prediction needs, put together from the dock's fields when it starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, cast

from napari_unet.data.axes import Box
from napari_unet.errors import InputError
from napari_unet.learn.config import TrainConfig
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.settings import describe_settings
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.results.held import HeldPixels
from napari_unet.widgets.results.layers import ResultLayers, filled_positions, record_of
from napari_unet.widgets.results.predict_job import PredictRequest
from napari_unet.widgets.results.view_region import Look
from napari_unet.widgets.segment.panel import SegmentPanel
from napari_unet.widgets.segment.window_config import WindowConfig
from napari_unet.widgets.training.train_job import PaintedImage, TrainRequest

if TYPE_CHECKING:
    from napari_unet.models.model import Model

__all__ = [
    "NO_IMAGE",
    "check_channels",
    "choose_extent",
    "default_threads",
    "may_join_slices",
    "network_fields",
    "predict_request",
    "train_request",
]

NO_IMAGE = "There is no image: open one with File > Open, or try one of File > Open Sample > U-Net."

_NETWORK_DEFAULTS = {info.name: info.default for info in describe_settings(ModelConfig)} | {"features": None}
_OF_STARTING_WEIGHTS = {"ndim", "in_channels", "classes", "last_features", "smooth_logits"}  # in which they may differ
_LARGE_FRAME = 64_000_000  # pixels above which only the view is predicted after a training


def network_fields(model: Model) -> dict[str, Any]:
    """Return what the fields of a new model's network hold for a model that was opened.

    For one built as the starting weights are, that is what they hold at first: with them the next new model begins.
    """
    fields = {**asdict(model.config), "features": None}
    chosen = {name for name, value in _NETWORK_DEFAULTS.items() if fields.get(name) != value}
    return dict(_NETWORK_DEFAULTS) if chosen <= _OF_STARTING_WEIGHTS else fields


def default_threads() -> int:
    """Return how many cores training gets so that one is left to the window."""
    return max(1, (os.cpu_count() or 2) - 1)


def check_channels(model: Model, source: ImageSource) -> None:
    """Check that a model reads as many channels as an image has.

    Raises
    ------
    InputError
        Naming the image, both numbers and what to do.
    """
    wanted, given = model.config.in_channels, source.layout.channels
    if wanted != given:
        raise InputError(
            f"The model reads {wanted} channel{'s' * (wanted > 1)}, but the image '{source.name}' has {given}: choose "
            "another image, or press Train to adapt the model to this one."
        )


def train_request(
    panel: SegmentPanel, images: Sequence[PaintedImage], model: Model | None, names: Sequence[str]
) -> TrainRequest:
    """Put a training together; the first of the images says what the network reads.

    Raises
    ------
    InputError
        If a field holds what can't be.
    """
    source = images[0].source
    window = WindowConfig(**panel.window_form.values())
    network: dict[str, Any] = panel.model_form.values()
    own = any(value != _NETWORK_DEFAULTS.get(name) for name, value in network.items())
    choose_width = network["features"] is None
    if choose_width:
        del network["features"]
    task = cast("Literal['objects', 'classes']", panel.task.value)
    return TrainRequest(
        images=tuple(images),
        model=model,
        model_config=ModelConfig(
            **network, ndim=source.layout.ndim, in_channels=source.layout.channels, classes=tuple(names)
        ),
        choose_width=choose_width,
        own_network=own,
        starting_weights=window.start == "starting weights",
        config=TrainConfig(**panel.train_form.values(), task=task, max_seconds=float(panel.seconds.value()) or None),
        device=window.device,
        threads=window.threads or default_threads(),
    )


def choose_extent(panel: SegmentPanel, source: ImageSource, *, after_training: bool) -> str:
    """Say how much to predict: what is chosen, but by itself, after a training, only what is shown."""
    extent = str(panel.extent.currentData() or "frame")
    if not after_training:
        return extent
    height, width = source.layout.frame_shape[-2:]
    if height * width > _LARGE_FRAME:
        return "view"
    return "frame" if extent == "all" else extent


def may_join_slices(panel: SegmentPanel, source: ImageSource | None, extent: str) -> bool:
    """Whether objects can be joined over slices: all slices of a stack are gone through one by one."""
    slices = source is not None and "Z" in source.layout.stack_letters
    return slices and extent == "all" and panel.task.value == "objects"


def predict_request(
    panel: SegmentPanel,
    source: ImageSource,
    model: Model,
    look: Look,
    region: Box | None,
    layers: ResultLayers,
    *,
    join: bool = False,
    held: HeldPixels | None = None,
) -> PredictRequest:
    """Put a prediction together; `join` joins objects over slices, `held` is what corrections painted in the image.

    Raises
    ------
    InputError
        If a field holds what can't be.
    """
    window = WindowConfig(**panel.window_form.values())
    return PredictRequest(
        source=source,
        model=model,
        task=panel.task.value,
        result=layers.result,
        record=record_of(layers.labels),
        look=look,
        region=region,
        config=PredictConfig(**panel.predict_form.values(), device=window.device),
        probabilities=layers.probability_arrays,
        filled=filled_positions(layers.labels),
        threads=window.threads or default_threads(),
        uncertainty=None if layers.uncertainty is None else layers.uncertainty.target,
        join=window.join_overlap if join else None,
        held=held,
    )
