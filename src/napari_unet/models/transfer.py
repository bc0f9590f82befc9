"""Starting from a trained model although the new one reads other channels, knows other classes, or is built otherwise.

Layers that fit by name and shape are kept; the rest is made anew, and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch

from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.config import ModelConfig

__all__ = ["Transfer", "transfer"]

_MOST_NAMES = 6  # of layers in a sentence

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Transfer:
    """A model made from another one.

    Attributes
    ----------
    model : Model
        The new model.
    kept : tuple of str
        Names of the layers that are as they were.
    adapted : tuple of str
        Layers that read the image and were adapted to another number of channels.
    made_anew : tuple of str
        Layers that start from random weights, wholly or, the last one, for new classes only.
    note : str
        All this in one sentence for the person.
    """

    model: Model
    kept: tuple[str, ...]
    adapted: tuple[str, ...]
    made_anew: tuple[str, ...]
    note: str


def transfer(source: Model, config: ModelConfig, *, seed: int = 0) -> Transfer:
    """Make a model of another config that keeps of a trained one what fits.

    - A layer is kept if the new network has one of the same name and shape.
    - The layers that read the image are adapted to another number of channels, as if these were mixed to the old ones
      first: each old channel is the mean of the new channels that fall to it in turn, or, if there are too few, of
      all. So an image whose channels are all equal gives what it gave before (grey to RGB, and back). Depth-wise
      kernels become the mean of the old ones, which is exact from one channel to several only.
    - The last layer keeps the rows of the classes that have the same names; if their number is the same, classes of
      other names count as renamed.
    - All else starts from random weights.

    Parameters
    ----------
    source : Model
        The trained model; it is not changed.
    config : ModelConfig
        What the new one shall be.
    seed : int
        Start of the random weights.

    Returns
    -------
    Transfer
        The model and what became of each layer.

    Raises
    ------
    InputError
        If no layer fits, as from 2D to 3D or to another width.

    Examples
    --------
    >>> grey = Model.create(ModelConfig(features=4, depth=1))
    >>> moved = transfer(grey, ModelConfig(features=4, depth=1, in_channels=3, classes=("background", "a", "b")))
    >>> moved.note
    "6 of 8 layers are kept; the first is adapted from 1 to 3 channels; the last is made anew for 'a' and 'b'."
    """
    model = Model.create(config, seed)
    old, new = _layers(source.network), _layers(model.network)
    state: Tensors = {}
    fates: dict[str, list[str]] = {"kept": [], "adapted": [], "anew": []}
    for name, tensors in new.items():
        moved, fate = _move_layer(name, old.get(name, {}), tensors, source.config, config)
        state |= {f"{name}.{key}": value for key, value in moved.items()}
        if any(value.ndim > 1 for value in tensors.values()):  # normalisations go with their convolutions
            fates[fate].append(name)
    kept, adapted, anew = (tuple(names) for names in fates.values())
    if not kept and not adapted:
        raise InputError("No layer of the model fits the new network; start with a new model.")
    model.network.load_state_dict(state)
    _move_place(source, model)
    model.network.eval()
    model.task, model.spacing, model.closed_form = source.task, source.spacing, source.closed_form
    encoder = cast("SegmentationNetwork", model.network).encoder
    model.history = {
        "start": {
            "steps": source.history.get("steps", 0),
            "layers_kept": len(kept) + len(adapted),
            "layers_made_anew": list(anew),
            "encoder_kept": not any(name.split(".")[0] in encoder for name in anew),
        }
    }
    return Transfer(model, kept, adapted, anew, _sentence(kept, adapted, anew, source.config, config))


def _move_place(source: Model, model: Model) -> None:
    """Let the place count as before for the classes whose rows of the last layer are kept."""
    before, after = cast("SegmentationNetwork", source.network), cast("SegmentationNetwork", model.network)
    shapes = [cast("torch.nn.Conv2d", network.head).weight.shape[1:] for network in (before, after)]
    if before.place is not None and after.takes_place and shapes[0] == shapes[1]:
        rows = _class_rows(source.config.classes, model.config.classes)
        old = before.place.cpu()
        after.set_place(_move_rows(old, torch.zeros(len(rows), old.shape[1]), rows))


def _layers(network: torch.nn.Module) -> dict[str, Tensors]:
    """Group the weights of a network by the layer that they belong to."""
    layers: dict[str, Tensors] = {}
    for key, value in network.state_dict().items():
        name, _, own = key.rpartition(".")
        layers.setdefault(name, {})[own] = value
    return layers


def _move_layer(
    name: str, old: Tensors, new: Tensors, before: ModelConfig, after: ModelConfig
) -> tuple[Tensors, Literal["kept", "adapted", "anew"]]:
    """Return the weights of a layer, and what became of it."""
    if old.keys() != new.keys():
        return new, "anew"
    if name.split(".")[0] in ("head", "inner_heads"):
        rows = _class_rows(before.classes, after.classes)
        if any(old[key].shape[1:] != new[key].shape[1:] for key in new):
            return new, "anew"
        moved = {key: _move_rows(old[key], new[key], rows) for key in new}
        return moved, "anew" if None in rows else "kept"
    if all(old[key].shape == new[key].shape for key in new):
        return {key: value.clone() for key, value in old.items()}, "kept"
    channels = before.in_channels, after.in_channels
    if before.features != after.features or channels[0] == channels[1]:
        return new, "anew"
    fitted = {key: _fit_channels(old[key], new[key].shape, *channels) for key in new}
    found = {key: value for key, value in fitted.items() if value is not None}
    return (found, "adapted") if len(found) == len(new) else (new, "anew")


def _class_rows(before: Sequence[str], after: Sequence[str]) -> list[int | None]:
    """Say for each new class which old one it is, or None; background is always the first."""
    rows: list[int | None] = []
    for place, name in enumerate(after):
        renamed = place == 0 or (len(before) == len(after) and before[place] not in after)
        rows.append(before.index(name) if name in before else place if renamed else None)
    return rows


def _move_rows(old: torch.Tensor, new: torch.Tensor, rows: list[int | None]) -> torch.Tensor:
    return torch.stack([new[place] if row is None else old[row] for place, row in enumerate(rows)])


def _fit_channels(old: torch.Tensor, shape: torch.Size, before: int, after: int) -> torch.Tensor | None:
    """Adapt what reads or makes one map for each image channel; None: it does not fit."""
    if old.shape == shape:
        return old.clone()
    if old.ndim > 1 and old.shape[1] == before and (old.shape[0], after, *old.shape[2:]) == tuple(shape):
        return torch.einsum("ob...,ba->oa...", old, _mixture(before, after))
    if old.ndim > 1 and old.shape[0] == before and (after, *old.shape[1:]) == tuple(shape):
        return old.mean(0, keepdim=True).expand(shape).clone()
    return None


def _mixture(before: int, after: int) -> torch.Tensor:
    """Say how much of each new channel is in each old one, (before, after); the rows sum up to 1."""
    share = (torch.arange(after) % before == torch.arange(before)[:, None]).float()
    share[share.sum(dim=1) == 0] = 1.0
    return share / share.sum(dim=1, keepdim=True)


def _sentence(
    kept: Sequence[str], adapted: Sequence[str], anew: Sequence[str], before: ModelConfig, after: ModelConfig
) -> str:
    total = len(kept) + len(adapted) + len(anew)
    parts = [f"{len(kept)} of {total} layers are kept"]
    if adapted:
        parts.append(f"the first is adapted from {before.in_channels} to {after.in_channels} channels")
    heads = [name for name in anew if name.split(".")[0] in ("head", "inner_heads")]
    names = [name for name, row in zip(after.classes, _class_rows(before.classes, after.classes), strict=True)
             if row is None]  # fmt: skip
    if heads:
        parts.append("the last is made anew" + (f" for {_listed([repr(name) for name in names])}" if names else ""))
    rest = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in anew if name not in heads))  # part and level
    if rest:
        parts.append(f"made anew are {_listed(rest)}")
    return "; ".join(parts) + "."


def _listed(words: list[str]) -> str:
    if len(words) > _MOST_NAMES:
        words = [*words[:_MOST_NAMES], f"{len(words) - _MOST_NAMES} more"]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
