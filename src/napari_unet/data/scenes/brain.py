"""The brain in magnetic resonance or computed tomography: nested tissues of similar grey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.chance import chance, log_uniform
from napari_unet.data.scenes.scene import Kind, Painting
from napari_unet.data.scenes.stage import Canvas, Stage

__all__ = ["Brain"]

FloatArray = npt.NDArray[np.float32]


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
        How far apart the furrows of the cortex are.
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
            zoom=log_uniform(rng, 0.85, 1.8),
            wobble=rng.uniform(0.03, 0.08),
            skull=rng.uniform(0.6, 1.0),
            fluid=rng.uniform(0.02, 0.25) if chance(rng, 0.7) else rng.uniform(0.8, 1.0),
            grey=grey,
            white=grey + step,
            deep=grey + rng.uniform(-0.03, 0.06),
            folding=rng.uniform(0.07, 0.12),
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
        texture = self.texture * stage.noise(0.03)
        surface = head / 0.88
        inside = surface + 0.05 * np.exp(-((stage.x / 0.025) ** 2)) < 0.96
        canvas.fill(inside, self.white + texture, "white matter")
        self._cortex(stage, canvas, surface, inside, texture)
        self._middle(rng, stage, canvas, texture)
        if self.lesion:
            size = log_uniform(rng, 0.05, 0.18)
            spot = stage.level(rng.uniform(-0.45, 0.45), rng.uniform(-0.45, 0.45), size, size * rng.uniform(0.7, 1.4))
            inside &= spot + 0.15 * stage.noise(0.06) < 1
            canvas.fill(inside, self.lesion + 2 * texture, "lesion")
        return Painting(canvas.signal, canvas.regions)

    def _cortex(
        self, stage: Stage, canvas: Canvas, surface: FloatArray, inside: npt.NDArray[np.bool_], texture: FloatArray
    ) -> None:
        """Draw furrows, which run inwards from the surface, and grey matter along both."""
        furrow = np.abs(stage.noise(self.folding) + 0.3 * stage.noise(0.4 * self.folding))
        depth = np.clip((surface - 0.62) / 0.34, 0, 1)
        ribbon = inside & ((furrow < 0.75 * depth) | (surface > 0.9))
        canvas.fill(ribbon, self.grey + texture, "grey matter")
        canvas.fill(inside & (furrow < 0.3 * depth - 0.08), self.fluid, "fluid")

    def _middle(self, rng: np.random.Generator, stage: Stage, canvas: Canvas, texture: FloatArray) -> None:
        """Draw the deep nuclei and, between them, the ventricles: two horns in front, two behind."""
        widen = rng.uniform(0.6, 1.5)
        for side in (-1, 1):
            for y, x, height, width in ((0.02, 0.15, 0.13, 0.075), (-0.08, 0.25, 0.17, 0.06)):
                nucleus = stage.level(y, side * x, height, width, side * 0.35)
                canvas.fill(nucleus < 1, self.deep + texture, "deep nucleus")
            front = stage.level(-0.19, side * 0.075, 0.12, 0.035 * widen, -side * 0.35)
            back = stage.level(0.22, side * 0.13, 0.18, 0.04 * widen, side * 0.35)
            canvas.fill(np.minimum(front, back) < 1, self.fluid, "fluid")
        canvas.fill(stage.level(0.03, 0, 0.09, 0.015 * widen) < 1, self.fluid, "fluid")
