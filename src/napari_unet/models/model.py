"""A trained model: its network and all that is needed to use it again, in memory and as one file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

import napari_unet
from napari_unet.data.enclosure import ENCLOSURES
from napari_unet.data.place import CENTRES
from napari_unet.errors import InputError, ModelFileError
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.grey_features import GREYS
from napari_unet.nets.random_state import seeded
from napari_unet.nets.registry import build_network
from napari_unet.nets.tensor_file import load_tensors, save_tensors

__all__ = ["Model"]

_KIND = "model"
_PREFIX = "network."
_MOST_LEVELS = 16  # of a tree


@dataclass(eq=False)
class Model:
    r"""A network with its settings, what it looks for, and where it comes from.

    Make one with `Model.pretrained`, `Model.create` or `Model.load`.

    Attributes
    ----------
    config : ModelConfig
        Architecture, channels, classes and normalisation of the input.
    network : torch.nn.Module
        Maps (N, channel, \*space) to logits (N, class, \*space).
    task : {"objects", "classes"}
        Whether it was trained to separate objects or to mark areas of each class.
    spacing : tuple of float or None
        Distance of pixels that it was trained at, along the spatial axes (ZYX order); None: unknown.
    history : dict
        JSON values about the training: steps, seconds, best score and the like.
    closed_form : ClosedForm or None
        How `napari_unet.adapt` solves the last layer, where the network has learnt it; None: by the defaults.

    Examples
    --------
    >>> model = Model.create(ModelConfig(features=4, depth=1, classes=("background", "nucleus")))
    >>> model.task, model.config.classes
    ('objects', ('background', 'nucleus'))
    """

    config: ModelConfig
    network: torch.nn.Module
    task: str = "objects"
    spacing: tuple[float, ...] | None = None
    history: dict[str, Any] = field(default_factory=dict)
    closed_form: ClosedForm | None = None

    @classmethod
    def create(cls, config: ModelConfig | None = None, seed: int = 0) -> Model:
        """Make a new, untrained model.

        Parameters
        ----------
        config : ModelConfig, optional
            What to build; the defaults for a 2D image of one channel where not given.
        seed : int
            Start of the random weights: the same seed gives the same weights. The global random state of PyTorch is
            left alone.

        Raises
        ------
        InputError
            If the architecture is not known.
        """
        config = ModelConfig() if config is None else config
        return cls(config=config, network=_build(config, seed))

    @classmethod
    def pretrained(
        cls, in_channels: int = 1, ndim: int = 2, classes: Sequence[str] = ("background", "foreground")
    ) -> Model:
        """Make a model of the starting weights that come with the package; nothing is downloaded.

        They were trained so that a last layer solved from a few strokes segments: `napari_unet.adapt` does that, and
        `napari_unet.fit` goes on from there. The weights know three channels. An image of one channel gives exactly
        what it would give three times over, one of two gets their mean as the third, and more channels than three
        share the kernels of the three in turn. Where no weights for volumes are shipped, those for images are inflated
        (see `napari_unet.models.inflate`).

        Parameters
        ----------
        in_channels : int
            Channels of the images.
        ndim : {2, 3}
            2 for images and slices, 3 for volumes.
        classes : sequence of str
            Background first.

        Raises
        ------
        InputError
            If the channels, dimensions or classes make no sense.
        ModelFileError
            If the installation lacks the weights.
        """
        from napari_unet.models.pretrained import load_pretrained

        return load_pretrained(in_channels, ndim, tuple(classes))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Read a model from a file, ready for prediction (in evaluation mode, on the CPU).

        Parameters
        ----------
        path : path-like
            A file that `save` wrote.

        Raises
        ------
        ModelFileError
            If the file is missing, truncated, altered, foreign, from a newer version, or does not fit together.
        """
        name = Path(path).name
        tensors, document = load_tensors(path)
        if document.get("kind") != _KIND:
            kind = document.get("kind", "file of another kind")
            raise ModelFileError(f"{name} is not a model but a {kind}; open a model.")
        config = _read_config(document.get("config"), name)
        state = {key.removeprefix(_PREFIX): value for key, value in tensors.items() if key.startswith(_PREFIX)}
        network = _rebuild(config, state, name)
        return cls(
            config=config,
            network=network,
            task=_read_task(document.get("task"), name),
            spacing=_read_spacing(document.get("spacing"), name),
            history=_read_history(document.get("history"), name),
            closed_form=_read_closed_form(document.get("closed_form"), name),
        )

    def save(self, path: str | os.PathLike[str], *, half: bool = False) -> None:
        """Write the model to one safetensors file, in one step: a kill leaves the old file or the whole new one.

        Parameters
        ----------
        path : path-like
            The file, by custom with the ending ``.unet.safetensors``.
        half : bool
            Whether kernels are stored as float16, in half the space; normalisations and biases are not.

        Raises
        ------
        InputError
            If `task` or `spacing` hold what a model can't have, or a kernel is too large for float16.
        napari_unet.data.storage.StorageError
            If the file can't be written, for example because the disk is full.
        """
        if self.task not in ("objects", "classes"):
            raise InputError(f"Expected the model's `task` to be 'objects' or 'classes', but got {self.task!r}.")
        document = {
            "kind": _KIND,
            "package_version": napari_unet.__version__,
            "axes": self.config.axes,
            "config": asdict(self.config),
            "task": self.task,
            "spacing": None if self.spacing is None else [float(step) for step in self.spacing],
            "history": _plain(self.history),
            "closed_form": None if self.closed_form is None else asdict(self.closed_form),
        }
        state = {key: _halve(key, value) if half else value for key, value in self.network.state_dict().items()}
        save_tensors(path, {_PREFIX + key: value for key, value in state.items()}, document)


def _build(config: ModelConfig, seed: int) -> torch.nn.Module:
    with seeded(seed):
        return build_network(config)


class _NothingDrawn(TorchFunctionMode):
    """Leaves weights as they are where they would be drawn from a Gaussian.

    Where tensors have no memory, PyTorch loads its compiler for that, which takes a second.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func.__name__ == "normal_":  # of `torch.nn.init`, or a tensor's own
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


def _halve(key: str, value: torch.Tensor) -> torch.Tensor:
    """Turn the weights of a convolution into float16."""
    if value.ndim < 2 or not value.is_floating_point():
        return value
    if not value.abs().max() <= torch.finfo(torch.float16).max:
        raise InputError(f"The weights {key!r} are too large for half the precision; save the model with `half=False`.")
    return value.to(torch.float16)


def _read_config(values: Any, name: str) -> ModelConfig:
    known = {entry.name for entry in fields(ModelConfig)}
    if not isinstance(values, Mapping):
        raise ModelFileError(f"{name} does not say which network it holds; train and save the model again.")
    unknown = sorted(set(values) - known)
    if unknown:
        raise ModelFileError(
            f"{name} uses the setting {unknown[0]!r}, which this napari-unet does not know; update napari-unet."
        )
    arguments: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    try:
        return ModelConfig(**arguments)
    except (InputError, TypeError, ValueError) as error:
        raise ModelFileError(f"{name} describes a network that can't be built: {error}") from error


def _rebuild(config: ModelConfig, state: dict[str, torch.Tensor], name: str) -> torch.nn.Module:
    """Build the network and fill in its weights, after a check without memory that they are the right ones."""
    try:
        with torch.device("meta"), _NothingDrawn():
            expected = {key: tuple(value.shape) for key, value in _build(config, seed=0).state_dict().items()}
        if "place" in state:
            centres = CENTRES[config.ndim] ** config.ndim
            enclosed = centres + ENCLOSURES == state["place"].shape[-1]
            expected["place"] = (len(config.classes), centres + ENCLOSURES * enclosed)
        if any(key.startswith("tree_") for key in state) and config.ndim == 2 and config.padding == "same":
            expected |= _tree_shapes(config, state, name)
    except InputError as error:
        raise ModelFileError(f"{name} can't be opened by this version of napari-unet: {error}") from error
    for key in sorted(expected.keys() | state.keys()):
        if key not in state:
            raise ModelFileError(f"{name} lacks the weights {key!r} of its network; train and save the model again.")
        if key not in expected:
            raise ModelFileError(f"{name} has weights {key!r} that its network does not know; update napari-unet.")
        if tuple(state[key].shape) != expected[key]:
            found = tuple(state[key].shape)
            raise ModelFileError(
                f"{name} has weights {key!r} of shape {found} where its network needs {expected[key]}."
            )
    network = _build(config, seed=0)
    network.load_state_dict(state)
    return network.eval()


def _tree_shapes(config: ModelConfig, state: dict[str, torch.Tensor], name: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes that the parts of trees must have, of which the questions tell how many there are."""
    questions = state.get("tree_questions", torch.zeros(1, 1, dtype=torch.int64))
    known = questions.ndim == 2 and questions.dtype == torch.int64 and 0 < questions.shape[1] <= _MOST_LEVELS
    asked = questions.flatten().tolist() if known else []
    if not asked or min(asked) < 0 or max(asked) >= GREYS * config.in_channels:
        raise ModelFileError(
            f"{name} has trees that ask for what its images do not have; train and save the model again."
        )
    count, levels = questions.shape
    return {
        "tree_questions": (count, levels),
        "tree_thresholds": (count, levels),
        "tree_values": (count, 2**levels, len(config.classes)),
    }


def _read_task(value: Any, name: str) -> str:
    if value not in ("objects", "classes"):
        raise ModelFileError(f"{name} is for the task {value!r}, which this version of napari-unet does not know.")
    return str(value)


def _read_spacing(value: Any, name: str) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(step, (int, float)) and step > 0 for step in value):
        raise ModelFileError(f"{name} has the pixel size {value!r}, which makes no sense.")
    return tuple(float(step) for step in value)


def _read_history(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelFileError(f"{name} has no record of its training; train and save the model again.")
    return dict(value)


def _read_closed_form(value: Any, name: str) -> ClosedForm | None:
    if value is None:
        return None
    try:
        form = ClosedForm(**{key: float(number) for key, number in value.items()})
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{name} solves its last layer in a way that this napari-unet does not know; update napari-unet."
        ) from error
    if not form.ridge > 0 or not all(math.isfinite(number) for number in asdict(form).values()):
        raise ModelFileError(f"{name} solves its last layer with {form}, which makes no sense.")
    return form


def _plain(value: Any) -> Any:
    """Turn numbers of numpy, tuples and non-finite numbers into what JSON can hold; the latter become None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
