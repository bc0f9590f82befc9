"""Stained tissue and smears in colour: what dyes absorb, by their optical densities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.chance import chance, log_uniform
from napari_unet.data.scenes.geometry import Blobs, bent, coordinates, orientations, scatter, stamp
from napari_unet.data.scenes.scene import Kind, Painting
from napari_unet.data.synthetic import smooth_noise

__all__ = ["Smear", "StainedTissue"]

FloatArray = npt.NDArray[np.float32]

# Optical densities of red, green and blue for each dye at full strength, after A. C. Ruifrok and D. A. Johnston,
# Quantification of histochemical staining by color deconvolution, 2001.
_HAEMATOXYLIN = (0.65, 0.70, 0.29)
_EOSIN = (0.07, 0.99, 0.11)
_BROWN = (0.27, 0.57, 0.78)
_BLUE = (0.80, 0.60, 0.10)
_VIOLET = (0.50, 0.80, 0.15)


def _dye(rng: np.random.Generator, vector: tuple[float, ...], spread: float = 0.12) -> tuple[float, ...]:
    """Return a dye a little other than the textbook's."""
    varied = np.clip(np.asarray(vector) + spread * rng.standard_normal(3), 0.02, None)
    return tuple((varied / np.linalg.norm(varied)).tolist())


def _seen(
    rng: np.random.Generator, amounts: list[FloatArray], dyes: tuple[tuple[float, ...], ...], lamp: tuple[float, ...]
) -> FloatArray:
    """Return (3, \\*space): the light that is left by the dyes' amounts (Beer and Lambert's law)."""
    density = np.tensordot(np.asarray(dyes, np.float32).T, np.stack(amounts), axes=1)
    light = np.asarray(lamp, np.float32) * rng.uniform(0.96, 1.03)
    seen: FloatArray = np.exp(-np.clip(density, 0, 4)) * light.reshape(3, *[1] * amounts[0].ndim)
    return seen


def _lamp(rng: np.random.Generator) -> tuple[float, ...]:
    return tuple((rng.uniform(0.85, 1.0) * (1 - 0.05 * rng.random(3))).tolist())


@dataclass(frozen=True, kw_only=True, eq=False)
class StainedTissue(Kind):
    """A section with nuclei on stroma: haematoxylin and eosin, or an antibody's brown; glands, gaps, crowded nuclei.

    Attributes
    ----------
    radius, spread, aspect, coverage, clumping, aligned
        Nuclei: size in pixels, variety, elongation, number, how they gather, and whether they lie along the fibres.
    nuclear, nuclear_spread : float
        Strength of the nuclear dye, and how it varies between nuclei.
    chromatin, rim : float
        Contrast of the nuclei's texture, and how much darker their outline is.
    stroma, fibres : float
        Strength of the other dye in the stroma, and its contrast along fibres.
    leak : float
        Nuclear dye outside of the nuclei.
    gaps, glands : float
        Size of white gaps and of glands across in pixels, 0: none.
    positive : float
        Share of nuclei that are brown, a thing of their own; 0: haematoxylin and eosin.
    small : float
        Share of nuclei that are small, round and dark, a thing of their own; 0: none.
    dyes, lamp
        Optical densities of the dyes, and the colour of the light.
    """

    radius: float
    spread: float
    aspect: float
    coverage: float
    clumping: float
    aligned: bool
    nuclear: float
    nuclear_spread: float
    chromatin: float
    rim: float
    stroma: float
    fibres: float
    leak: float
    gaps: float
    glands: float
    positive: float
    small: float
    dyes: tuple[tuple[float, ...], ...]
    lamp: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Red, green and blue."""
        return 3

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw a stain and a tissue."""
        positive = rng.uniform(0.25, 0.6) if chance(rng, 0.25) else 0.0
        small = rng.uniform(0.2, 0.6) if not positive and chance(rng, 0.35) else 0.0
        glands = log_uniform(rng, 60, 140) if chance(rng, 0.35) else 0.0
        gaps = log_uniform(rng, 25, 90) if chance(rng, 0.4) else 0.0
        bluish = chance(rng, 0.4)
        stroma_dye = _dye(rng, _VIOLET if bluish else _EOSIN)
        names = ["stroma", "nucleus", *["gap"] * (gaps > 0), *["gland", "lumen"] * (glands > 0)]
        return cls(
            ndim=ndim,
            names=(*names, *["brown nucleus"] * (positive > 0), *["small nucleus"] * (small > 0)),
            spacing=(1.0,) * ndim,
            camera=Camera.draw(
                rng, blur=(0.3, 1.1), noise=(0.003, 0.03), unevenness=0.1, inverted=0.0, faults=0.01, faint=0.15
            ),
            radius=log_uniform(rng, 3.5, 16),
            spread=rng.uniform(0.1, 0.3),
            aspect=rng.uniform(1.1, 3.2) if chance(rng, 0.4) else rng.uniform(1.0, 1.7),
            coverage=log_uniform(rng, 0.08, 0.7),
            clumping=rng.uniform(0, 2),
            aligned=chance(rng, 0.4),
            nuclear=log_uniform(rng, 0.6, 2.0),
            nuclear_spread=rng.uniform(0.1, 0.35),
            chromatin=rng.uniform(0.1, 0.35),
            rim=rng.uniform(0, 0.4),
            stroma=log_uniform(rng, 0.06, 0.6),
            fibres=rng.uniform(0.05, 0.35),
            leak=rng.uniform(0.0, 0.35),
            gaps=gaps,
            glands=glands,
            positive=positive,
            small=small,
            dyes=(_dye(rng, _BLUE if chance(rng, 0.3) else _HAEMATOXYLIN), stroma_dye, _dye(rng, _BROWN)),
            lamp=_lamp(rng),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Lay down the dyes: stroma, glands and gaps, then nuclei."""
        direction = rng.uniform(0, np.pi)
        stroma, leak = self._stroma(rng, space, direction)
        regions = np.zeros(space, np.uint8)
        free = np.ones(space, bool)
        crowd = np.zeros(space, np.float32)
        if self.glands:
            crowd = self._glands(rng, regions, free, stroma)
        if self.gaps:
            hollow = smooth_noise(space, self.gaps / 2, rng) + 0.12 * smooth_noise(space, 5.0, rng)
            edge = np.clip((hollow - 0.9) / 0.12, 0, 1) * (crowd <= 0)
            regions[edge > 0.5] = self.names.index("gap")
            free &= edge <= 0.3
            stroma *= 1 - edge
            leak *= 1 - edge
        ids, level, small = self._nuclei(rng, space, direction, crowd, free)
        ids[~free] = 0
        strength = self.nuclear * np.exp(self.nuclear_spread * rng.standard_normal(len(small))) * (1 + 0.6 * small)
        grain = np.exp(self.chromatin * smooth_noise(space, max(1.3, 0.22 * self.radius), rng))
        soft = np.clip((1 - level) * self.radius / 1.5, 0, 1)
        amount = np.append(0, strength).astype(np.float32)[ids] * grain * soft * (1 - self.rim * (1 - level**4))
        regions[ids > 0] = 1
        if self.small:
            regions[np.append(False, small)[ids]] = self.names.index("small nucleus")
        brown = np.zeros(space, np.float32)
        if self.positive:
            chosen = np.append(False, rng.random(len(small)) < self.positive)
            there = chosen[ids]
            regions[there] = self.names.index("brown nucleus")
            brown = np.where(there, 1.2 * amount, 0.03)
            amount = np.where(there, 0.25 * amount, amount)
        seen = _seen(rng, [amount + leak, stroma * (1 - 0.5 * soft * (ids > 0)), brown], self.dyes, self.lamp)
        return Painting(seen, regions, ids)

    def _stroma(
        self, rng: np.random.Generator, space: tuple[int, ...], direction: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return how much of the second dye and of the first lies everywhere: fibres along a direction."""
        where = coordinates(space, self.spacing) + bent(rng, space, self.spacing, 40.0, 7.0)
        across = np.sin(direction) * where[1] - np.cos(direction) * where[0]
        strand = np.sin(across * (0.9 / max(2.0, 0.4 * self.radius)) + 1.5 * smooth_noise(space, 9.0, rng))
        cloud = 0.5 * smooth_noise(space, 25.0, rng) + 0.4 * smooth_noise(space, 4.0, rng)
        stroma = self.stroma * np.exp(self.fibres * (0.6 * strand + cloud))
        leak = self.leak * self.stroma * np.exp(0.3 * cloud)
        return stroma.astype(np.float32), leak.astype(np.float32)

    def _glands(
        self, rng: np.random.Generator, regions: npt.NDArray[np.uint8], free: npt.NDArray[np.bool_], stroma: FloatArray
    ) -> FloatArray:
        """Draw rings of epithelium around white lumina; return how near each pixel is to an epithelium's middle."""
        space = regions.shape
        radius = 0.5 * min(self.glands, 0.8 * min(space))
        box = np.asarray(space, dtype=np.float64)
        rounds = scatter(rng, box, radius, coverage=0.8, spread=0.25, closeness=1.05, aspect=1.6)
        bend = bent(rng, space, self.spacing, 0.8 * radius, 0.1 * radius)
        _, level = stamp(space, self.spacing, rounds, bend=bend)
        gland = level < 1
        lumen = level + 0.06 * smooth_noise(space, 6.0, rng) < max(0.3, 1 - 3.2 * self.radius / radius)
        regions[gland] = self.names.index("gland")
        regions[lumen] = self.names.index("lumen")
        stroma[gland] *= 1.2
        stroma[lumen] *= 0.08
        free &= ~lumen
        return np.where(gland & ~lumen, 1.0, 0.0).astype(np.float32)

    def _nuclei(
        self, rng: np.random.Generator, space: tuple[int, ...], direction: float, crowd: FloatArray,
        free: npt.NDArray[np.bool_],
    ) -> tuple[npt.NDArray[np.uint16], FloatArray, npt.NDArray[np.bool_]]:  # fmt: skip
        """Return as `stamp`, and which nuclei are the small ones."""
        box = np.asarray(space, dtype=np.float64)
        blobs = scatter(
            rng, box, self.radius, coverage=self.coverage * rng.uniform(0.8, 1.2), spread=self.spread,
            closeness=0.75, clumping=self.clumping, aspect=self.aspect, direction=direction if self.aligned else None,
        )  # fmt: skip
        if self.glands:
            more = scatter(rng, box, self.radius, coverage=0.9, spread=self.spread, closeness=0.8, aspect=1.4)
            pixel = tuple(np.clip(np.rint(more.centres).astype(int), 0, np.asarray(space) - 1).T)
            kept = crowd[pixel] > 0
            turns = orientations(rng, int(kept.sum()), 2, 1.4)
            assert blobs.turns is not None
            blobs = Blobs(
                np.concatenate([more.centres[kept], blobs.centres]),
                np.concatenate([more.radii[kept], blobs.radii]),
                np.concatenate([turns, blobs.turns]),
            )
        pixel = tuple(np.clip(np.rint(blobs.centres).astype(int), 0, np.asarray(space) - 1).T)
        kept = free[pixel]
        assert blobs.turns is not None
        small = rng.random(int(kept.sum())) < self.small
        turns = np.where(small[:, np.newaxis, np.newaxis], np.eye(2), blobs.turns[kept])
        radii = blobs.radii[kept] * np.where(small, 0.6, 1.0)
        bend = bent(rng, space, self.spacing, 1.4 * self.radius, 0.09 * self.radius)
        return *stamp(space, self.spacing, Blobs(blobs.centres[kept], radii, turns), bend=bend), small


@dataclass(frozen=True, kw_only=True, eq=False)
class Smear(Kind):
    """A smear of blood or marrow: cells with a dark nucleus and a pale body, between unstained or pink ones.

    Attributes
    ----------
    radius, coverage, clumping : float
        Radius of the nuclei in pixels, how many there are and how they lie.
    body, body_strength : float
        Radius of the cell body in radii of the nucleus, and how strongly it is stained.
    lobes : float
        How irregular the nuclei are.
    nuclear, nuclear_spread, chromatin : float
        Strength of the nuclear dye, its variety, and its texture.
    red : float
        Radius of red blood cells in pixels, 0: none.
    ground, dirt : float
        Strength of stain in the background, and of its blots.
    dyes, lamp
        Optical densities of the dyes, and the colour of the light.
    """

    radius: float
    coverage: float
    clumping: float
    body: float
    body_strength: float
    lobes: float
    nuclear: float
    nuclear_spread: float
    chromatin: float
    red: float
    ground: float
    dirt: float
    dyes: tuple[tuple[float, ...], ...]
    lamp: tuple[float, ...]

    @property
    def channels(self) -> int:
        """Red, green and blue."""
        return 3

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw a stain and its cells."""
        radius = log_uniform(rng, 6, 18)
        body = rng.uniform(1.3, 1.9) if chance(rng, 0.7) else 0.0
        red = radius * rng.uniform(0.7, 1.1) if chance(rng, 0.4) else 0.0
        return cls(
            ndim=ndim,
            names=("background", "nucleus", *["cell body"] * (body > 0), *["red cell"] * (red > 0)),
            spacing=(1.0,) * ndim,
            camera=Camera.draw(
                rng, blur=(0.4, 1.6), noise=(0.003, 0.03), unevenness=0.1, inverted=0.0, faults=0.01, faint=0.1
            ),
            radius=radius,
            coverage=log_uniform(rng, 0.06, 0.35),
            clumping=rng.uniform(0, 1.5),
            body=body,
            body_strength=rng.uniform(0.1, 0.4),
            lobes=rng.uniform(0.05, 0.28),
            nuclear=rng.uniform(0.8, 2.0),
            nuclear_spread=rng.uniform(0.1, 0.35),
            chromatin=rng.uniform(0.1, 0.35),
            red=red,
            ground=rng.uniform(0.0, 0.12),
            dirt=rng.uniform(0.0, 0.25),
            dyes=(_dye(rng, (0.45, 0.85, 0.25)), _dye(rng, (0.25, 0.9, 0.25), 0.2), _dye(rng, _EOSIN)),
            lamp=_lamp(rng),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Lay down red cells, bodies, and nuclei over them."""
        box = np.asarray(space, dtype=np.float64)
        radius = min(self.radius, 0.2 * float(box.min()))
        blobs = scatter(
            rng, box, radius, coverage=self.coverage * rng.uniform(0.7, 1.2), spread=0.2, closeness=0.9,
            clumping=self.clumping, aspect=1.25,
        )  # fmt: skip
        bend = bent(rng, space, self.spacing, 1.2 * radius, self.lobes * radius)
        ids, level = stamp(space, self.spacing, blobs, bend=bend, reach=max(1.0, self.body))
        inside = level < 1
        regions = inside.astype(np.uint8)
        cloud = smooth_noise(space, 6.0, rng)
        ground = self.ground * np.exp(0.3 * cloud)
        blots = self.dirt * np.clip(smooth_noise(space, 10.0, rng) + 0.3 * cloud - 1.3, 0, 1)
        red = np.zeros(space, np.float32)
        if self.red:
            cells = scatter(rng, box, self.red, coverage=0.4, spread=0.06, closeness=0.9, aspect=1.1)
            there, depth = stamp(space, self.spacing, cells)
            red = np.where(there > 0, (0.35 + 0.3 * depth**2) * np.clip((1 - depth) * self.red, 0, 1), 0)
            regions[(there > 0) & (ids == 0)] = self.names.index("red cell")
            red[ids > 0] = 0
        strength = np.append(0, self.nuclear * np.exp(self.nuclear_spread * rng.standard_normal(len(blobs.radii))))
        grain = np.exp(self.chromatin * smooth_noise(space, max(1.5, 0.3 * radius), rng))
        amount = strength.astype(np.float32)[ids] * inside * grain * np.clip((1 - level) * radius / 1.5, 0, 1)
        body = np.where(ids > 0, self.body_strength * np.exp(0.25 * cloud), 0) if self.body else np.zeros(space)
        if self.body:
            body *= np.clip((self.body - level) * radius / 2, 0, 1)
            regions[(ids > 0) & ~inside] = 2
        seen = _seen(rng, [amount + ground, (body + blots).astype(np.float32), red], self.dyes, self.lamp)
        return Painting(seen, regions, np.where(inside, ids, 0).astype(np.uint16))
