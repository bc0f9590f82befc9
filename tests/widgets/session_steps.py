"""What the tests of sessions do again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from napari.layers._source import layer_source
from pytestqt.qtbot import QtBot

from napari_unet.session.document import read_document
from napari_unet.session.packs import fill_from_packs, pack_paths
from napari_unet.widgets.segment.dock import SegmentDock


def wait_idle(dock: SegmentDock, qtbot: QtBot) -> None:
    """Wait until the dock has looked for sessions, and done what it was asked for."""
    desk = dock.session
    qtbot.waitUntil(lambda: not desk._later.isActive() and not desk.is_busy)


def close(dock: SegmentDock) -> None:
    dock.close_dock()
    if dock.session.watch.last is not None:
        assert dock.session.watch.last.wait()


def crash(dock: SegmentDock) -> None:
    """Leave the session as a program does that crashed."""
    watch = dock.session.watch
    watch.look()
    assert watch.recorder is not None
    watch.recorder.close(keep_open=True)
    assert watch.recorder.wait()
    watch.recorder = None
    dock.close_dock()


def strokes_on_disk(sessions: Path) -> tuple[np.ndarray | None, int]:
    """Return what the only layer of the only session on the disk holds, and its strokes; (None, 0) without one."""
    for path in sessions.glob("*/session.json"):
        for entry in read_document(path.parent).strokes:
            labels = np.zeros(entry.shape, entry.dtype)
            assert fill_from_packs(labels, pack_paths(path.parent, entry.packs)) == []
            return labels, entry.count
    return None, 0


def image_on_disk(dock: SegmentDock, path: Path, image: np.ndarray, **place: Any) -> Any:
    """Put an image into the window as one that was read from a file."""
    np.save(path, image)
    with layer_source(path=str(path), reader_plugin="napari"):
        return dock.viewer.add_image(image, name=path.stem, **place)


def paint(dock: SegmentDock, label: int, row: int) -> None:
    strokes = dock.strokes
    assert strokes is not None
    columns = np.arange(5, 40)
    strokes.data_setitem((np.full_like(columns, row), columns), label)


def layer_names(dock: SegmentDock) -> list[str]:
    return [layer.name for layer in dock.viewer.layers]


def tiny_model() -> Any:
    from napari_unet.models.model import Model
    from napari_unet.nets.config import ModelConfig

    return Model.create(ModelConfig(features=2, depth=1))
