"""The folder in which sessions are kept by themselves: one for each window, the newest few of them."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import platformdirs

from napari_unet.errors import UNetError
from napari_unet.session.document import DOCUMENT_NAME, SessionDocument, mark_closed, read_document
from napari_unet.session.lock import is_locked

__all__ = ["KeptSession", "SessionLibrary", "default_folder"]

_VARIABLE = "NAPARI_UNET_SESSIONS"
_MOST_SESSIONS = 8
_MOST_BYTES = 4_000_000_000
_UNFINISHED_SECONDS = 24 * 3600.0


def default_folder() -> Path:
    """Return where sessions are kept: in the user's data folder, or where the variable NAPARI_UNET_SESSIONS says."""
    named = os.environ.get(_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_data_dir("napari-unet", appauthor=False)) / "sessions"


@dataclass(frozen=True)
class KeptSession:
    """A session that lies in the folder.

    Attributes
    ----------
    folder : pathlib.Path
        Where it is.
    document : SessionDocument
        What it says about itself.
    """

    folder: Path
    document: SessionDocument

    @property
    def saved(self) -> datetime:
        """When it was saved last."""
        return datetime.fromisoformat(self.document.saved)


class SessionLibrary:
    """The sessions in one folder.

    Parameters
    ----------
    folder : path-like, optional
        Where they are; `default_folder` where not given.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)

    def new_folder(self) -> Path:
        """Return a name for a new session, which no other window has; nothing is made."""
        return self.folder / f"{datetime.now():%Y-%m-%d %H-%M-%S} {uuid.uuid4().hex[:8]}"

    def sessions(self) -> list[KeptSession]:
        """List the sessions that no program works on, the last saved first; damaged ones are left out."""
        found = []
        for folder in self._folders():
            try:
                kept = KeptSession(folder, read_document(folder))
                kept.saved.timestamp()
            except (UNetError, ValueError):
                continue
            if kept.document.is_worth_keeping and not is_locked(folder):
                found.append(kept)
        return sorted(found, key=lambda kept: kept.saved, reverse=True)

    def unfinished(self) -> list[KeptSession]:
        """List the sessions that were worked on and not closed: their program was killed or crashed."""
        return [kept for kept in self.sessions() if kept.document.was_worked_on and not kept.document.closed]

    def dismiss(self, kept: KeptSession) -> None:
        """Do not offer a session again; it stays until newer ones need its place.

        Raises
        ------
        UNetError
            If it can't be written.
        """
        mark_closed(kept.folder)

    def prune(self, *, most_sessions: int = _MOST_SESSIONS, most_bytes: int = _MOST_BYTES) -> None:
        """Remove the oldest sessions beyond a number and a size, those that were closed well first.

        The newest one stays whatever its size, and those that programs work on.
        """
        ordered = sorted(self.sessions(), key=lambda kept: (kept.document.closed, -kept.saved.timestamp()))
        total = 0
        for number, kept in enumerate(ordered):
            total += _size(kept.folder)
            if number >= most_sessions or (number > 0 and total > most_bytes):
                _remove(kept.folder)
        for folder in self._folders():  # leftovers of programs that were killed before their first save
            if not (folder / DOCUMENT_NAME).exists() and _age(folder) > _UNFINISHED_SECONDS and _is_ours(folder):
                _remove(folder)

    def _folders(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if path.is_dir() and not path.is_symlink()]
        except OSError:
            return []


def _is_ours(folder: Path) -> bool:
    known = ("strokes", "images", "lock.json", "model-", ".")
    return not is_locked(folder) and all(path.name.startswith(known) for path in folder.iterdir())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _age(folder: Path) -> float:
    return time.time() - folder.stat().st_mtime


def _remove(folder: Path) -> None:
    """Remove a session; its document goes first, so that what may be left is no session any more."""
    try:
        (folder / DOCUMENT_NAME).unlink(missing_ok=True)
    except OSError:
        return
    shutil.rmtree(folder, ignore_errors=True)
