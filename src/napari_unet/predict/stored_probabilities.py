"""Probabilities that are kept beside the labels of a store: a byte for each class but background, in the same tiles.

256 steps are finer than anyone sees or a threshold needs, and take a quarter of the disk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import ImageLayout
from napari_unet.data.calibration import Calibration
from napari_unet.data.storage import is_zarr_folder
from napari_unet.data.tile_array import TileArray
from napari_unet.data.zarr_writer import describe_image

if TYPE_CHECKING:
    from napari_unet.predict.store_record import StoreRecord

__all__ = ["StepView", "create_probabilities", "open_probabilities", "store_bytes", "to_steps"]

_FOLDER = "probabilities"
_LEVELS = 4 / 3  # of the array: what it takes together with versions of half, a quarter, ... the size


def create_probabilities(
    root: Path, record: StoreRecord, axes: str, shape: Sequence[int], tile: Sequence[int], calibration: Calibration
) -> None:
    """Make the arrays in a store, one OME-Zarr for each class but background, without any tile.

    Parameters
    ----------
    root : Path
        The store.
    record : StoreRecord
        What the prediction is made from.
    axes : str
        Axes of the result, in the order of OME-Zarr.
    shape, tile : sequence of int
        Of the result, along these axes.
    calibration : Calibration
        Distances and place of the pixels.
    """
    import zarr

    for name in record.classes[1:]:
        number = str(record.classes.index(name))
        folder = root / _FOLDER / number
        halved = [letter in "YX" for letter in axes]
        TileArray.create(folder, record.levels, shape, tile=tile, dtype=np.uint8, halved=halved, axes=axes)
        describe_image(zarr.open_group(folder), len(record.levels), axes, calibration)


def open_probabilities(root: Path, record: StoreRecord) -> tuple[TileArray, ...]:
    """Open the arrays of a store, in the order of the classes; none if it keeps no probabilities."""
    if not is_zarr_folder(root / _FOLDER / "1"):
        return ()
    return tuple(
        TileArray.open(root / _FOLDER / str(number), record.levels) for number in range(1, len(record.classes))
    )


def to_steps(values: npt.NDArray[np.float32], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Round values from 0 to 1 to the steps that an unsigned type has, the last of which stands for 1.

    Examples
    --------
    >>> to_steps(np.array([0, 0.5, 1], np.float32), np.uint8)
    array([  0, 128, 255], dtype=uint8)
    """
    steps: npt.NDArray[Any] = np.rint(values * np.float32(np.iinfo(dtype).max)).astype(dtype)
    return steps


@dataclass(frozen=True, eq=False)
class StepView:
    """A stored array, read as values from 0 to 1.

    Attributes
    ----------
    array : array-like
        As `to_steps` makes them.

    Examples
    --------
    >>> view = StepView(np.array([[0, 51], [0, 255]], np.uint8))
    >>> view[1, :].tolist(), view.shape, view.dtype
    ([0.0, 1.0], (2, 2), dtype('float32'))
    """

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What is read."""
        return np.dtype(np.float32)

    def __getitem__(self, key: Any) -> npt.NDArray[np.float32]:
        return np.asarray(self.array[key], np.float32) / np.float32(np.iinfo(self.array.dtype).max)


def store_bytes(layout: ImageLayout, classes: int, task: str, *, probabilities: bool, uncertainty: bool = False) -> int:
    """Return how much disk a store of labels takes at most, while it is made; compression makes it less.

    Parameters
    ----------
    layout : ImageLayout
        The axes of the image.
    classes : int
        How many there are, with background.
    task : {"objects", "classes"}
        What the labels are. For objects, the foreground is kept until all are found.
    probabilities : bool
        Whether they are kept, too.
    uncertainty : bool
        Whether the uncertainty is kept, by one measure.

    Examples
    --------
    >>> store_bytes(ImageLayout("YX", (3000, 1000)), 2, "classes", probabilities=True)
    8000000
    """
    each = _LEVELS if task == "classes" else 4 * _LEVELS + 4
    each += _LEVELS * ((classes - 1) * probabilities + 2 * uncertainty)
    return round(each * math.prod(layout.label_shape))
