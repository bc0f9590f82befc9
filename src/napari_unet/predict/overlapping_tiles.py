"""Tiles that are blended, kept in a store until all that touch a chunk are there and the chunk can be written.

A network whose result depends on the tile (see `napari_unet.predict.blend`) makes each tile larger than its chunk of
the store. What it makes is put on the disk as it is. A chunk is blended from the tiles around it, always in the order
of their places, so that it is the same, byte by byte, whoever predicts them in which order. A tile goes when all
chunks that it touches are written: in the usual order about one row of tiles is there at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.data.tile_array import Index, TileArray
from napari_unet.predict.blend import box_within, common_box, tile_weight
from napari_unet.predict.store_errors import told_as_incomplete

if TYPE_CHECKING:
    from napari_unet.predict.store_record import StoreRecord
    from napari_unet.predict.tile_store import TileStore

__all__ = ["OVERLAPPING", "OverlappingTiles", "create_overlapping"]

OVERLAPPING = "overlapping"

FloatArray = npt.NDArray[np.float32]


def create_overlapping(folder: Path, record: StoreRecord) -> None:
    """Make the array of the tiles in a new store: with the class and the axes of the image, a chunk for each tile."""
    sides, overlaps = record.layout.label_tile(record.tile), _overlaps(record)
    grown = tuple(side + 2 * overlap for side, overlap in zip(sides, overlaps, strict=True))
    counts = (-(-n // side) for n, side in zip(record.layout.label_shape, sides, strict=True))
    shape = (len(record.classes), *(count * side for count, side in zip(counts, grown, strict=True)))
    TileArray.create(folder, [OVERLAPPING], shape, tile=(len(record.classes), *grown), dtype=np.float32)


def _overlaps(record: StoreRecord) -> tuple[int, ...]:
    """Return the pixels by which a tile goes beyond its chunk, along the axes of the image but channels."""
    layout = record.layout
    return tuple(record.overlap if letter in layout.space_letters else 0 for letter in layout.label_axes)


class OverlappingTiles:
    """The tiles of a store that are blended.

    Parameters
    ----------
    store : TileStore
        It is not complete yet.
    """

    def __init__(self, store: TileStore) -> None:
        self.store = store
        self._sides = store.record.layout.label_tile(store.record.tile)
        self._overlaps = _overlaps(store.record)
        self._array = TileArray.open(store.path, [OVERLAPPING])

    def index(self, box: Box) -> Index:
        """Name the tile that fills a box of the image's space, by its place in the grid."""
        return tuple(
            (part.start + overlap) // side if part.start else 0
            for part, side, overlap in zip(box, self._sides, self._overlaps, strict=True)
        )

    def box(self, index: Index) -> Box:
        """Say what a tile fills in the image's space."""
        chunk, shape = self.store.box(index), self.store.record.layout.label_shape
        return tuple(
            slice(max(0, part.start - overlap), min(n, part.stop + overlap))
            for part, n, overlap in zip(chunk, shape, self._overlaps, strict=True)
        )

    def around(self, index: Index) -> Iterator[Index]:
        """Go through the tiles that touch a chunk, which are also the chunks that a tile touches."""
        return product(
            *(
                range(max(0, i - 1), min(count, i + 2)) if overlap else (i,)
                for i, count, overlap in zip(index, self.store.grid, self._overlaps, strict=True)
            )
        )

    def unpredicted(self, chunks: Iterable[Index]) -> list[Index]:
        """List the tiles that are to be predicted for some chunks, in the order of their places."""
        return sorted({tile for chunk in chunks for tile in self.around(chunk) if not self._has(tile)})

    def lacks(self, index: Index) -> bool:
        """Say whether a tile is to be predicted."""
        return not self._has(index) and any(map(self.store.lacks, self.around(index)))

    def write(self, index: Index, block: FloatArray) -> None:
        """Write the probabilities (class, \\*box) of a tile.

        Raises
        ------
        napari_unet.data.storage.StorageError
            If the disk is full or can't be written for another reason.
        """
        whole = np.zeros(self._array.tile, np.float32)
        whole[(slice(None), *box_within(self.box(index), self._corner(index)))] = block
        with told_as_incomplete(self.store.path):
            self._array.write((0, *index), whole)

    def keep(self, index: Index, block: FloatArray) -> list[Index]:
        """Write a tile, and the chunks that are whole by it; returns these."""
        self.write(index, block)
        return self.complete(self.around(index))

    def complete(self, chunks: Iterable[Index]) -> list[Index]:
        """Write those chunks whose tiles are all there, and let go of the tiles that are not needed any more.

        Returns
        -------
        list of tuple of int
            The chunks that were written.
        """
        written = [chunk for chunk in chunks if self.store.lacks(chunk) and all(map(self._has, self.around(chunk)))]
        for chunk in written:
            self.store.keep(chunk, self._blend(chunk))
        for tile in {tile for chunk in written for tile in self.around(chunk)}:
            if not any(map(self.store.lacks, self.around(tile))):
                self._array.remove((0, *tile))
        return written

    def _blend(self, chunk: Index) -> FloatArray:
        """Return the mean (class, \\*box) of the tiles at a chunk, weighted as in `napari_unet.predict.blend`."""
        box = self.store.box(chunk)
        shape = tuple(part.stop - part.start for part in box)
        total, weights = np.zeros((self._array.shape[0], *shape), np.float32), np.zeros(shape, np.float32)
        for tile in self.around(chunk):
            filled = self.box(tile)
            common = common_box(box, filled)
            assert common is not None  # a tile is larger than the overlap
            weight = tile_weight([part.stop - part.start for part in filled], self._overlaps)
            weight = weight[box_within(common, filled)]
            corner = self._array.box((0, *tile))[1:]
            place = tuple(
                slice(at.start + part.start, at.start + part.stop)
                for at, part in zip(corner, box_within(common, self._corner(tile)), strict=True)
            )
            here = box_within(common, box)
            total[(slice(None), *here)] += self._array[(slice(None), *place)] * weight
            weights[here] += weight
        total /= weights
        return total

    def _corner(self, index: Index) -> Box:
        """Return the box of a tile as it would be in the midst of an image, to which its place in the array refers."""
        return tuple(
            slice(i * side - overlap, (i + 1) * side + overlap)
            for i, side, overlap in zip(index, self._sides, self._overlaps, strict=True)
        )

    def _has(self, index: Index) -> bool:
        return self._array.has((0, *index))
