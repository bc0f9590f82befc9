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
    BlockCounted,
    BlockLabelled,
    BlockSearched,
    ObjectEvent,
    ObjectsCounted,
    ObjectsFinished,
    label_blocks,
)
from napari_unet.predict.settled import ObjectStrokes, SettledStrokes
from napari_unet.predict.tile_store import TileStore

__all__ = ["label_stored_objects"]


def label_stored_objects(
    store: TileStore, should_stop: Callable[[], bool] | None = None, settled: SettledStrokes | None = None
) -> Iterator[Index | None]:
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
    settled : SettledStrokes or None
        What corrections painted: objects that touch the strokes of one object, and of no other, are one.

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
            strokes = ObjectStrokes()
            for event in _label_frame(store, number, position, should_stop, counting=settled is not None):
                if isinstance(event, BlockSearched):
                    yield None
                elif isinstance(event, BlockCounted) and settled is not None:
                    painted = settled.read(layout.label_box(position, event.box))
                    if painted is not None:
                        strokes.add(event.labels, layout.read_labels(painted, (0,) * len(position)))
                elif isinstance(event, ObjectsCounted):
                    part_of = strokes.joined(event.count)
                    found = int(part_of.max())
                elif isinstance(event, BlockLabelled):
                    index = store.index(layout.label_box(position, event.box))
                    if not store.has(index):
                        ids = part_of[event.labels].astype(np.uint32)
                        labels = np.where(ids > 0, ids + np.uint32(count), np.uint32(0))
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
    store: TileStore, number: int, position: tuple[int, ...], should_stop: Callable[[], bool] | None, *, counting: bool
) -> Iterator[ObjectEvent]:
    record = store.record
    assert store.foreground is not None  # it is there until all is labelled
    return label_blocks(
        _Frame(store.foreground, record.layout, position), block=record.tile,
        spacing=None if record.spacing is None else record.spacing[-record.ndim :],
        scratch=store.scratch(number), should_stop=should_stop, counting=counting,
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
