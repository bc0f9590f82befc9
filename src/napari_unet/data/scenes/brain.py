"""The brain in magnetic resonance or computed tomography: nested tissues of similar grey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.chance import chance, log_uniform
from napari_unet.data.scenes.scene import Kind, Painting
from napari_unet.data.scenes.stage import Canvas, Stage

__all__ = ["Brain"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Brain(Kind):
    """A brain in MRI or CT: skull, grey and white matter, ventricles, deep nuclei, sometimes a lesion.

    Attributes
    ----------
    zoom, wobble : float
        Size of the head relative to the image, and how irregular it is.
    skull, fluid, grey, white, deep : float
        Grey values.
    folding : float
        How deep the folds of the cortex are.
    lesion : float
        Grey value of a lesion; 0: there is none.
    """

    zoom: float
    wobble: float
    skull: float
    fluid: float
    grey: float
    white: float
    deep: float
    folding: float
    lesion: float
    texture: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw a sequence and a field of view."""
        grey = rng.uniform(0.35, 0.6)
        step = rng.uniform(0.08, 0.25) * rng.choice([-1, 1])
        lesion = (
            float(np.clip(grey + rng.choice([-1, 1]) * rng.uniform(0.15, 0.4), 0.05, 1)) if chance(rng, 0.4) else 0.0
        )
        return cls(
            ndim=ndim,
            names=(
                "outside",
                "skull",
                "fluid",
                "grey matter",
                "white matter",
                "deep nucleus",
                *["lesion"] * (lesion > 0),
            ),
            spacing=(1.0,) * ndim,
            camera=Camera.draw(rng, blur=(0.4, 1.3), noise=(0.01, 0.08), unevenness=0.25, inverted=0.05, faint=0.4),
            zoom=log_uniform(rng, 0.85, 2.5),
            wobble=rng.uniform(0.03, 0.08),
            skull=rng.uniform(0.6, 1.0),
            fluid=rng.uniform(0.02, 0.25) if chance(rng, 0.7) else rng.uniform(0.8, 1.0),
            grey=grey,
            white=grey + step,
            deep=grey + rng.uniform(-0.03, 0.06),
            folding=rng.uniform(0.06, 0.16),
            lesion=lesion,
            texture=rng.uniform(0.01, 0.04),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw the head from outside to inside."""
        stage = Stage(rng, space, self.zoom * rng.uniform(0.93, 1.07), self.wobble, rng.normal(0, 0.2))
        canvas = Canvas(space, 0.01, self.names)
        head = stage.level(0, 0, 0.95, 0.78, power=2.2)
        canvas.fill(head < 1, self.skull, "skull")
        canvas.fill(np.abs(head - 0.93) < 0.025, 0.3 * self.skull)
        canvas.fill(head < 0.88, self.fluid, "fluid")
        folds = self.folding * stage.noise(0.09) + 0.5 * self.folding * stage.noise(0.05)
        split = 0.04 * np.exp(-((stage.x / 0.03) ** 2))
        surface = head / 0.88 + 0.5 * np.clip(folds, 0, 1) + split
        texture = self.texture * stage.noise(0.03)
        canvas.fill(surface < 0.97, self.grey + texture, "grey matter")
        canvas.fill(head / 0.88 + folds + split < 0.82, self.white + texture, "white matter")
        widen = rng.uniform(0.7, 1.4)
        for side in (-1, 1):
            nucleus = stage.level(0.08, side * 0.2, 0.15, 0.09, side * 0.4)
            canvas.fill(nucleus < 1, self.deep + texture, "deep nucleus")
            for y, height in ((-0.2, 0.2), (0.28, 0.16)):
                horn = stage.level(y, side * 0.09, height * widen, 0.04 * widen, side * rng.uniform(0.1, 0.4))
                canvas.fill(horn < 1, self.fluid, "fluid")
        if self.lesion:
            size = log_uniform(rng, 0.05, 0.18)
            spot = stage.level(rng.uniform(-0.45, 0.45), rng.uniform(-0.45, 0.45), size, size * rng.uniform(0.7, 1.4))
            inside = spot + 0.15 * stage.noise(0.06) < 1
            inside &= surface < 0.97
            canvas.fill(inside, self.lesion + 2 * texture, "lesion")
        return Painting(canvas.signal, canvas.regions)
