"""Where what is known of each block is kept until all blocks are there: in memory, or in a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.storage import atomic_path
from napari_unet.errors import InputError

__all__ = ["PartShelf"]

_IN_MEMORY = 2**24  # pixels of a frame whose parts are kept in memory


class PartShelf:
    """Keeps the parts of the blocks of one frame; a context.

    Parameters
    ----------
    folder : path-like or None
        Where; what an earlier run with the same settings has left there is taken over. None: in memory, or for a
        large frame in a temporary folder.
    settings : mapping
        What the parts depend on.
    pixels : int
        Pixels of the frame.

    Raises
    ------
    InputError
        If the folder holds parts with other settings, or something else.
    """

    def __init__(self, folder: str | Path | None, settings: Mapping[str, Any], *, pixels: int) -> None:
        self._parts: dict[int, Mapping[str, npt.NDArray[Any]]] = {}
        self._stack = ExitStack()
        self._folder = None if folder is None else Path(folder)
        if self._folder is not None:
            _claim(self._folder, json.dumps(settings, indent=2))
        elif pixels > _IN_MEMORY:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="napari-unet-")))

    def __enter__(self) -> PartShelf:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the memory and of a temporary folder."""
        self._parts.clear()
        self._stack.close()

    def has(self, number: int) -> bool:
        """Tell whether the part of a block is there."""
        return number in self._parts if self._folder is None else self._path(number).is_file()

    def put(self, number: int, part: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep the part of a block."""
        if self._folder is None:
            self._parts[number] = part
            return
        with atomic_path(self._path(number)) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **part)

    def get(self, number: int, name: str) -> npt.NDArray[Any]:
        """Return one array of the part of a block."""
        if self._folder is None:
            return self._parts[number][name]
        with np.load(self._path(number), allow_pickle=False) as part:
            array: npt.NDArray[Any] = part[name]
            return array

    def clear(self) -> None:
        """Remove the folder: all is done."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"block{number}.npz"


def _claim(folder: Path, settings: str) -> None:
    """Take a folder that is new, or was left by a run with the same settings."""
    plan = folder / "plan.json"
    if plan.is_file():
        if plan.read_text(encoding="utf-8") == settings:
            return
        raise InputError(f"{folder} belongs to a search with other settings; remove it or choose another folder.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds something else; choose another folder for the intermediate results.")
    with atomic_path(plan) as temporary:
        temporary.write_text(settings, encoding="utf-8")
