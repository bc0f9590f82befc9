"""Writing tiles to a store while the next ones are predicted."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.data.tile_array import Index
from napari_unet.predict.events import TilePredicted
from napari_unet.predict.overlapping_tiles import OverlappingTiles
from napari_unet.predict.tile_store import TileStore

__all__ = ["TileAssembler", "TileWriter"]

_WAITING = 1  # tiles that wait to be written


class TileWriter:
    """Collects what is predicted into whole tiles and writes them in the background; a context manager.

    When the block ends, also by an error, all whole tiles have been written.

    Parameters
    ----------
    tiles : TileStore or OverlappingTiles
        Where to write.
    """

    def __init__(self, tiles: TileStore | OverlappingTiles) -> None:
        self.tiles = tiles
        self._assembler = TileAssembler(tiles)
        self._writing: deque[Future[list[Index]]] = deque()

    def __enter__(self) -> TileWriter:
        self._thread = ThreadPoolExecutor(1, "napari-unet-store")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown()

    def add(self, event: TilePredicted) -> None:
        """Take a tile, or a part of one where the memory was not enough for all of it."""
        block = self._assembler.add(event)
        if block is not None:
            self._writing.append(self._thread.submit(self.tiles.keep, self.tiles.index(event.box), block))

    def written(self, *, wait_for_all: bool = False) -> Iterator[Index]:
        """Go through the chunks that have been written, and wait for those that are more than may wait."""
        while self._writing:
            first = self._writing[0]
            if not (wait_for_all or first.done() or len(self._writing) > _WAITING):
                return
            yield from first.result()
            self._writing.popleft()


class TileAssembler:
    """Puts tiles together whose parts come one by one.

    Parameters
    ----------
    tiles : TileStore or OverlappingTiles
        Whose tiles they are.
    """

    def __init__(self, tiles: TileStore | OverlappingTiles) -> None:
        self.tiles = tiles
        self._parts: dict[Index, _Assembly] = {}

    def add(self, event: TilePredicted) -> npt.NDArray[np.float32] | None:
        """Take a tile or a part; returns the probabilities (class, \\*box) of the tile when it is whole."""
        index = self.tiles.index(event.box)
        box = self.tiles.box(index)
        if event.box == box:
            return event.probabilities
        assembly = self._parts.setdefault(index, _Assembly.begin(box, len(event.probabilities)))
        return self._parts.pop(index).block if assembly.add(event.box, event.probabilities) else None


@dataclass(eq=False)
class _Assembly:
    """A tile that comes in parts.

    Attributes
    ----------
    box : tuple of slice
        Where the tile lies.
    block : numpy.ndarray
        (class, \\*box) float32, what is known of it.
    left : int
        Pixels that are not known yet.
    """

    box: Box
    block: npt.NDArray[np.float32]
    left: int

    @classmethod
    def begin(cls, box: Box, classes: int) -> _Assembly:
        shape = tuple(side.stop - side.start for side in box)
        return cls(box, np.empty((classes, *shape), np.float32), math.prod(shape))

    def add(self, box: Box, part: npt.NDArray[np.float32]) -> bool:
        """Put a part in its place; say whether it was the last."""
        place = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, self.box, strict=True))
        self.block[(slice(None), *place)] = part
        self.left -= math.prod(part.shape[1:])
        return self.left == 0
