"""Writes a session into its folder, again and again, each time only what has changed since.

In the folder are ``session.json``, the packs of strokes in ``strokes``, copies of images in ``images``, and the model.
All but ``session.json`` are written once, under a new name, and never changed; a save ends with a new ``session.json``
in place of the old one. So the folder is whole at every moment, whenever the program is killed.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_unet.errors import SessionError
from napari_unet.session.document import (
    DOCUMENT_NAME,
    ImageEntry,
    SessionDocument,
    StrokesEntry,
    read_document,
    write_document,
)
from napari_unet.session.images import copy_image, fingerprint
from napari_unet.session.lock import unlock, write_lock
from napari_unet.session.packs import merge_packs, packs_to_merge, write_pack
from napari_unet.session.tiles import Box, TileWatch

__all__ = [
    "IMAGES_FOLDER",
    "STROKES_FOLDER",
    "ModelToKeep",
    "SessionState",
    "SessionWriter",
    "held_key",
    "mark_closed",
    "never",
    "pack_paths",
]

STROKES_FOLDER = "strokes"
IMAGES_FOLDER = "images"
MOST_COPY_BYTES = 200_000_000


def never() -> bool:
    """Do not stop."""
    return False


def held_key(key: str) -> str:
    """Return the key of the mask that tells what correction tools painted in strokes.

    Examples
    --------
    >>> held_key("s1")
    's1-held'
    """
    return f"{key}-held"


@dataclass(frozen=True)
class ModelToKeep:
    """A model that belongs to a session.

    Attributes
    ----------
    version : int
        Another number for every model and every training of it.
    name : str
        What the person calls it.
    write : callable
        Writes it to a path.
    is_current : callable
        Whether the model is still the one of this version; asked after it was written.
    """

    version: int
    name: str
    write: Callable[[Path], None]
    is_current: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class SessionState:
    """A session as it is now, in memory.

    Attributes
    ----------
    document : SessionDocument
        What it says about itself; names of files are the writer's and need not be given.
    labels : mapping of str to array-like
        The labels arrays by the key of their entry: the living ones, not copies; and by `held_key` their masks.
    images : mapping of str to array-like
        The images' arrays by key; those whose layer is gone are missing.
    model : ModelToKeep or None
        The model.
    copy_images : bool
        Whether images that have no file are kept as a copy, up to 200 MB each.
    """

    document: SessionDocument = field(default_factory=SessionDocument)
    labels: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Any] = field(default_factory=dict)
    model: ModelToKeep | None = None
    copy_images: bool = True


class SessionWriter:
    """Keeps one session in one folder, which is made when there is something to keep.

    Use it from one thread; only `save_files` may run beside the rest, in a second one.

    Parameters
    ----------
    folder : path-like
        The folder; if there is a session in it already, that one is replaced by the first save.
    locked : bool
        Whether a lock in the folder says that a program works on it, see `napari_unet.session.lock`.

    Attributes
    ----------
    document : SessionDocument or None
        What was written last.
    """

    def __init__(self, folder: str | os.PathLike[str], *, locked: bool = True) -> None:
        self.folder = Path(folder)
        self.document: SessionDocument | None = None
        self._locked = locked
        self._watches: dict[str, TileWatch] = {}
        self._packs: dict[str, tuple[str, ...]] = {}
        self._number = 0
        self._failed = False
        self._files = threading.Lock()
        self._copies: dict[str, str] = {}
        self._fingerprints: dict[str, str] = {}
        self._model: tuple[int, str] | None = None  # version and file

    def save(
        self, state: SessionState, regions: Mapping[str, Sequence[Box] | None] | None = None, *, closed: bool = False
    ) -> bool:
        """Bring the folder up to date.

        Parameters
        ----------
        state : SessionState
            What to keep.
        regions : mapping of str to sequence of boxes or None, optional
            Where to look for new strokes, by key: in some boxes or, with None, everywhere. Other layers are left as
            they are on the disk. Where not given, everything is looked at.
        closed : bool
            Whether the session comes to its good end.

        Returns
        -------
        bool
            Whether there is a session on the disk now; False as long as there was nothing to keep.

        Raises
        ------
        napari_unet.data.storage.StorageError
            If it can't be written. What was there stays whole, and the next save writes what is missing.
        """
        if self.document is not None and not (self.folder / DOCUMENT_NAME).is_file():
            self._start_anew()
        if self._failed:
            regions = None
        packs: dict[str, tuple[str, ...]] = {}
        try:
            for entry in state.document.strokes:
                for key in (entry.key, held_key(entry.key)):
                    packs[key] = self._save_labels(key, state.labels.get(key), regions)
            document = self._complete(state, packs, closed)
            if self.document is None and not document.is_worth_keeping:
                return False
            if self._locked and self.document is None:
                write_lock(self.folder)
            self.document = write_document(self.folder, document)
        except BaseException:
            self._failed = True
            raise
        self._packs, self._failed = packs, False
        for watch in self._watches.values():
            watch.commit()
        return True

    def save_files(self, state: SessionState, should_stop: Callable[[], bool] = never) -> bool:
        """Write the model and copies of images, and take fingerprints; the next `save` tells of them.

        Returns
        -------
        bool
            Whether anything is new.

        Raises
        ------
        napari_unet.data.storage.StorageError
            If a file can't be written.
        """
        new = False
        for entry in state.document.images:
            image = state.images.get(entry.key)
            if image is None or should_stop():
                continue
            if entry.key not in self._fingerprints:
                found = _fingerprint_or_nothing(image)
                with self._files:
                    self._fingerprints[entry.key] = found
                new = True
            if self._wants_copy(entry, image, state):
                name = f"{entry.key}-{uuid.uuid4().hex[:8]}.npy"
                if copy_image(image, self.folder / IMAGES_FOLDER / name, should_stop):
                    with self._files:
                        self._copies[entry.key] = name
                    new = True
        return self._save_model(state.model) or new

    def needs_files(self, state: SessionState) -> bool:
        """Whether `save_files` would have something to do."""
        known = self._model[0] if self._model is not None else None
        return (state.model is not None and state.model.version != known) or any(
            entry.key in state.images
            and (entry.key not in self._fingerprints or self._wants_copy(entry, state.images[entry.key], state))
            for entry in state.document.images
        )

    def tidy(self, should_stop: Callable[[], bool] = never) -> None:
        """Merge packs where there are many, and remove files that are no longer needed.

        Call it at leisure, and not while `save_files` runs.

        Raises
        ------
        UNetError
            If files can't be read or written; the session is as it was.
        """
        if self.document is None:
            return
        for entry in self.document.strokes:
            if should_stop():
                return
            self._merge(entry, "packs", should_stop)
            self._merge(entry, "held", should_stop)
        needed = {name for entry in self.document.strokes for name in (*entry.packs, *entry.held)}
        _remove_all_but(self.folder / STROKES_FOLDER, needed)
        with self._files:
            copies = {entry.copy for entry in self.document.images} | set(self._copies.values())
            models = {self.document.model, self._model[1] if self._model is not None else ""}
        _remove_all_but(self.folder / IMAGES_FOLDER, copies)
        _remove_all_but(self.folder, models, "model-*")

    def close(self) -> None:
        """Take the lock off; the folder stays."""
        if self._locked:
            unlock(self.folder)

    def _save_labels(self, key: str, array: Any, regions: Mapping[str, Sequence[Box] | None] | None) -> tuple[str, ...]:
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
        name = f"{key}-{self._next_number():06d}.npz"
        if write_pack(self.folder / STROKES_FOLDER / name, watch.look(where)):
            packs = (*packs, name)
        return () if watch.is_empty else packs

    def _complete(self, state: SessionState, packs: Mapping[str, tuple[str, ...]], closed: bool) -> SessionDocument:
        """Fill in the names of files, and leave out images that nothing is painted on."""
        document = state.document
        strokes = tuple(
            replace(entry, packs=packs[entry.key], held=packs[held_key(entry.key)]) for entry in document.strokes
        )
        painted = {entry.image for entry in strokes if entry.packs} | {document.image}
        with self._files:
            images = tuple(
                replace(
                    entry,
                    copy=self._copies.get(entry.key, ""),
                    fingerprint=self._fingerprints.get(entry.key, entry.fingerprint),
                )
                for entry in document.images
                if entry.key in painted
            )
            model = self._model[1] if state.model is not None and self._model is not None else ""
        before = self.document.created if self.document is not None else ""
        name = state.model.name if state.model is not None else ""
        return replace(
            document,
            images=images,
            strokes=strokes,
            model=model,
            model_name=name,
            created=before or document.created,
            closed=closed,
        )

    def _wants_copy(self, entry: ImageEntry, image: Any, state: SessionState) -> bool:
        if not state.copy_images or entry.path or entry.key in self._copies or not image.shape:
            return False
        painted = any(strokes.image == entry.key and self._packs.get(strokes.key) for strokes in state.document.strokes)
        size = int(np.prod(image.shape, dtype=np.int64)) * np.dtype(image.dtype).itemsize
        return painted and size <= MOST_COPY_BYTES

    def _save_model(self, model: ModelToKeep | None) -> bool:
        if model is None or (self._model is not None and self._model[0] == model.version):
            return False
        name = f"model-{uuid.uuid4().hex[:8]}.unet.safetensors"
        model.write(self.folder / name)
        if not model.is_current():
            (self.folder / name).unlink(missing_ok=True)
            return False
        with self._files:
            self._model = model.version, name
        return True

    def _merge(self, entry: StrokesEntry, part: Literal["packs", "held"], should_stop: Callable[[], bool]) -> None:
        folder = self.folder / STROKES_FOLDER
        names: tuple[str, ...] = getattr(entry, part)
        paths = [folder / name for name in names]
        key, dtype = (entry.key, entry.dtype) if part == "packs" else (held_key(entry.key), "uint8")
        try:
            count = packs_to_merge([path.stat().st_size for path in paths])
        except OSError as error:
            raise SessionError(f"A file of the session {self.folder} is missing.") from error
        if not count or self.document is None:
            return
        name = f"{key}-{self._next_number():06d}.npz"
        if not merge_packs(folder / name, paths[-count:], len(entry.shape), np.dtype(dtype), should_stop):
            return
        packs = (*names[:-count], name)
        strokes = tuple(
            replace(old, **{part: packs}) if old.key == entry.key else old  # type: ignore[arg-type]
            for old in self.document.strokes
        )
        self.document = write_document(self.folder, replace(self.document, strokes=strokes))
        self._packs[key] = packs

    def _next_number(self) -> int:
        """Return a number that no pack in the folder has."""
        if not self._number:
            taken = (path.stem.rpartition("-")[2] for path in (self.folder / STROKES_FOLDER).glob("*.npz"))
            self._number = max((int(number) for number in taken if number.isdigit()), default=0)
        self._number += 1
        return self._number

    def _start_anew(self) -> None:
        """Write everything again: somebody has removed the folder."""
        self.document = None
        self._packs, self._failed = {}, True
        for watch in self._watches.values():
            watch.forget_all()
        with self._files:
            self._copies, self._model = {}, None


def _fingerprint_or_nothing(image: Any) -> str:
    try:
        return fingerprint(image)
    except Exception:  # whatever a lazy array raises where its file is gone; the image is then known by its shape
        return ""


def _remove_all_but(folder: Path, needed: set[str], pattern: str = "[!.]*") -> None:
    for path in folder.glob(pattern):
        if path.name not in needed:
            path.unlink(missing_ok=True)


def mark_closed(folder: Path) -> None:
    """Note in a session that it came to its end and need not be offered again.

    Raises
    ------
    UNetError
        If it can't be read or written.
    """
    document = read_document(folder)
    if not document.closed:
        write_document(folder, replace(document, closed=True))


def pack_paths(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return where packs of strokes are, in order."""
    return [folder / STROKES_FOLDER / name for name in names]
