"""The place on which bodies are built: a field of view with smooth shapes, and a canvas on which they are painted."""

from __future__ import annotations

from math import cos, sin

import numpy as np
import numpy.typing as npt

from napari_unet.data.synthetic import smooth_noise

__all__ = ["Canvas", "Stage"]

FloatArray = npt.NDArray[np.float32]


class Stage:
    """A field of view with the middle at 0 and a reach of about -1 to 1, on which smooth shapes are laid.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    space : tuple of int
        Shape of the grid.
    zoom : float
        How much larger than the image the scene is.
    wobble : float
        How irregular all outlines are.
    tilt : float
        Angle by which the scene is turned.
    """

    def __init__(self, rng: np.random.Generator, space: tuple[int, ...], zoom: float, wobble: float, tilt: float = 0.0):
        self.rng, self.space = rng, space
        half = 0.5 * min(space[-2:]) * zoom
        self.pixel = 1 / half
        ndim = len(space)
        middle = [(n - 1) / 2 for n in space]
        lines = [
            (np.arange(n, dtype=np.float32) - np.float32(m)) / np.float32(half)
            for n, m in zip(space, middle, strict=True)
        ]
        shift = rng.normal(0, 0.06, 2).astype(np.float32)
        y, x = np.meshgrid(lines[-2] + shift[0], lines[-1] + shift[1], indexing="ij")
        y, x = cos(tilt) * y - sin(tilt) * x, sin(tilt) * y + cos(tilt) * x
        self.depth = np.zeros(1, np.float32) if ndim == 2 else (lines[0] * 2)[:, np.newaxis, np.newaxis]
        coarse = [smooth_noise(space, 0.35 * half, rng) * np.float32(0.6 * wobble) for _ in range(2)]
        fine = [smooth_noise(space, max(2.0, 0.12 * half), rng) * np.float32(0.18 * wobble) for _ in range(2)]
        self.y = y.astype(np.float32) + coarse[0] + fine[0]
        self.x = x.astype(np.float32) + coarse[1] + fine[1]

    def level(
        self, y: float, x: float, height: float, width: float, angle: float = 0.0, power: float = 2.0
    ) -> FloatArray:
        """Return (\\*space): how far out each pixel is in an ellipse (or a rounder box), 1 on its outline."""
        drift = (0.06 * self.rng.standard_normal(2)).tolist() if len(self.space) == 3 else (0.0, 0.0)
        dy, dx = self.y - (y + drift[0] * self.depth), self.x - (x + drift[1] * self.depth)
        if angle:
            dy, dx = cos(angle) * dy - sin(angle) * dx, sin(angle) * dy + cos(angle) * dx
        dy, dx = np.abs(dy) / height, np.abs(dx) / width
        grown = 1.0 if len(self.space) == 2 else 1 + 0.15 * self.rng.standard_normal() * self.depth
        squared = dy * dy + dx * dx if power == 2 else (dy**power + dx**power) ** (2 / power)
        return np.asarray(np.sqrt(squared) / grown, np.float32)

    def noise(self, scale: float) -> FloatArray:
        """Return smooth noise whose bumps are `scale` apart, in units of the field of view."""
        return smooth_noise(self.space, max(1.0, scale / self.pixel), self.rng)


class Canvas:
    """Grey values and region numbers that are painted over, thing by thing."""

    def __init__(self, space: tuple[int, ...], grey: float, names: tuple[str, ...]):
        self.signal = np.full(space, grey, np.float32)
        self.regions = np.zeros(space, np.uint8)
        self.names = names

    def fill(
        self, where: npt.NDArray[np.bool_], grey: float | npt.NDArray[np.floating], name: str | None = None
    ) -> None:
        """Paint what is there in a grey value, and call it by a name if one is given."""
        self.signal = np.where(where, grey, self.signal).astype(np.float32)
        if name is not None:
            self.regions[where] = self.names.index(name)
