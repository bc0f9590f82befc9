"""Images in which what is painted is told by no layer on few features, but by grey values around a pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["bands"]


def bands(
    shape: tuple[int, int] = (96, 80), seed: int = 0, noise: float = 0.3
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return a noisy texture whose middle grey values are foreground, between dark and bright, with strokes on it."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 5, mode="wrap")
    smooth /= smooth.std()
    truth: npt.NDArray[np.bool_] = abs(smooth) < 0.6
    annotation = np.zeros(shape, np.uint8)
    for row in range(3, shape[0] - 3, 6):
        for column in range(4, shape[1] - 9, 14):
            box = slice(row, row + 2), slice(column, column + 7)
            inside = truth[box].all(), (~truth[box]).all()
            if any(inside):
                annotation[box] = 2 if inside[0] else 1
    return smooth + noise * rng.normal(size=shape), annotation, truth
