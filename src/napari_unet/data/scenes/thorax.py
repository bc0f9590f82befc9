"""The chest in computed tomography: lungs as dark as the air outside, told by their place in the body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.chance import chance
from napari_unet.data.scenes.geometry import Blobs, curves, scatter, stamp
from napari_unet.data.scenes.scene import Kind, Painting
from napari_unet.data.scenes.stage import Canvas, Stage

__all__ = ["Thorax"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Thorax(Kind):
    """A CT slice through the chest: air around the body, and lungs as dark as it inside, with vessels in them.

    Attributes
    ----------
    zoom, wobble : float
        Size of the body relative to the image, and how irregular it is.
    body : tuple of float
        Height and width of the body.
    air, lung, fat, muscle, bone, heart, vessel : float
        Grey values.
    table : bool
        Whether the table is seen under the body.
    inner : float
        Size of the chest's inside as a share of the body.
    vessels : float
        How many vessels there are in the lungs.
    flipped : bool
        Whether the back is above.
    """

    zoom: float
    wobble: float
    body: tuple[float, float]
    air: float
    lung: float
    fat: float
    muscle: float
    bone: float
    heart: float
    vessels: float
    vessel: float
    table: bool
    flipped: bool
    lung_size: float
    inner: float
    texture: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw a patient group and a scanner."""
        air = rng.uniform(0.0, 0.06)
        muscle = rng.uniform(0.5, 0.7)
        return cls(
            ndim=ndim,
            names=("air", "body", "lung", "heart", "bone", "lung vessel"),
            spacing=(1.0,) * ndim,
            camera=Camera.draw(rng, blur=(0.3, 1.2), noise=(0.003, 0.06), unevenness=0.03, inverted=0.05, faint=0.3),
            zoom=rng.uniform(0.85, 1.3),
            wobble=rng.uniform(0.02, 0.08),
            body=(rng.uniform(0.62, 0.97), rng.uniform(0.85, 1.0)),
            air=air,
            lung=air + (0.0 if chance(rng, 0.5) else rng.uniform(0.02, 0.25)),
            fat=muscle - rng.uniform(0.05, 0.25),
            muscle=muscle,
            bone=rng.uniform(0.8, 1.0),
            heart=muscle + rng.uniform(-0.05, 0.2),
            vessels=rng.uniform(0.5, 1.5),
            vessel=muscle + rng.uniform(-0.15, 0.1),
            table=chance(rng, 0.4),
            flipped=chance(rng, 0.2),
            lung_size=rng.uniform(0.9, 1.15),
            inner=rng.uniform(0.72, 0.86),
            texture=rng.uniform(0.005, 0.04),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw the body from outside to inside."""
        tilt = rng.normal(0, 0.08) + (np.pi if self.flipped else 0)
        stage = Stage(rng, space, self.zoom * rng.uniform(0.93, 1.07), self.wobble, tilt)
        canvas = Canvas(space, self.air, self.names)
        height, width = (side * rng.uniform(0.95, 1.05) for side in self.body)
        outline = stage.level(0, 0, height, width, power=2.5)
        canvas.fill(outline < 1, self.fat + self.texture * stage.noise(0.05), "body")
        wall = stage.level(0.01, 0, height * (0.6 * self.inner + 0.4), width * (0.6 * self.inner + 0.4), power=2.4)
        canvas.fill((wall < 1) & (outline < 1), self.muscle + self.texture * stage.noise(0.03))
        self._ribs(rng, stage, canvas, height, width)
        inner = stage.level(-0.02, 0, height * self.inner, width * (self.inner + 0.03), power=2.4)
        canvas.fill(inner < 1, self.muscle - 0.06 + self.texture * stage.noise(0.04))
        lung = self._lungs(rng, stage, height, width) & (inner < 0.97)
        canvas.fill(lung, self.lung + 0.5 * self.texture * stage.noise(0.03), "lung")
        side = 0.12 * width * rng.uniform(0.5, 1.5)
        heart = np.minimum(
            stage.level(-0.12 * height, side, height * rng.uniform(0.3, 0.45), width * rng.uniform(0.2, 0.34), 0.4),
            stage.level(-0.25 * height, 0, 0.32 * height, 0.14 * width),
        )
        shade = self.heart + 0.06 * np.sign(stage.noise(0.25)) + self.texture * stage.noise(0.04)
        canvas.fill(heart < 1, shade, "heart")
        self._spine(stage, canvas, height)
        self._vessels(rng, stage, canvas)
        if self.table:
            under = np.abs(stage.level(-0.6, 0, height + 0.72, 1.6) - 1) < 0.015
            canvas.fill(under & (outline > 1.02), self.muscle)
        return Painting(canvas.signal, canvas.regions)

    def _lungs(self, rng: np.random.Generator, stage: Stage, height: float, width: float) -> npt.NDArray[np.bool_]:
        lungs = np.zeros(stage.space, bool)
        for side in (-1, 1):
            size = self.lung_size * rng.uniform(0.9, 1.08)
            level = stage.level(
                0.02 * rng.standard_normal(), side * 0.42 * width, 0.68 * height * size, 0.36 * width * size,
                angle=side * rng.uniform(-0.05, 0.25), power=rng.uniform(2, 2.8),
            )  # fmt: skip
            lungs |= level + 0.03 * stage.noise(0.08) < 1
        return lungs

    def _ribs(self, rng: np.random.Generator, stage: Stage, canvas: Canvas, height: float, width: float) -> None:
        """Draw pieces of ribs along the chest wall, and the breastbone: bright, with darker marrow."""
        ring = stage.level(-0.01, 0, height * (0.5 * self.inner + 0.45), width * (0.5 * self.inner + 0.465), power=2.4)
        angle = np.arctan2(stage.y, stage.x)
        phase, count = rng.uniform(0, 6), rng.integers(5, 9)
        along = np.sin(count * angle + phase)
        bone = (np.abs(ring - 1) < 0.04) & (along > 0.25)
        bone |= stage.level(-0.8 * height, 0, 0.05, 0.16) < 1
        marrow = (np.abs(ring - 1) < 0.018) & (along > 0.45)
        canvas.fill(bone, self.bone, "bone")
        canvas.fill(marrow, 0.5 * (self.bone + self.muscle))

    def _spine(self, stage: Stage, canvas: Canvas, height: float) -> None:
        body = stage.level(0.62 * height, 0, 0.13, 0.16)
        arch = np.minimum(stage.level(0.86 * height, 0, 0.12, 0.035), stage.level(0.76 * height, 0, 0.05, 0.24))
        canvas.fill((body < 1) | (arch < 1), self.bone, "bone")
        canvas.fill(body < 0.8, self.bone - 0.18 + 2 * self.texture * stage.noise(0.02))
        canvas.fill(stage.level(0.76 * height, 0, 0.055, 0.07) < 1, self.muscle, "body")

    def _vessels(self, rng: np.random.Generator, stage: Stage, canvas: Canvas) -> None:
        """Draw branches from the roots of the lungs outwards, and spots where others are cut across."""
        space = np.asarray(stage.space)
        size = max(0.012 / stage.pixel, 0.8)
        box = space.astype(float)
        spots = scatter(rng, box, size, coverage=0.03 * self.vessels, spread=0.4, aspect=2.5, closeness=1.0)
        count, length = int(16 * self.vessels), 0.5 / stage.pixel
        paths = curves(rng, 0 * box, count, length, step=1.0, bending=0.05)
        paths += box / 2 - paths[:, :1]
        shift = rng.choice([-1, 1], count) * rng.uniform(0.1, 0.25, count) / stage.pixel
        paths[..., -1] += shift[:, np.newaxis]
        taper = np.linspace(2.2, 0.4, paths.shape[1]) * size * rng.uniform(0.5, 1.1, (count, 1))
        branches = Blobs(paths.reshape(-1, len(space)), taper.ravel())
        lung = canvas.regions == canvas.names.index("lung")
        for blobs in (spots, branches):
            there, _ = stamp(stage.space, (1.0,) * len(space), blobs)
            canvas.fill((there > 0) & lung, self.vessel, "lung vessel")
