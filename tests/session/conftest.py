"""Sessions for the tests: some labels, what a session says of them, and what is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_unet.session.document import ImageEntry, SessionDocument, StrokesEntry, read_document
from napari_unet.session.packs import fill_from_packs, pack_paths
from napari_unet.session.state import SessionState


@pytest.fixture
def state_of() -> Callable[..., SessionState]:
    """Return ``state_of({"s1": labels})``: a session of these strokes, each on an image of the same shape."""

    def make(labels: Mapping[str, Any], images: Mapping[str, Any] | None = None, **others: Any) -> SessionState:
        strokes = tuple(
            StrokesEntry(key, f"strokes {key}", tuple(array.shape), str(array.dtype), image=f"i{key}", count=1)
            for key, array in labels.items()
        )
        entries = tuple(
            ImageEntry(f"i{key}", f"image {key}", tuple(array.shape), "float32") for key, array in labels.items()
        )
        document = SessionDocument(images=entries, strokes=strokes, classes=(("background", "#56b4e9"),))
        return SessionState(document, dict(labels), dict(images or {}), **others)

    return make


@pytest.fixture
def on_disk() -> Callable[[Path], dict[str, np.ndarray]]:
    """Return ``on_disk(folder)``: the strokes of a session, read as another program would."""

    def read(folder: Path) -> dict[str, np.ndarray]:
        found = {}
        for entry in read_document(folder).strokes:
            array = np.zeros(entry.shape, entry.dtype)
            assert fill_from_packs(array, pack_paths(folder, entry.packs)) == []
            found[entry.key] = array
        return found

    return read
