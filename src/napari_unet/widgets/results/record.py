"""What is done of a result, so that a prediction which was stopped goes on from there."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.widgets.results.object_ids import NewIds

__all__ = ["FrameRecord", "PredictionRecord"]

Position = tuple[int, ...]


@dataclass(eq=False)
class FrameRecord:
    """What is done of one frame.

    Attributes
    ----------
    cells : numpy.ndarray
        Which cells of the frame are predicted, bool; along the axes of the network.
    foreground : array-like or None
        (\\*frame) probability of the foreground where it is predicted, as long as objects are to be found in it.
    found : list of tuple of slice
        Boxes of the frame in which objects are found as a whole.
    ids : numpy.ndarray or None
        The ids of these objects.
    """

    cells: npt.NDArray[np.bool_]
    foreground: Any | None = None
    found: list[Box] = field(default_factory=list)
    ids: npt.NDArray[Any] | None = None


@dataclass(eq=False)
class PredictionRecord:
    """What is done of one result, and by what.

    Cells are squares (cubes) of some pixels; a cell is done when a tile covered it as a whole.

    Attributes
    ----------
    key : hashable
        All that the result depends on: model, image, settings.
    cell : int
        Side of a cell, pixels; tiles begin at multiples of it.
    frames : dict
        Position in the stack -> what is done there.
    new_ids : NewIds
        Gives ids to objects that were not there before.
    tile : tuple of int or None
        Sides of the tiles that were chosen for it; those of a prediction that goes on are the same.
    joined : float or None
        By what overlap the objects of all slices are joined over the slices; None: they are not.

    Examples
    --------
    >>> record = PredictionRecord()
    >>> layout = ImageLayout("TYX", (3, 40, 50))
    >>> record.begin("first model", layout, cell=16)
    False
    >>> record.add((1,), (slice(0, 32), slice(0, 50)))
    >>> record.has((1,), (slice(0, 20), slice(3, 50))), record.has((1,), (slice(0, 40), slice(0, 50)))
    (True, False)
    >>> record.begin("first model", layout, cell=16), record.begin("another model", layout, cell=16)
    (True, False)
    """

    key: Hashable = None
    cell: int = 1
    layout: ImageLayout | None = None
    frames: dict[Position, FrameRecord] = field(default_factory=dict)
    new_ids: NewIds = field(default_factory=NewIds)
    tile: tuple[int, ...] | None = None
    joined: float | None = None

    def begin(self, key: Hashable, layout: ImageLayout, cell: int) -> bool:
        """Start or go on; returns whether what was done before still counts, and forgets it if not."""
        if (key, layout, cell) == (self.key, self.layout, self.cell):
            return True
        self.key, self.layout, self.cell = key, layout, cell
        self.frames, self.tile, self.joined = {}, None, None
        return False

    def frame(self, position: Position) -> FrameRecord:
        """Return what is done of a frame."""
        if position not in self.frames:
            assert self.layout is not None  # `begin` comes first
            cells = tuple(-(-n // self.cell) for n in self.layout.frame_shape)
            self.frames[position] = FrameRecord(np.zeros(cells, bool))
        return self.frames[position]

    def add(self, position: Position, box: Box) -> None:
        """Note that a box of a frame is done."""
        assert self.layout is not None
        covered = tuple(
            slice(-(-span.start // self.cell), -(-span.stop // self.cell) if span.stop == n else span.stop // self.cell)
            for span, n in zip(box, self.layout.frame_shape, strict=True)
        )
        self.frame(position).cells[covered] = True

    def has(self, position: Position, box: Box) -> bool:
        """Whether all of a box of a frame is done."""
        if position not in self.frames:
            return False
        touched = tuple(slice(span.start // self.cell, -(-span.stop // self.cell)) for span in box)
        return bool(self.frames[position].cells[touched].all())

    def missing(self, position: Position, box: Box) -> Box | None:
        """Return the smallest box around all that is not done of a box of a frame, to a cell; None if all is."""
        touched = tuple(slice(span.start // self.cell, -(-span.stop // self.cell)) for span in box)
        places = np.argwhere(~self.frame(position).cells[touched])
        if not len(places):
            return None
        return tuple(
            slice(
                max(span.start, (cells.start + first) * self.cell), min(span.stop, (cells.start + last + 1) * self.cell)
            )
            for span, cells, first, last in zip(box, touched, places.min(axis=0), places.max(axis=0), strict=True)
        )

    def count(self, position: Position, box: Box) -> int:
        """Count the pixels of a box of a frame that are done, to a cell."""
        if position not in self.frames:
            return 0
        touched = tuple(slice(span.start // self.cell, -(-span.stop // self.cell)) for span in box)
        cells = self.frames[position].cells[touched]
        return round(float(cells.mean()) * np.prod([span.stop - span.start for span in box])) if cells.size else 0
