"""The tiles of an image that are still to be predicted, in the order in which they are wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.errors import InputError
from napari_unet.predict.tiles import Tile, TileGeometry, plan_tiles

__all__ = ["Focus", "PendingTiles", "Piece", "Skip"]

Point = Sequence[float]  # one entry for each of the label axes
Focus = Point | Callable[[], Point | None] | None
Skip = Callable[[Box], bool] | None

Corners = npt.NDArray[np.intp]  # (tiles, axes)
Squares = npt.NDArray[np.float64]  # (tiles,)


@dataclass(frozen=True, slots=True)
class Piece:
    """A tile of one frame of an image.

    Attributes
    ----------
    position : tuple of int
        Position of the frame in the stack.
    tile : Tile
        Where the piece lies in the frame.
    context : bool
        Whether it is done already and only computed for the tiles that are blended with it.
    """

    position: tuple[int, ...]
    tile: Tile
    context: bool = False


class PendingTiles:
    """What is left to predict of an image; the tile that is nearest to the focus is taken next.

    Tiles that overlap, and are blended, depend on their neighbours: of the tiles that are done already, those that
    one of the others overlaps are gone through again, as context.

    Parameters
    ----------
    layout : ImageLayout
        The axes of the image.
    geometry : TileGeometry
        What the network needs.
    tile : tuple of int
        Size of the inner boxes.
    region : tuple of slice or None
        Part of the space along the label axes; None: all of it.
    from_region : bool
        Whether the tiles begin at the corner of the region, instead of that of the frame.
    focus : sequence of float, callable or None
        A point in that space, or a function that returns one, or None, and is asked whenever a tile is taken. Frames
        come by their distance in the stack, the tiles of a frame by that of their middle. None: the order stays.
    skip : callable or None
        Says of a box in that space whether it is done already.
    blended : bool
        Whether tiles that overlap are blended.

    Raises
    ------
    InputError
        If region or focus don't have one entry for each axis.

    Examples
    --------
    >>> layout = ImageLayout("TYX", (2, 32, 16))
    >>> left = PendingTiles(layout, TileGeometry(16, (16, 16), 16), (16, 16), focus=(1, 30, 8))
    >>> [(piece.position, piece.tile.inner[0].start) for [piece] in iter(left.take, [])]
    [((1,), 16), ((1,), 0), ((0,), 16), ((0,), 0)]
    """

    def __init__(
        self,
        layout: ImageLayout,
        geometry: TileGeometry,
        tile: tuple[int, ...],
        *,
        region: Box | None = None,
        from_region: bool = False,
        focus: Focus = None,
        skip: Skip = None,
        blended: bool = True,
    ) -> None:
        self.layout, self.geometry, self.tile = layout, geometry, tile
        self.focus, self.skip = focus, skip
        self._context_wanted = blended and geometry.overlap > 0
        self._point: tuple[float, ...] | None = None  # that the rest is sorted by
        self._region = None if region is None else self._pick("region", region, layout.space_letters)
        tiles = self._lay(self._around_region() if from_region else None)
        self._keep([Piece(position, part) for position in self._positions(region) for part in tiles])

    def __len__(self) -> int:
        """Count the tiles that are left, without those that are context only."""
        return self._open

    def __iter__(self) -> Iterator[Piece]:
        """Go through all that is left."""
        return iter(self._left)

    def take(self, pixels: int = 0) -> list[Piece]:
        """Take the next tile, and those right behind it that can be run together with it.

        Parameters
        ----------
        pixels : int
            How many pixels the outer boxes, all of one shape, may have together. The first tile always comes.

        Returns
        -------
        list of Piece
            Empty if none is left.
        """
        self._aim()
        taken = self._left[-1:]
        if taken:
            shape = taken[0].tile.outer_shape
            most = max(1, pixels // math.prod(shape))
            while len(taken) < min(most, len(self._left)) and self._left[-1 - len(taken)].tile.outer_shape == shape:
                taken.append(self._left[-1 - len(taken)])
            del self._left[-len(taken) :]
        self._open -= _count_open(taken)
        return taken

    def give_back(self, pieces: Sequence[Piece]) -> None:
        """Put tiles back that were taken and not done; the first one comes next."""
        self._left.extend(reversed(pieces))
        self._open += _count_open(pieces)
        self._point = None

    def overtakes(self, pieces: Iterable[Piece]) -> bool:
        """Say whether a tile that is left lies nearer to the focus, where it is now, than some that were taken."""
        self._aim()
        taken = list(pieces)
        if not taken or not self._left or self._point is None:
            return False
        nearest, *others = zip(*self._distances([self._left[-1], *taken]), strict=True)
        return any(nearest < other for other in others)

    def box(self, piece: Piece) -> Box:
        """Say where a tile lies in the space along the label axes."""
        box: Box = self.layout.label_box(piece.position, piece.tile.inner)
        return box

    def cut(self, tile: tuple[int, ...]) -> None:
        """Cut all that is left into smaller tiles."""
        self.tile = tile
        self._keep(
            [Piece(piece.position, part) for piece in reversed(self._left) for part in self._lay(piece.tile.inner)]
        )

    def _lay(self, within: Box | None) -> list[Tile]:
        return plan_tiles(self.layout.frame_shape, self.tile, self.geometry, within=within, region=self._region)

    def _around_region(self) -> Box | None:
        """Return the region of the frame, begun at a place where a tile may begin."""
        if self._region is None or self.geometry.overlap:
            return None
        divisor = self.geometry.divisor
        spans = [part.indices(size) for part, size in zip(self._region, self.layout.frame_shape, strict=True)]
        return tuple(slice(start // divisor * divisor, stop) for start, stop, _ in spans)

    def _positions(self, region: Box | None) -> list[tuple[int, ...]]:
        """List the stack positions inside of the region."""
        if region is None:
            return list(self.layout.frames())
        letters, shape = self.layout.stack_letters, self.layout.stack_shape
        parts = self._pick("region", region, letters)
        spans = [range(*part.indices(size)) for part, size in zip(parts, shape, strict=True)]
        return [place for place in self.layout.frames() if all(i in s for i, s in zip(place, spans, strict=True))]

    def _pick(self, name: str, given: Sequence[Any], letters: str) -> tuple[Any, ...]:
        """Pick the entries for some of the label axes."""
        known = self.layout.label_axes
        if len(given) != len(known):
            raise InputError(f"Expected `{name}` to have one entry for each of the axes {known}, but got {given}.")
        return tuple(given[known.index(letter)] for letter in letters)

    def _keep(self, pieces: list[Piece]) -> None:
        """Keep what is not done, the next one last."""
        self._left = self._without_done(pieces)[::-1]
        self._open = _count_open(self._left)
        self._point = None
        self._aim()

    def _without_done(self, pieces: list[Piece]) -> list[Piece]:
        if self.skip is None:
            return pieces
        done = [self.skip(self.box(piece)) for piece in pieces]
        if not self._context_wanted:
            return [piece for piece, is_done in zip(pieces, done, strict=True) if not is_done]
        frames: dict[tuple[int, ...], list[Tile]] = {}
        for piece, is_done in zip(pieces, done, strict=True):
            if not is_done:
                frames.setdefault(piece.position, []).append(piece.tile)
        corners = {position: _corners(tiles) for position, tiles in frames.items()}
        kept = []
        for piece, is_done in zip(pieces, done, strict=True):
            if not is_done:
                kept.append(piece)
            elif piece.position in corners and _overlaps_any(piece.tile, *corners[piece.position]):
                kept.append(replace(piece, context=True))
        return kept

    def _aim(self) -> None:
        """Sort anew if the focus moved."""
        wanted = self.focus() if callable(self.focus) else self.focus
        point = None if wanted is None else tuple(float(entry) for entry in wanted)
        if point is None or point == self._point:
            return
        self._point = point
        if not self._left:
            return
        far, near = self._distances(self._left)
        later = np.arange(len(self._left), 0, -1)  # of two that are equally near, the one that came first
        order = np.lexsort((later, near, far))[::-1]
        self._left = [self._left[i] for i in order]

    def _distances(self, pieces: Sequence[Piece]) -> tuple[Squares, Squares]:
        """Return how far tiles are from the focus: in the stack, which counts first, and in their frames; squared."""
        assert self._point is not None
        frame = np.array(self._pick("focus", self._point, self.layout.space_letters))
        stack = np.array(self._pick("focus", self._point, self.layout.stack_letters))
        starts, stops = _corners([piece.tile for piece in pieces])
        positions = np.array([piece.position for piece in pieces], float)
        return ((positions - stack) ** 2).sum(axis=1), (((starts + stops) / 2 - frame) ** 2).sum(axis=1)


def _count_open(pieces: Sequence[Piece]) -> int:
    return sum(not piece.context for piece in pieces)


def _corners(tiles: Sequence[Tile]) -> tuple[Corners, Corners]:
    """Return first and last corner of the inner boxes, (n, axes) each."""
    sides = np.array([[(part.start, part.stop) for part in tile.inner] for tile in tiles])
    return sides[..., 0], sides[..., 1]


def _overlaps_any(tile: Tile, starts: Corners, stops: Corners) -> bool:
    (start,), (stop,) = _corners([tile])
    return bool(((starts < stop) & (start < stops)).all(axis=1).any())
