"""Finds the tiles of a labels array that have changed, so that only these are written again.

The array is read as it is, without a copy, while a person may be painting on it in another thread. A tile that changes
during the look may be seen half changed; whoever changes it says so afterwards, and the next look finds the rest.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TILE", "Box", "Origin", "TileWatch", "joined"]

TILE = 512

Origin = tuple[int, ...]
Box = tuple[slice, ...]


class TileWatch:
    """Remembers a checksum of every tile of an array that holds something.

    A tile has up to 512 pixels along the last two axes and one along the others. A full look takes the checksum of
    whole rows of tiles first, which lie in one piece in memory: about half a second for a gigabyte.

    Parameters
    ----------
    array : array-like
        Labels with at least two axes: numpy, zarr or the like.

    Examples
    --------
    >>> labels = np.zeros((600, 700), np.uint8)
    >>> watch = TileWatch(labels)
    >>> labels[520, 3] = 2
    >>> [(origin, tile.shape) for origin, tile in watch.look()]
    [((512, 0), (88, 512))]
    >>> watch.commit()
    >>> list(watch.look())
    []
    """

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape: tuple[int, ...] = tuple(int(n) for n in array.shape)
        self.dtype = np.dtype(array.dtype)
        self._rows: dict[Origin, int] = {}
        self._tiles: dict[Origin, int] = {}
        self._new_rows: dict[Origin, int] = {}
        self._new_tiles: dict[Origin, int | None] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no tile holds anything, with what the last look found."""
        kept = len(self._tiles.keys() - self._new_tiles.keys())
        return not kept and all(checksum is None for checksum in self._new_tiles.values())

    def look(self, regions: Iterable[Box] | None = None) -> Iterator[tuple[Origin, npt.NDArray[Any]]]:
        """Yield where each changed tile begins, and a copy of it; one that was emptied comes as zeros.

        Parameters
        ----------
        regions : iterable of tuple of slice, optional
            Boxes to look at; everything where not given.
        """
        self.forget_look()
        if regions is None:
            origins = self._in_changed_rows()
        else:
            chosen = set(itertools.chain.from_iterable(map(self._origins_in, regions)))
            for origin in chosen:
                self._rows.pop((*origin[:-1], 0), None)  # what it was is not known any more
            origins = iter(sorted(chosen))
        for origin in origins:
            tile = np.array(self.array[self._box(origin)], order="C")
            checksum = zlib.crc32(tile.data) if tile.any() else None
            if checksum != self._tiles.get(origin):
                self._new_tiles[origin] = checksum
                yield origin, tile

    def commit(self) -> None:
        """Take what the last look yielded for known; call it when it is stored."""
        self._rows |= self._new_rows
        for origin, checksum in self._new_tiles.items():
            if checksum is None:
                self._tiles.pop(origin, None)
            else:
                self._tiles[origin] = checksum
        self.forget_look()

    def forget_look(self) -> None:
        """Take the last look for not made; what it yielded will be yielded again."""
        self._new_rows, self._new_tiles = {}, {}

    def _in_changed_rows(self) -> Iterator[Origin]:
        steps = [range(n) for n in self.shape[:-2]] + [range(0, self.shape[-2], TILE)]
        for start in itertools.product(*steps):
            row = (*start, 0)
            box = (*start[:-1], slice(start[-1], start[-1] + TILE))
            checksum = zlib.crc32(np.ascontiguousarray(self.array[box]).data)
            if checksum != self._rows.get(row):
                self._new_rows[row] = checksum
                for column in range(0, self.shape[-1], TILE):
                    yield (*start, column)

    def _box(self, origin: Origin) -> Box:
        lead = tuple(slice(at, at + 1) for at in origin[:-2])
        return lead + tuple(slice(at, min(at + TILE, n)) for at, n in zip(origin[-2:], self.shape[-2:], strict=True))

    def _origins_in(self, region: Box) -> Iterator[Origin]:
        spans = [span.indices(n) for span, n in zip(region, self.shape, strict=True)]
        steps = [range(start, stop) for start, stop, _ in spans[:-2]]
        steps += [range(start - start % TILE, stop, TILE) for start, stop, _ in spans[-2:]]
        return itertools.product(*steps)


def joined(regions: Sequence[Box], most: int = 64) -> list[Box]:
    """Return the same boxes without repeats, and one box around them all where they are more than `most`.

    Examples
    --------
    >>> joined([(slice(0, 2),), (slice(5, 6),), (slice(0, 2),)], most=1)
    [(slice(0, 6, None),)]
    """
    unique = list({tuple((span.start, span.stop) for span in box): box for box in regions}.values())
    if len(unique) <= most:
        return unique
    return [
        tuple(
            slice(min(span.start for span in spans), max(span.stop for span in spans))
            for spans in zip(*unique, strict=True)
        )
    ]
