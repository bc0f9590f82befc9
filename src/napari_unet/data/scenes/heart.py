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
            camera=Camera.draw(rng, blur=(0.3, 1.0), noise=(0.01, 0.06), unevenness=0.1, inverted=0.0, faint=0.5),
            zoom=log_uniform(rng, 0.8, 1.9),
            wobble=rng.uniform(0.02, 0.06),
            cavity=rng.uniform(0.1, 0.2),
            wall=rng.uniform(0.05, 0.1),
            blood=blood,
            muscle=rng.uniform(0.12, 0.35),
            fat=rng.uniform(0.6, 1.2),
            lung=rng.uniform(0.02, 0.1),
            liver=rng.uniform(0.2, 0.5),
            bias=rng.uniform(0.4, 1.8),
            round_view=round_view,
            papillary=chance(rng, 0.6),
            turn=rng.uniform(0, 2 * np.pi) if chance(rng, 0.3) else rng.normal(0, 0.4),
            texture=rng.uniform(0.03, 0.12),
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
        around = stage.level(y, x - 0.1, outer + 0.14, outer + 0.24, -0.3)
        canvas.fill(around < 1, 0.5 * (self.muscle + self.lung) + self.texture * stage.noise(0.05))
        canvas.fill((np.abs(around - 1) < 0.05) & (stage.noise(0.3) > 0), 0.7 * self.fat)
        right = stage.level(
            y + rng.uniform(-0.06, 0.06), x - rng.uniform(0.7, 1.0) * outer, outer * rng.uniform(0.95, 1.25),
            outer * rng.uniform(0.7, 1.0), rng.uniform(-0.4, 0.4),
        )  # fmt: skip
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
        canvas.fill(np.ones(stage.space, bool), self.lung * (1 + 0.5 * stage.noise(0.04)))
        canvas.fill(np.abs(stage.noise(0.15)) < 0.05, 1.5 * self.lung + 0.05)
        wall = stage.level(0, 0, 0.85, 0.95, power=2.5)
        below = (stage.y > 0.3 + rng.uniform(-0.3, 0.3) * stage.x) & (wall < 1)
        canvas.fill(below, self.liver * (1 + self.texture * stage.noise(0.05)))
        bright = self.blood * rng.uniform(0.7, 1.1)
        greys = [bright, self.liver, self.muscle, self.blood, self.fat, self.lung]
        for _ in range(int(rng.integers(12, 20))):
            y, x = rng.choice([rng.uniform(0.3, 1.0), rng.uniform(-0.9, 1.0)]), rng.uniform(-0.95, 0.95)
            size = log_uniform(rng, 0.02, 0.22)
            organ = stage.level(float(y), x, size, size * rng.uniform(0.6, 1.8), rng.uniform(0, 3))
            rim = 1 + 0.02 / size
            if chance(rng, 0.5):
                canvas.fill((organ < rim) & (wall < 1), float(rng.choice([0.8 * self.fat, 0.5 * self.muscle])))
            canvas.fill((organ < 1) & (wall < 1), float(rng.choice(greys)) * (1 + self.texture * stage.noise(0.04)))
        strands = (np.abs(stage.noise(0.1)) < 0.1) & below
        canvas.fill(strands, 0.6 * self.fat)
        layers = 1 + 0.6 * np.sin(25 * wall + 2 * stage.noise(0.3))
        canvas.fill(wall > 1, self.muscle * layers + self.texture * stage.noise(0.05))
        canvas.fill(np.abs(wall - 1.17) < 0.03 + 0.05 * rng.random(), self.fat + self.texture * stage.noise(0.03))
        canvas.fill(wall > 1.3, 0.0)


def _radius(space: tuple[int, ...]) -> FloatArray:
    """Return (Y, X): the distance of each pixel of a slice from its middle."""
    y, x = (np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2) for n in space[-2:])
    return np.asarray(np.hypot(y[:, np.newaxis], x), np.float32)
