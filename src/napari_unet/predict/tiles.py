r"""Where tiles lie: plain geometry, without pixels.

A tile writes its inner box and reads its outer box, which is larger by the halo, so that every written pixel is
computed from all that the network can see around it. Inner boxes cover the frame exactly once; what the outer boxes
have beyond the frame is mirrored::

    outer  |<----- halo ----->|<------ inner ------>|<----- halo ----->|

Tiles begin at multiples of the network's divisor, so that its pooling falls on the same pixels whatever the tiles
are. A padded network sees zeros beyond what it is given. For it the frame is grown by a small mirrored margin, and
outer boxes end there: the tiles at the border then see just what the network would see of the whole frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np

from napari_unet.data.axes import Box
from napari_unet.errors import InputError

__all__ = ["Tile", "TileGeometry", "choose_tile", "plan_tile", "plan_tiles"]

_OVER_SMALLEST = 1.5  # how much larger than the smallest possible an outer box may always be


@dataclass(frozen=True)
class TileGeometry:
    """What the geometry of tiles depends on.

    Attributes
    ----------
    divisor : int
        Tiles begin at multiples of this many pixels.
    halo : tuple of int
        Pixels that the network needs before and after an inner box.
    margin : int or None
        Mirrored pixels around the frame of a padded network; None for an unpadded one, which needs the whole halo.
    overlap : int
        Pixels by which inner boxes grow into their neighbours, for results that are blended; a multiple of `divisor`.
    """

    divisor: int
    halo: tuple[int, int]
    margin: int | None = None
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.divisor < 1 or min(*self.halo, self.overlap) < 0:
            raise InputError(f"Expected a divisor of at least 1, and halo and overlap of at least 0, but got {self}.")
        if (self.margin or 0) % self.divisor or self.overlap % self.divisor:
            raise InputError(f"Expected margin and overlap to be multiples of the divisor, but got {self}.")


@dataclass(frozen=True)
class Tile:
    """One piece of a frame.

    Attributes
    ----------
    inner : tuple of slice
        The part of the frame that the tile writes.
    start, stop : tuple of int
        Corners of the outer box that it reads; they may lie outside of the frame.
    crop : tuple of slice
        The part of the network's result that belongs to `inner`.
    """

    inner: Box
    start: tuple[int, ...]
    stop: tuple[int, ...]
    crop: Box

    @property
    def outer_shape(self) -> tuple[int, ...]:
        """Shape of the outer box."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))


def plan_tiles(
    shape: Sequence[int],
    tile: Sequence[int],
    geometry: TileGeometry,
    *,
    within: Box | None = None,
    region: Box | None = None,
    focus: Sequence[float] | None = None,
) -> list[Tile]:
    """Lay tiles over a frame.

    Parameters
    ----------
    shape : sequence of int
        Size of the frame.
    tile : sequence of int
        Size of the inner boxes; rounded up to multiples of the divisor.
    geometry : TileGeometry
        What the network needs.
    within : tuple of slice or None
        Lay tiles over this part only, for example a larger tile of the same frame.
    region : tuple of slice or None
        Leave out the tiles that do not touch this part of the frame.
    focus : sequence of float or None
        Sort by the distance from this point.

    Returns
    -------
    list of Tile
        Their inner boxes cover the frame, or the region, and do not overlap, but for what the geometry asks for.

    Examples
    --------
    >>> tiles = plan_tiles((40,), (32,), TileGeometry(divisor=16, halo=(16, 16), margin=16))
    >>> [(t.inner, t.start, t.stop) for t in tiles]
    [((slice(0, 32, None),), (-16,), (48,)), ((slice(32, 40, None),), (16,), (64,))]
    """
    shape = tuple(shape)
    sides = tuple(_round_up(side, geometry.divisor) for side in tile)
    spans = within or tuple(slice(0, size) for size in shape)
    parts = [
        [
            _plan_axis(begin, min(begin + side, span.stop), size, geometry)
            for begin in range(span.start, span.stop, side)
        ]
        for span, size, side in zip(spans, shape, sides, strict=True)
    ]
    tiles = []
    for combination in product(*parts):
        inner, start, stop, crop = zip(*combination, strict=True)
        if region is None or all(_overlap(a, b, n) for a, b, n in zip(inner, region, shape, strict=True)):
            tiles.append(Tile(inner, start, stop, crop))
    if focus is not None:
        point = tuple(focus)
        tiles.sort(key=lambda t: sum(((s.start + s.stop) / 2 - at) ** 2 for s, at in zip(t.inner, point, strict=True)))
    return tiles


def plan_tile(shape: Sequence[int], inner: Box, geometry: TileGeometry) -> Tile:
    """Plan the one tile that writes a box of a frame, begun earlier where the divisor asks for it.

    Examples
    --------
    >>> plan_tile((40,), (slice(20, 27),), TileGeometry(divisor=16, halo=(16, 16), margin=16))
    Tile(inner=(slice(16, 27, None),), start=(0,), stop=(48,), crop=(slice(16, 27, None),))
    """
    divisor = geometry.divisor
    sides = [
        _plan_axis(part.start // divisor * divisor, part.stop, size, geometry)
        for part, size in zip(inner, shape, strict=True)
    ]
    return Tile(*zip(*sides, strict=True))


def _plan_axis(begin: int, end: int, size: int, geometry: TileGeometry) -> tuple[slice, int, int, slice]:
    begin, end = max(0, begin - geometry.overlap), min(size, end + geometry.overlap)
    start = begin - geometry.halo[0]
    stop = _round_up(end, geometry.divisor) + geometry.halo[1]
    if geometry.margin is None:
        return slice(begin, end), start, stop, slice(0, end - begin)
    start = max(start, -geometry.margin)
    stop = min(stop, _round_up(size, geometry.divisor) + geometry.margin)
    return slice(begin, end), start, stop, slice(begin - start, end - start)


def _round_up(value: int, divisor: int) -> int:
    return -(-value // divisor) * divisor


def _overlap(inner: slice, region: slice, size: int) -> bool:
    start, stop, _ = region.indices(size)
    return bool(max(inner.start, start) < min(inner.stop, stop))


def choose_tile(shape: Sequence[int], geometry: TileGeometry, budget: int) -> tuple[int, ...]:
    """Choose the tile with which the fewest pixels are computed, of those whose outer boxes have up to `budget` pixels.

    A deep network's halo alone may be over the budget in 3D. Smaller and smaller tiles would then repeat most of the
    work without saving memory, so that outer boxes may always be half as large again as the smallest possible.

    Examples
    --------
    >>> choose_tile((1000, 3000), TileGeometry(16, (16, 16), 16), budget=1_100_000)
    (1008, 1008)
    """
    options = [_list_sides(size, geometry) for size in shape]
    longest = reduce(np.multiply.outer, [np.array([float(option[1]) for option in axis]) for axis in options])
    computed = reduce(np.multiply.outer, [np.array([float(option[2]) for option in axis]) for axis in options])
    computed[longest > max(budget, _OVER_SMALLEST * longest.min())] = np.inf
    best = np.unravel_index(int(computed.argmin()), computed.shape)
    return tuple(axis[i][0] for axis, i in zip(options, best, strict=True))


def _list_sides(size: int, geometry: TileGeometry) -> list[tuple[int, int, int]]:
    """List the sides that cut an axis into 1, 2, ... parts, with their longest outer box and the sum of all of them."""
    found = []
    parts = 1
    while True:
        side = _round_up(-(-size // parts), geometry.divisor)
        outer = [tile.stop[0] - tile.start[0] for tile in plan_tiles((size,), (side,), geometry)]
        found.append((side, max(outer), sum(outer)))
        if side <= geometry.divisor:
            return found
        parts = max(parts + 1, int(parts * 1.15))
