"""What the tests in a real window do again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


@contextmanager
def own_application(name: str) -> Iterator[None]:
    """Let windows have an application of their own, as those of napari's fixture have, whatever was opened before."""
    from app_model import Application
    from napari._app_model._app import NapariApplication, _napari_names
    from napari._qt._qapp_model.qactions import init_qactions
    from napari.plugins import _initialize_plugins

    application = NapariApplication(name)
    application.injection_store.namespace = _napari_names
    _initialize_plugins.cache_clear()
    init_qactions.cache_clear()
    with patch.object(NapariApplication, "get_app_model", return_value=application):
        try:
            yield
        finally:
            Application.destroy(name)
            _initialize_plugins.cache_clear()
            init_qactions.cache_clear()
            gc.collect()  # napari's fixture refuses to open a window while a closed one is alive


def until_laid_out(viewer: Any, qtbot: QtBot) -> None:
    """Wait until the canvas has its final size: then nothing moves under the hand that paints."""
    canvas = viewer.window._qt_viewer.canvas.native
    same, before = 0, None
    while same < 3:
        qtbot.wait(100)
        size = (canvas.width(), canvas.height())
        same, before = same + 1 if size == before else 0, size


def longest_block_of_napari(viewer: Any, result: Any, qtbot: QtBot, gap_meter: Any) -> float:
    """Return how long the main thread is held up, in ms, when napari draws beside a worker whose result is hidden.

    Without a graphics card the processor draws, too, so that the two share it.
    """
    result.visible = False
    qtbot.wait(300)
    gap_meter.start()
    y, x = viewer.scene.camera.center[-2:]
    for step in range(1, 7):
        viewer.scene.camera.center = (0, y + step, x)
        qtbot.wait(150)
    longest: float = gap_meter.stop()[0]
    viewer.scene.camera.center = (0, y, x)
    result.visible = True
    qtbot.wait(300)
    return longest
