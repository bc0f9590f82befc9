"""Things seen by shading, halo or texture and not by brightness: phase contrast, DIC, and textures side by side."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.chance import chance, log_uniform
from napari_unet.data.scenes.geometry import bent, coordinates, partition, scatter, stamp
from napari_unet.data.scenes.scene import Kind, Painting, draw_spacing
from napari_unet.data.synthetic import smooth_noise

__all__ = ["Mosaic", "TransmittedLight"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class TransmittedLight(Kind):
    """Unstained cells as phase contrast or DIC shows them: as bright as their surroundings.

    Attributes
    ----------
    radius, aspect, irregularity, coverage, closeness
        Size, elongation, outline and crowding of the cells.
    phase : float
        Strength of the phase contrast: darker inside, with a bright halo around.
    relief : float
        Strength of the shading from one side, as in DIC.
    angle : float
        Direction of that side.
    contents : float
        Contrast of what is inside the cells.
    contents_scale : float
        Size of its grains in pixels.
    nucleus : float
        Radius of the nucleus as a share of the cell's, 0: not seen.
    ground_texture : float
        Contrast of the background.
    """

    radius: float
    aspect: float
    irregularity: float
    coverage: float
    closeness: float
    phase: float
    relief: float
    angle: float
    contents: float
    contents_scale: float
    nucleus: float
    ground_texture: float
    thickness_spread: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw the cells and the microscope."""
        radius = log_uniform(rng, 7, 60) if ndim == 2 else log_uniform(rng, 6, 16)
        dic = chance(rng, 0.5)
        nucleus = rng.uniform(0.3, 0.5) if radius > 16 and chance(rng, 0.5) else 0.0
        return cls(
            ndim=ndim,
            names=("background", "cell", *["nucleus"] * (nucleus > 0)),
            spacing=draw_spacing(rng, ndim),
            camera=Camera.draw(rng, blur=(0.3, 1.2), noise=(0.005, 0.05), unevenness=0.15, inverted=0.1, faint=0.3),
            radius=radius,
            aspect=rng.uniform(1, 1.3) if chance(rng, 0.5) else rng.uniform(1.3, 3),
            irregularity=rng.uniform(0.05, 0.3),
            coverage=rng.uniform(0.2, 1.8),
            closeness=rng.uniform(0.7, 1.0),
            phase=rng.uniform(0, 0.15) if dic else rng.uniform(0.1, 0.4),
            relief=rng.uniform(0.3, 1.0) if dic else 0.0,
            angle=rng.uniform(0, 2 * np.pi),
            contents=log_uniform(rng, 0.012, 0.08),
            contents_scale=log_uniform(rng, 1.5, 6),
            nucleus=nucleus,
            ground_texture=rng.uniform(0.0, 0.03),
            thickness_spread=rng.uniform(0.1, 0.5),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw the thickness of the cells, then what light makes of it."""
        box = np.asarray(space) * self.spacing
        radius = min(self.radius, 0.35 * float(box[-2:].min()))
        blobs = scatter(
            rng, box, radius, coverage=self.coverage * rng.uniform(0.8, 1.1), spread=0.2, closeness=self.closeness,
            aspect=self.aspect, clumping=0.5,
        )  # fmt: skip
        bend = bent(rng, space, self.spacing, 1.1 * radius, self.irregularity * radius)
        bend += bent(rng, space, self.spacing, 0.4 * radius, 0.25 * self.irregularity * radius)
        ids, level = stamp(space, self.spacing, blobs, bend=bend)
        inside = ids > 0
        tall = np.append(0, np.exp(self.thickness_spread * rng.standard_normal(len(blobs.radii)))).astype(np.float32)
        dome = tall[ids] * np.sqrt(np.clip(1 - level**2, 0, 1))
        regions = inside.astype(np.uint8)
        contents = smooth_noise(space, self.contents_scale, rng) + 0.7 * smooth_noise(
            space, 3 * self.contents_scale, rng
        )
        contents *= inside
        if self.nucleus:
            core = level < self.nucleus
            regions[core] = 2
            contents[core] *= 0.35
            dome += 0.25 * np.clip((self.nucleus - level) * radius / 3, 0, 1)
        signal = 0.5 + self.ground_texture * smooth_noise(space, 2.0, rng) + self.contents * contents
        if self.phase:
            wide = max(2.0, min(0.2 * radius, 6.0))
            soft = _coarsely_blurred(inside.astype(np.float32), wide)
            signal += self.phase * (np.where(inside, -0.5 * np.sqrt(dome), 1.2 * soft) + 0.3 * soft)
        if self.relief:
            slope = sin(self.angle) * _slope(dome, -2) + cos(self.angle) * _slope(dome, -1)
            slope += (
                0.25 * self.contents * (sin(self.angle) * _slope(contents, -2) + cos(self.angle) * _slope(contents, -1))
            )
            signal += self.relief * np.tanh(slope * min(radius, 12) / 3) * 0.3
        return Painting(signal.astype(np.float32), regions, ids)


def _slope(height: FloatArray, axis: int) -> FloatArray:
    return np.asarray(np.gradient(height, axis=axis), np.float32)


def _coarsely_blurred(values: FloatArray, sigma: float) -> FloatArray:
    """Blur along the last two axes by three running means, whose time does not depend on the width."""
    width = max(2, round(sigma * 2))
    for axis in (-1, -2):
        for _ in range(2):
            values = ndimage.uniform_filter1d(values, width, axis)
    return values


@dataclass(frozen=True, kw_only=True, eq=False)
class Mosaic(Kind):
    """Regions or layers, each of its own texture and hardly of its own brightness.

    Attributes
    ----------
    layered : bool
        Bands one above the other, as in retina or skin, instead of patches.
    size : float
        Size of the patches in pixels.
    scales, contrasts, greys, stretches : tuple of float
        For each sort of region: the size and contrast of its texture, its brightness, and how much longer than wide
        its grains are.
    line : float
        Width of the dark line between regions, 0: none.
    """

    layered: bool
    size: float
    scales: tuple[float, ...]
    contrasts: tuple[float, ...]
    greys: tuple[float, ...]
    stretches: tuple[float, ...]
    line: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw the textures."""
        layered = chance(rng, 0.4)
        count = int(rng.integers(2, 5 if not layered else 7))
        alike = chance(rng, 0.6)
        grey = rng.uniform(0.3, 0.7)
        return cls(
            ndim=ndim,
            names=tuple(f"{'layer' if layered else 'texture'} {k + 1}" for k in range(count)),
            spacing=draw_spacing(rng, ndim),
            camera=Camera.draw(rng, blur=(0.3, 1.0), noise=(0.005, 0.08), inverted=0.1, unevenness=0.2),
            layered=layered,
            size=log_uniform(rng, 35, 110) if ndim == 2 else log_uniform(rng, 20, 50),
            scales=tuple(np.exp(rng.permutation(np.linspace(0.1, 2.2, count)) + rng.normal(0, 0.2, count)).tolist()),
            contrasts=tuple(rng.uniform(0.08, 0.3, count).tolist()),
            greys=tuple((grey + (0.03 if alike else 0.18) * rng.standard_normal(count)).tolist()),
            stretches=tuple(rng.choice([1.0, 1.0, 4.0, 0.25], count).tolist()),
            line=rng.uniform(1, 3) if chance(rng, 0.2) else 0.0,
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Lay out the regions, then fill each with its texture."""
        sorts, edge = self._layers(rng, space) if self.layered else self._patches(rng, space)
        signal = np.zeros(space, np.float32)
        for k in range(len(self.names)):
            step = np.full(self.ndim, self.scales[k])
            step[-1] *= self.stretches[k] if self.stretches[k] > 1 else 1
            step[-2] *= 1 / self.stretches[k] if self.stretches[k] < 1 else 1
            fill = self.greys[k] + self.contrasts[k] * smooth_noise(space, np.maximum(step, 1.0), rng)
            signal = np.where(sorts == k, fill, signal)
        if self.line:
            signal *= 1 - 0.6 * (edge < self.line / 2)
        return Painting(signal.astype(np.float32), sorts.astype(np.uint8))

    def _patches(self, rng: np.random.Generator, space: tuple[int, ...]) -> tuple[npt.NDArray[np.integer], FloatArray]:
        size = min(self.size, 0.5 * min(space[-2:]))
        where = coordinates(space, self.spacing) + bent(rng, space, self.spacing, size, 0.35 * size)
        pieces = partition(rng, where, size, merging=0.2)
        sort_of_piece = rng.permutation(pieces.count) % len(self.names)
        return sort_of_piece[pieces.ids], pieces.edge

    def _layers(self, rng: np.random.Generator, space: tuple[int, ...]) -> tuple[npt.NDArray[np.integer], FloatArray]:
        count = len(self.names)
        share = rng.dirichlet(np.full(count, 6.0))
        height = np.linspace(0, 1, space[-2], dtype=np.float32)[:, np.newaxis]
        surface = smooth_noise((*space[:-2], space[-1]), 0.4 * space[-1], rng)[..., np.newaxis, :]
        height = height + 0.08 * surface + 0.012 * smooth_noise(space, 12.0, rng)
        limits = np.cumsum(share)[:-1].astype(np.float32)
        sorts = sum((height > limit).astype(np.int32) for limit in limits)
        edge = np.min([np.abs(height - limit) for limit in limits], axis=0) * space[-2]
        return sorts, edge
