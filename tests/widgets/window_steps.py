"""What the tests in a real window do again and again."""

from __future__ import annotations

from typing import Any

from pytestqt.qtbot import QtBot


def until_laid_out(viewer: Any, qtbot: QtBot) -> None:
    """Wait until the canvas has its final size: then nothing moves under the hand that paints."""
    canvas = viewer.window._qt_viewer.canvas.native
    same, before = 0, None
    while same < 3:
        qtbot.wait(100)
        size = (canvas.width(), canvas.height())
        same, before = same + 1 if size == before else 0, size
