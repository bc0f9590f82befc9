"""The ids of the objects in a result: those that they had when they were shown last, or new ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.predict.same_objects import SameObjects
from napari_unet.widgets.results.object_ids import MOST_FEW

if TYPE_CHECKING:
    from napari_unet.widgets.results.predict_job import PredictRequest

__all__ = ["ShownIds"]

Position = tuple[int, ...]
Labels = npt.NDArray[Any]


class ShownIds:
    """Reads the ids that a result shows, and chooses those of the next one.

    Parameters
    ----------
    request : PredictRequest
        Has the result, and its record, which knows what was given.

    Attributes
    ----------
    note : str
        What the person should know; empty where there is nothing.
    """

    def __init__(self, request: PredictRequest) -> None:
        self.layout, self.labels = request.source.layout, request.result.levels[0]
        self.note = ""
        self._new, self._filled = request.record.new_ids, request.filled
        self._most = MOST_FEW if np.dtype(self.labels.dtype).itemsize <= 2 else int(np.iinfo(np.uint32).max)

    def around(self, position: Position, box: Box, whole: Box) -> tuple[Labels, list[tuple[int, int]]]:
        """Read the ids in a box of a frame, and a pixel beyond it where the frame goes on after what is found anew.

        Parameters
        ----------
        position : tuple of int
            Position in the stack.
        box : tuple of slice
            The box.
        whole : tuple of slice
            All that is found anew, of which the box is a part.

        Returns
        -------
        ids : numpy.ndarray
            The ids of the box and its margins.
        margins : list of (int, int)
            Width of the margins at both ends of each axis.
        """
        self._new.frames.add(position)
        margins = [
            (int(0 < part.start == all_.start), int(size > part.stop == all_.stop))
            for part, all_, size in zip(box, whole, self.layout.frame_shape, strict=True)
        ]
        grown = tuple(slice(part.start - low, part.stop + high) for part, (low, high) in zip(box, margins, strict=True))
        return self.layout.read_labels(self.labels, position, grown), margins

    def choose(self, same: SameObjects, part_of: Labels, taken: Labels | None = None) -> Labels:
        """Return the ids of objects.

        Parameters
        ----------
        same : SameObjects
            What they share with those that are shown.
        part_of : numpy.ndarray
            Which object each of those that were found is part of, for 0 (none), 1, 2, ...
        taken : numpy.ndarray or None
            Ids that none of them may keep.

        Returns
        -------
        numpy.ndarray
            The id of each that was found, in the type of the result.
        """
        count = int(part_of.max(initial=0))
        table = same.ids(count, part_of, taken)
        new = np.flatnonzero(table[1:] == 0) + 1
        ids = self._new.take(len(new), self._most, self._read_shown)
        if ids is None:
            self.note = f"There are more objects than the layer's {self._most:,} labels: some share one."
            ids = np.arange(len(new)) % self._most + 1
        table[new] = ids
        return table[part_of].astype(self.labels.dtype)

    def _read_shown(self) -> Labels:
        """Return the ids that the frames have which hold something: any of them, where they were read differently."""
        positions: Iterable[Position] = self._filled | self._new.frames
        if any(len(position) != len(self.layout.stack_shape) for position in positions):
            positions = self.layout.frames()
        found = [np.unique(self.layout.read_labels(self.labels, position)) for position in positions]
        return np.unique(np.concatenate([np.zeros(1, np.int64), *found]))
