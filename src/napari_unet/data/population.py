"""Cells that fill a box without growing into each other, at rest or moving, drawn onto a grid of pixels.

This is the geometry behind the synthetic images: an object is an ellipsoid with a lobe, in two or three dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from napari_unet.errors import InputError

__all__ = ["Population", "draw", "place", "positions_over_time"]

_CLOSEST = 0.85  # of the sum of two radii: how far objects may grow into each other
_APART = 1.2  # of the sum of two radii: from here on two objects don't touch
_MOST = 65535  # objects that uint16 labels can number


@dataclass(frozen=True, eq=False)
class Population:
    """Cells as ellipsoids with a lobe; d axes, n cells.

    Attributes
    ----------
    centres, lobes : numpy.ndarray
        (n, d) positions, and the unit vectors to which the cells bulge.
    turns : numpy.ndarray
        (n, d, d) matrices that make a unit ball of the ellipsoid.
    radii, brightness : numpy.ndarray
        (n,) mean radii and grey values.
    """

    centres: npt.NDArray[np.float64]
    lobes: npt.NDArray[np.float64]
    turns: npt.NDArray[np.float64]
    radii: npt.NDArray[np.float64]
    brightness: npt.NDArray[np.float64]


def _unit_vectors(count: int, ndim: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    vectors = rng.standard_normal((count, ndim))
    unit: npt.NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def place(
    size: npt.NDArray[np.float64], radius: float, coverage: float, touching: float, rng: np.random.Generator
) -> Population:
    """Throw cells into a box one after the other, some against others, none too deep into another.

    Parameters
    ----------
    size : numpy.ndarray
        (d,) sides of the box, in the unit of `radius`; d is 2 or 3.
    radius : float
        Mean radius of the cells.
    coverage : float
        Share of the box to be covered; where there is no room left, it stays below.
    touching : float
        Share of the cells that are put against another one.
    rng : numpy.random.Generator
        Source of the numbers.

    Raises
    ------
    InputError
        If that would take more cells than 16 bits can number.
    """
    ndim = len(size)
    ball = np.pi * radius**2 if ndim == 2 else 4 / 3 * np.pi * radius**3
    wanted = int(np.ceil(coverage * size.prod() / (1.05 * ball)))
    if wanted > _MOST:
        raise InputError(f"{wanted} cells are too many for one image; take a larger `radius` or a smaller image.")
    centres, radii = np.empty((wanted, ndim)), np.empty(wanted)
    placed = 0
    for _ in range(30 * wanted):
        if placed == wanted:
            break
        own = radius * rng.uniform(0.75, 1.25)
        beside = placed > 0 and rng.random() < touching
        centre = rng.uniform(0, size)
        if beside:
            other = int(rng.integers(placed))
            centre = centres[other] + _unit_vectors(1, ndim, rng)[0] * (own + radii[other]) * 0.9
            if (centre < 0).any() or (centre > size).any():
                continue
        away = np.linalg.norm(centres[:placed] - centre, axis=1)
        if (away >= (own + radii[:placed]) * (_CLOSEST if beside else _APART)).all():
            centres[placed], radii[placed] = centre, own
            placed += 1
    stretch = rng.uniform(0.8, 1.25, (placed, ndim))
    stretch /= stretch.prod(axis=1, keepdims=True) ** (1 / ndim)
    turns, _ = np.linalg.qr(rng.standard_normal((placed, ndim, ndim)))
    turns = turns / (radii[:placed, np.newaxis] * stretch)[:, :, np.newaxis]
    brightness = np.exp(rng.normal(0, 0.25, placed))
    return Population(centres[:placed], _unit_vectors(placed, ndim, rng), turns, radii[:placed], brightness)


def positions_over_time(
    population: Population, frames: int, size: npt.NDArray[np.float64], rng: np.random.Generator
) -> Iterator[Population]:
    """Yield the population at each time: a persistent random walk in which cells push each other aside."""
    yield population
    radii, centres = population.radii, population.centres
    step = 0.15 * (radii.mean() if radii.size else 1.0)
    velocity = rng.normal(0, step, centres.shape)
    for _ in range(frames - 1):
        velocity = 0.8 * velocity + rng.normal(0, 0.6 * step, centres.shape)
        centres = centres + velocity
        for _ in range(3):
            centres = _pushed_apart(centres, radii)
        centres = np.clip(centres, 0, size)
        yield replace(population, centres=centres)


def _pushed_apart(centres: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if len(centres) < 2:
        return centres
    first, second = KDTree(centres).query_pairs(2 * _CLOSEST * radii.max(), output_type="ndarray").T
    between = centres[second] - centres[first]
    away = np.maximum(np.linalg.norm(between, axis=1), 1e-6)
    lacking = np.clip(_CLOSEST * (radii[first] + radii[second]) - away, 0, None)
    push = between * (lacking / away / 2)[:, np.newaxis]
    moved = centres.copy()
    np.add.at(moved, first, -push)
    np.add.at(moved, second, push)
    return moved


def draw(
    population: Population, space: tuple[int, ...], distance: npt.NDArray[np.float64], bend: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]:
    """Draw cells onto a grid of pixels; where two overlap, a pixel belongs to the nearer one.

    Parameters
    ----------
    population : Population
        The cells.
    space : tuple of int
        Shape of the grid, d numbers.
    distance : numpy.ndarray
        (d,) distance of the pixels along each axis.
    bend : numpy.ndarray
        (d, \\*space) by how much space is bent at each pixel, so that the outlines become irregular.

    Returns
    -------
    ids : numpy.ndarray
        (\\*space) uint16, 0 outside, 1, 2, ... in the order of the population; each one connected piece.
    depth : numpy.ndarray
        (\\*space) float32, 1 in the centre of a cell, falling to 0.65 at its outline, 0 outside.
    """
    ids = np.zeros(space, np.uint16)
    nearest = np.ones(space, np.float32)  # 1 on the outline of a cell, 0 in its centre: the nearer of two cells wins
    reach = 1.55 * population.radii + np.abs(bend).max()
    for i, centre in enumerate(population.centres):
        low = np.clip(np.floor((centre - reach[i]) / distance).astype(int), 0, space)
        high = np.clip(np.ceil((centre + reach[i]) / distance).astype(int) + 1, 0, space)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        lines = [np.arange(a, b) * step for a, b, step in zip(low, high, distance, strict=True)]
        offset = np.stack(np.meshgrid(*lines, indexing="ij")) - centre.reshape(-1, *[1] * len(space))
        local = np.tensordot(population.turns[i], offset + bend[(slice(None), *box)], axes=1)
        length = np.sqrt((local**2).sum(axis=0)) + 1e-9
        towards = np.tensordot(population.lobes[i], local, axes=1) / length
        level = (length / (1 + 0.2 * towards**3)).astype(np.float32)
        mine = level < nearest[box]
        nearest[box][mine] = level[mine]
        ids[box][mine] = i + 1
    ids = _only_largest_pieces(ids)
    return ids, np.where(ids > 0, 1 - 0.35 * nearest**2, 0).astype(np.float32)


def _only_largest_pieces(ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    for i, box in enumerate(ndimage.find_objects(ids), start=1):
        if box is None:
            continue
        pieces, count = ndimage.label(ids[box] == i)
        if count > 1:
            largest = np.bincount(pieces.ravel())[1:].argmax() + 1
            ids[box][(pieces > 0) & (pieces != largest)] = 0
    return ids
