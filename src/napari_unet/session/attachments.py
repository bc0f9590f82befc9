"""What is kept of a session beside its strokes: the model, copies of images that have no file, and fingerprints.

To write these may take longer than strokes can wait, so it may be done in a second thread.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_unet.session.document import ImageEntry, SessionDocument
from napari_unet.session.images import IMAGES_FOLDER, copy_image, fingerprint
from napari_unet.session.state import ModelToKeep, SessionState

__all__ = ["Attachments"]

_MOST_COPY_BYTES = 200_000_000


class Attachments:
    """Writes models and copies of images, each under a name of its own, and knows what there is.

    Only `save` may run in another thread than the rest.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the session.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._copies: dict[str, str] = {}
        self._fingerprints: dict[str, str] = {}
        self._model: tuple[int, str] | None = None  # version and file

    def are_missing(self, state: SessionState, painted: Container[str]) -> bool:
        """Whether `save` would have something to do."""
        return self._wants_model(state.model) or any(
            entry.key in state.images
            and (entry.key not in self._fingerprints or self._wants_copy(entry, state, painted))
            for entry in state.document.images
        )

    def save(self, state: SessionState, painted: Container[str]) -> bool:
        """Write what is missing; returns whether that is anything.

        Parameters
        ----------
        state : SessionState
            Has the model and the images.
        painted : container of str
            Keys of the images on which something is painted; others are not copied.

        Raises
        ------
        napari_unet.data.storage.StorageError
            If a file can't be written.
        """
        new = False
        for entry in state.document.images:
            image = state.images.get(entry.key)
            if image is None:
                continue
            if entry.key not in self._fingerprints:
                found = _fingerprint_or_nothing(image)
                with self._lock:
                    self._fingerprints[entry.key] = found
                new = True
            if self._wants_copy(entry, state, painted):
                name = f"{entry.key}-{uuid.uuid4().hex[:8]}.npy"
                copy_image(image, self.folder / IMAGES_FOLDER / name)
                with self._lock:
                    self._copies[entry.key] = name
                new = True
        return self._save_model(state.model) or new

    def name_in(self, document: SessionDocument, model: ModelToKeep | None) -> SessionDocument:
        """Return a document that names the files of its images, and of the model where there is one."""
        with self._lock:
            images = tuple(
                replace(
                    entry,
                    copy=self._copies.get(entry.key, ""),
                    fingerprint=self._fingerprints.get(entry.key, entry.fingerprint),
                )
                for entry in document.images
            )
            file = self._model[1] if model is not None and self._model is not None else ""
        return replace(document, images=images, model=file, model_name="" if model is None else model.name)

    def names(self) -> set[str]:
        """Return the names of the files that the next document may name."""
        with self._lock:
            return {*self._copies.values(), "" if self._model is None else self._model[1]}

    def forget(self) -> None:
        """Take nothing for written: the files are gone."""
        with self._lock:
            self._copies, self._model = {}, None

    def _wants_copy(self, entry: ImageEntry, state: SessionState, painted: Container[str]) -> bool:
        image = state.images[entry.key]
        if not state.copy_images or entry.path or entry.key in self._copies or not image.shape:
            return False
        size = int(np.prod(image.shape, dtype=np.int64)) * np.dtype(image.dtype).itemsize
        return entry.key in painted and size <= _MOST_COPY_BYTES

    def _wants_model(self, model: ModelToKeep | None) -> bool:
        return model is not None and (self._model is None or self._model[0] != model.version)

    def _save_model(self, model: ModelToKeep | None) -> bool:
        if model is None or not self._wants_model(model):
            return False
        name = f"model-{uuid.uuid4().hex[:8]}.unet.safetensors"
        model.write(self.folder / name)
        if not model.is_current():
            (self.folder / name).unlink(missing_ok=True)
            return False
        with self._lock:
            self._model = model.version, name
        return True


def _fingerprint_or_nothing(image: Any) -> str:
    try:
        return fingerprint(image)
    except Exception:  # whatever a lazy array raises where its file is gone; the image is then known by its shape
        return ""
