"""Docks whose sessions are kept apart from all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.session_steps import close, image_on_disk, paint, wait_idle

PLACE = {"scale": (0.5, 0.25), "translate": (3, 4), "rotate": 20, "units": ("um", "um"), "axis_labels": ("y", "x")}


@pytest.fixture(autouse=True)
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the sessions of each test apart."""
    monkeypatch.setenv("NAPARI_UNET_SESSIONS", str(tmp_path / "sessions"))
    return tmp_path / "sessions"


@pytest.fixture
def other_dock(qtbot: QtBot) -> Iterator[Callable[[], SegmentDock]]:
    """Return a function that opens a dock in a window of its own."""
    docks: list[SegmentDock] = []

    def make() -> SegmentDock:
        docks.append(SegmentDock(ViewerModel()))  # type: ignore[arg-type]
        wait_idle(docks[-1], qtbot)
        return docks[-1]

    yield make
    for dock in docks:
        close(dock)
        dock.deleteLater()


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).random((60, 80)).astype(np.float32)


@pytest.fixture
def painted_session(other_dock: Any, tmp_path: Path, image: np.ndarray, qtbot: QtBot) -> SegmentDock:
    """Return a dock in which three strokes were painted on an image from a file."""
    dock: SegmentDock = other_dock()
    layer = image_on_disk(dock, tmp_path / "cells.npy", image, **PLACE)
    layer.contrast_limits = (0.1, 0.7)
    qtbot.waitUntil(lambda: dock.strokes is not None)
    dock.choose_task("classes")
    dock.classes.table.rename(1, "nucleus")
    dock.classes.table.add("wall", "#123456")
    dock.panel.seconds.setValue(17)
    dock.panel.train_form.set_values({"seed": 5})
    for label in (1, 2, 3):
        paint(dock, label, 10 * label)
    return dock
