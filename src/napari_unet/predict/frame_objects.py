"""Objects of a whole image, whose frames may be many and larger than the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.predict.object_blocks import BlockLabelled, ObjectsCounted, check_ids, choose_block, label_blocks
from napari_unet.predict.stitch import check_stitching, stitching_steps

__all__ = ["FrameForeground", "label_frames", "labelling_steps"]


@dataclass(frozen=True, eq=False)
class FrameForeground:
    """The foreground of one frame of an array, which is read box by box.

    Attributes
    ----------
    array : array-like
        Probabilities with the axes `layout.label_axes`.
    layout : ImageLayout
        The axes.
    position : tuple of int
        Position in the stack.
    of_background : bool
        Whether the array holds the probability of the background instead.
    """

    array: Any
    layout: ImageLayout
    position: tuple[int, ...]
    of_background: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the frame, in ZYX order."""
        return self.layout.frame_shape

    def __getitem__(self, box: Box) -> npt.NDArray[Any]:
        """Read a box of the frame, (\\*box)."""
        block = self.layout.read_labels(self.array, self.position, box)
        return 1 - block if self.of_background else block


def label_frames(
    frame: Callable[[tuple[int, ...]], FrameForeground],
    layout: ImageLayout,
    out: Any | None = None,
    *,
    spacing: Sequence[float] | None = None,
    stitch: float | None = None,
) -> Any:
    """Find the objects of each frame of an image, and number them through.

    Parameters
    ----------
    frame : callable
        Returns the foreground of the frame at a position in the stack.
    layout : ImageLayout
        The axes.
    out : array-like or None
        Where to write, integers with the axes `layout.label_axes`. None: a new array.
    spacing : sequence of float or None
        Distance of pixels along the last of the axes ZYX; None: equal.
    stitch : float or None
        Intersection over union from which on objects of neighbouring planes are one; None: planes are on their own.

    Returns
    -------
    array-like
        uint16, or uint32 for more than 65,535 objects; or `out`.

    Raises
    ------
    InputError
        If `out` has too small a type, or there are no planes to stitch.
    """
    labels = np.zeros(layout.label_shape, np.uint32) if out is None else out
    steps = labelling_steps(frame, layout, labels, spacing=spacing, stitch=stitch)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            small = out is None and end.value <= np.iinfo(np.uint16).max
            return labels.astype(np.uint16) if small else labels


def labelling_steps(
    frame: Callable[[tuple[int, ...]], FrameForeground],
    layout: ImageLayout,
    labels: Any,
    *,
    spacing: Sequence[float] | None = None,
    stitch: float | None = None,
    scratch: Path | None = None,
) -> Generator[float, None, int]:
    """Do the same block by block; see `label_frames`.

    Parameters
    ----------
    frame, layout, spacing, stitch
        As there.
    labels : array-like
        Where to write: as `out` there.
    scratch : Path or None
        A folder for what is found in the blocks of a frame until they are labelled; a later call with the same image
        and blocks goes on from it. None: it is kept in memory.

    Yields
    ------
    float
        How far it is, 0 to 1.

    Returns
    -------
    int
        How many objects there are; their ids go up to it.
    """
    if stitch is not None:
        check_stitching(stitch, layout)
    share, frames = 1.0 if stitch is None else 0.5, math.prod(layout.stack_shape)
    steps = None if spacing is None else tuple(spacing)[-layout.ndim :]
    chunks = getattr(labels, "chunks", None)
    block = choose_block(layout.frame_shape, [chunks[place] for place in layout.space_axes] if chunks else None)
    count = before = 0
    for number, position in enumerate(layout.frames()):
        shelf = None if scratch is None else scratch / str(number)
        for event in label_blocks(frame(position), block=block, spacing=steps, scratch=shelf):
            yield share * (number + event.done / max(1, event.total)) / frames
            if isinstance(event, ObjectsCounted):
                before = 0 if stitch is not None else count  # stitching tells planes apart by itself
                count = before + event.count
                check_ids(labels, count)
            elif isinstance(event, BlockLabelled):
                ids = event.labels.astype(np.uint32)
                ids[ids > 0] += before
                labels[layout.label_box(position, event.box)] = layout.to_label_order(ids[np.newaxis])[0]
    if stitch is not None:
        joining = stitching_steps(labels, layout, stitch)
        while True:
            try:
                yield 0.5 + next(joining) / 2
            except StopIteration as end:
                return int(end.value)
    return count
