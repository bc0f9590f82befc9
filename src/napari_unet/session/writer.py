"""Writes a session into its folder, again and again, each time only what has changed since.

In the folder are ``session.json``, the packs of strokes in ``strokes``, copies of images in ``images``, and the model.
All but ``session.json`` are written once, under a new name, and never changed; a save ends with a new ``session.json``
in place of the old one. So the folder is whole at every moment, whenever the program is killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from napari_unet.session.attachments import Attachments
from napari_unet.session.document import DOCUMENT_NAME, SessionDocument, StrokesEntry, write_document
from napari_unet.session.images import IMAGES_FOLDER
from napari_unet.session.lock import unlock, write_lock
from napari_unet.session.packs import STROKES_FOLDER
from napari_unet.session.state import SessionState
from napari_unet.session.strokes_files import StrokesFiles
from napari_unet.session.tiles import Box

__all__ = ["SessionWriter"]


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
        self._failed = False
        self._strokes = StrokesFiles(self.folder)
        self._attachments = Attachments(self.folder)

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
        try:
            strokes = self._strokes.save(state.document.strokes, state.labels, regions)
            document = self._complete(state, strokes, closed)
            if self.document is None and not document.is_worth_keeping:
                return False
            if self._locked and self.document is None:
                write_lock(self.folder)
            self.document = write_document(self.folder, document)
        except BaseException:
            self._failed = True
            raise
        self._failed = False
        self._strokes.commit()
        return True

    def save_files(self, state: SessionState) -> bool:
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
        return self._attachments.save(state, self._painted_images(state))

    def needs_files(self, state: SessionState) -> bool:
        """Whether `save_files` would have something to do."""
        return self._attachments.are_missing(state, self._painted_images(state))

    def _painted_images(self, state: SessionState) -> set[str]:
        return {entry.image for entry in state.document.strokes if self._strokes.is_painted(entry.key)}

    def tidy(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Merge packs where there are many, and remove files that are no longer needed.

        Call it at leisure, and not while `save_files` runs.

        Raises
        ------
        UNetError
            If files can't be read or written; the session is as it was.
        """
        document = self.document
        if document is None:
            return
        for strokes in self._strokes.merge(document.strokes, should_stop):
            document = self.document = write_document(self.folder, replace(document, strokes=strokes))
        if should_stop():
            return
        needed = {name for entry in document.strokes for name in (*entry.packs, *entry.held)}
        needed |= {entry.copy for entry in document.images} | {document.model} | self._attachments.names()
        for pattern in (f"{STROKES_FOLDER}/[!.]*", f"{IMAGES_FOLDER}/[!.]*", "model-*"):
            for path in self.folder.glob(pattern):
                if path.name not in needed:
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Take the lock off; the folder stays."""
        if self._locked:
            unlock(self.folder)

    def _complete(self, state: SessionState, strokes: tuple[StrokesEntry, ...], closed: bool) -> SessionDocument:
        """Fill in the names of files, and leave out images that nothing is painted on."""
        painted = {entry.image for entry in strokes if entry.packs} | {state.document.image}
        before = self.document.created if self.document is not None else ""
        document = replace(
            state.document,
            images=tuple(entry for entry in state.document.images if entry.key in painted),
            strokes=strokes,
            created=before or state.document.created,
            closed=closed,
        )
        return self._attachments.name_in(document, state.model)

    def _start_anew(self) -> None:
        """Write everything again: somebody has removed the folder."""
        self.document = None
        self._strokes.forget()
        self._attachments.forget()
