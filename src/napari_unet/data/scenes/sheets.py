"""Tissue whose cells touch each other, each inside its membrane: stained membranes, and electron micrographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.chance import chance, log_uniform
from napari_unet.data.scenes.geometry import Blobs, Pieces, bent, coordinates, orientations, partition, scatter, stamp
from napari_unet.data.scenes.scene import Kind, Painting, draw_spacing
from napari_unet.data.synthetic import smooth_noise

__all__ = ["CellSheet", "ElectronMicrograph"]

FloatArray = npt.NDArray[np.float32]


def _cut(rng: np.random.Generator, kind: CellSheet | ElectronMicrograph, space: tuple[int, ...]) -> Pieces:
    """Cut the space into curved pieces of the kind's size and variety."""
    size = min(kind.size, 0.8 * min(space[-2:]))
    where = coordinates(space, kind.spacing)
    where += bent(rng, space, kind.spacing, 2.5 * size, 0.45 * size * kind.variety)
    where += bent(rng, space, kind.spacing, 0.6 * size, 0.12 * size * kind.waviness)
    return partition(rng, where, size, disorder=kind.disorder, merging=kind.merging)


@dataclass(frozen=True, kw_only=True, eq=False)
class CellSheet(Kind):
    """Cells side by side, outlined by a bright or dark membrane, some with a nucleus, some missing.

    Attributes
    ----------
    size : float
        Side of a cell in pixels.
    disorder, merging, variety, waviness : float
        How irregular the cells are: their places, their joining, their sizes and their outlines.
    thickness : float
        Width of the membranes in pixels.
    membrane, inside : float
        Brightness of membranes and of cells.
    brightness_spread, texture, broken : float
        Differences between cells and within them; share of the membranes that is hardly seen.
    nucleus : float
        Radius of nuclei as a share of the cells' size, 0: none are seen.
    nucleus_brightness : float
        Brightness of nuclei.
    gaps : float
        Share of the cells that are missing.
    """

    size: float
    disorder: float
    merging: float
    variety: float
    waviness: float
    thickness: float
    membrane: float
    inside: float
    brightness_spread: float
    texture: float
    texture_scale: float
    broken: float
    nucleus: float
    nucleus_brightness: float
    gaps: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw the look of the tissue."""
        size = log_uniform(rng, 14, 70) if ndim == 2 else log_uniform(rng, 14, 40)
        inside = rng.uniform(0.05, 0.35)
        nucleus = rng.uniform(0.22, 0.32) if size > 22 and chance(rng, 0.4) else 0.0
        gaps = rng.uniform(0.08, 0.25) if chance(rng, 0.3) else 0.0
        names = ("cell interior", "membrane", *["nucleus"] * (nucleus > 0), *["gap"] * (gaps > 0))
        return cls(
            ndim=ndim,
            names=names,
            spacing=draw_spacing(rng, ndim),
            camera=Camera.draw(rng, blur=(0.4, 1.8), noise=(0.01, 0.15), inverted=0.3),
            size=size,
            disorder=rng.uniform(0.7, 1),
            merging=rng.uniform(0, 0.3) if chance(rng, 0.5) else 0.0,
            variety=rng.uniform(0.3, 1.1),
            waviness=rng.uniform(0.1, 1.2),
            thickness=min(log_uniform(rng, 1.6, 6.0), 0.2 * size) + (1.0 if ndim == 3 else 0),
            membrane=rng.uniform(0.6, 1.0),
            inside=inside,
            brightness_spread=rng.uniform(0, 0.4) if chance(rng, 0.6) else 0.0,
            texture=rng.uniform(0.02, 0.25),
            texture_scale=log_uniform(rng, 1.5, 8),
            broken=rng.uniform(0.2, 0.8) if chance(rng, 0.5) else 0.0,
            nucleus=nucleus,
            nucleus_brightness=rng.choice([rng.uniform(0, 0.5) * inside, rng.uniform(0.4, 0.8)]),
            gaps=gaps,
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw cells, then membranes over them."""
        pieces = _cut(rng, self, space)
        kept = rng.random(pieces.count) >= self.gaps
        levels = self.inside * np.exp(self.brightness_spread * rng.standard_normal(pieces.count))
        texture = np.exp(self.texture * smooth_noise(space, self.texture_scale, rng))
        signal = (np.where(kept, levels, 0.02).astype(np.float32))[pieces.ids] * texture
        regions = np.zeros(space, np.uint8)
        if self.nucleus:
            regions, signal = self._with_nuclei(rng, pieces, regions, signal, texture)
        missing = ~kept[pieces.ids]
        wall = pieces.edge < self.thickness / 2
        if self.gaps:
            inner = missing & (pieces.edge > self.thickness / 2)
            regions[inner] = self.names.index("gap")
            signal[inner] = 0.02
        regions[wall] = 1
        strength = np.exp(-0.5 * self.broken * (1 + smooth_noise(space, 0.7 * self.size, rng)) ** 2)
        strength *= np.exp(0.5 * self.texture * smooth_noise(space, 2.0, rng))
        shade = np.clip(1.2 - pieces.edge / (self.thickness / 2 + 0.3) * 0.7, 0, 1) * wall
        signal += (self.membrane * strength - signal) * shade
        objects = np.where(wall | missing, 0, pieces.ids + 1).astype(np.uint16)
        return Painting(signal, regions, objects)

    def _with_nuclei(
        self,
        rng: np.random.Generator,
        pieces: Pieces,
        regions: npt.NDArray[np.uint8],
        signal: FloatArray,
        texture: FloatArray,
    ) -> tuple[npt.NDArray[np.uint8], FloatArray]:
        """Put a nucleus into the middle of each cell."""
        space = regions.shape
        where = coordinates(space, self.spacing).reshape(self.ndim, -1)
        flat = pieces.ids.ravel()
        pixels = np.bincount(flat, minlength=pieces.count)
        there = np.flatnonzero(pixels > 20)
        sums = [np.bincount(flat, weights=axis, minlength=pieces.count)[there] for axis in where]
        centres = np.stack(sums, axis=1) / pixels[there, np.newaxis]
        volume = pixels[there] * np.prod(self.spacing)
        radii = 1.1 * self.nucleus * np.minimum(volume ** (1 / self.ndim), 1.3 * self.size)
        blobs = Blobs(centres, radii, orientations(rng, len(there), self.ndim, 1.3))
        bend = bent(rng, space, self.spacing, 0.4 * self.size, 0.03 * self.size)
        ids, level = stamp(space, self.spacing, blobs, bend=bend)
        inside = (ids > 0) & (pieces.edge > self.thickness / 2 + 0.5)
        regions[inside] = self.names.index("nucleus")
        soft = np.clip((1 - level) * np.float32(self.nucleus * self.size), 0, 1) * inside
        return regions, signal + (self.nucleus_brightness * texture - signal) * soft


@dataclass(frozen=True, kw_only=True, eq=False)
class ElectronMicrograph(Kind):
    """A section through nervous or other tissue: dark membranes, grainy cytoplasm, mitochondria and vesicles.

    Attributes
    ----------
    size, disorder, merging, variety, waviness, thickness
        As in a sheet of cells.
    cytoplasm, membrane : float
        Grey values.
    cell_spread : float
        How much the cytoplasm's grey differs between cells.
    oblique : float
        How much membranes widen and fade where they are cut slantwise.
    grain, grain_scale, clumps : float
        Strength and size of the cytoplasm's texture, and of coarser clumps in it.
    mitochondrion : float
        Radius of mitochondria in pixels.
    mitochondria, vesicles : float
        Share of the image that they cover.
    vesicle : float
        Radius of vesicles in pixels.
    cristae : float
        Contrast of the folds inside the mitochondria.
    round_ones : float
        Share of the image that large round profiles cover.
    """

    size: float
    disorder: float
    merging: float
    variety: float
    waviness: float
    thickness: float
    cytoplasm: float
    membrane: float
    cell_spread: float
    oblique: float
    grain: float
    grain_scale: float
    clumps: float
    mitochondrion: float
    mitochondria: float
    mitochondrion_grey: float
    vesicle: float
    vesicles: float
    cristae: float
    round_ones: float

    @classmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw the look of the section."""
        scale = log_uniform(rng, 0.6, 2.4 if ndim == 2 else 1.2)
        return cls(
            ndim=ndim,
            names=("cytoplasm", "membrane", "mitochondrion", "vesicle"),
            spacing=draw_spacing(rng, ndim),
            camera=Camera.draw(rng, blur=(0.4, 1.2), noise=(0.02, 0.14), unevenness=0.15, inverted=0.1, faint=0.3),
            size=scale * rng.uniform(20, 42),
            disorder=rng.uniform(0.8, 1),
            merging=rng.uniform(0.15, 0.5),
            variety=rng.uniform(0.6, 1.2),
            waviness=rng.uniform(0.5, 1.6),
            thickness=scale**0.6 * rng.uniform(3.0, 6.5) + (1.5 if ndim == 3 else 0),
            cytoplasm=rng.uniform(0.5, 0.75),
            membrane=rng.uniform(0.05, 0.3),
            cell_spread=rng.uniform(0.0, 0.12),
            oblique=rng.uniform(0, 0.8),
            grain=rng.uniform(0.05, 0.16),
            grain_scale=log_uniform(rng, 0.9, 2.4),
            clumps=rng.uniform(0, 0.08),
            mitochondrion=scale * rng.uniform(8, 15),
            mitochondria=rng.uniform(0.03, 0.14),
            mitochondrion_grey=rng.uniform(0.3, 0.55),
            vesicle=scale**0.7 * rng.uniform(2.3, 4.2),
            vesicles=rng.uniform(0.02, 0.2),
            cristae=rng.uniform(0.03, 0.14),
            round_ones=rng.uniform(0.1, 0.6),
        )

    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw the cytoplasm, what lies in it, then the membranes."""
        box = np.asarray(space) * self.spacing
        pieces = self._with_round_ones(rng, _cut(rng, self, space), box)
        shades = self.cytoplasm + self.cell_spread * rng.standard_normal(pieces.count)
        signal = shades.astype(np.float32)[pieces.ids]
        signal += self.grain * smooth_noise(space, self.grain_scale, rng)
        signal += self.clumps * smooth_noise(space, 6 * self.grain_scale, rng)
        regions = np.zeros(space, np.uint8)
        reach = self.thickness / 2
        room = pieces.edge > reach + 1.5
        self._add_vesicles(rng, signal, regions, room, box)
        self._add_mitochondria(rng, signal, regions, pieces, room, box)
        width = reach * np.exp(np.clip(0.3 * smooth_noise(space, self.size / 2, rng), -0.6, 0.6))
        slant = np.clip(self.oblique * (smooth_noise(space, self.size, rng) - 0.8), 0, 1)
        wall = pieces.edge < width
        dark = np.clip(1.35 - pieces.edge / width, 0, 1) * (1 - 0.6 * slant)
        halo = 0.5 * np.clip(1 - pieces.edge / (3 * width), 0, 1) * slant
        dark = np.maximum(dark, halo)
        dark = np.clip(dark * (1 + 0.15 * smooth_noise(space, 2.0, rng)), 0, 1)
        signal += (self.membrane - signal) * dark
        regions[wall] = 1
        return Painting(signal, regions, np.where(wall, 0, pieces.ids + 1).astype(np.uint16))

    def _with_round_ones(self, rng: np.random.Generator, pieces: Pieces, box: npt.NDArray[np.float64]) -> Pieces:
        """Lay large round profiles over the pieces, and round the corners of all."""
        space = pieces.ids.shape
        largest = (0.3 if self.ndim == 2 else 0.2) * float(box[-2:].min())
        radius = min(1.2 * self.size, largest)
        large = scatter(rng, box, radius, coverage=self.round_ones, spread=0.3, closeness=1.0, aspect=1.4)
        bend = bent(rng, space, self.spacing, 1.1 * radius, 0.14 * radius)
        reach = 1 + 1.5 * self.thickness / radius
        ids, level = stamp(space, self.spacing, large, bend=bend, reach=reach)
        own = np.append(radius, large.radii).astype(np.float32)[ids]
        within = level < 1
        outline = np.abs(1 - level) * own
        edge = np.where(within, outline, np.where(level < reach, np.minimum(outline, pieces.edge), pieces.edge))
        for axis in (-1, -2):
            edge = ndimage.uniform_filter1d(edge, max(2, round(0.6 * self.thickness)), axis)
        joined = np.where(within, pieces.count + ids, pieces.ids).astype(np.int32)
        return Pieces(joined, edge, pieces.count + len(large.radii) + 1)

    def _add_vesicles(
        self, rng: np.random.Generator, signal: FloatArray, regions: npt.NDArray[np.uint8],
        room: npt.NDArray[np.bool_], box: npt.NDArray[np.float64],
    ) -> None:  # fmt: skip
        """Draw small dark rings, many in some places and none in others."""
        space = signal.shape
        if self.ndim == 2:
            rings = scatter(rng, box, self.vesicle, coverage=self.vesicles, closeness=0.95, clumping=1.5, spread=0.25)
        else:
            rings = scatter(rng, box, self.vesicle, coverage=self.vesicles / 3, closeness=0.95, clumping=1.0)
        _, level = stamp(space, self.spacing, rings)
        within = (level < 1) & room
        line = np.exp(-(((level - 0.7) / 0.28) ** 2)) * within
        signal += (self.membrane + 0.1 - signal) * (0.75 * line)
        regions[within] = 3

    def _add_mitochondria(
        self, rng: np.random.Generator, signal: FloatArray, regions: npt.NDArray[np.uint8],
        pieces: Pieces, room: npt.NDArray[np.bool_], box: npt.NDArray[np.float64],
    ) -> None:  # fmt: skip
        """Draw dark bodies with an outline and folds, each inside one cell."""
        space = signal.shape
        bodies = scatter(
            rng, box, self.mitochondrion, coverage=self.mitochondria, aspect=2.0, closeness=1.1, spread=0.3
        )
        nearest = np.rint(bodies.centres / self.spacing).astype(int)
        pixel = tuple(np.clip(nearest, 0, np.asarray(space) - 1).T)
        fits = pieces.edge[pixel] > 0.45 * bodies.radii
        if not fits.any():
            fits[np.argmax(pieces.edge[pixel] / bodies.radii)] = True
        bodies = Blobs(bodies.centres[fits], bodies.radii[fits], None if bodies.turns is None else bodies.turns[fits])
        bend = bent(rng, space, self.spacing, 1.2 * self.mitochondrion, 0.12 * self.mitochondrion)
        ids, level = stamp(space, self.spacing, bodies, bend=bend)
        home = np.append(-1, pieces.ids[tuple(axis[fits] for axis in pixel)])
        within = (ids > 0) & room & (home[ids] == pieces.ids)
        folds = self.cristae * np.clip(2 * smooth_noise(space, self._fold_steps(rng), rng), -1.5, 1.5)
        grey = np.where(level > 0.88, 0.5 * (self.membrane + self.mitochondrion_grey), self.mitochondrion_grey + folds)
        signal[within] = (grey + 0.5 * (signal - self.cytoplasm))[within]
        regions[within] = 2

    def _fold_steps(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return how far folds extend along each axis: thin along one, long along the others."""
        steps = np.full(self.ndim, 0.6 * self.mitochondrion)
        steps[rng.integers(self.ndim - 2, self.ndim)] = 0.16 * self.mitochondrion
        steps[steps < 1] = 1.0
        return steps
