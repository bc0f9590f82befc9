"""Nested organs of no body in particular: what something is depends on what lies around it, not on its grey value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.chance import chance, log_uniform
from napari_unet.data.scenes.scene import Kind, Painting
from napari_unet.data.scenes.stage import Canvas, Stage
from napari_unet.data.synthetic import smooth_noise

__all__ = ["Organs"]


@dataclass(frozen=True)
class Organ:
    """One organ: its place, half its height and width, angle, grey value, texture, wall and core.

    `wall` and `core` are parts of the radius; their grey values may be those of other organs.
    """

    y: float
    x: float
    height: float
    width: float
    angle: float
    grey: float
    texture: float
    grain: float
    wall: float
    wall_grey: float
    core: float
    core_grey: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Organs(Kind):
    """A body with several organs, each in its place; few grey values are shared by many things, also by the outside.

    Attributes
    ----------
    zoom, wobble : float
        Size of the body relative to the image, and how irregular it is.
    outside, body, texture : float
        Grey values of what is around and of the body, and its texture.
    organs : tuple of Organ
        The organs in the order in which they are painted.
    clutter : float
        How many small things of the same grey values lie about and mean nothing.
    """

    zoom: float
    wobble: float
    outside: float
    body: float
    texture: float
    organs: tuple[Organ, ...]
    clutter: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw a body, few grey values, and organs of these."""
        greys = rng.permutation(np.linspace(0.05, 0.9, 4) + rng.normal(0, 0.05, 4)).tolist()
        count = int(rng.integers(2, 7))
        places = rng.uniform(-0.5, 0.5, (40, 2))
        chosen = [places[0]]
        for place in places[1:]:
            if len(chosen) < count and min(float(np.hypot(*(place - other))) for other in chosen) > 0.32:
                chosen.append(place)
        organs = tuple(_draw_organ(rng, y, x, greys) for y, x in np.array(chosen).tolist())
        return cls(
            ndim=ndim,
            names=("outside", "body", *[f"organ {k + 1}" for k in range(len(organs))]),
            spacing=(1.0,) * ndim,
            camera=Camera.draw(rng, blur=(0.3, 1.5), noise=(0.005, 0.1), inverted=0.1, faint=0.4),
            zoom=log_uniform(rng, 0.8, 1.5),
            wobble=rng.uniform(0.03, 0.11),
            outside=greys[0],
            body=greys[1],
            texture=rng.uniform(0.01, 0.08),
            organs=organs,
            clutter=rng.uniform(0, 1) if chance(rng, 0.6) else 0.0,
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw the body, then organ after organ."""
        stage = Stage(rng, space, self.zoom * rng.uniform(0.9, 1.1), self.wobble, rng.normal(0, 0.15))
        canvas = Canvas(space, self.outside, self.names)
        body = stage.level(0, 0, 0.85, 0.9, power=2.3)
        canvas.fill(body < 1, self.body + self.texture * stage.noise(0.05), "body")
        if self.clutter:
            small = (smooth_noise(space, max(2.0, 0.05 / stage.pixel), rng) > 2.2 - 0.8 * self.clutter) & (body < 0.95)
            canvas.fill(small, self.organs[0].grey)
        for number, organ in enumerate(self.organs, start=1):
            y, x = organ.y + rng.normal(0, 0.03), organ.x + rng.normal(0, 0.03)
            height, width = organ.height * rng.uniform(0.88, 1.12), organ.width * rng.uniform(0.88, 1.12)
            level = stage.level(y, x, height, width, organ.angle + rng.normal(0, 0.15))
            inside = (level < 1) & (body < 0.97)
            fill = organ.grey + organ.texture * stage.noise(organ.grain)
            canvas.fill(inside, fill, f"organ {number}")
            if organ.wall:
                canvas.fill(inside & (level > 1 - organ.wall), organ.wall_grey)
            if organ.core:
                canvas.fill(inside & (level < organ.core), organ.core_grey)
        return Painting(canvas.signal, canvas.regions)


def _draw_organ(rng: np.random.Generator, y: float, x: float, greys: list[float]) -> Organ:
    size = log_uniform(rng, 0.1, 0.36)
    stretch = log_uniform(rng, 0.6, 1.6)
    grey, wall_grey, core_grey = rng.choice(greys, 3).tolist()
    return Organ(
        y, x, size * stretch, size / stretch, rng.uniform(0, np.pi), grey, rng.uniform(0, 0.12),
        log_uniform(rng, 0.015, 0.08), rng.uniform(0.1, 0.3) if chance(rng, 0.4) else 0.0, wall_grey,
        rng.uniform(0.3, 0.6) if chance(rng, 0.3) else 0.0, core_grey,
    )  # fmt: skip
