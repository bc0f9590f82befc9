"""Arrays on the disk that are written in tiles, each of which is absent or whole whatever happens.

A tile is one chunk of a zarr array (version 3), that is one file. It is written under another name, flushed to the
disk and put in place in one step. That the file is there is the only record of the tile, so that none can be claimed
which is missing: a program that was killed at any moment finds out what is left by looking.
"""

from __future__ import annotations

import math
from asyncio import to_thread
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import Store
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from napari_unet.data.axes import Box
from napari_unet.data.storage import atomic_path

__all__ = ["DurableStore", "TileArray"]

Index = tuple[int, ...]


class DurableStore(LocalStore):
    """A folder in which each file appears in one step, whole and flushed to the disk."""

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file."""
        await to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write one file; the other form of `set`."""
        self._check_writable()
        with atomic_path(self.root / key) as temporary, open(temporary, "wb") as stream:
            stream.write(value.as_buffer_like())


@dataclass(frozen=True, eq=False)
class TileArray:
    """An array in a zarr group that is written tile by tile, with its smaller versions.

    Attributes
    ----------
    folder : Path
        The zarr group.
    levels : tuple of zarr.Array
        The array, then versions of it that hold every second, fourth, ... pixel along the axes that are halved. Their
        chunks are the same tiles.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     array = TileArray.create(folder, ("0",), (4, 6), tile=(4, 4), dtype="uint8")
    ...     array.write((0, 1), np.full((4, 2), 7))
    ...     array.has((0, 0)), array.has((0, 1)), array[0].tolist()
    (False, True, [0, 0, 0, 0, 7, 7])
    """

    folder: Path
    levels: tuple[zarr.Array[Any], ...]

    @classmethod
    def create(
        cls,
        folder: str | Path,
        names: Sequence[str],
        shape: Sequence[int],
        *,
        tile: Sequence[int],
        dtype: npt.DTypeLike,
        halved: Sequence[bool] = (),
        axes: str = "",
    ) -> TileArray:
        """Make an array without any tile.

        Parameters
        ----------
        folder : path-like
            The zarr group; made where it is missing.
        names : sequence of str
            The array's name in the group, and those of its smaller versions.
        shape : sequence of int
            Shape of the array.
        tile : sequence of int
            Shape of a tile; those at the end of an axis are smaller. Along a halved axis it must be divisible by the
            step of the smallest version.
        dtype : data-type
            Type of the values. Those of a missing tile read as 0.
        halved : sequence of bool
            Along which axes the smaller versions are smaller.
        axes : str
            One letter for each axis, kept as the array's dimension names.
        """
        group = zarr.open_group(DurableStore(Path(folder)), mode="a", zarr_format=3)
        compressor = BloscCodec(cname="zstd" if np.dtype(dtype).kind in "ui" else "lz4", clevel=1, shuffle="bitshuffle")
        for level, name in enumerate(names):
            steps = [2**level if half else 1 for half in halved or [False] * len(shape)]
            group.create_array(
                name,
                shape=tuple(-(-n // step) for n, step in zip(shape, steps, strict=True)),
                chunks=tuple(side // step for side, step in zip(tile, steps, strict=True)),
                dtype=dtype,
                compressors=[compressor],
                fill_value=0,
                dimension_names=list(axes.lower()) or None,
            )
        return cls.open(folder, names)

    @classmethod
    def open(cls, folder: str | Path, names: Sequence[str]) -> TileArray:
        """Open an array that `create` made."""
        store: Store = DurableStore(Path(folder))
        levels = (zarr.open_array(store, path=name, mode="r+") for name in names)
        # a tile of zeros is a file, too
        return cls(Path(folder), tuple(level.with_config({"write_empty_chunks": True}) for level in levels))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.levels[0].shape

    @property
    def tile(self) -> tuple[int, ...]:
        """Shape of a tile."""
        return self.levels[0].chunks

    @property
    def grid(self) -> tuple[int, ...]:
        """How many tiles lie along each axis."""
        return tuple(math.ceil(n / side) for n, side in zip(self.shape, self.tile, strict=True))

    def indices(self) -> Iterator[Index]:
        """Go through all tiles, in the order of their places."""
        return product(*(range(count) for count in self.grid))

    def box(self, index: Index) -> Box:
        """Say where a tile lies."""
        return tuple(
            slice(i * side, min((i + 1) * side, n)) for i, side, n in zip(index, self.tile, self.shape, strict=True)
        )

    def has(self, index: Index) -> bool:
        """Say whether a tile is there."""
        return self._file(self.levels[0], index).is_file()

    def write(self, index: Index, block: npt.NDArray[Any]) -> None:
        """Write a tile; the array's own comes last, as it is the record that all versions of the tile are there.

        Raises
        ------
        napari_unet.data.storage.StorageError
            If the disk is full or can't be written for another reason.
        """
        box = self.box(index)
        for level in reversed(self.levels):
            steps = [round(n / m) for n, m in zip(self.tile, level.chunks, strict=True)]
            part = tuple(slice(b.start // s, -(-b.stop // s)) for b, s in zip(box, steps, strict=True))
            level[part] = block[tuple(slice(None, None, step) for step in steps)]

    def remove(self, index: Index) -> None:
        """Remove a tile that is no longer needed."""
        for level in self.levels:
            self._file(level, index).unlink(missing_ok=True)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        return np.asarray(self.levels[0][key])

    def _file(self, level: zarr.Array[Any], index: Index) -> Path:
        return self.folder / level.path / level.metadata.encode_chunk_key(index)
