"""A prediction on the disk, as an OME-Zarr that says what it was made from, so that it can be completed at any time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box
from napari_unet.data.calibration import Calibration
from napari_unet.data.storage import atomic_path, is_zarr_folder, restore_interrupted
from napari_unet.data.tile_array import Index, TileArray
from napari_unet.data.zarr_writer import OME_AXES, describe_image, describe_labels
from napari_unet.errors import FileFormatError
from napari_unet.predict.overlapping_tiles import OVERLAPPING, create_overlapping
from napari_unet.predict.segment import likeliest_class
from napari_unet.predict.store_errors import told_as_incomplete
from napari_unet.predict.store_record import StoreRecord
from napari_unet.predict.stored_probabilities import create_probabilities, open_probabilities, to_steps
from napari_unet.predict.stored_uncertainty import open_uncertainty
from napari_unet.predict.uncertainty import Measure, entropy

__all__ = ["TileStore"]

_KEY = "napari_unet"
_FOREGROUND = "foreground"
_SEARCHED = "searched"


@dataclass(frozen=True, eq=False)
class TileStore:
    """A stored prediction, of which some or all tiles are there.

    Attributes
    ----------
    path : Path
        The folder.
    record : StoreRecord
        What it was made from.
    tiles : TileArray
        The result, with the axes in the order of OME-Zarr, and its smaller versions.
    foreground : TileArray or None
        Where objects are sought: the probability of the foreground, float32, with the axes of the image but channels,
        until all objects are labelled.
    probabilities : tuple of TileArray
        The probability of each class but background beside labels, if kept; see `StepView`. Like `tiles`.
    uncertainty : mapping of str to TileArray
        The uncertainty beside labels, by measure; see `napari_unet.predict.stored_uncertainty`. Like `tiles`.
    """

    path: Path
    record: StoreRecord
    tiles: TileArray
    foreground: TileArray | None = None
    probabilities: tuple[TileArray, ...] = ()
    uncertainty: Mapping[Measure, TileArray] = field(default_factory=dict)

    @classmethod
    def create(
        cls, path: str | Path, record: StoreRecord, calibration: Calibration | None = None, *,
        probabilities: bool = False,
    ) -> TileStore:  # fmt: skip
        """Make a store without any tile, in one step; a zarr of that name is replaced.

        Parameters
        ----------
        path : path-like
            The folder.
        record : StoreRecord
            What the prediction is made from.
        calibration : Calibration or None
            Distances and place of the image's pixels, for other programs.
        probabilities : bool
            Whether probabilities are kept beside labels.

        Raises
        ------
        napari_unet.data.storage.StorageError
            If it can't be written.
        """
        import zarr

        axes, order = _stored_order(record.result_axes)
        sides = record.layout.label_tile(record.tile)
        whole = record.result_shape[: -len(sides)] + sides  # a tile has all classes
        shape, tile = ([lengths[i] for i in order] for lengths in (record.result_shape, whole))
        known = calibration or Calibration(record.spacing)
        with atomic_path(path) as temporary:
            root = zarr.open_group(temporary, mode="w", zarr_format=3)
            root.attrs[_KEY] = record.as_json()
            if record.folder:
                root.create_group(record.folder)
            TileArray.create(
                temporary / record.folder, record.levels, shape, tile=tile, dtype=record.dtype,
                halved=[letter in "YX" for letter in axes], axes=axes,
            )  # fmt: skip
            describe = describe_labels if record.folder else describe_image
            describe(root, len(record.levels), axes, known)
            if probabilities:
                create_probabilities(temporary, record, axes, shape, tile, known)
            if record.seeks_objects:
                TileArray.create(temporary, [_FOREGROUND], record.layout.label_shape, tile=sides, dtype=np.float32)
            if record.overlap:
                create_overlapping(temporary, record)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> TileStore:
        """Open a store.

        Raises
        ------
        FileFormatError
            If there is none at that path, or it is damaged or of another kind.
        """
        import zarr

        folder = Path(path).expanduser()
        restore_interrupted(folder)
        if not is_zarr_folder(folder):
            raise FileFormatError(f"{folder} holds no stored prediction; check the name.")
        try:
            attributes: dict[str, Any] = dict(zarr.open_group(folder, mode="r").attrs)
            record = StoreRecord.from_json(attributes[_KEY])
            tiles = TileArray.open(folder / record.folder, record.levels)
            scratch = is_zarr_folder(folder / _FOREGROUND)
            foreground = TileArray.open(folder, [_FOREGROUND]) if scratch else None
            probabilities = open_probabilities(folder, record)
            uncertainty = open_uncertainty(folder, record)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise FileFormatError(
                f"{folder} holds no prediction that could be completed (another zarr, or damaged); choose another name."
            ) from error
        store = cls(folder, record, tiles, foreground, probabilities, uncertainty)
        if record.seeks_objects and foreground is None and store.missing():
            raise FileFormatError(f"{folder} is damaged: a part of it was removed; remove it, or have it overwritten.")
        return store

    @cached_property
    def _order(self) -> tuple[int, ...]:
        return _stored_order(self.record.result_axes)[1]

    @property
    def grid(self) -> tuple[int, ...]:
        """How many tiles lie along each axis of the image's space (its axes without channels)."""
        sides = self.record.layout.label_tile(self.record.tile)
        return tuple(-(-n // side) for n, side in zip(self.record.layout.label_shape, sides, strict=True))

    def index(self, box: Box) -> Index:
        """Name the tile in which a box of the image's space lies, by its place in the grid."""
        sides = self.record.layout.label_tile(self.record.tile)
        return tuple(part.start // side for part, side in zip(box, sides, strict=True))

    def box(self, index: Index) -> Box:
        """Say where a tile lies in the image's space."""
        sides, shape = self.record.layout.label_tile(self.record.tile), self.record.layout.label_shape
        return tuple(slice(i * side, min((i + 1) * side, n)) for i, side, n in zip(index, sides, shape, strict=True))

    def has(self, index: Index) -> bool:
        """Say whether a tile is there."""
        return self.tiles.has(self._stored(index))

    def missing(self) -> list[Index]:
        """List the tiles that are not there, in the order of their places."""
        return [index for index in product(*(range(count) for count in self.grid)) if not self.has(index)]

    def lacks(self, index: Index) -> bool:
        """Say whether a tile is to be predicted."""
        return not (self.has(index) if self.foreground is None else self.foreground.has(index))

    def unpredicted(self) -> list[Index]:
        """List the tiles that are to be predicted, in the order of their places."""
        missing = self.missing()
        if self.foreground is None or not missing:
            return missing
        return [index for index in product(*map(range, self.grid)) if self.lacks(index)]

    def keep(self, index: Index, probabilities: npt.NDArray[np.float32]) -> list[Index]:
        """Write what becomes of the probabilities (class, \\*box) of a tile, and return it; errors as for `write`."""
        with told_as_incomplete(self.path):
            for array, block in zip(self.probabilities, probabilities[1:], strict=bool(self.probabilities)):
                array.write(self._stored(index), to_steps(block, np.uint8).transpose(self._order))
        if "entropy" in self.uncertainty:
            self.keep_uncertainty(index, "entropy", entropy(probabilities))
        if self.foreground is not None:
            with told_as_incomplete(self.path):
                self.foreground.write(index, 1 - probabilities[0])
        elif self.record.content == "probabilities":
            self.write(index, probabilities)
        else:
            self.write(index, likeliest_class(probabilities))
        return [index]

    def keep_uncertainty(self, index: Index, measure: Measure, values: npt.NDArray[np.float32]) -> None:
        """Write the uncertainty (\\*box) of a tile by a measure that is kept; errors as for `write`."""
        with told_as_incomplete(self.path):
            array = self.uncertainty[measure]
            array.write(self._stored(index), to_steps(values, array.levels[0].dtype).transpose(self._order))

    def lacks_uncertainty(self, index: Index, measure: Measure) -> bool:
        """Say whether the uncertainty of a tile is not there."""
        return not self.uncertainty[measure].has(self._stored(index))

    def clean(self) -> None:
        """Remove what is no longer needed when the result is complete."""
        for name in (_FOREGROUND, _SEARCHED, OVERLAPPING):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def scratch(self, frame: int) -> Path:
        """Return the folder for what is found in the tiles of a frame until they are labelled."""
        return self.path / _SEARCHED / str(frame)

    def _stored(self, index: Index) -> Index:
        """Name a tile as the array does, whose axes are in another order and may begin with the class."""
        full = (0,) * (len(self._order) - len(index)) + index
        return tuple(full[i] for i in self._order)

    def write(self, index: Index, block: npt.NDArray[Any]) -> None:
        """Write a tile, whole.

        Parameters
        ----------
        index : tuple of int
            The tile.
        block : numpy.ndarray
            (\\*box), for probabilities (class, \\*box), with the axes in the image's order.

        Raises
        ------
        napari_unet.data.storage.StorageError
            If the disk is full or can't be written for another reason.
        """
        with told_as_incomplete(self.path):
            self.tiles.write(self._stored(index), block.transpose(self._order))

    def read(self, index: Index) -> npt.NDArray[Any]:
        """Read a tile of the result; its axes are in the order of OME-Zarr."""
        return self.tiles[self.tiles.box(self._stored(index))]

    def levels(self) -> list[Any]:
        """Return the result and its smaller versions as dask arrays, which read what is asked for.

        Their axes are those of the image without channels, for probabilities (class, \\*space). Tiles that are not
        there yet are 0.
        """
        import dask.array

        back = [self._order.index(i) for i in range(len(self._order))]
        return [dask.array.from_zarr(level).transpose(back) for level in self.tiles.levels]


def _stored_order(axes: str) -> tuple[str, tuple[int, ...]]:
    """Return axes in the order of OME-Zarr, and which of those given each of them is."""
    order = sorted(range(len(axes)), key=lambda i: OME_AXES.index(axes[i]))
    return "".join(axes[i] for i in order), tuple(order)
