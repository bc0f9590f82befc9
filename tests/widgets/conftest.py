"""A person's hand and eye for the tests of the window."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from superqt.utils import GeneratorWorker

from napari_unet.widgets.parts import worker
from napari_unet.widgets.parts.scrolling_dock import ScrollingDock
from napari_unet.widgets.segment.dock import SegmentDock

WAIT_MS = 120_000  # for what must come: on a machine that others keep busy it may take long


class PatientBot(QtBot):
    """Waits long for what must come: a test whose wait is too short fails where the program is right."""

    def waitUntil(self, callback: Callable[[], Any], *, timeout: int = WAIT_MS) -> None:
        super().waitUntil(callback, timeout=timeout)

    def waitSignal(self, *arguments: Any, timeout: int = WAIT_MS, **options: Any) -> Any:
        return super().waitSignal(*arguments, timeout=timeout, **options)


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> QtBot:
    return PatientBot(request)


@pytest.fixture(autouse=True)
def _given_up_work_is_over() -> Iterator[None]:
    """Wait for threads whose worker was told to quit: until they end, they change what PyTorch does in all threads."""
    yield
    for thread in threading.enumerate():
        if isinstance(thread, worker._Pump) and thread._abandoned.is_set():
            thread.join(WAIT_MS / 1000)
            assert not thread.is_alive()


class Hand:
    """Presses mouse buttons and keys on the canvas of a real window."""

    def __init__(self, viewer: Any, qtbot: QtBot) -> None:
        self.viewer = viewer
        self.qtbot = qtbot
        self.canvas = viewer.window._qt_viewer.canvas.native

    def place(self, point: Sequence[float]) -> QPoint:
        """Return where on the canvas a point of the world is, given along the two last displayed axes."""
        camera = self.viewer.scene.camera
        size = self.canvas.size()
        across = size.width() / 2 + (point[-1] - camera.center[-1]) * camera.zoom
        down = size.height() / 2 + (point[-2] - camera.center[-2]) * camera.zoom
        return QPoint(round(across), round(down))

    def stroke(self, points: Sequence[Sequence[float]]) -> None:
        """Drag the brush over these points."""
        first, last = self.place(points[0]), self.place(points[-1])
        QTest.mousePress(self.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, first)
        for point in points[1:]:
            QTest.mouseMove(self.canvas, self.place(point))
            self.qtbot.wait(1)
        QTest.mouseRelease(self.canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, last)
        self.qtbot.wait(1)

    def press(self, key: Qt.Key) -> None:
        """Press a key while the canvas has the focus."""
        QTest.keyClick(self.canvas, key)
        self.qtbot.wait(1)

    def click(self, button: Any) -> None:
        """Click a button."""
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)


class GapMeter:
    """Measures how long the main thread does not come to its turn."""

    def __init__(self) -> None:
        self._gaps_ms: list[float] = []
        self._last = self._used = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._tick)

    def start(self) -> None:
        self._gaps_ms.clear()
        self._last = time.perf_counter()
        self._used = time.process_time()
        self._timer.start()

    def stop(self) -> list[float]:
        """Return all gaps in ms, the longest first."""
        self._timer.stop()
        return sorted(self._gaps_ms, reverse=True)

    def _tick(self) -> None:
        now, used = time.perf_counter(), time.process_time()
        gap = now - self._last
        if gap < 1 or used - self._used > 0.1 * gap:  # else the whole machine stood still, worker and all
            self._gaps_ms.append(1000 * gap)
        self._last, self._used = now, used


@pytest.fixture
def hand_for(qtbot: QtBot) -> Callable[[Any], Hand]:
    return lambda viewer: Hand(viewer, qtbot)


@pytest.fixture
def gap_meter(qtbot: QtBot) -> Iterator[GapMeter]:
    meter = GapMeter()
    yield meter
    meter.stop()


@pytest.fixture
def spots() -> Callable[..., np.ndarray]:
    """Return ``spots(shape)``: bright discs (balls) on a dark, noisy ground, as float32, and their labels."""

    def make(shape: tuple[int, ...] = (96, 96), count: int = 12, radius: float = 7.0) -> Any:
        rng = np.random.default_rng(7)
        grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
        labels = np.zeros(shape, np.uint16)
        for number in range(1, count + 1):
            centre = [rng.uniform(0, n) for n in shape]
            away = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
            labels[(away < radius**2) & (labels == 0)] = number
        image = rng.normal(0.2, 0.05, shape) + 0.6 * (labels > 0)
        return image.astype(np.float32), labels

    return make


class Driver:
    """Uses a dock without a window: paints, presses its buttons and waits for its workers."""

    def __init__(self, qtbot: QtBot) -> None:
        self.qtbot = qtbot

    def paint(self, dock: SegmentDock, truth: np.ndarray) -> None:
        """Paint lines of background and some objects."""
        strokes = dock.strokes
        assert strokes is not None
        rows = np.zeros(truth.shape, bool)
        rows[..., ::6, :] = True
        for label, mask in ((1, rows & (truth == 0)), (2, truth > 3)):
            strokes.selected_label = label
            strokes.data_setitem(np.nonzero(mask), label)

    def run(self, dock: SegmentDock) -> None:
        """Press Train and wait until training and prediction are over."""
        dock.panel.train.click()
        self.wait(dock)

    def start_training(self, dock: SegmentDock) -> None:
        """Press Train for a training without an end, and wait for its first steps."""
        dock.panel.train_form.set_values({"max_steps": None})
        dock.panel.seconds.setValue(600)
        dock.panel.train.click()
        self.qtbot.waitUntil(lambda: dock.runner.status.steps > 2)

    def wait(self, dock: SegmentDock) -> None:
        self.qtbot.waitUntil(lambda: not dock.runner.is_running)

    def messages(self) -> list[str]:
        """Return what napari was asked to notify."""
        return [record.message for record in notification_manager.records]

    def result_of(self, viewer: ViewerModel, start: str = "objects") -> Any:
        return next(layer for layer in viewer.layers if layer.name.startswith(start))


@pytest.fixture
def do(qtbot: QtBot) -> Driver:
    return Driver(qtbot)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def docks(qtbot: QtBot) -> Iterator[list[ScrollingDock]]:
    """Return an empty list; the docks that are put into it are closed when the test is over."""
    opened: list[ScrollingDock] = []
    yield opened
    for dock in opened:
        dock.close_dock()
    GeneratorWorker.await_workers(30_000)
    qtbot.wait(20)
    for dock in opened:
        dock.deleteLater()
    qtbot.wait(1)


@pytest.fixture
def make_dock(viewer: ViewerModel, docks: list[ScrollingDock]) -> Callable[[], SegmentDock]:
    """Return a function that makes a dock with a tiny network and very short trainings."""

    def make() -> SegmentDock:
        dock = SegmentDock(viewer)  # type: ignore[arg-type]
        dock.panel.model_form.set_values({"features": 4, "depth": 1})
        dock.panel.train_form.set_values({"max_steps": 3, "crop": 32, "batch_size": 2, "validate_every": 2})
        dock.panel.seconds.setValue(60)
        dock.panel.window_form.set_values({"answers": False})
        docks.append(dock)
        notification_manager.records.clear()
        return dock

    return make


@pytest.fixture
def painted(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Callable[..., Any], do: Driver
) -> SegmentDock:
    """Return a dock with an image on which background and a few objects are painted."""
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots", scale=(0.5, 0.5), units=("um", "um"))
    dock = make_dock()
    do.paint(dock, truth)
    return dock
