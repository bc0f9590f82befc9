"""Packs: files that hold some tiles of a labels array, each written once and never changed.

A pack is an npz file, readable with ``numpy.load``: the name of each array is where its tile begins, along all axes
(``"0_512_1024"``). The strokes of a layer are the tiles of its packs in order, a later tile in place of an earlier one.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from napari_unet.data.storage import atomic_path
from napari_unet.errors import SessionError
from napari_unet.session.tiles import TILE, Origin

__all__ = [
    "STROKES_FOLDER",
    "fill_from_packs",
    "merge_packs",
    "pack_paths",
    "packs_to_merge",
    "read_pack",
    "write_pack",
]

STROKES_FOLDER = "strokes"  # in the folder of a session

_HEADER_BYTES = 1024
_MANY_PACKS = 16
_ENTRY = re.compile(r"\d+(_\d+)+\.npy")
_DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, KeyError, NotImplementedError)


def pack_paths(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return where packs of a session are, in order."""
    return [folder / STROKES_FOLDER / name for name in names]


def write_pack(path: Path, tiles: Iterable[tuple[Origin, npt.NDArray[Any]]]) -> int:
    """Write tiles to a new pack in one step; nothing is written where there are none.

    Returns
    -------
    int
        How many tiles there were.

    Raises
    ------
    napari_unet.data.storage.StorageError
        If it can't be written.
    """
    rest = iter(tiles)
    first = next(rest, None)
    if first is None:
        return 0
    count = 0
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=2) as pack:
        for origin, tile in _chain(first, rest):
            with pack.open("_".join(map(str, origin)) + ".npy", "w") as stream:
                npy.write_array(stream, np.ascontiguousarray(tile), allow_pickle=False)
            count += 1
    return count


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def read_pack(path: Path, ndim: int, dtype: np.dtype[Any]) -> Iterator[tuple[Origin, npt.NDArray[Any]]]:
    """Yield the tiles of a pack and where they begin.

    Raises
    ------
    SessionError
        If the pack is missing, damaged, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as pack:
            for info in pack.infolist():
                if not _ENTRY.fullmatch(info.filename) or info.file_size > TILE * TILE * dtype.itemsize + _HEADER_BYTES:
                    raise SessionError(f"{path.name} holds something else than tiles of strokes.")
                with pack.open(info) as stream:
                    tile = npy.read_array(stream, allow_pickle=False)
                    stream.read()  # to the end, where the checksum is compared
                origin = tuple(map(int, info.filename.removesuffix(".npy").split("_")))
                if tile.ndim != ndim or len(origin) != ndim or tile.dtype != dtype:
                    raise SessionError(f"{path.name} belongs to strokes of another kind.")
                yield origin, tile
    except _DAMAGE as error:
        raise SessionError(f"The file {path.name} of the session is missing or damaged.") from error


def fill_from_packs(array: Any, packs: Sequence[Path]) -> list[str]:
    """Write the tiles of packs into an array of zeros.

    Parameters
    ----------
    array : array-like
        Gets the tiles: numpy or zarr.
    packs : sequence of pathlib.Path
        In the order in which they were written.

    Returns
    -------
    list of str
        One sentence for each pack that could not be read to its end; the others are in the array all the same.
    """
    problems = []
    shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    for path in packs:
        try:
            for origin, tile in read_pack(path, len(shape), dtype):
                stops = [at + n for at, n in zip(origin, tile.shape, strict=True)]
                if any(stop > n for stop, n in zip(stops, shape, strict=True)):
                    raise SessionError(f"{path.name} reaches beyond the strokes that it belongs to.")
                array[tuple(slice(at, stop) for at, stop in zip(origin, stops, strict=True))] = tile
        except SessionError as error:
            problems.append(str(error))
    return problems


def packs_to_merge(sizes: Sequence[int]) -> int:
    """Return how many of the last packs to merge into one, given all their sizes in bytes; 0: leave them.

    A pack is left out, with all before it, if it is larger than all that follow together, so that strokes which were
    merged before are seldom rewritten.

    Examples
    --------
    >>> packs_to_merge([10_000] + [100] * 16), packs_to_merge([100] * 3)
    (16, 0)
    """
    if len(sizes) < _MANY_PACKS:
        return 0
    total = count = 0
    for size in reversed(sizes):
        if size > total and count >= _MANY_PACKS // 2:
            break
        total += size
        count += 1
    return count


def merge_packs(
    target: Path, packs: Sequence[Path], ndim: int, dtype: np.dtype[Any], should_stop: Callable[[], bool]
) -> bool:
    """Write one pack that holds what a run of packs holds; these stay as they are.

    Returns
    -------
    bool
        Whether it was written; False if `should_stop` ended it.

    Raises
    ------
    SessionError
        If one of the packs can't be read.
    napari_unet.data.storage.StorageError
        If it can't be written.
    """
    newest: dict[Origin, Path] = {}
    for path in packs:
        try:
            with zipfile.ZipFile(path) as pack:
                for name in pack.namelist():
                    newest[tuple(map(int, name.removesuffix(".npy").split("_")))] = path
        except _DAMAGE as error:
            raise SessionError(f"The file {path.name} of the session is missing or damaged.") from error

    def tiles() -> Iterator[tuple[Origin, npt.NDArray[Any]]]:
        for path in packs:
            for origin, tile in read_pack(path, ndim, dtype):
                if should_stop():
                    raise _Stopped
                if newest[origin] == path:
                    yield origin, tile

    try:
        write_pack(target, tiles())
    except _Stopped:
        return False
    return True


class _Stopped(Exception):
    """Merging was told to stop."""
