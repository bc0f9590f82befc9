"""Training as the dock runs it: a generator that does everything in a worker, from copying strokes to the best weights.

PyTorch, and all that imports it, is loaded only inside, since that takes a second.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_unet.data.sample import Sample
from napari_unet.errors import AnnotationError, InputError
from napari_unet.learn.config import TrainConfig
from napari_unet.nets.config import ModelConfig
from napari_unet.widgets.annotate.annotation import interpret
from napari_unet.widgets.annotate.label_storage import PaintedFrames
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.parts.torch_loading import load_torch
from napari_unet.widgets.parts.worker import StopCheck

if TYPE_CHECKING:
    from napari_unet.models.model import Model

__all__ = [
    "ModelMade",
    "PaintedImage",
    "TrainRequest",
    "copy_strokes",
    "fits_request",
    "model_for",
    "torch_threads",
    "train",
]

_FEATURES_CPU = 16
_FEATURES_GPU = 32


@dataclass(frozen=True, eq=False)
class PaintedImage:
    """An image and the labels painted on it.

    Attributes
    ----------
    source : ImageSource
        The image.
    strokes : array-like
        Data of the strokes layer; copied before it is used.
    strokes_name : str
        Name of the strokes layer, for messages.
    meaning : str
        See `napari_unet.widgets.annotate.annotation.interpret`.
    """

    source: ImageSource
    strokes: Any
    strokes_name: str
    meaning: str = "strokes"


@dataclass(frozen=True, eq=False)
class TrainRequest:
    """All that a training needs to know, taken from the window before it starts.

    Attributes
    ----------
    images : tuple of PaintedImage
        The images; those without strokes are left out.
    model : Model or None
        The model to go on with, or whose layers are kept as far as they fit; None: a new one.
    model_config : ModelConfig
        What a new model is made of; its `features` count only where `choose_width` is False.
    choose_width : bool
        Whether a new model gets a width that suits the device.
    own_network : bool
        Whether `model_config` was chosen; else only its dimensions, channels and classes count.
    starting_weights : bool
        Whether a new model begins with the starting weights, if no other network was chosen.
    config : TrainConfig
        How to train.
    device : str
        ``"auto"`` or a name.
    threads : int
        Cores for PyTorch.
    """

    images: tuple[PaintedImage, ...]
    model: Model | None
    model_config: ModelConfig
    choose_width: bool
    config: TrainConfig
    device: str = "auto"
    threads: int = 1
    own_network: bool = True
    starting_weights: bool = False


@dataclass(frozen=True, eq=False)
class ModelMade:
    """The model that is trained from now on; it holds its best weights when the training is over.

    Attributes
    ----------
    model : Model
        The model.
    note : str
        Which layers of the model before are kept, where it no longer fits; empty otherwise.
    """

    model: Model
    note: str = ""


def train(request: TrainRequest, should_stop: StopCheck) -> Generator[Any, None, None]:
    """Train; call it in a worker.

    Yields
    ------
    ModelMade or FitEvent
        First `ModelMade`, then the events of `napari_unet.fit`.

    Raises
    ------
    UNetError
        If images, strokes or settings can't be used; the message names the layer.
    """
    copies = [copy_strokes(painted, request.config.task) for painted in request.images]
    samples = [sample for sample in copies if sample.annotation.frames]
    names = ", ".join(f"'{painted.strokes_name}'" for painted in request.images)
    if not samples:
        raise AnnotationError(f"Nothing is painted on {names}: paint a few strokes of background and of each class.")
    load_torch()
    from napari_unet.learn.fit import fit

    with torch_threads(request.threads):
        made = model_for(request)
        yield made
        try:
            yield from fit(made.model, samples, request.config, device=request.device, should_stop=should_stop)
        except AnnotationError as error:
            raise AnnotationError(f"{str(error).removesuffix('.')} (strokes layer {names}).") from error


def copy_strokes(painted: PaintedImage, task: str) -> Sample:
    """Copy what is painted on an image (`PaintedFrames`) and bring it into the annotation encoding."""
    copied = PaintedFrames(painted.strokes, painted.source.layout)
    for position, frame in copied.frames.items():
        copied.frames[position] = interpret(frame, painted.meaning, task)
    return Sample(
        image=painted.source.array,
        annotation=copied,
        axes=painted.source.axes,
        spacing=painted.source.spacing,
        name=f"Image '{painted.source.name}'",
    )


def fits_request(config: ModelConfig, wanted: ModelConfig, *, choose_width: bool) -> bool:
    """Say whether a model can be trained on: same network and as many classes, whatever they are called."""
    same = replace(wanted, classes=config.classes) if len(config.classes) == len(wanted.classes) else wanted
    return config == (replace(same, features=config.features) if choose_width else same)


def model_for(request: TrainRequest) -> ModelMade:
    """Return the model to go on with, renamed classes taken over, or one that keeps what fits of it, or a new one."""
    from napari_unet.models.model import Model
    from napari_unet.models.transfer import transfer
    from napari_unet.nets.device import choose_device

    known, wanted, seed = request.model, request.model_config, request.config.seed
    if known is not None and not request.own_network:
        wanted = replace(known.config, ndim=wanted.ndim, in_channels=wanted.in_channels, classes=wanted.classes)
    if known is not None and fits_request(known.config, wanted, choose_width=request.choose_width):
        known.config = replace(known.config, classes=wanted.classes)
        return ModelMade(known)
    note = ""
    if known is not None:
        alike = replace(wanted, features=known.config.features) if request.choose_width else wanted
        try:
            moved = transfer(known, alike, seed=seed)
            return ModelMade(moved.model, f"The model is adapted: {moved.note}")
        except InputError:
            note = f"A new model is begun: {_why_not(known.config, wanted)}."
    wanted = request.model_config
    if request.starting_weights and not request.own_network:
        return ModelMade(Model.pretrained(wanted.in_channels, wanted.ndim, wanted.classes), note)
    if request.starting_weights and not note:
        note = "Training from scratch: the starting weights are for another network than the one under Advanced."
    if request.choose_width:
        on_gpu = choose_device(request.device).torch_device.type != "cpu"
        wanted = replace(wanted, features=_FEATURES_GPU if on_gpu else _FEATURES_CPU)
    return ModelMade(Model.create(wanted, seed=seed), note)


def _why_not(known: ModelConfig, wanted: ModelConfig) -> str:
    """Say why nothing of a model can be kept."""
    if known.ndim != wanted.ndim:
        kinds = {2: "single slices", 3: "whole volumes"}
        return f"the one before reads {kinds[known.ndim]}, and can't read {kinds[wanted.ndim]}"
    return "no part of the one before fits the network that is asked for now"


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch use this many cores in the calling thread, and as many as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
