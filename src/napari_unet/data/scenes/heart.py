"""The heart in magnetic resonance: a bright cavity, told from other bright things by the ring of muscle round it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.chance import chance, log_uniform
from napari_unet.data.scenes.scene import Kind, Painting
from napari_unet.data.scenes.stage import Canvas, Stage

__all__ = ["Heart"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Heart(Kind):
    """Cardiac MRI: a bright cavity inside a dark ring of muscle, among other bright things of the same grey.

    Attributes
    ----------
    zoom, wobble : float
        Size of the chest relative to the image, and how irregular it is.
    cavity, wall : float
        Radius of the left ventricle's cavity and the thickness of its muscle, in units of the field of view.
    blood, muscle, fat, lung, liver : float
        Grey values.
    bias : float
        How strongly brightness falls off with the distance from the coil.
    round_view : bool
        Whether only a disc of the image is filled.
    papillary : bool
        Whether dark muscles are seen inside the cavity.
    """

    zoom: float
    wobble: float
    cavity: float
    wall: float
    blood: float
    muscle: float
    fat: float
    lung: float
    liver: float
    bias: float
    round_view: bool
    papillary: bool
    turn: float
    texture: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw a scanner and a view."""
        round_view = chance(rng, 0.4)
        blood = rng.uniform(0.55, 0.9)
        return cls(
            ndim=ndim,
            names=("other tissue", "left cavity", "muscle", "right cavity", *["outside"] * round_view),
            spacing=(1.0,) * ndim,
            camera=Camera.draw(rng, blur=(0.4, 1.4), noise=(0.01, 0.06), unevenness=0.1, inverted=0.0, faint=0.5),
            zoom=log_uniform(rng, 0.9, 2.2),
            wobble=rng.uniform(0.04, 0.09),
            cavity=rng.uniform(0.1, 0.2),
            wall=rng.uniform(0.05, 0.1),
            blood=blood,
            muscle=rng.uniform(0.12, 0.35),
            fat=rng.uniform(0.6, 1.2),
            lung=rng.uniform(0.02, 0.1),
            liver=rng.uniform(0.2, 0.5),
            bias=rng.uniform(0.2, 1.0),
            round_view=round_view,
            papillary=chance(rng, 0.6),
            turn=rng.uniform(0, 2 * np.pi) if chance(rng, 0.3) else rng.normal(0, 0.4),
            texture=rng.uniform(0.02, 0.08),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw the chest, then the heart in it."""
        stage = Stage(rng, space, self.zoom * rng.uniform(0.92, 1.08), self.wobble, self.turn + rng.normal(0, 0.1))
        canvas = Canvas(space, self.lung, self.names)
        self._chest(rng, stage, canvas)
        y, x = rng.normal(0, 0.08, 2)
        beat = rng.uniform(0.65, 1.15)
        cavity = self.cavity * beat
        outer = cavity + self.wall * (1.5 - 0.5 * beat)
        squeeze = rng.uniform(0.88, 1.12)
        fat = stage.level(y, x - 0.12, outer + 0.2, outer + 0.3, -0.3)
        canvas.fill(fat < 1, self.muscle + 0.1 + self.texture * stage.noise(0.05))
        canvas.fill(np.abs(fat - 1) < 0.05, 0.7 * self.fat)
        right = stage.level(
            y + rng.uniform(-0.1, 0.02), x - outer - 0.07, outer * 0.9, outer * 0.85, rng.uniform(-0.5, 0.5)
        )
        blood = self.blood + 0.6 * self.texture * stage.noise(0.06)
        canvas.fill(right < 1, blood * rng.uniform(0.85, 1.05), "right cavity")
        if chance(rng, 0.5):
            canvas.fill(stage.level(y + outer * 1.25, x + 0.1 * rng.normal(), 0.09, 0.13) < 1, blood)
        muscle = stage.level(y, x, outer * squeeze, outer / squeeze)
        canvas.fill(muscle < 1, self.muscle + self.texture * stage.noise(0.04), "muscle")
        left = stage.level(y, x, cavity * squeeze, cavity / squeeze)
        left += 0.06 * stage.noise(0.05)
        canvas.fill(left < 1, blood, "left cavity")
        if self.papillary:
            for _ in range(2):
                angle = rng.uniform(0, 2 * np.pi)
                knob = stage.level(y + 0.6 * cavity * np.sin(angle), x + 0.6 * cavity * np.cos(angle), 0.022, 0.026)
                canvas.fill((knob < 1) & (left < 1), self.muscle + 0.1)
        coil = stage.level(rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9), 1.0, 1.0)
        signal = canvas.signal * np.exp(self.bias * (0.6 - coil))
        if self.round_view:
            outside = _radius(space) > rng.uniform(0.44, 0.5) * max(space[-2:])
            signal[..., outside] = 0
            canvas.regions[..., outside] = canvas.names.index("outside")
        return Painting(signal.astype(np.float32), canvas.regions)

    def _chest(self, rng: np.random.Generator, stage: Stage, canvas: Canvas) -> None:
        """Draw the chest wall, lungs, liver, stomach and vessels, much of it as bright as blood."""
        wall = stage.level(0, 0, 0.85, 0.95, power=2.5)
        canvas.fill(wall > 1, self.muscle + 2 * self.texture * stage.noise(0.06))
        canvas.fill(np.abs(wall - 1.16) < 0.09, self.fat + self.texture * stage.noise(0.03))
        canvas.fill(wall > 1.3, 0.0)
        canvas.fill((stage.y > 0.32 + 0.1 * stage.x) & (wall < 1), self.liver + self.texture * stage.noise(0.05))
        bright = self.blood * rng.uniform(0.7, 1.1)
        for _ in range(int(rng.integers(6, 14))):
            y, x = rng.uniform(-0.9, 0.9), rng.uniform(-0.95, 0.95)
            size = log_uniform(rng, 0.025, 0.16)
            grey = rng.choice([bright, self.liver, self.muscle, self.blood])
            canvas.fill(stage.level(y, x, size, size * rng.uniform(0.6, 1.8), rng.uniform(0, 3)) < 1, grey)
        strands = np.abs(stage.noise(0.12)) < 0.06
        canvas.fill(strands & (stage.y > 0.25), 0.8 * self.fat)


def _radius(space: tuple[int, ...]) -> FloatArray:
    """Return (Y, X): the distance of each pixel of a slice from its middle."""
    y, x = (np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2) for n in space[-2:])
    return np.asarray(np.hypot(y[:, np.newaxis], x), np.float32)
