"""When the person's hand works on the canvas: then the learning waits, so that the drawing has all cores."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any

__all__ = ["Hand"]

_REST_SECONDS = 0.12  # after a move in which nothing else moved


class Hand:
    """Knows when the person last painted, dragged, scrolled or moved the view.

    Parameters
    ----------
    viewer : napari.Viewer
        Its canvas is watched.

    Attributes
    ----------
    moved : float
        When that was, on the monotonic clock.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.moved = 0.0
        self._camera = viewer.scene.camera
        viewer.mouse_drag_callbacks.append(self._on_drag)
        viewer.mouse_wheel_callbacks.append(self._note)
        self._camera.events.connect(self._note)

    def moves(self) -> bool:
        """Return whether it moves at the moment; may be asked from any thread."""
        return time.monotonic() - self.moved < _REST_SECONDS

    def close(self) -> None:
        """Watch no more."""
        for callbacks, callback in (
            (self.viewer.mouse_drag_callbacks, self._on_drag),
            (self.viewer.mouse_wheel_callbacks, self._note),
        ):
            with suppress(ValueError):  # the person's own code may have emptied the list
                callbacks.remove(callback)
        self._camera.events.disconnect(self._note)

    def _note(self, *_: Any) -> None:
        self.moved = time.monotonic()

    def _on_drag(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        self._note()
        yield
        while event.type == "mouse_move":
            self._note()
            yield
        self.moved = 0.0  # a stroke that is finished is answered at once
