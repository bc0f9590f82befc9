"""Sessions in the dock: saved by themselves, offered back after a crash, saved and opened as folders by the person."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFileDialog

from napari_unet.errors import InputError
from napari_unet.session.document import DOCUMENT_NAME, ImageEntry, SessionDocument
from napari_unet.session.library import KeptSession, SessionLibrary
from napari_unet.session.recorder import RecorderEvent
from napari_unet.session.state import SessionState
from napari_unet.session.writer import SessionWriter
from napari_unet.widgets.parts.worker import Job, StopCheck, Work
from napari_unet.widgets.results.layers import usable_as_source
from napari_unet.widgets.sessions.bring_in import Brought, bring_in, put_under
from napari_unet.widgets.sessions.loading import (
    FoundImage,
    LoadedSession,
    OpenImage,
    load_session,
    read_image_file,
)
from napari_unet.widgets.sessions.part import Offer
from napari_unet.widgets.sessions.settings import autosave_wanted
from napari_unet.widgets.sessions.watch import RemovedStrokes, SessionWatch

if TYPE_CHECKING:
    from napari_unet.widgets.segment.dock import SegmentDock

__all__ = ["SessionDesk", "describe_session"]

_LOOK_MS = 500  # after the dock has been made: what was not closed is looked for


class _Voice(QObject):
    """Carries what the recorder says from its thread into the window's."""

    said = Signal(object)

    def say(self, event: RecorderEvent) -> None:
        """Pass an event on; whoever holds this method keeps the object, which a signal's own `emit` does not."""
        self.said.emit(event)


def describe_session(document: SessionDocument, now: datetime) -> str:
    """Say in a few words when a session was saved and what is in it.

    Examples
    --------
    >>> document = SessionDocument(saved="2026-03-01T14:02:11+01:00")
    >>> describe_session(document, datetime.fromisoformat("2026-03-01T15:00:00+01:00"))
    'A session from 14:02'
    """
    saved = datetime.fromisoformat(document.saved).astimezone(now.tzinfo)
    when = f"{saved:%H:%M}" if saved.date() == now.date() else f"{saved:%Y-%m-%d %H:%M}"
    words = []
    images = len({entry.image or entry.key for entry in document.painted})
    if images:
        count = document.stroke_count
        what = f"{count} stroke{'s' * (count != 1)}" if count else "labels"
        words.append(f"{what} on {images} image{'s' * (images != 1)}")
    if document.model:
        words.append("a model")
    return f"A session from {when}" + (f" with {' and '.join(words)}" if words else "")


class SessionDesk:
    """Everything that has to do with sessions.

    Parameters
    ----------
    dock : SegmentDock
        Its panel has the parts, its layers are kept.
    library : SessionLibrary, optional
        Where sessions are kept.
    """

    def __init__(self, dock: SegmentDock, library: SessionLibrary | None = None) -> None:
        self.dock = dock
        self.panel, self.message = dock.panel, dock.panel.message
        self.library = SessionLibrary() if library is None else library
        self._voice = _Voice()
        self._voice.said.connect(self._on_recorder)
        self.watch = SessionWatch(dock, self.library, self._voice.say, self._on_removed)
        self._job: Job | None = None
        self._looks = False
        self._next: Callable[[], None] | None = None
        self._closed = False
        self._restored: list[tuple[KeptSession, set[str]]] = []
        self._offered: dict[Path, Offer] = {}
        part = self.panel.session
        part.save.clicked.connect(self._on_save)
        part.open.clicked.connect(self._on_open)
        part.restore.clicked.connect(self.restore_last)
        part.bring_back.clicked.connect(self.bring_back)
        self._later = QTimer()
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._look_for_unfinished)
        self._later.start(_LOOK_MS)
        self._show_status()

    @property
    def is_busy(self) -> bool:
        """Whether a session is being read or written on the person's demand."""
        return self._job is not None

    def close(self) -> None:
        """Have the rest saved, in the background, and end."""
        self._later.stop()
        self._closed = True
        self._next = None
        if self._job is not None:
            self._job.abort()
            self._job = None
        self.watch.close()

    # ---- saved by itself

    def _on_recorder(self, event: RecorderEvent) -> None:
        if self._closed:
            return  # what it would be shown in may be gone
        if event.kind == "failed":
            why = event.problem.removesuffix(".")
            self.message.problem(f"The session can't be saved by itself: {why}. You can paint on; it is tried again.")
        elif event.kind == "recovered":
            self.message.note("The session is saved by itself again.")
        elif event.kind == "saved":
            self._dismiss_restored()
        words = {"saved": "Saved by itself at", "failed": "Not saved by itself since"}
        self._show_status(f"{words[event.kind]} {datetime.now():%H:%M:%S}." if event.kind in words else "")

    def _show_status(self, text: str = "") -> None:
        if not autosave_wanted():
            text = "Autosave is off: see napari's Preferences > Plugins > U-Net."
        self.panel.session.status.setText(text or "Saved by itself while you paint.")
        self.panel.session.bring_back.setVisible(bool(self.watch.removed))

    def _dismiss_restored(self) -> None:
        """Offer a session no longer as soon as the new one holds all that it held."""
        recorder = self.watch.recorder
        document = recorder.writer.document if recorder is not None else None
        if document is None:
            return
        painted = {entry.key for entry in document.painted}
        for pair in list(self._restored):
            if pair[1] <= painted:
                self._restored.remove(pair)
                self._dismiss(pair[0])

    def _dismiss(self, kept: KeptSession) -> None:
        with self.message.reporting("Putting the session away"):
            self.library.dismiss(kept)

    # ---- after a crash

    def _look_for_unfinished(self) -> None:
        if self._job is not None:
            self._later.start(_LOOK_MS)
            return

        def work(should_stop: StopCheck) -> Generator[Any, None, None]:
            self.library.prune()
            yield self.library.unfinished()

        self._start(work, self._offer, "Looking for sessions")
        self._looks = True

    def _offer(self, unfinished: list[KeptSession]) -> None:
        now = datetime.now().astimezone()
        for kept in unfinished:
            text = f"{describe_session(kept.document, now)} was not closed."
            offer = Offer(
                text,
                ("Restore", partial(self.restore, kept)),
                ("Forget", partial(self._dismiss, kept)),
                "Do not offer it again; 'Restore last session' still finds it until newer ones take its place.",
            )
            self._offered[kept.folder] = offer
            self.panel.offer.add(offer)

    def restore(self, kept: KeptSession) -> None:
        """Bring a session back into the window."""
        self._load(kept.folder, partial(self._after_restore, kept))

    def restore_last(self) -> None:
        """Bring back the last session that was saved by itself and that no window works on."""

        def work(should_stop: StopCheck) -> Generator[Any, None, None]:
            yield self.library.sessions()[:1]

        def found(sessions: list[KeptSession]) -> None:
            if not sessions:
                self.message.problem("There is no earlier session: none was saved by itself yet.")
                return
            offer = self._offered.pop(sessions[0].folder, None)
            if offer is not None:
                self.panel.offer.take_back(offer)
            self.restore(sessions[0])

        self._start(work, found, "Looking for sessions")

    def _after_restore(self, kept: KeptSession, keys: set[str]) -> None:
        self._restored.append((kept, keys))
        if not autosave_wanted():
            self._dismiss(kept)
        self.watch.look()

    # ---- removed layers

    def _on_removed(self, removed: RemovedStrokes) -> None:
        self.message.note(
            f"The strokes '{removed.layer.name}' were removed; Session > Bring back removed strokes undoes that."
        )
        self._show_status()

    def bring_back(self) -> None:
        """Put the strokes layer that was removed last back into the window."""
        if not self.watch.removed:
            return
        removed = self.watch.removed.pop()
        self.dock.viewer.add_layer(removed.layer)
        if isinstance(removed.image, Image) and removed.image in self.dock.viewer.layers:
            self.dock.notes.set_strokes(removed.image, removed.layer)  # also where others were begun meanwhile
            self.dock.image_chooser.choose(removed.image)
            self.dock.update_image()
        self.message.clear_message()
        self._show_status()
        self.watch.look_soon()

    # ---- folders of the person's

    def _on_save(self) -> None:
        name = f"{self.dock.image.name if self.dock.image is not None else 'my'}.unet-session"
        path, _ = QFileDialog.getSaveFileName(self.dock, "Save the session as a folder", name)
        if path:
            self.save_to(path)

    def save_to(self, path: str | Path) -> None:
        """Save the session as a folder, in a worker; a session that is there already is replaced."""
        state, folder = self.watch.state(), Path(path)

        def work(should_stop: StopCheck) -> Generator[Any, None, None]:
            yield _save_session(state, folder)

        def done(document: SessionDocument) -> None:
            large = [f"'{entry.name}'" for entry in document.images if not entry.path and not entry.copy]
            note = f"The session is saved as {folder.name}."
            if large:
                note += f" Its pixels are not in it: {', '.join(large)}; save the image to a file."
            self.message.note(note)

        self._start(work, done, "Saving the session")

    def _on_open(self) -> None:
        path = QFileDialog.getExistingDirectory(self.dock, "Open a session: choose its folder")
        if path:
            self.open_from(path)

    def open_from(self, path: str | Path) -> None:
        """Open a saved session in this window, beside what is there."""
        self._load(Path(path), lambda keys: self.watch.look())

    def _load(self, folder: Path, then: Callable[[set[str]], None]) -> None:
        opened = [
            OpenImage(str(layer.unique_id), layer.data[0] if layer.multiscale else layer.data, layer.source.path or "")
            for layer in self.dock.viewer.layers
            if usable_as_source(layer)
        ]
        with_model = self.dock.runner.model is None

        def work(should_stop: StopCheck) -> Generator[Any, None, None]:
            yield from load_session(folder, opened, should_stop, with_model=with_model)

        def done(loaded: LoadedSession) -> None:
            brought = bring_in(self.dock, self.watch, loaded)
            self._tell(loaded, brought)
            then(brought.keys)

        self._start(work, done, "Opening the session")

    def _tell(self, loaded: LoadedSession, brought: Brought) -> None:
        """Say what was brought in, and ask for the images that were not found."""
        now = datetime.now().astimezone()
        text = f"{describe_session(loaded.document, now)} is open."
        if loaded.problems or brought.notes:
            self.message.problem(" ".join([text, *loaded.problems, *brought.notes]))
        else:
            self.message.note(text)
        for image, strokes in brought.missing:
            where = f"'{image.path}'" if image.path else "any file"
            self.panel.offer.add(
                Offer(
                    f"The image '{image.name}' was not found in {where}. Its strokes are here.",
                    ("Find the file…", partial(self._on_find, image, strokes)),
                    ("Leave it", lambda: None),
                    "Go on without the image; the strokes stay.",
                )
            )

    def _on_find(self, image: ImageEntry, strokes: Labels) -> None:
        path, _ = QFileDialog.getOpenFileName(self.dock, f"Where is the image '{image.name}'?", image.path)
        if path:
            self.find_image(image, strokes, path)

    def find_image(self, image: ImageEntry, strokes: Labels, path: str | Path) -> None:
        """Read an image that was not found from another file, and put it under its strokes."""

        def work(should_stop: StopCheck) -> Generator[Any, None, None]:
            yield read_image_file(image, str(path))

        def done(found: FoundImage) -> None:
            put_under(self.dock, image, found, strokes)
            if found.changed:
                self.message.note(f"The image in {Path(path).name} is another than the one that was painted on.")

        self._start(work, done, "Reading the image")

    def _start(self, work: Work, done: Callable[[Any], None], doing: str) -> None:
        if self._looks and self._next is None:
            self._next = partial(self._start, work, done, doing)
            return
        if self._job is not None:
            self.message.problem("A session is being read or saved; wait until that is done.")
            return

        results: list[Any] = []

        def end() -> None:
            self._job, self._looks = None, False
            following, self._next = self._next, None
            for result in results:
                with self.message.reporting(doing):
                    done(result)
            if following is not None:
                following()

        def fail(error: Exception) -> None:
            self.message.failure(error, doing)

        self._job = Job(work, on_event=results.append, on_error=fail, on_finished=end)


def _save_session(state: SessionState, folder: Path) -> SessionDocument:
    """Write a whole session into a folder that is new, empty, or holds a session.

    Raises
    ------
    UNetError
        If there is nothing to save, the folder holds something else, or it can't be written.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / DOCUMENT_NAME).exists()):
        raise InputError(f"{folder} is there already and is no session; choose another name.")
    writer = SessionWriter(folder, locked=False)
    there = writer.save(state, closed=True)
    if there or state.model is not None:
        writer.save_files(state)
        there = writer.save(state, {}, closed=True)
    if not there or writer.document is None:
        raise InputError("There is nothing to save yet: paint a few strokes first.")
    writer.tidy()
    return writer.document
