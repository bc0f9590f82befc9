"""Objects of slices joined over the slices of a result, when all of them are predicted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import ImageLayout
from napari_unet.widgets.parts.worker import StopCheck
from napari_unet.widgets.results.arrays import ResultArray
from napari_unet.widgets.results.record import PredictionRecord

if TYPE_CHECKING:
    from napari_unet.predict.stitch import ChooseIds

__all__ = ["join_slices"]


def join_slices(
    result: ResultArray,
    record: PredictionRecord,
    layout: ImageLayout,
    overlap: float,
    should_stop: StopCheck,
    choose: ChooseIds | None = None,
) -> Iterator[float | int]:
    """Give objects of neighbouring slices one id where they overlap, unless that is done or slices are missing.

    Parameters
    ----------
    result : ResultArray
        Labels of which each slice has ids of its own.
    record : PredictionRecord
        What is done of it; it notes that the slices are joined.
    layout : ImageLayout
        The axes of the image, seen by a 2D network.
    overlap : float
        Intersection over union from which on two objects are one; see `napari_unet.predict.stitch.stitch_planes`.
    should_stop : callable
        Asked after each slice, as long as nothing is written.
    choose : callable or None
        Chooses ids, see `napari_unet.predict.stitch.stitching_steps`; None: objects are numbered through.

    Yields
    ------
    float or int
        How far it is, 0 to 1, and when it is done how many objects there are.

    Raises
    ------
    InputError
        If the result can't tell so many objects.
    """
    from napari_unet.predict.stitch import stitching_steps

    frame = tuple(slice(0, n) for n in layout.frame_shape)
    if record.joined == overlap or not all(record.has(position, frame) for position in layout.frames()):
        return
    steps = stitching_steps(_Joined(result), layout, overlap, choose)
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            record.joined = overlap
            yield int(end.value)
            return
        if share <= 0.5 and should_stop():
            return
        yield share


class _Joined:
    """A result as an array that is read and written by boxes."""

    def __init__(self, result: ResultArray) -> None:
        self._result = result
        self.dtype, self.shape = result.levels[0].dtype, result.levels[0].shape

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        return np.asarray(self._result.levels[0][key])

    def __setitem__(self, box: Any, block: npt.NDArray[Any]) -> None:
        self._result.write(
            tuple(slice(*part.indices(n)[:2]) for part, n in zip(box, self.shape, strict=True)),
            block.astype(self.dtype),
        )
