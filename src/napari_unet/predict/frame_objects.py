"""Objects of a whole image, whose frames may be many and larger than the memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.predict.object_blocks import BlockLabelled, ObjectsCounted, check_ids, choose_block, label_blocks
from napari_unet.predict.stitch import check_stitching, stitch_stack

__all__ = ["FrameForeground", "label_frames"]


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
    if stitch is not None:
        check_stitching(stitch, layout)
    labels = np.zeros(layout.label_shape, np.uint32) if out is None else out
    steps = None if spacing is None else tuple(spacing)[-layout.ndim :]
    chunks = getattr(out, "chunks", None)
    places = [layout.label_axes.index(letter) for letter in layout.space_letters]
    block = choose_block(layout.frame_shape, [chunks[place] for place in places] if chunks else None)
    count = before = 0
    for position in layout.frames():
        for event in label_blocks(frame(position), block=block, spacing=steps):
            if isinstance(event, ObjectsCounted):
                before = 0 if stitch is not None else count  # stitching tells planes apart by itself
                count = before + event.count
                check_ids(labels, count)
            elif isinstance(event, BlockLabelled):
                ids = event.labels.astype(np.uint32)
                ids[ids > 0] += before
                labels[layout.label_box(position, event.box)] = layout.to_label_order(ids[np.newaxis])[0]
    if stitch is not None:
        count = stitch_stack(labels, layout, stitch)
    small = out is None and count <= np.iinfo(np.uint16).max
    return labels.astype(np.uint16) if small else labels
