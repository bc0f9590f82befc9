"""Labelling the objects of a stored prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from napari_unet.data.tile_array import Index
from napari_unet.predict.instances import separate_objects
from napari_unet.predict.tile_store import TileStore

__all__ = ["label_objects"]


def label_objects(store: TileStore, should_stop: Callable[[], bool] | None = None) -> Iterator[Index]:
    """Label the objects of a store whose foreground is complete, frame by frame; yields each tile that is written.

    Parameters
    ----------
    store : TileStore
        For labels of objects.
    should_stop : callable or None
        Asked before each frame.
    """
    layout, spacing = store.record.layout, store.record.spacing
    assert store.foreground is not None
    steps = None if spacing is None else spacing[-layout.ndim :]
    missing = set(store.missing())
    count = 0
    for position in layout.frames():
        if should_stop is not None and should_stop():
            return
        whole = tuple(slice(0, size) for size in layout.frame_shape)
        objects = separate_objects(layout.read_labels(store.foreground, position, whole), spacing=steps)
        labels = np.where(objects > 0, objects.astype(np.uint32) + np.uint32(count), np.uint32(0))
        frame = layout.to_label_order(labels[np.newaxis])[0]
        count += int(objects.max())
        corner = [part.start for part in layout.label_box(position, whole)]
        for index in sorted(missing):
            box = store.box(index)
            inside = tuple(slice(p.start - a, p.stop - a) for p, a in zip(box, corner, strict=True))
            if all(0 <= part.start < size for part, size in zip(inside, frame.shape, strict=True)):
                store.write(index, frame[inside])
                missing.discard(index)
                yield index
