"""Images in which nothing but the place, or what is around a pixel, tells the classes apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["body", "organ"]


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


def body(
    shape: tuple[int, int] = (144, 160), shift: int = 0
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return a bright body with two dark cavities, as dark as all around it, with strokes inside of the body only."""
    rows, columns = np.indices(shape)
    middle, width = shape[0] // 2, shape[1] // 2 + shift

    def ellipse(column: int, height: float, breadth: float) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = ((rows - middle) / height) ** 2 + ((columns - column) / breadth) ** 2 < 1
        return found

    cavities = ellipse(width - 26, 30, 16) | ellipse(width + 26, 30, 16)
    image = np.where(ellipse(width, 52, 62) & ~cavities, 1.0, 0.0)
    image += np.random.default_rng(shift).normal(0, 0.05, shape)
    annotation = np.zeros(shape, np.uint8)
    for row in (-16, 0, 16):
        annotation[middle + row : middle + row + 3, width - 34 : width - 20] = 2
        annotation[middle + row : middle + row + 3, width - 6 : width + 5] = 1
    return image, annotation, cavities
