"""Labelling the objects of a stored prediction, tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.data.tile_array import Index, TileArray
from napari_unet.predict.block_graph import BlockGrid
from napari_unet.predict.object_blocks import (
    BlockLabelled,
    BlockSearched,
    ObjectEvent,
    ObjectsCounted,
    ObjectsFinished,
    label_blocks,
)
from napari_unet.predict.tile_store import TileStore

__all__ = ["label_stored_objects"]


def label_stored_objects(store: TileStore, should_stop: Callable[[], bool] | None = None) -> Iterator[Index | None]:
    """Find and label the objects of a store whose foreground is complete.

    What is found in each tile is kept in the store until its frame is labelled, so that this, too, goes on after an
    interruption. The objects of each frame are those of `napari_unet.predict.object_blocks.label_blocks`; their ids
    go on from frame to frame.

    Parameters
    ----------
    store : TileStore
        For labels of objects.
    should_stop : callable or None
        Asked before each tile.

    Yields
    ------
    tuple of int or None
        None for each tile that is searched; then each tile that is labelled.
    """
    layout, sides = store.record.layout, store.record.tile
    grid = BlockGrid(layout.frame_shape, sides)
    count = 0
    for number, position in enumerate(layout.frames()):
        tiles = [store.index(layout.label_box(position, grid.box(block))) for block in range(grid.count)]
        if not all(store.has(index) for index in tiles):
            for event in _label_frame(store, number, position, should_stop):
                if isinstance(event, BlockSearched):
                    yield None
                elif isinstance(event, ObjectsCounted):
                    found = event.count
                elif isinstance(event, BlockLabelled):
                    index = store.index(layout.label_box(position, event.box))
                    if not store.has(index):
                        labels = np.where(event.labels > 0, event.labels + np.uint32(count), np.uint32(0))
                        store.write(index, layout.to_label_order(labels[np.newaxis])[0])
                    yield index
                elif isinstance(event, ObjectsFinished) and event.stopped:
                    return
            count += found
        else:
            count = max(count, *(int(store.read(index).max()) for index in tiles))
            yield from [None] * len(tiles)
            yield from tiles


def _label_frame(
    store: TileStore, number: int, position: tuple[int, ...], should_stop: Callable[[], bool] | None
) -> Iterator[ObjectEvent]:
    record = store.record
    assert store.foreground is not None  # it is there until all is labelled
    return label_blocks(
        _Frame(store.foreground, record.layout, position), block=record.tile,
        spacing=None if record.spacing is None else record.spacing[-record.ndim :],
        scratch=store.scratch(number), should_stop=should_stop,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame of an array with the axes of an image but channels, with its axes in the order ZYX."""

    array: TileArray
    layout: ImageLayout
    position: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.layout.frame_shape

    def __getitem__(self, box: Box) -> npt.NDArray[np.float32]:
        return self.layout.read_labels(self.array, self.position, box)
