"""Models whose weights are random in every part, and what a network makes of an image that is not cut into tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig

FloatArray = npt.NDArray[np.float32]


def _make_model(seed: int = 0, **settings: Any) -> Model:
    model = Model.create(ModelConfig(**{"features": 4, "depth": 2, **settings}), seed=seed)
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.running_mean.normal_(0.0, 0.3, generator=chance)  # type: ignore[union-attr]
                module.running_var.uniform_(0.4, 2.0, generator=chance)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.5, generator=chance)
                module.bias.normal_(0.0, 0.3, generator=chance)
            elif getattr(module, "bias", None) is not None:
                module.bias.normal_(0.0, 0.1, generator=chance)  # type: ignore[operator]
        _spread_logits(model, chance)
    return model


def _spread_logits(model: Model, chance: torch.Generator) -> None:
    """Bring the logits of noise to mean 0 and deviation 1: probabilities near 0 or 1 would hide differences."""
    config, network = model.config, model.network.eval()
    divisor, halo = 2**config.depth, sum(network.halo) if config.padding == "valid" else 0  # type: ignore[arg-type]
    noise = torch.rand((1, config.in_channels, *(2 * divisor + halo,) * config.ndim), generator=chance)
    logits = network(noise).transpose(0, 1).flatten(1)
    spread, middle = logits.std(dim=1), logits.mean(dim=1)
    head = network.head
    head.weight /= spread.reshape(-1, *(1,) * (config.ndim + 1))  # type: ignore[union-attr]
    head.bias.copy_((head.bias - middle) / spread)  # type: ignore[operator, union-attr]


def _context(network: nn.Module, depth: int, channels: int, ndim: int, size: int, padding: str) -> tuple[int, int]:
    """Pixels of mirrored context before and after an axis, from what the network itself takes and gives."""
    step = 2**depth
    if padding == "same":
        return step, -(-size // step) * step - size + step
    given, taken = 0, 4 * step
    while given == 0:
        taken += 1
        try:
            given = network(torch.zeros(1, channels, *(taken,) * ndim)).shape[-1]
        except (InputError, RuntimeError):
            continue
    shrinkage = taken - given
    assert shrinkage % 2 == 0
    while taken < size + shrinkage:
        taken += step
    return shrinkage // 2, taken - size - shrinkage // 2


def _whole(model: Model, frames: npt.NDArray[Any], limits: list[tuple[float, float]] | None = None) -> FloatArray:
    """Predict one frame (channel, *space) in one piece; grey values are scaled by its percentiles or given limits."""
    config = model.config
    scaled = []
    for number, channel in enumerate(frames.astype(np.float64)):
        low, high = np.percentile(channel, (1.0, 99.8)) if limits is None else limits[number]
        scaled.append(np.clip((channel - low) / (high - low), -10, 10))
    with torch.inference_mode():
        pads = [
            _context(model.network.eval(), config.depth, config.in_channels, config.ndim, size, config.padding)
            for size in frames.shape[1:]
        ]
        image = np.pad(np.stack(scaled), [(0, 0), *pads], mode="reflect").astype(np.float32)
        logits = model.network(torch.from_numpy(image)[None])[0]
        skip = [before if config.padding == "same" else 0 for before, _ in pads]
        box = tuple(slice(a, a + size) for a, size in zip(skip, frames.shape[1:], strict=True))
        result: FloatArray = logits[(slice(None), *box)].softmax(dim=0).numpy()
    return result


@pytest.fixture
def make_model() -> Callable[..., Model]:
    """Return ``make_model(seed=0, **settings of ModelConfig)``."""
    return _make_model


@pytest.fixture
def whole() -> Callable[..., FloatArray]:
    """Return ``whole(model, frame, limits=None)``: the prediction of a frame in one piece, padded by hand."""
    return _whole
