"""One grey picture in several channels: fluorescence of several dyes, or grey shown in colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from napari_unet.data.scenes.chance import chance

__all__ = ["Display", "Dyes", "Tint"]

FloatArray = npt.NDArray[np.float32]


class Display(Protocol):
    """What makes channels of a grey picture."""

    @property
    def channels(self) -> int:
        """How many it makes."""
        ...

    def show(self, signal: FloatArray, regions: npt.NDArray[np.uint8]) -> FloatArray:
        """Turn (\\*space) brightness into (C, \\*space)."""
        ...


@dataclass(frozen=True)
class Dyes:
    """2 to 5 channels of fluorescence: each shows some of the things strongly and others hardly.

    Attributes
    ----------
    gains : tuple of tuple of float
        For each channel the brightness of each thing.
    """

    gains: tuple[tuple[float, ...], ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, things: int) -> Self:
        """Draw how the channels show so many things."""
        count = int(rng.integers(2, 6))
        gains = np.where(rng.random((count, things)) < 0.5, rng.uniform(0, 0.25), rng.uniform(0.6, 1.2))
        gains[0] = 1
        return cls(tuple(tuple(row) for row in gains.tolist()))

    @property
    def channels(self) -> int:
        """How many dyes there are."""
        return len(self.gains)

    def show(self, signal: FloatArray, regions: npt.NDArray[np.uint8]) -> FloatArray:
        """Scale each thing's brightness in each channel."""
        return np.asarray(self.gains, np.float32)[:, regions] * signal


@dataclass(frozen=True)
class Tint:
    """Red, green and blue: from one colour for dark over another to a third for bright.

    Attributes
    ----------
    colours : tuple of tuple of float
        Red, green and blue of dark, middle and bright.
    """

    colours: tuple[tuple[float, ...], ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw the colours: mostly from black to one hue, or any three of rising brightness."""
        if chance(rng, 0.6):
            hue = rng.dirichlet([0.5] * 3)
            bright = hue / hue.max()
            colours = np.stack([np.zeros(3), 0.5 * bright, bright])
        else:
            colours = np.linspace([0.1] * 3, [0.95] * 3, 3) + rng.normal(0, 0.15, (3, 3))
        return cls(tuple(tuple(row) for row in np.clip(colours, 0, 1).tolist()))

    @property
    def channels(self) -> int:
        """Red, green and blue."""
        return 3

    def show(self, signal: FloatArray, regions: npt.NDArray[np.uint8]) -> FloatArray:
        """Colour each pixel by its brightness."""
        dark, middle, bright = (np.asarray(c, np.float32).reshape(3, *[1] * signal.ndim) for c in self.colours)
        grey = np.clip(signal, 0, 1)
        shown: FloatArray = (
            dark + (middle - dark) * np.minimum(2 * grey, 1) + (bright - middle) * np.maximum(2 * grey - 1, 0)
        )
        return shown
