"""A network for volumes made of one for images, so that what was learnt on images helps in volumes, too."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from napari_unet.errors import InputError
from napari_unet.models.model import Model

__all__ = ["inflate"]

_CONVOLUTIONS = nn.Conv2d | nn.ConvTranspose2d
_SHARES = (0.2, 0.6, 0.2)  # of the planes of a kernel of three


def inflate(model: Model) -> Model:
    """Make a 3D model of a 2D one.

    Each kernel is spread over z (Carreira and Zisserman 2017, arXiv 1705.07750). That of a convolution is shared out
    among its planes; the middle one of three gets most, since planes of a volume mostly lie further apart than pixels.
    That of an up-convolution of stride 2, whose every plane is written by one of its planes, is repeated. Pooling and
    normalisation go on as they are. In a volume whose planes are all the same, what the network says of a plane that is
    as far from both ends as the network looks is what the 2D network says of it.

    Parameters
    ----------
    model : Model
        A 2D model of a network that is made for volumes as well; it is not changed.

    Returns
    -------
    Model
        With the same settings but ``ndim=3``.

    Raises
    ------
    InputError
        If the model is not a 2D one, or its network can't be inflated.

    Examples
    --------
    >>> from napari_unet.nets.config import ModelConfig
    >>> inflate(Model.create(ModelConfig(features=4, depth=1))).network(torch.zeros(1, 1, 4, 8, 6)).shape
    torch.Size([1, 2, 4, 8, 6])
    """
    if model.config.ndim != 2:
        raise InputError("Only a model for images can be inflated; this one is for volumes.")
    deep = Model.create(replace(model.config, ndim=3))
    layers = dict(model.network.named_modules())
    state = {}
    for key, value in model.network.state_dict().items():
        if key == "place" or key.startswith("tree_"):
            continue
        layer = layers[key.rpartition(".")[0]]
        is_kernel = isinstance(layer, _CONVOLUTIONS) and value.ndim == 4
        state[key] = _spread(layer, value) if is_kernel else value
    deep.network.load_state_dict(state)
    deep.network.eval()
    deep.task, deep.closed_form, deep.history = model.task, model.closed_form, dict(model.history)
    return deep


def _spread(layer: nn.Module, kernel: torch.Tensor) -> torch.Tensor:
    """Spread a kernel (outputs, inputs, y, x) to (outputs, inputs, z, y, x)."""
    size = kernel.shape[-1]
    if isinstance(layer, nn.ConvTranspose2d):
        if layer.stride != (size, size):
            raise InputError("Up-convolutions that overlap can't be inflated; choose the network 'unet'.")
        shares = (1.0,) * size
    else:
        shares = _SHARES if len(_SHARES) == size else (1 / size,) * size
    return torch.stack([share * kernel for share in shares], dim=2)
