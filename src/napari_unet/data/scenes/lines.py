"""Thin things: filaments, rods, rings, and trees of vessels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.chance import chance, log_uniform
from napari_unet.data.scenes.geometry import Blobs, bent, curves, scatter, stamp
from napari_unet.data.scenes.scene import Kind, Painting, draw_spacing
from napari_unet.data.synthetic import smooth_noise

__all__ = ["Filaments", "Rings", "Rods", "Vessels"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Filaments(Kind):
    """Fibres through the whole image, straight or curled, with beads on or between them.

    Attributes
    ----------
    radius : float
        Half the width of a fibre in pixels.
    density : float
        Length of fibre for each pixel of the image, in their widths.
    bending : float
        How much they curl.
    aligned : bool
        All in about one direction.
    brightness_spread, patchiness : float
        Differences between fibres and along them.
    bead : float
        Radius of beads, 0: none.
    ground, ground_texture : float
        Brightness and unevenness of the background.
    """

    radius: float
    density: float
    bending: float
    aligned: bool
    brightness_spread: float
    patchiness: float
    bead: float
    ground: float
    ground_texture: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw the look of the fibres."""
        bead = log_uniform(rng, 2.5, 7) if chance(rng, 0.45) else 0.0
        return cls(
            ndim=ndim,
            names=("background", "fibre", *["bead"] * (bead > 0)),
            spacing=draw_spacing(rng, ndim),
            camera=Camera.draw(rng, blur=(0.4, 1.5), noise=(0.01, 0.12), inverted=0.3),
            radius=log_uniform(rng, 0.9, 3.5) if ndim == 2 else log_uniform(rng, 1.3, 3),
            density=rng.uniform(0.06, 0.3),
            bending=log_uniform(rng, 0.003, 0.06),
            aligned=chance(rng, 0.3),
            brightness_spread=rng.uniform(0.05, 0.5),
            patchiness=rng.uniform(0, 0.4),
            bead=bead,
            ground=rng.uniform(0.0, 0.25),
            ground_texture=rng.uniform(0.0, 0.3),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw fibres as chains of balls."""
        box = np.asarray(space) * self.spacing
        length = 1.3 * float(box.max())
        area = float(box.prod()) / (2 * self.radius * (2 * self.radius if self.ndim == 3 else 1))
        count = int(
            np.clip(self.density * rng.uniform(0.8, 1.2) * area / length * (0.7 if self.ndim == 3 else 1), 2, 150)
        )
        direction = rng.uniform(0, np.pi) if self.aligned else None
        step = max(0.7 * self.radius, 0.8)
        paths = curves(rng, box, count, length, step=step, bending=self.bending, direction=direction)
        ids, level = stamp_paths(space, self.spacing, paths, np.full(count, self.radius))
        light = 0.7 * np.exp(self.brightness_spread * rng.standard_normal(count))
        light = np.append(0, light).astype(np.float32)
        along = np.exp(self.patchiness * smooth_noise(space, 8 * self.radius, rng))
        ground = self.ground * np.exp(self.ground_texture * smooth_noise(space, 12.0, rng))
        signal = ground + light[ids] * along * (1 - 0.5 * level**2) * (ids > 0)
        regions = (ids > 0).astype(np.uint8)
        if self.bead:
            beads = scatter(rng, box, self.bead, coverage=0.04, spread=0.2, closeness=1.2, aspect=1.1)
            there, depth = stamp(space, self.spacing, beads)
            on_top = there > 0
            signal = np.where(on_top, ground + 0.9 * (1 - 0.5 * depth**2), signal)
            regions[on_top] = 2
        return Painting(signal.astype(np.float32), regions, ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rods(Kind):
    """Bacteria and the like: short rods of one width, alone, in chains or in crowds, filled or outlined.

    Attributes
    ----------
    radius, length : float
        Half the width, and the length, in pixels.
    coverage : float
        Share of the image that is covered.
    aligned : bool
        All in about one direction.
    rim : float
        -1: only the outline is bright, 0: filled evenly, 1: bright in the middle.
    grains : float
        Brightness of granules inside, 0: none.
    """

    radius: float
    length: float
    coverage: float
    aligned: bool
    rim: float
    grains: float
    ground: float
    brightness_spread: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw the look of the rods."""
        radius = log_uniform(rng, 2.2, 7) if ndim == 2 else log_uniform(rng, 2.5, 5)
        grains = rng.uniform(0.4, 0.9) if radius > 3 and chance(rng, 0.4) else 0.0
        return cls(
            ndim=ndim,
            names=("background", "rod", *["granule"] * (grains > 0)),
            spacing=draw_spacing(rng, ndim),
            camera=Camera.draw(rng, blur=(0.4, 1.5), noise=(0.01, 0.12), inverted=0.4),
            radius=radius,
            length=radius * log_uniform(rng, 2.5, 14),
            coverage=log_uniform(rng, 0.08, 0.5),
            aligned=chance(rng, 0.3),
            rim=rng.uniform(-0.8, 1),
            grains=grains,
            ground=rng.uniform(0.02, 0.4),
            brightness_spread=rng.uniform(0.05, 0.35),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw rods as short chains of balls."""
        box = np.asarray(space) * self.spacing
        length = min(self.length, 0.5 * float(box.max()))
        own = 2 * self.radius * (length + self.radius) * (1.6 * self.radius if self.ndim == 3 else 1)
        count = int(np.clip(self.coverage * rng.uniform(0.8, 1.2) * box.prod() / own, 3, 600))
        direction = rng.uniform(0, np.pi) if self.aligned else None
        step = 0.8 * self.radius
        paths = curves(rng, box, count, length, step=step, bending=0.02, direction=direction)
        ids, level = stamp_paths(space, self.spacing, paths, self.radius * rng.uniform(0.9, 1.1, count))
        light = (1 - self.ground) * 0.8 * np.exp(self.brightness_spread * rng.standard_normal(count))
        light = np.append(0, light).astype(np.float32)
        profile = 1 - np.clip(self.rim, 0, 1) * 0.6 * level**2 + np.clip(self.rim, -1, 0) * (1 - level**2)
        signal = self.ground + light[ids] * profile * (ids > 0)
        regions = (ids > 0).astype(np.uint8)
        if self.grains:
            spots = (smooth_noise(space, 0.8 * self.radius, rng) > 1.3) & (level < 0.75)
            signal[spots] = np.float32(self.grains * rng.choice([0.2, 1.3]))
            regions[spots] = 2
        return Painting(signal.astype(np.float32), regions, ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rings(Kind):
    """Vesicles, red blood cells, cross-cut tubes: a wall around an inside, which may look like the outside.

    Attributes
    ----------
    radius, wall : float
        Outer radius in pixels, and the wall's width as a share of it.
    spread, aspect, coverage : float
        How they vary and how many there are.
    inside, ground : float
        Brightness of the inside and of the outside; the wall's is about 0.8.
    filled : float
        Share of solid discs among them, a thing of their own.
    """

    radius: float
    wall: float
    spread: float
    aspect: float
    coverage: float
    inside: float
    ground: float
    filled: float
    brightness_spread: float
    texture: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw the look of the rings."""
        radius = log_uniform(rng, 6, 40) if ndim == 2 else log_uniform(rng, 6, 14)
        ground = rng.uniform(0.05, 0.35)
        filled = rng.uniform(0.2, 0.5) if chance(rng, 0.5) else 0.0
        return cls(
            ndim=ndim,
            names=("background", "wall", "inside", *["disc"] * (filled > 0)),
            spacing=draw_spacing(rng, ndim),
            camera=Camera.draw(rng, blur=(0.4, 1.5), noise=(0.01, 0.12), inverted=0.4),
            radius=radius,
            wall=max(rng.uniform(0.12, 0.4), 1.8 / radius),
            spread=rng.uniform(0.1, 0.4),
            aspect=rng.uniform(1, 1.5),
            coverage=rng.uniform(0.15, 0.6),
            inside=ground if chance(rng, 0.6) else rng.uniform(0.05, 0.5),
            ground=ground,
            filled=filled,
            brightness_spread=rng.uniform(0.05, 0.3),
            texture=rng.uniform(0.02, 0.2),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw rings, and discs among them."""
        box = np.asarray(space) * self.spacing
        radius = min(self.radius, 0.25 * float(box[-2:].min()))
        blobs = scatter(
            rng, box, radius, coverage=self.coverage, spread=self.spread, closeness=0.95, aspect=self.aspect
        )
        bend = bent(rng, space, self.spacing, 1.5 * radius, 0.06 * radius)
        ids, level = stamp(space, self.spacing, blobs, bend=bend)
        solid = np.append(False, rng.random(len(blobs.radii)) < self.filled)[ids]
        light = np.append(0, 0.8 * np.exp(self.brightness_spread * rng.standard_normal(len(blobs.radii))))
        grain = np.exp(self.texture * smooth_noise(space, 2.0, rng))
        hollow = (ids > 0) & (level < 1 - self.wall) & ~solid
        signal = np.where(ids > 0, light.astype(np.float32)[ids], self.ground)
        signal = np.where(hollow, self.inside, signal) * grain
        regions = (ids > 0).astype(np.uint8)
        regions[hollow] = 2
        regions[solid] = len(self.names) - 1
        return Painting(signal.astype(np.float32), regions, ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class Vessels(Kind):
    """Trees of vessels that branch and taper, on a ground with shading, sometimes inside a round field of view.

    Attributes
    ----------
    root : float
        Half the width of a trunk in pixels.
    trees, generations : int
        How many trunks there are, and how often they branch.
    bending : float
        How much they wind.
    vessel, ground : float
        Brightness; the vessels may be darker than the ground.
    shading : float
        Unevenness of the ground.
    field : float
        Radius of the field of view as a share of the image, 0: the whole image is seen.
    lesions : float
        Brightness of blots that are no vessels, 0: none.
    """

    root: float
    trees: int
    generations: int
    bending: float
    vessel: float
    ground: float
    shading: float
    field: float
    lesions: float
    texture: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw the look of the trees and of their ground."""
        field = rng.uniform(0.45, 0.6) if ndim == 2 and chance(rng, 0.3) else 0.0
        lesions = rng.uniform(0.1, 0.9) if chance(rng, 0.35) else 0.0
        dark = chance(rng, 0.5)
        return cls(
            ndim=ndim,
            names=("ground", "vessel", *["outside"] * (field > 0), *["blot"] * (lesions > 0)),
            spacing=draw_spacing(rng, ndim),
            camera=Camera.draw(rng, blur=(0.4, 1.5), noise=(0.01, 0.1), inverted=0.0),
            root=log_uniform(rng, 2.5, 9) if ndim == 2 else log_uniform(rng, 2.5, 5),
            trees=int(rng.integers(2, 5)) * (1 if ndim == 2 else 2),
            generations=int(rng.integers(3, 6)),
            bending=log_uniform(rng, 0.005, 0.03),
            vessel=rng.uniform(0.1, 0.35) if dark else rng.uniform(0.6, 0.95),
            ground=rng.uniform(0.45, 0.75) if dark else rng.uniform(0.05, 0.45),
            shading=rng.uniform(0.02, 0.25),
            field=field,
            lesions=lesions,
            texture=rng.uniform(0, 0.12),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Grow trees and lay them over the ground."""
        box = np.asarray(space) * self.spacing
        places, radii = self._grow(rng, box)
        ids, level = stamp(space, self.spacing, Blobs(places, radii), ids=np.ones(len(radii), np.uint16))
        vessel = ids > 0
        ground = self.ground * np.exp(self.shading * smooth_noise(space, 0.25 * max(space), rng))
        ground *= np.exp(self.texture * smooth_noise(space, 3.0, rng))
        regions = vessel.astype(np.uint8)
        signal = np.broadcast_to(ground, space).astype(np.float32)
        if self.lesions:
            blots = scatter(rng, box, 1.6 * self.root, coverage=0.05, spread=0.5, aspect=1.4)
            there, depth = stamp(space, self.spacing, blots, bend=bent(rng, space, self.spacing, 6, 0.6 * self.root))
            signal += (self.lesions - signal) * (1 - depth) * 0.8
            regions[(there > 0) & ~vessel & (depth < 0.85)] = self.names.index("blot")
        depth = np.clip(1.3 - level**2, 0, 1) * vessel
        signal += (self.vessel - signal) * depth
        if self.field:
            centre = box / 2 + rng.normal(0, 4, 2)
            lines = [np.arange(n, dtype=np.float32) - np.float32(c) for n, c in zip(space, centre, strict=True)]
            away = np.sqrt(lines[0][:, np.newaxis] ** 2 + lines[1] ** 2)
            outside = away > self.field * max(space)
            signal[outside] = 0.02
            regions[outside] = self.names.index("outside")
        return Painting(signal, regions)

    def _grow(
        self, rng: np.random.Generator, box: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return positions (n, d) and radii (n,) of balls along all branches, one generation after the other."""
        begin = rng.uniform(0, box, (self.trees, self.ndim))
        side = rng.integers(0, 2, self.trees)
        begin[np.arange(self.trees), rng.integers(self.ndim - 2, self.ndim, self.trees)] = side * box.max()
        begin = np.minimum(begin, box)
        towards = box / 2 + rng.normal(0, 0.15, begin.shape) * box - begin
        heading = np.arctan2(towards[:, -2], towards[:, -1])
        radius = self.root * rng.uniform(0.8, 1.2, self.trees)
        places, radii = [], []
        length = 0.45 * float(box.max())
        for _ in range(self.generations):
            paths = curves(
                rng,
                np.zeros(self.ndim),
                len(begin),
                length,
                step=max(0.8, 0.5 * float(radius.min())),
                bending=self.bending,
            )
            paths = _turned(paths - paths[:, :1], heading) + begin[:, np.newaxis]
            points = paths.shape[1]
            taper = np.linspace(1, 0.8, points) * radius[:, np.newaxis]
            places.append(paths.reshape(-1, self.ndim))
            radii.append(taper.ravel())
            fork = rng.integers(points // 2, points, (len(begin), 2))
            fork[:, 1] = points - 1
            begin = np.concatenate([paths[np.arange(len(fork)), fork[:, k]] for k in (0, 1)])
            angle = rng.uniform(0.3, 0.9, len(heading)) * rng.choice([-1, 1], len(heading))
            heading = np.concatenate([heading + angle, heading - 0.6 * angle])
            radius = np.concatenate([radius * rng.uniform(0.5, 0.8, len(radius)), radius * 0.75])
            length *= 0.7
            alive = (radius > 0.7) & (begin > -10).all(axis=1) & (begin < box + 10).all(axis=1)
            begin, heading, radius = begin[alive], heading[alive], radius[alive]
            if not len(begin):
                break
        return np.concatenate(places), np.concatenate(radii)


def _turned(paths: npt.NDArray[np.float64], heading: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn each path in the last two axes so that it starts along its heading."""
    start = paths[:, min(4, paths.shape[1] - 1)]
    angle = (heading - np.arctan2(start[:, -2], start[:, -1]))[:, np.newaxis]
    turned = paths.copy()
    turned[..., -1] = np.cos(angle) * paths[..., -1] - np.sin(angle) * paths[..., -2]
    turned[..., -2] = np.sin(angle) * paths[..., -1] + np.cos(angle) * paths[..., -2]
    return turned


def stamp_paths(
    space: tuple[int, ...], spacing: tuple[float, ...], paths: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.uint16], FloatArray]:
    """Draw curves (n, points, d) of half-widths (n,) as chains of balls; return as `stamp`, one id for each curve."""
    count, points, ndim = paths.shape
    chain = Blobs(paths.reshape(-1, ndim), np.repeat(radii, points))
    size = np.asarray(space) * spacing
    near = ((chain.centres > -radii.max()) & (chain.centres < size + radii.max())).all(axis=1)
    ids = np.repeat(np.arange(1, count + 1), points)[near]
    return stamp(space, spacing, Blobs(chain.centres[near], chain.radii[near]), ids=ids)
