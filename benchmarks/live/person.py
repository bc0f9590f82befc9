"""A simulated person: looks at the result in the window, and paints with the mouse where it is most wrong."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.simulated_strokes import stroke_path

__all__ = ["Person", "deepest", "largest_error"]

_LENGTH = 40.0  # of a stroke, in pixels of the image
_STRIDE = 3  # pixels of the image between two events of the mouse
_BETWEEN_MS = 8  # and the time between them
_KEY_TO_MOUSE_MS = 30  # no hand is quicker from a key to a button
_CLASS_KEYS = ("Q", "W")

Path = npt.NDArray[np.float64]


class Person:
    """Has a hand on the mouse and a truth in mind.

    Parameters
    ----------
    viewer : napari.Viewer
        The window.
    truth : numpy.ndarray
        (Y, X) uint8, 0 background and 1 foreground.
    seed : int
        Decides on the bends of the strokes.

    Attributes
    ----------
    inputs : int
        Clicks, keys and strokes so far.
    strokes : int
        Strokes so far.
    keys : int
        Keys that chose a class so far.
    """

    def __init__(self, viewer: Any, truth: npt.NDArray[np.uint8], seed: int) -> None:
        self.viewer, self.truth = viewer, truth
        self.inputs = self.strokes = self.keys = 0
        self._canvas = viewer.window._qt_viewer.canvas.native
        self._class = 0  # on the brush
        self._seed = seed
        # What a person thinks is not done in the thread that is measured.
        self._mind = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def close(self) -> None:
        """Go home."""
        self._mind.shutdown()

    def wait(self, seconds: float) -> None:
        """Let the window go on."""
        from qtpy.QtTest import QTest

        QTest.qWait(round(1000 * seconds))

    def click(self, button: Any) -> None:
        """Click a button."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        self.inputs += 1

    def choose_class(self, kind: int) -> None:
        """Take a class onto the brush with its key, if it is not there."""
        if kind == self._class:
            return
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        QTest.keyClick(self._canvas, getattr(Qt.Key, f"Key_{_CLASS_KEYS[kind]}"))
        QTest.qWait(_KEY_TO_MOUSE_MS)
        self._class = kind
        self.inputs += 1
        self.keys += 1

    def paint_class(self, kind: int, box: tuple[slice, ...], width: float, *, choose: bool = True) -> float:
        """Paint a stroke in the most spacious part of a class in view; returns when it was finished."""
        return self._paint(self._think(roomy_stroke, self.truth[box], kind, width), box, choose=choose)

    def paint_error(self, shown: npt.NDArray[np.bool_], box: tuple[slice, ...], width: float) -> float:
        """Paint where what is shown in view is most wrong; returns when the stroke was finished."""
        return self._paint(self._think(largest_error, shown, self.truth[box], width), box)

    def _think(self, thought: Any, *about: Any) -> tuple[int, Path]:
        self._seed += 1
        answer = self._mind.submit(thought, *about, self._seed)
        while not answer.done():
            self.wait(0.01)
        result: tuple[int, Path] = answer.result()
        return result

    def _paint(self, stroke: tuple[int, Path], box: tuple[slice, ...], *, choose: bool = True) -> float:
        kind, path = stroke
        if choose:
            self.choose_class(kind)
        self._drag(path + [part.start for part in box])
        self.strokes += 1
        self.inputs += 1
        return time.perf_counter()

    def _drag(self, path: Path) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        points = [self._place(point) for point in [*path[::_STRIDE], path[-1]]]
        button, modifier = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        QTest.mousePress(self._canvas, button, modifier, points[0])
        for point in points[1:]:
            QTest.qWait(_BETWEEN_MS)
            QTest.mouseMove(self._canvas, point)
        QTest.qWait(_BETWEEN_MS)
        QTest.mouseRelease(self._canvas, button, modifier, points[-1])

    def _place(self, point: Sequence[float]) -> Any:
        """Return where on the canvas a pixel of the image is."""
        from qtpy.QtCore import QPoint

        camera, size = self.viewer.scene.camera, self._canvas.size()
        across = size.width() / 2 + (point[-1] - camera.center[-1]) * camera.zoom
        down = size.height() / 2 + (point[-2] - camera.center[-2]) * camera.zoom
        return QPoint(round(across), round(down))


def roomy_stroke(truth: npt.NDArray[np.uint8], kind: int, width: float, seed: int) -> tuple[int, Path]:
    """Return a class and the way of a stroke through the middle of its most spacious part."""
    return kind, _stroke_at(truth == kind, truth, width, seed)


def largest_error(
    shown: npt.NDArray[np.bool_], truth: npt.NDArray[np.uint8], width: float, seed: int
) -> tuple[int, Path]:
    """Return the true class of the largest connected error, and the way of a stroke that begins in its middle.

    Where there is no error it is a stroke of background in the most spacious part.

    Examples
    --------
    >>> truth = np.zeros((40, 60), np.uint8); truth[5:35, 5:25] = 1
    >>> shown = np.zeros((40, 60), bool); shown[2:4, 30:50] = True
    >>> kind, path = largest_error(shown, truth, 3, seed=0)
    >>> kind, bool((truth[tuple(np.rint(path).astype(int).T)] == 1).all())
    (1, True)
    """
    pieces, count = ndimage.label(shown != (truth > 0))
    if not count:
        return roomy_stroke(truth, 0, width, seed)
    piece = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    place = deepest(piece)
    kind = int(truth[place])
    return kind, stroke_path(truth, place, np.random.default_rng(seed), length=_LENGTH, width=width)


def _stroke_at(part: npt.NDArray[np.bool_], truth: npt.NDArray[np.uint8], width: float, seed: int) -> Path:
    return stroke_path(truth, deepest(part), np.random.default_rng(seed), length=_LENGTH, width=width)


def deepest(part: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Return the pixel that is farthest from the border of a part."""
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return int(row), int(column)
