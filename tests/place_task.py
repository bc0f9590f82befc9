"""An image in which nothing but the place tells the classes apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["organ"]


def organ(shape: tuple[int, ...], seed: int = 0) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return noise in which an organ is told by nothing but its place (the left third), with strokes on it."""
    image = np.random.default_rng(seed).random(shape)
    truth = np.zeros(shape, bool)
    truth[..., : shape[-1] // 3] = True
    annotation = np.zeros(shape, np.uint8)
    for number in range(5):
        row = 2 + number * (shape[-2] - 4) // 5
        annotation[..., row : row + 2, 3:9] = 2
        annotation[..., row : row + 2, -18:-12] = 1
    if len(shape) == 3:
        annotation[[0, 2, 3, 5]] = 0
    return image, annotation, truth
