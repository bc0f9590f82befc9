"""Shapes on a grid of pixels, fast: pieces that fill space, ellipsoids that are scattered over it, curves through it.

Positions are in the unit of `spacing`, with the first pixel at 0. Nothing here loops over pixels or objects: a scene
must be made in the time in which a network learns from another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from napari_unet.data.synthetic import smooth_noise

__all__ = ["Blobs", "Pieces", "bent", "coordinates", "curves", "orientations", "partition", "scatter", "stamp"]

FloatArray = npt.NDArray[np.float32]

_MOST_VALUES = 300_000  # pixels of ellipsoids' boxes that are worked on at once, so that they stay in the cache


def coordinates(space: Sequence[int], spacing: Sequence[float]) -> FloatArray:
    """Return (d, \\*space): the position of every pixel."""
    lines = [np.arange(n, dtype=np.float32) * np.float32(step) for n, step in zip(space, spacing, strict=True)]
    return np.stack(np.meshgrid(*lines, indexing="ij"))


def bent(
    rng: np.random.Generator, space: Sequence[int], spacing: Sequence[float], scale: float, amount: float
) -> FloatArray:
    """Return (d, \\*space): smooth random shifts with bumps `scale` apart and a standard deviation of `amount`."""
    step = np.maximum(scale / np.asarray(spacing, dtype=np.float64), 1.0)
    return np.stack([smooth_noise(space, step, rng) for _ in space]) * np.float32(amount)


@dataclass(frozen=True, eq=False)
class Pieces:
    """A space cut into pieces.

    Attributes
    ----------
    ids : numpy.ndarray
        (\\*space) int32, 0, 1, ... `count` - 1; not all occur.
    edge : numpy.ndarray
        (\\*space) float32, about the distance to the border of the own piece.
    count : int
        How many numbers there are.
    """

    ids: npt.NDArray[np.int32]
    edge: FloatArray
    count: int


def partition(
    rng: np.random.Generator, where: FloatArray, size: float, *, disorder: float = 0.9, merging: float = 0.0
) -> Pieces:
    """Cut space into the Voronoi cells of a disturbed grid of points, some of them merged into larger ones.

    The two nearest points are searched on every second pixel and compared again on all of them. (Cellular texture:
    S. Worley, SIGGRAPH 1996.)

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    where : numpy.ndarray
        (d, \\*space) position of every pixel; positions that were bent give curved pieces.
    size : float
        Mean side of a piece before merging.
    disorder : float
        0: a lattice, 1: nearly any place.
    merging : float
        Probability of a point to be merged with a neighbour; in some places it is much higher than in others.
    """
    ndim = len(where)
    scaled = where / np.float32(size)
    low = np.floor(scaled.reshape(ndim, -1).min(axis=1)).astype(int) - 1
    high = np.floor(scaled.reshape(ndim, -1).max(axis=1)).astype(int) + 2
    grid = tuple(high - low)
    points = np.stack(np.meshgrid(*[np.arange(n) for n in grid], indexing="ij")).reshape(ndim, -1)
    points = (points + 0.5 + disorder * rng.uniform(-0.5, 0.5, points.shape)).astype(np.float32)
    owners = _merged(rng, grid, merging)
    scaled -= low.astype(np.float32).reshape(-1, *[1] * ndim)
    first, second = _two_nearest(scaled[(slice(None), *[slice(None, None, 2)] * ndim)], points, owners, grid)
    finer = np.ix_(*[np.arange(n) // 2 for n in where.shape[1:]])
    first, second = first[finer], second[finer]
    distances = [sum((scaled[k] - points[k][chosen]) ** 2 for k in range(ndim)) for chosen in (first, second)]
    swapped = distances[1] < distances[0]
    apart = np.sqrt(sum((points[k][first] - points[k][second]) ** 2 for k in range(ndim)))
    edge = np.abs(distances[1] - distances[0]) / (2 * apart + 1e-3) * np.float32(size)
    return Pieces(owners[np.where(swapped, second, first)], edge.astype(np.float32), owners.size)


def _merged(rng: np.random.Generator, grid: tuple[int, ...], merging: float) -> npt.NDArray[np.int32]:
    """Return for each point of a grid the number of the point whose piece it belongs to."""
    own = np.arange(np.prod(grid)).reshape(grid)
    joined = own.copy()
    if merging > 0:
        before = np.stack([np.roll(own, 1, axis) for axis in range(len(grid))])
        chosen = rng.integers(len(grid), size=grid)
        earlier = np.take_along_axis(before, chosen[np.newaxis], axis=0)[0]
        density = np.exp(smooth_noise(grid, 3.0, rng)) * merging
        joined = np.where((rng.random(grid) < density) & (earlier < own), earlier, own)
        flat = joined.ravel()
        for _ in range(4):
            flat = flat[flat]
        joined = flat.reshape(grid)
    return joined.ravel().astype(np.int32)


def _two_nearest(
    where: FloatArray, points: FloatArray, owners: npt.NDArray[np.int32], grid: tuple[int, ...]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return for each pixel the nearest point, and the nearest one of another owner, among the cells around it."""
    steps = np.cumprod([1, *grid[:0:-1]])[::-1]
    home = sum(np.clip(np.floor(where[k]).astype(np.intp), 1, grid[k] - 2) * steps[k] for k in range(len(grid)))
    shape = where.shape[1:]
    nearest, next_nearest = np.full(shape, np.inf, np.float32), np.full(shape, np.inf, np.float32)
    first, second = np.zeros(shape, np.intp), np.zeros(shape, np.intp)
    owner = np.full(shape, -1, np.int32)
    for offset in product((-1, 0, 1), repeat=len(grid)):
        candidate = home + int(np.dot(offset, steps))
        distance = sum((where[k] - points[k][candidate]) ** 2 for k in range(len(grid)))
        whose = owners[candidate]
        other = whose != owner
        closer = distance < nearest
        moved = closer & other
        beside = ~closer & other & (distance < next_nearest)
        next_nearest = np.where(moved, nearest, np.where(beside, distance, next_nearest))
        second = np.where(moved, first, np.where(beside, candidate, second))
        nearest = np.where(closer, distance, nearest)
        first = np.where(closer, candidate, first)
        owner = np.where(closer, whose, owner)
    return first, second


@dataclass(frozen=True, eq=False)
class Blobs:
    """Ellipsoids: n of them along d axes.

    Attributes
    ----------
    centres : numpy.ndarray
        (n, d) positions.
    radii : numpy.ndarray
        (n,) mean radii.
    turns : numpy.ndarray or None
        (n, d, d) matrices that make a ball of each ellipsoid and keep its volume; None: they are balls.
    """

    centres: npt.NDArray[np.float64]
    radii: npt.NDArray[np.float64]
    turns: npt.NDArray[np.float64] | None = None


def scatter(
    rng: np.random.Generator,
    size: npt.NDArray[np.float64],
    radius: float,
    *,
    coverage: float = 0.2,
    spread: float = 0.2,
    closeness: float = 0.8,
    clumping: float = 0.0,
    aspect: float = 1.2,
    direction: float | None = None,
) -> Blobs:
    """Throw ellipsoids over a box, also over its rim, and take away those that lie too deep in others.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    size : numpy.ndarray
        (d,) sides of the box.
    radius : float
        Median radius.
    coverage : float
        Share of the box that they would cover if none was taken away.
    spread : float
        Standard deviation of the radii's logarithm.
    closeness : float
        How near two may come, as a share of the sum of their radii.
    clumping : float
        0: everywhere alike; 1 and more: in clusters.
    aspect : float
        How much longer than wide they are.
    direction : float or None
        Angle along which they lie; None: any.
    """
    ndim = len(size)
    ball = np.pi * radius**2 if ndim == 2 else 4 / 3 * np.pi * radius**3
    wanted = int(np.clip(coverage * np.prod(size + 2 * radius) / ball, 1, 3000))
    thrown = rng.uniform(-radius, size + radius, (int(wanted * (1 + 3 * min(clumping, 1))) + 1, ndim))
    if clumping > 0:
        density = smooth_noise([16] * ndim, 4.0, rng)
        cells = np.clip((thrown / size * 16).astype(int), 0, 15)
        favour = clumping * density[tuple(cells.T)] + rng.gumbel(size=len(thrown))
        thrown = thrown[np.argsort(-favour)]
    centres = thrown[:wanted]
    radii = radius * np.exp(spread * rng.standard_normal(len(centres)))
    kept = _not_too_deep(centres, radii, closeness)
    centres, radii = centres[kept], radii[kept]
    return Blobs(centres, radii, orientations(rng, len(centres), ndim, aspect, direction))


def _not_too_deep(
    centres: npt.NDArray[np.float64], radii: npt.NDArray[np.float64], closeness: float
) -> npt.NDArray[np.bool_]:
    kept = np.ones(len(centres), bool)
    if len(centres) < 2:
        return kept
    pairs = KDTree(centres).query_pairs(2 * closeness * float(radii.max()), output_type="ndarray")
    away = np.linalg.norm(centres[pairs[:, 0]] - centres[pairs[:, 1]], axis=1)
    pairs = pairs[away < closeness * radii[pairs].sum(axis=1)]
    for first, second in pairs[np.lexsort(pairs.T[::-1])].tolist():
        if kept[first]:
            kept[second] = False
    return kept


def orientations(
    rng: np.random.Generator, count: int, ndim: int, aspect: float, direction: float | None = None
) -> npt.NDArray[np.float64]:
    """Return (count, d, d) matrices that turn and stretch: along the first axis of each `aspect` times longer."""
    stretch = np.ones((count, ndim))
    stretch[:, 0] = 1 + (aspect - 1) * rng.uniform(0.5, 1.5, count)
    stretch /= stretch.prod(axis=1, keepdims=True) ** (1 / ndim)
    if ndim == 2 or direction is not None:
        wobble = 0.25 * rng.standard_normal(count)
        angle = rng.uniform(0, np.pi, count) if direction is None else direction + wobble
        turns = np.tile(np.eye(ndim), (count, 1, 1))
        turns[:, -2, -2], turns[:, -2, -1] = np.cos(angle), np.sin(angle)
        turns[:, -1, -2], turns[:, -1, -1] = -np.sin(angle), np.cos(angle)
        turns = np.roll(turns, 1, axis=1) if ndim == 3 else turns
    else:
        turns, _ = np.linalg.qr(rng.standard_normal((count, ndim, ndim)))
    return turns / stretch[:, :, np.newaxis]


def stamp(
    space: Sequence[int],
    spacing: Sequence[float],
    blobs: Blobs,
    *,
    ids: npt.NDArray[np.integer] | None = None,
    bend: FloatArray | None = None,
    reach: float = 1.0,
) -> tuple[npt.NDArray[np.uint16], FloatArray]:
    """Draw ellipsoids onto a grid; where several overlap, a pixel belongs to the one in which it lies deepest.

    Parameters
    ----------
    space : sequence of int
        Shape of the grid.
    spacing : sequence of float
        Distance of its pixels.
    blobs : Blobs
        The ellipsoids.
    ids : numpy.ndarray or None
        (n,) their numbers, from 1 on; None: 1, 2, ..., n.
    bend : numpy.ndarray or None
        (d, \\*space) by how much space is bent, so that outlines become irregular.
    reach : float
        How far an ellipsoid extends, in its radii.

    Returns
    -------
    ids : numpy.ndarray
        (\\*space) uint16, 0 outside.
    level : numpy.ndarray
        (\\*space) float32, distance from the centre in radii, `reach` outside.
    """
    owners = np.zeros(space, np.uint16)
    level = np.full(space, reach, np.float32)
    numbers = np.arange(1, len(blobs.radii) + 1) if ids is None else np.asarray(ids)
    flat_owners, flat_level = owners.ravel(), level.ravel()
    shifts = None if bend is None else bend.reshape(len(space), -1)
    for chosen, half in _batches(blobs, reach, np.asarray(spacing, dtype=np.float64), shifts):
        place, away = _levels(space, spacing, blobs, chosen, half, shifts)
        whose = np.broadcast_to(numbers[chosen, np.newaxis], place.shape)
        within = (place >= 0) & (away < reach)
        place, away, whose = place[within], away[within], whose[within]
        np.minimum.at(flat_level, place, away)
        mine = away == flat_level[place]
        flat_owners[place[mine]] = whose[mine]
    return owners, level


def _batches(
    blobs: Blobs, reach: float, spacing: npt.NDArray[np.float64], shifts: FloatArray | None
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Yield blobs of about the same size, with half the sides of a box in pixels that holds each of them."""
    slack = 0.0 if shifts is None or not shifts.size else 2.5 * float(shifts[:, ::97].std())
    longest = np.ones(len(blobs.radii))
    if blobs.turns is not None:
        longest = np.sqrt((np.linalg.inv(blobs.turns) ** 2).sum(axis=2)).max(axis=1)
    extent = reach * blobs.radii * longest + slack
    order = np.argsort(extent)
    start = 0
    while start < len(order):
        stop = int(np.searchsorted(extent[order], 1.3 * extent[order[start]] + 0.5, side="right"))
        half = np.ceil(extent[order[stop - 1]] / spacing).astype(int) + 1
        stop = min(stop, start + max(1, _MOST_VALUES // int(np.prod(2 * half + 1))))
        yield order[start:stop], half
        start = stop


def _levels(
    space: Sequence[int],
    spacing: Sequence[float],
    blobs: Blobs,
    chosen: npt.NDArray[np.intp],
    half: npt.NDArray[np.intp],
    shifts: FloatArray | None,
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Return (n, pixels of a box): their flat positions, -1 outside of the grid, and how far out in radii they are."""
    ndim = len(space)
    nearest = np.rint(blobs.centres[chosen] / spacing).astype(np.intp)
    low = np.maximum(-half, -nearest.max(axis=0))
    high = np.minimum(half, np.asarray(space) - 1 - nearest.min(axis=0))
    lines = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    box = np.stack(np.meshgrid(*lines, indexing="ij")).reshape(ndim, -1)
    place, valid, away = 0, True, []
    for k in range(ndim):
        pixel = nearest[:, k, np.newaxis] + box[k]
        rest = (nearest[:, k] * spacing[k] - blobs.centres[chosen, k]).astype(np.float32)
        away.append(rest[:, np.newaxis] + (box[k] * spacing[k]).astype(np.float32))
        valid = valid & (pixel >= 0) & (pixel < space[k])
        place = place * space[k] + pixel
    if shifts is not None:
        inside = np.where(valid, place, 0)
        away = [axis + shifts[k][inside] for k, axis in enumerate(away)]
    if blobs.turns is not None:
        turns = blobs.turns[chosen].astype(np.float32)[..., np.newaxis]
        away = [sum(turns[:, k, j] * away[j] for j in range(ndim)) for k in range(ndim)]
    squared = sum(axis * axis for axis in away)
    return np.where(valid, place, -1), np.sqrt(squared) / blobs.radii[chosen, np.newaxis].astype(np.float32)


def curves(
    rng: np.random.Generator,
    size: npt.NDArray[np.float64],
    count: int,
    length: float,
    *,
    step: float,
    bending: float,
    direction: float | None = None,
) -> npt.NDArray[np.float64]:
    """Return (count, points, d): smooth random walks through a box that turn by `bending` radians per length."""
    ndim = len(size)
    points = max(2, int(length / step))
    turns = rng.standard_normal((count, points)) * bending * np.sqrt(step)
    begin = (
        rng.uniform(0, 2 * np.pi, (count, 1)) if direction is None else direction + 0.3 * rng.normal(size=(count, 1))
    )
    angle = begin + np.cumsum(np.cumsum(turns, axis=1) * 0.1 * step + turns, axis=1)
    moves = np.zeros((count, points, ndim))
    moves[..., -2], moves[..., -1] = np.sin(angle), np.cos(angle)
    if ndim == 3:
        climb = 0.4 * rng.standard_normal((count, 1)) + np.cumsum(0.5 * turns[:, ::-1], axis=1)
        moves *= np.cos(climb)[..., np.newaxis]
        moves[..., 0] = np.sin(climb)
    path = np.cumsum(moves * step, axis=1)
    middle = path[:, points // 2, np.newaxis]
    placed: npt.NDArray[np.float64] = path - middle + rng.uniform(0, size, (count, 1, ndim))
    return placed
