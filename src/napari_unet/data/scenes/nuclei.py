"""Bright, round, crowded things on a dark ground, as in fluorescence: of one sort or of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.chance import chance, log_uniform
from napari_unet.data.scenes.geometry import Blobs, bent, orientations, scatter, stamp
from napari_unet.data.scenes.scene import Kind, Painting, draw_spacing
from napari_unet.data.synthetic import smooth_noise

__all__ = ["Nuclei", "TwoTypes"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Nuclei(Kind):
    """Fluorescent nuclei: crowded, touching, of widely different brightness in one image, in front of haze.

    Attributes
    ----------
    radius, spread, aspect, irregularity : float
        Size in pixels, variety of sizes, elongation, and how uneven outlines are.
    coverage, closeness, clumping : float
        How many there are and how they lie.
    brightness_spread : float
        Standard deviation of the brightness' logarithm.
    texture, texture_scale, spots : float
        Contrast and size of the chromatin's texture; how much brighter its spots are, below 0: darker (nucleoli).
    flatness : float
        0: bright only in the middle, 1: alike up to the outline.
    haze : float
        Brightness of what lies out of focus.
    body, body_brightness : float
        Radius and brightness of a cell body around the nucleus; 0: not seen.
    ground : float
        Brightness of the background.
    debris : float
        Share of small bright specks that are no nuclei.
    """

    radius: float
    spread: float
    aspect: float
    irregularity: float
    coverage: float
    closeness: float
    clumping: float
    brightness_spread: float
    texture: float
    texture_scale: float
    spots: float
    flatness: float
    haze: float
    body: float
    body_brightness: float
    ground: float
    debris: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw the look of the nuclei."""
        radius = log_uniform(rng, 3.5, 38) if ndim == 2 else log_uniform(rng, 4, 14)
        body = rng.uniform(1.4, 2.2 if ndim == 2 else 1.6) if radius < 20 and chance(rng, 0.25) else 0.0
        return cls(
            ndim=ndim,
            names=("background", "nucleus", *["cell body"] * (body > 0)),
            spacing=draw_spacing(rng, ndim),
            camera=Camera.draw(rng, blur=(0.4, min(2.0, 0.4 + radius / 8)), noise=(0.005, 0.12), faint=0.4),
            radius=radius,
            spread=rng.uniform(0.05, 0.35),
            aspect=rng.uniform(1.0, 1.9),
            irregularity=rng.uniform(0.02, 0.16),
            coverage=log_uniform(rng, 0.08, 0.9) if ndim == 2 else log_uniform(rng, 0.1, 0.6),
            closeness=rng.uniform(0.65, 1.0),
            clumping=rng.uniform(0, 2) if chance(rng, 0.6) else 0.0,
            brightness_spread=rng.uniform(0.05, 0.8),
            texture=rng.uniform(0.02, 0.35),
            texture_scale=max(1.2, radius * rng.uniform(0.12, 0.4)),
            spots=rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 0.8) if radius > 6 and chance(rng, 0.45) else 0.0,
            flatness=rng.uniform(0.3, 1.0),
            haze=rng.uniform(0.05, 0.35) if chance(rng, 0.6) else 0.0,
            body=body,
            body_brightness=rng.uniform(0.12, 0.4),
            ground=rng.uniform(0.0, 0.1),
            debris=rng.uniform(0.0005, 0.003) if chance(rng, 0.3) else 0.0,
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw haze, specks, cell bodies and nuclei, one over the other."""
        box = np.asarray(space) * self.spacing
        radius = min(self.radius, 0.35 * float(box.min() if self.ndim == 2 else box[1:].min()))
        coverage = self.coverage * rng.uniform(0.7, 1.2)
        blobs = scatter(
            rng, box, radius, coverage=coverage, spread=self.spread, closeness=self.closeness,
            clumping=self.clumping, aspect=self.aspect,
        )  # fmt: skip
        bend = bent(rng, space, self.spacing, 1.3 * radius, self.irregularity * radius)
        ids, level = stamp(space, self.spacing, blobs, bend=bend, reach=max(1.0, self.body))
        inside = level < 1
        light = np.exp(np.clip(self.brightness_spread * rng.standard_normal(len(blobs.radii)), -1.8, 1.0))
        light = np.append(0, 0.75 * light / np.exp(self.brightness_spread)).astype(np.float32)
        texture = 1 + self.texture * smooth_noise(space, self.texture_scale, rng)
        if self.spots:
            spots = smooth_noise(space, max(1.5, 0.35 * radius), rng)
            texture *= 1 + self.spots * np.clip(2 * (spots - 0.9), 0, 1)
        profile = self.flatness + (1 - self.flatness) * np.sqrt(np.clip(1 - level**2, 0, 1))
        signal = np.where(inside, light[ids] * texture * profile, 0) + self.ground
        regions = inside.astype(np.uint8)
        if self.body:
            around = (ids > 0) & ~inside
            fade = np.clip(1.6 - level / self.body, 0.2, 1)
            signal += np.where(around, self.body_brightness * fade * texture * light[ids], 0)
            regions[around] = 2
        signal += self._haze(rng, space, inside, radius)
        if self.debris:
            signal += self._specks(rng, space)
        return Painting(signal.astype(np.float32), regions, np.where(inside, ids, 0).astype(np.uint16))

    def _haze(
        self, rng: np.random.Generator, space: tuple[int, ...], inside: npt.NDArray[np.bool_], radius: float
    ) -> FloatArray | float:
        """Return the glow of nuclei above and below: that of these ones, and blurred others."""
        if not self.haze:
            return 0.0
        step = 4
        coarse = inside[(..., slice(None, None, step), slice(None, None, step))].astype(np.float32)
        coarse += np.clip(smooth_noise(coarse.shape, np.maximum(radius / step, 1.0), rng) - 0.8, 0, 2)
        coarse = ndimage.gaussian_filter(coarse, max(1.0, 0.8 * radius / step), truncate=2.5)
        glow = coarse.repeat(step, -1).repeat(step, -2)[(..., slice(space[-2]), slice(space[-1]))]
        spread: FloatArray = ndimage.uniform_filter1d(ndimage.uniform_filter1d(glow, step, -1), step, -2) * self.haze
        return spread

    def _specks(self, rng: np.random.Generator, space: tuple[int, ...]) -> FloatArray:
        specks = scatter(rng, np.asarray(space) * self.spacing, 1.2, coverage=self.debris, spread=0.3)
        _, level = stamp(space, self.spacing, specks)
        return (1 - level) * np.float32(rng.uniform(0.4, 1.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoTypes(Kind):
    """Two sorts of object in one image, told apart by size, shape, texture or brightness, and each by that alone.

    Attributes
    ----------
    difference : str
        ``"size"``, ``"shape"``, ``"texture"`` or ``"brightness"``.
    radius : float
        Radius of the first sort in pixels.
    ratio : float
        Radius of the second sort as a share of the first.
    brightness, second_brightness : float
        Of the two sorts.
    """

    difference: str
    radius: float
    ratio: float
    aspects: tuple[float, float]
    brightness: tuple[float, float]
    textures: tuple[float, float]
    texture_scale: float
    rim: float
    coverage: float
    ground: float
    brightness_spread: float
    irregularity: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw by what the two sorts differ."""
        difference = str(rng.choice(["size", "shape", "texture", "brightness"]))
        bright = rng.uniform(0.45, 0.8)
        radius = log_uniform(rng, 6, 24) if ndim == 2 else log_uniform(rng, 5, 10)
        aspect = rng.uniform(1.0, 1.3)
        texture = rng.uniform(0.02, 0.1)
        return cls(
            ndim=ndim,
            names=("background", "first sort", "second sort"),
            spacing=draw_spacing(rng, ndim),
            camera=Camera.draw(rng, blur=(0.4, 1.3), noise=(0.01, 0.1), inverted=0.3),
            difference=difference,
            radius=radius,
            ratio=rng.uniform(0.35, 0.55) if difference == "size" else rng.uniform(0.85, 1.1),
            aspects=(aspect, rng.uniform(2.8, 4.5) if difference == "shape" else aspect),
            brightness=(bright, bright * rng.uniform(0.35, 0.65) if difference == "brightness" else bright),
            textures=(texture, rng.uniform(0.3, 0.5) if difference == "texture" else texture),
            texture_scale=rng.uniform(1.3, 3.0),
            rim=rng.uniform(-0.5, 0.5) if chance(rng, 0.4) else 0.0,
            coverage=rng.uniform(0.12, 0.4),
            ground=rng.uniform(0.02, 0.25),
            brightness_spread=rng.uniform(0.03, 0.15),
            irregularity=rng.uniform(0.02, 0.1),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw both sorts at once, so that neither lies over the other."""
        box = np.asarray(space) * self.spacing
        radius = min(self.radius, 0.2 * float(box[-2:].min()))
        blobs = scatter(rng, box, radius, coverage=self.coverage, spread=0.12, closeness=0.95, aspect=1.0)
        count = len(blobs.radii)
        second = rng.random(count) < (0.6 if self.difference == "size" else 0.5)
        if count > 1:
            second[:2] = False, True
        radii = np.where(second, blobs.radii * self.ratio, blobs.radii)
        first_turns, second_turns = (orientations(rng, count, self.ndim, aspect) for aspect in self.aspects)
        turns = np.where(second[:, np.newaxis, np.newaxis], second_turns, first_turns)
        bend = bent(rng, space, self.spacing, 1.5 * radius, self.irregularity * radius)
        ids, level = stamp(space, self.spacing, Blobs(blobs.centres, radii, turns), bend=bend)
        sort = np.append(0, 1 + second).astype(np.uint8)
        regions = sort[ids]
        light = np.where(second, self.brightness[1], self.brightness[0]) * np.exp(
            self.brightness_spread * rng.standard_normal(count)
        )
        contrast = np.where(second, self.textures[1], self.textures[0])
        grain = smooth_noise(space, self.texture_scale, rng)
        light, contrast = (np.append(0, values).astype(np.float32)[ids] for values in (light, contrast))
        signal = light * (1 + contrast * grain) * (1 + self.rim * level**4)
        return Painting(np.where(ids > 0, signal, self.ground).astype(np.float32), regions, ids)
