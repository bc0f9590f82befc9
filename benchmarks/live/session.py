"""One person's session on one image, from the empty window to the last round, with all that is measured in it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.live.meters import Frames, Heartbeat, LateStacks, Learning, Shown, memory_mb
from benchmarks.live.person import Person
from benchmarks.live.scenes import Scene

__all__ = ["Session"]

_SHOWN_BY_ITSELF = 3.0  # seconds after which a person who sees nothing presses Train
_PATIENCE = 60.0
_DOCK_WIDTH = 380  # pixels of the screen; about that of the plugin's
_WARM_UP = 0.2  # part of a long run after which its memory is taken as the beginning


class Session:
    """A window with an image in which a person works.

    Parameters
    ----------
    scene : Scene
        The image and its truth.
    canvas : int
        Sides of the canvas in pixels of the screen.
    threads : int or None
        Threads of the network; None: as the dock chooses.
    seed : int
        Of the person's hand.
    looking : float
        Seconds for which the person looks at the result in each round.
    panning : float
        Seconds for which frames are counted.
    """

    def __init__(
        self, scene: Scene, *, canvas: int, threads: int | None, seed: int, looking: float, panning: float
    ) -> None:
        import napari

        self.scene, self.looking, self._panning = scene, looking, panning
        self.viewer: Any = napari.Viewer(show=True)
        self.viewer.window.resize(canvas + 500, canvas + 120)
        self.image = self.viewer.add_image(scene.image, name="image", rgb=scene.image.ndim == 3)
        self.frames, self.heartbeat, self.learning = Frames(self.viewer), Heartbeat(), Learning()
        self.stacks = LateStacks(self.heartbeat)
        self.shown = Shown(self.frames, self.learning)
        self.person = Person(self.viewer, scene.truth, seed)
        self.answers: list[float] = []
        self.dices: list[float] = []
        self._threads = threads
        self._canvas = canvas
        self._look_at_middle()

    def run(self, rounds: int, minutes: float) -> dict[str, Any]:
        """Go through it; returns what was measured."""
        found: dict[str, Any] = {"frames per second without the plugin": self._frames_per_second()}
        found |= self._work_without_the_plugin(rounds + 2)
        self._open_dock()
        with self.heartbeat.counting():
            found["first result (s)"] = self._first_result()
            found["inputs to the first result"] = self.person.inputs
            self._train()
            before = self.person.inputs - self.person.strokes - self.person.keys
            for _ in range(rounds):
                self._round()
            others = self.person.inputs - self.person.strokes - self.person.keys - before
        better = [self._seconds_until_shown(*pair) for pair in self.learning.better_networks()]
        found |= {
            "later strokes, median (s)": median(self.answers) if self.answers else None,
            "later strokes, slowest (s)": max(self.answers, default=None),
            "better networks": len(better),
            "better network, median (s)": median(better) if better else None,
            "inputs a round but strokes and class keys": others / max(1, rounds),
            **self.heartbeat.blocks_ms(),
            "frames per second in training": self._frames_per_second(),
            "problems": len(self.learning.problems()),
            "dice": self.dices,
            "blocked in": self.stacks.most_frequent(),
            "problem texts": self.learning.problems(),
        }
        if minutes:
            found |= self._long_run(minutes)
        self.person.close()
        self.viewer.close()
        return found

    # ---- the dock

    def _open_dock(self) -> None:
        from napari_unet.widgets.training.warm_up import is_warm

        _, self.dock = self.viewer.window.add_plugin_dock_widget("napari-unet", "U-Net: Segment")
        self.person.inputs += 1
        self._until(lambda: self.dock.strokes is not None, _PATIENCE)
        if self._threads is not None:
            self.dock.panel.window_form.set_values({"threads": self._threads})
        seconds = self.dock.panel.seconds
        if seconds.minimum() > 0:  # else it trains until it is stopped
            seconds.setValue(max(1, round(self.looking)))
        if self.scene.areas:
            self.person.click(self.dock.panel.task.buttons["classes"])
        self._fit_window()
        self._until(is_warm, _PATIENCE)

    @property
    def result(self) -> Any:
        """The layer that shows the result; None as long as there is none."""
        start = "areas" if self.dock.task == "classes" else "objects"
        return next((layer for layer in self.viewer.layers if layer.name.startswith(start)), None)

    def _found_in_view(self, box: tuple[slice, ...]) -> npt.NDArray[np.bool_]:
        found = self.result.data[box]
        return np.asarray(found > 1 if self.dock.task == "classes" else found > 0)

    def _first_result(self) -> float | None:
        """Paint a stroke of each class; returns the seconds until there is a result."""
        self.shown.follow(self.result)
        box, width = self._view(), self.dock.strokes.brush_size
        self.person.paint_class(0, box, width)
        change = self.learning.change
        painted = self.person.paint_class(1, box, width)
        return self._wait_for_answer(painted, change)

    def _train(self) -> None:
        """Press Train, unless it trains already."""
        if not self.dock.runner.is_running:
            self.person.click(self.dock.panel.train)

    def _round(self) -> None:
        """Paint where it is most wrong, wait for the answer, and look at it for a while."""
        box = self._view()
        change, before = self.learning.change, self.dock.strokes.data[box].copy()
        painted = self.person.paint_error(self._found_in_view(box), box, self.dock.strokes.brush_size)
        if (self.dock.strokes.data[box] != before).any():  # else it was painted so already
            self.answers.append(self._wait_for_answer(painted, change) or math.inf)
        self.person.wait(self.looking)
        found, truth = self._found_in_view(box), self.scene.truth[box] > 0
        self.dices.append(float(2 * (found & truth).sum() / max(1, found.sum() + truth.sum())))

    def _wait_for_answer(self, painted: float, change: int) -> float | None:
        """Wait for the answer to a stroke, at last with a press on Train; returns the seconds until it was shown."""
        self.shown.follow(self.result)
        for patience in (_SHOWN_BY_ITSELF, _PATIENCE):
            self._until(lambda: self.shown.after(painted, change) is not None, patience)
            shown = self.shown.after(painted, change)
            if shown is not None:
                return shown - painted
            self._train()
        return None

    def _seconds_until_shown(self, better: float, answered: float) -> float:
        return next((at for at in self.shown.times if at >= answered), math.inf) - better

    def _long_run(self, minutes: float) -> dict[str, Any]:
        """Go on painting; returns what became of the memory."""
        end = time.monotonic() + 60 * minutes
        used = []
        while time.monotonic() < end:
            self._round()
            used.append(memory_mb())
        rest = used[int(_WARM_UP * len(used)) :]
        part = max(1, len(rest) // 8)
        first, last = float(np.median(rest[:part])), float(np.median(rest[-part:]))
        return {"memory at first (MB)": first, "memory in the end (MB)": last, "growth (%)": 100 * (last / first - 1)}

    # ---- the view

    def _fit_window(self) -> None:
        """Give the canvas its size, beside the docks."""
        self.person.wait(0.3)
        canvas, window = self.viewer.window._qt_viewer.canvas.native.size(), self.viewer.window._qt_window.size()
        self.viewer.window.resize(
            window.width() + self._canvas - canvas.width(), window.height() + self._canvas - canvas.height()
        )
        self.person.wait(0.3)
        self._look_at_middle()

    def _look_at_middle(self) -> None:
        """Show the whole image where it fits into the canvas at one pixel for one, else its middle."""
        camera = self.viewer.scene.camera
        rows, columns = self.scene.truth.shape
        camera.center = (0, rows / 2, columns / 2)
        camera.zoom = max(1, int(self._canvas / max(rows, columns)))
        self.person.wait(0.2)

    def _view(self) -> tuple[slice, ...]:
        camera, size = self.viewer.scene.camera, self.viewer.window._qt_viewer.canvas.native.size()
        spans = []
        for at, extent, n in zip(
            camera.center[-2:], (size.height(), size.width()), self.scene.truth.shape, strict=True
        ):
            half = extent / camera.zoom / 2
            spans.append(slice(max(0, math.ceil(at - half) + 1), min(n, math.floor(at + half) - 1)))
        return tuple(spans)

    def _frames_per_second(self) -> float:
        """Move the view to and fro as quickly as the window draws it; returns the frames a second."""
        camera = self.viewer.scene.camera
        centre = camera.center
        before, began = self.frames.drawn, time.perf_counter()
        while time.perf_counter() - began < self._panning:
            aside = 40 * math.sin(3 * (time.perf_counter() - began)) / camera.zoom
            camera.center = (centre[0], centre[1], centre[2] + aside)
            self.person.wait(0.01)
        seconds = time.perf_counter() - began
        camera.center = centre
        return (self.frames.drawn - before) / seconds

    def _work_without_the_plugin(self, strokes: int) -> dict[str, Any]:
        """Pan and paint with two labels layers and an empty dock; returns what the plugin is compared with.

        There are as many strokes as with the plugin, with a brush of the same size where that is 10 pixels or more:
        with smaller ones, drawing by software crashes when the dock is taken away again.
        """
        from qtpy.QtWidgets import QWidget

        empty = QWidget()
        empty.setMinimumWidth(_DOCK_WIDTH)
        dock = self.viewer.window.add_dock_widget(empty, area="right")
        self._fit_window()
        shape = self.scene.truth.shape
        layers = [self.viewer.add_labels(np.zeros(shape, np.uint8), name=f"empty {number}") for number in (1, 2)]
        width = int(np.clip(round(min(shape) / 80), 10, 20))
        layers[1].mode, layers[1].brush_size = "paint", width
        self.person.wait(0.3)
        frames = self._frames_per_second()
        box = self._view()
        with self.heartbeat.counting():
            for number in range(strokes):
                self.person.paint_class(number % 2, box, width, choose=False)
                self.person.wait(0.3)
        blocks = {f"{what}, napari alone, painting": ms for what, ms in self.heartbeat.blocks_ms().items()}
        for layer in layers:
            self.viewer.layers.remove(layer)
        self.person.wait(0.3)  # a canvas that is resized while layers go may crash OpenGL
        self.viewer.window.remove_dock_widget(dock)
        self.viewer.layers.selection.active = self.image
        self.person.strokes = self.person.inputs = 0
        return {
            "the same with two empty labels layers and an empty dock": frames,
            **blocks,
        }

    def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self.person.wait(0.005)
