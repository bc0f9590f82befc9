"""Predict a large image in the real window: how soon the view is there, and how long the window is held up.

    python -m benchmarks.window_prediction [--size 8192] [--features 16]

A window with a random image and a network that has learnt nothing is opened in a process of its own, under Xvfb where
there is no display. Predict is pressed, the view is moved three times while the prediction runs, which is then stopped
and completed. A block is the longest time in which the window did not come to its turn; beside it stands that of napari
alone: the view is moved while the network runs, but its result is hidden.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reporting import arguments, report
from benchmarks.window_process import in_a_window

LOOKS = ((0.15, 0.85), (0.85, 0.85), (0.85, 0.15))  # where the view goes, as shares of the image


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--size", type=int, default=8192, help="side of the image")
    parser.add_argument("--features", type=int, default=16, help="width of the network")
    parser.add_argument("--window", type=Path, help=argparse.SUPPRESS)  # what the other process does
    options = parser.parse_args(argv)
    if options.window:
        rows = measure(options.size, options.features, options.device, options.threads)
        options.window.write_text(json.dumps(rows))
        return
    size, features = (1536, 2) if options.quick else (options.size, options.features)
    rows = in_a_window(
        "benchmarks.window_prediction", "--size", size, "--features", features, "--device", options.device, "--threads",
        options.threads,
    )  # fmt: skip
    title = f"prediction of {size} x {size} pixels in the window, features {features}"
    report("window_prediction", title, rows, options.out, threads=options.threads, device=options.device)


def measure(size: int, features: int, device: str, threads: int) -> list[dict[str, Any]]:
    """Go through it in a window; returns the rows of the table."""
    window = Window(size, features, device, threads)
    dock, result = window.dock, window.result
    rows = []

    def add(what: str, seconds: float | None) -> None:
        rows.append({"what": what, "seconds": seconds, "longest block (ms)": window.longest_block()})

    view = window.look_at(0.5, 0.5)
    window.wait(1.0)
    window.longest_block()
    dock.panel.predict.click()
    add("the view is predicted", window.until(lambda: bool(result[view].all())))
    for number, place in enumerate(LOOKS, start=1):
        elsewhere = window.look_at(*place)
        add(f"look {number}: that view is predicted", window.until(lambda box=elsewhere: bool(result[box].all())))
    window.layer.visible = False
    window.wait(0.3)
    window.longest_block()
    for step in range(6):
        window.look_at(0.5 + 0.01 * step, 0.5)
        window.wait(0.15)
    add("napari alone, beside the network", None)
    window.layer.visible = True
    window.wait(0.3)
    window.longest_block()
    if dock.runner.is_running:
        dock.panel.predict.click()
    add("Cancel: it has stopped", window.until(lambda: not dock.runner.is_running))
    left = 1 - np.count_nonzero(result) / result.size
    window.wait(0.1)
    window.longest_block()  # of the counting
    dock.panel.predict.click()
    add(f"Predict again: the other {100 * left:.0f} %", window.until(lambda: not dock.runner.is_running))
    assert result.all()
    window.viewer.close()
    return rows


class Window:
    """A window with an image, its dock and a meter of how long the main thread is held up."""

    def __init__(self, size: int, features: int, device: str, threads: int) -> None:
        import napari
        from qtpy.QtCore import Qt, QTimer

        from napari_unet.models.model import Model
        from napari_unet.nets.config import ModelConfig
        from napari_unet.widgets.training.warm_up import is_warm

        self.viewer: Any = napari.Viewer(show=True)
        self.viewer.window.resize(1200, 860)
        grain = np.random.default_rng(0).integers(0, 255, (512, 512), np.uint8)
        self.viewer.add_image(np.tile(grain, (size // 512, size // 512)), name="slide")
        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Segment")
        self.until(is_warm)
        self.dock.choose_task("classes")
        self.dock.panel.window_form.set_values({"threads": max(1, threads - 1), "device": device})
        self.dock.runner.model = Model.create(ModelConfig(features=features))
        self.size = size
        self.layer = next(layer for layer in self.viewer.layers if layer.name == "areas: slide")
        self.result = self.layer.data
        self._last = time.perf_counter()
        self._longest = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter()
        self._longest = max(self._longest, now - self._last)
        self._last = now

    def longest_block(self) -> float:
        """Return the longest block in ms since this was asked last."""
        longest, self._longest = self._longest, 0.0
        return 1000 * longest

    def look_at(self, y: float, x: float) -> tuple[slice, ...]:
        """Move the view there, at one pixel of the image for one of the screen; returns what is in view."""
        from napari_unet.widgets.results.view_region import visible_box

        self.viewer.scene.camera.zoom = 1
        self.viewer.scene.camera.center = (0, y * self.size, x * self.size)
        return visible_box(self.viewer, self.viewer.layers["slide"], self.dock.source)

    def wait(self, seconds: float) -> None:
        """Let the window go on."""
        from qtpy.QtTest import QTest

        QTest.qWait(round(1000 * seconds))

    def until(self, condition: Callable[[], bool]) -> float:
        """Let the window go on until something is so; returns the seconds."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > 600:
                raise TimeoutError("The window did not come to an end within ten minutes.")
            self.wait(0.01)
        return time.monotonic() - began


if __name__ == "__main__":
    main()
