"""The strokes of a session on the disk: each labels array is a growing row of packs, to which what changed is added."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_unet.errors import SessionError
from napari_unet.session.document import StrokesEntry
from napari_unet.session.packs import STROKES_FOLDER, merge_packs, pack_paths, packs_to_merge, write_pack
from napari_unet.session.state import held_key
from napari_unet.session.tiles import Box, TileWatch

__all__ = ["StrokesFiles"]


class StrokesFiles:
    """Writes what has changed in labels arrays and in the masks of correction tools.

    Files are only added. What they hold counts as stored once the document names them, which `commit` is told.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the session.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._watches: dict[str, TileWatch] = {}
        self._packs: dict[str, tuple[str, ...]] = {}  # names by the key of the array, as the document has them
        self._new: dict[str, tuple[str, ...]] = {}
        self._number = 0

    def is_painted(self, key: str) -> bool:
        """Whether there is something on the disk."""
        return bool(self._packs.get(key))

    def save(
        self,
        strokes: Sequence[StrokesEntry],
        labels: Mapping[str, Any],
        regions: Mapping[str, Sequence[Box] | None] | None,
    ) -> tuple[StrokesEntry, ...]:
        """Write what is new, and return the entries with the names of all their files.

        Parameters
        ----------
        strokes : sequence of StrokesEntry
            What there is; of others nothing is known any more after `commit`.
        labels, regions : mapping
            See `napari_unet.session.writer.SessionWriter.save`.
        """
        keys = [key for entry in strokes for key in (entry.key, held_key(entry.key))]
        new = self._new = {key: self._save_array(key, labels.get(key), regions) for key in keys}
        return tuple(replace(entry, packs=new[entry.key], held=new[held_key(entry.key)]) for entry in strokes)

    def commit(self) -> None:
        """Take what `save` wrote for stored: the document names it."""
        self._packs = self._new
        self._watches = {key: watch for key, watch in self._watches.items() if key in self._packs}
        for watch in self._watches.values():
            watch.commit()

    def forget(self) -> None:
        """Take nothing for stored: the files are gone."""
        self._packs, self._watches = {}, {}

    def _save_array(self, key: str, array: Any, regions: Mapping[str, Sequence[Box] | None] | None) -> tuple[str, ...]:
        packs = self._packs.get(key, ())
        if array is None:
            return packs
        watch, where = self._watches.get(key), None
        if watch is None or watch.shape != tuple(array.shape) or watch.dtype != np.dtype(array.dtype):
            watch, packs = TileWatch(array), ()
            self._watches[key] = watch
            self._packs.pop(key, None)
        elif watch.array is not array:
            watch.array = array
        elif regions is not None:
            if key not in regions:
                return packs
            where = regions[key]
        name = self._next_name(key)
        if write_pack(self.folder / STROKES_FOLDER / name, watch.look(where)):
            packs = (*packs, name)
        return () if watch.is_empty else packs

    def merge(
        self, strokes: tuple[StrokesEntry, ...], should_stop: Callable[[], bool]
    ) -> Iterator[tuple[StrokesEntry, ...]]:
        """Merge packs where there are many, one array at a time.

        Yields
        ------
        tuple of StrokesEntry
            All entries, to be written to the document before it goes on: what they name is in place of what was.

        Raises
        ------
        UNetError
            If files can't be read or written.
        """
        parts: tuple[Literal["packs", "held"], ...] = ("packs", "held")
        for place, part in itertools.product(range(len(strokes)), parts):
            if should_stop():
                return
            entry = strokes[place]
            key, dtype = (entry.key, entry.dtype) if part == "packs" else (held_key(entry.key), "uint8")
            names = self._merge_last(key, getattr(entry, part), len(entry.shape), np.dtype(dtype), should_stop)
            if names is not None:
                strokes = (*strokes[:place], replace(entry, **{part: names}), *strokes[place + 1 :])  # type: ignore[arg-type]
                yield strokes
                self._packs[key] = names

    def _merge_last(
        self, key: str, names: tuple[str, ...], ndim: int, dtype: np.dtype[Any], should_stop: Callable[[], bool]
    ) -> tuple[str, ...] | None:
        """Merge the last packs of an array; returns the names that it has then, or None where there is nothing new."""
        paths = pack_paths(self.folder, names)
        try:
            count = packs_to_merge([path.stat().st_size for path in paths])
        except OSError as error:
            raise SessionError(f"A file of the session {self.folder} is missing.") from error
        name = self._next_name(key) if count else ""
        if not count or not merge_packs(self.folder / STROKES_FOLDER / name, paths[-count:], ndim, dtype, should_stop):
            return None
        return (*names[:-count], name)

    def _next_name(self, key: str) -> str:
        """Return a name with a number that no pack in the folder has."""
        if not self._number:
            taken = (path.stem.rpartition("-")[2] for path in (self.folder / STROKES_FOLDER).glob("*.npz"))
            self._number = max((int(number) for number in taken if number.isdigit()), default=0)
        self._number += 1
        return f"{key}-{self._number:06d}.npz"
