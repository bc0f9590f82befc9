"""Small trainings that take a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_unet.data.sample import Sample
from napari_unet.learn.config import TrainConfig
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig


def _blobs(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bright balls on a dark noisy ground, and which pixels they are."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    truth = np.zeros(shape, bool)
    for _ in range(6):
        truth |= np.linalg.norm(grid - rng.uniform(0, shape), axis=-1) < max(2.5, min(shape) / 7)
    return truth * 100.0 + rng.normal(0, 15, shape), truth


@pytest.fixture(scope="session")
def blobs() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return _blobs


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    """Return a function that paints a few strokes on blobs."""

    def make(shape: tuple[int, ...] = (64, 64), seed: int = 0, strokes: int = 12, name: str = "blobs") -> Sample:
        image, truth = _blobs(shape, seed)
        rng = np.random.default_rng(seed + 100)
        annotation = np.zeros(shape, np.uint8)
        for number in range(strokes):
            places = np.argwhere(truth == bool(number % 2))
            place = places[rng.integers(len(places))]
            box = tuple(slice(max(0, int(i) - 2), int(i) + 3) for i in place)
            annotation[box] = np.where(truth[box], 2, 1)
        return Sample(image, annotation, "ZYX"[-len(shape) :], name=name)

    return make


@pytest.fixture
def make_model() -> Callable[..., Model]:
    def make(seed: int = 0, **settings: Any) -> Model:
        return Model.create(ModelConfig(**({"features": 4, "depth": 1} | settings)), seed)

    return make


@pytest.fixture
def quick() -> Callable[..., TrainConfig]:
    """Return a function that makes settings for a training of small crops."""

    def make(**settings: Any) -> TrainConfig:
        return TrainConfig(**({"max_steps": 10, "crop": 16, "batch_size": 4, "validate_every": 5} | settings))

    return make
