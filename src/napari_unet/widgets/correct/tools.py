"""The correction tools in the window: from the mouse over `napari_unet.data.corrections` to strokes and result.

A tool in hand takes the mouse on the strokes layer. What comes of a drawing is worked out in a worker and painted in
one step, which napari's undo takes back. The shown result, where it is the dock's own, follows at once, also an undo.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_unet.data import corrections
from napari_unet.data.axes import ImageLayout
from napari_unet.data.corrections import Correction, Scene
from napari_unet.data.regions import Index, Plane
from napari_unet.errors import AnnotationError, InputError
from napari_unet.widgets.annotate.annotation import FIRST_OBJECT
from napari_unet.widgets.annotate.drawn_line import DrawnLine
from napari_unet.widgets.correct.held_corrections import HeldCorrections
from napari_unet.widgets.correct.panel import TOOLS, CorrectPanel
from napari_unet.widgets.correct.result_changes import ResultChanges
from napari_unet.widgets.parts.layer_tools import shape_of
from napari_unet.widgets.parts.messages import MessageLine
from napari_unet.widgets.parts.window_keys import WindowKeys
from napari_unet.widgets.parts.worker import Job, StopCheck
from napari_unet.widgets.results.held import HeldPixels

__all__ = ["CorrectionTarget", "CorrectionTools"]

_WITHOUT_RESULT = ("fill", "erase")


@dataclass(frozen=True, eq=False)
class CorrectionTarget:
    """What the tools work on.

    Attributes
    ----------
    image : napari.layers.Image
        The image.
    strokes : napari.layers.Labels
        The annotation.
    result : napari.layers.Labels or None
        The result that is shown.
    layout : ImageLayout
        The axes of the image, seen by the network.
    task : {"objects", "classes"}
        What the labels are.
    used : int
        The highest label that was handed out for an object so far.
    """

    image: Image
    strokes: Labels
    result: Labels | None
    layout: ImageLayout
    task: str
    used: int


class TargetSource(Protocol):
    """What the tools ask the dock for."""

    def correction_target(self) -> CorrectionTarget:
        """Return what is corrected; raises a `UNetError` that says what is missing."""

    def strokes_corrected(self, strokes: Labels, labels: npt.NDArray[Any]) -> None:
        """Take note of the labels that a correction painted."""


class CorrectionTools:
    """Puts a tool into the person's hand and takes it away again.

    Parameters
    ----------
    viewer : ViewerModel
        Has the layers.
    panel : CorrectPanel
        Has the buttons.
    message : MessageLine
        Says what was done, and what can't be.
    keys : WindowKeys
        Binds the tools' keys.
    source : TargetSource
        Says what is corrected.

    Attributes
    ----------
    held : HeldCorrections
        What was corrected, which later results agree with.
    """

    def __init__(
        self, viewer: ViewerModel, panel: CorrectPanel, message: MessageLine, keys: WindowKeys, source: TargetSource
    ) -> None:
        self.viewer, self.panel, self.message, self.source = viewer, panel, message, source
        self.tool: str | None = None
        self.line = DrawnLine(viewer)
        self.changes = ResultChanges(viewer)
        self._layer: Labels | None = None
        self._mode_before = "paint"
        self._waiting: deque[tuple[Callable[[], Correction], CorrectionTarget]] = deque()
        self._job: Job | None = None
        self._closed = False
        self.held = HeldCorrections()
        for name, tool in TOOLS.items():
            panel.show_key(name, keys.bind(tool.key, tool.title, partial(self.toggle, name)))
            panel.buttons[name].clicked.connect(partial(self._on_button, name))
        viewer.layers.selection.events.active.connect(self._on_active)

    @property
    def is_busy(self) -> bool:
        """Whether a correction is being worked out."""
        return self._job is not None

    def held_in(self, image: Image) -> HeldPixels:
        """Return what corrections painted in an image, now and later; results agree with it."""
        return self.held.of(image)

    def toggle(self, name: str) -> None:
        """Take a tool in hand, or put it away if it is."""
        if name == self.tool:
            self.put_away()
        else:
            self.take(name)

    def take(self, name: str) -> None:
        """Take a tool in hand."""
        self.put_away()
        with self.message.reporting("Choosing the tool"):
            layer = self.source.correction_target().strokes
            self.message.clear_message()
            self.viewer.layers.selection.active = layer
            self.line.prepare(layer)
            self._mode_before = str(layer.mode)
            layer.mode = "pan_zoom"
            layer.mouse_pan = False
            layer.cursor = "cross"
            layer.mouse_drag_callbacks.append(self._on_drag)
            layer.events.mode.connect(self.put_away)
            self._layer = layer
            self.tool = name
        self.panel.show_tool(self.tool)

    def put_away(self, event: Any = None) -> None:
        """Put the tool away; unless the person took one of napari's instead, the layer's mode becomes what it was."""
        self._let_go(restore=event is None)
        self.panel.show_tool(None)

    def close(self) -> None:
        """Put the tool away and stop following the window; the panel may be gone already."""
        if not self._closed:
            self._closed = True
            self.viewer.layers.selection.events.active.disconnect(self._on_active)
        self.changes.close()
        self._waiting.clear()
        if self._job is not None:
            self._job.abort()
        self._let_go(restore=True)

    def _let_go(self, *, restore: bool) -> None:
        layer, self._layer, self.tool = self._layer, None, None
        if layer is None:
            return
        layer.events.mode.disconnect(self.put_away)
        layer.mouse_drag_callbacks.remove(self._on_drag)
        if restore:
            layer.mouse_pan = True
            layer.mode = self._mode_before
        self.line.remove()

    def _on_button(self, name: str, checked: bool = False) -> None:
        self.toggle(name)

    def _on_active(self, event: Any = None) -> None:
        if self._layer is not None and self.viewer.layers.selection.active is not self._layer:
            self.put_away()

    # ---- drawing

    def _on_drag(self, layer: Labels, event: Any) -> Generator[None, None, None]:
        if event.button != 1 or self.tool is None:
            return
        if self.viewer.dims.ndisplay != 2:
            self.message.problem("The correction tools draw on slices: switch to the 2D view (Ctrl+Y).")
            return
        points = [np.asarray(layer.world_to_data(event.position), float)]
        yield
        while event.type == "mouse_move":
            points.append(np.asarray(layer.world_to_data(event.position), float))
            self.line.show(points)
            yield
        self.line.clear()
        if self.tool is not None:
            self.use(self.tool, np.stack(points))

    def use(self, name: str, path: npt.NDArray[np.float64]) -> None:
        """Use a tool along a path (n, axes) in the strokes' own pixels, on the slice that is shown."""
        with self.message.reporting("The correction"):
            target = self.source.correction_target()
            if target.result is None and name not in _WITHOUT_RESULT:
                raise InputError("There is no result to correct yet: press Train or Predict first.")
            plane, frame, axes = self._shown_plane(target)
            work = partial(
                _correct, name, target, plane, frame, path[:, axes],
                width=float(target.strokes.brush_size), label=int(target.strokes.selected_label),
                strokes=target.strokes.data, result=None if target.result is None else target.result.data,
            )  # fmt: skip
            self._waiting.append((work, target))
            self._start_next()

    def _shown_plane(self, target: CorrectionTarget) -> tuple[Index, Index, list[int]]:
        """Return the plane that is shown, what a network reads of it at once, and the plane's axes."""
        layer, hidden = target.strokes, self.viewer.dims.ndim - target.strokes.ndim
        axes = sorted(int(axis) - hidden for axis in self.viewer.dims.displayed)
        if axes[0] < 0:
            raise InputError("The image's own axes are not in view; turn the view with Ctrl+E until they are.")
        place = np.round(np.asarray(layer.world_to_data(self.viewer.dims.point))).astype(int)
        place = np.clip(place, 0, np.array(shape_of(layer)) - 1)
        plane: Index = tuple(None if axis in axes else int(at) for axis, at in enumerate(place))
        space = target.layout.space_axes
        if set(axes) <= set(space):
            return plane, tuple(None if axis in space else at for axis, at in enumerate(plane)), axes
        return plane, plane, axes

    # ---- working it out, one after the other

    def _start_next(self) -> None:
        if self._job is not None or not self._waiting:
            return
        work, target = self._waiting.popleft()

        def steps(should_stop: StopCheck) -> Generator[Any, None, None]:
            yield work()

        self._job = Job(
            steps,
            on_event=partial(self._apply, target),
            on_error=self._on_error,
            on_finished=self._on_finished,
        )

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, AnnotationError):
            self.message.note(str(error))
        else:
            self.message.failure(error, "The correction")

    def _on_finished(self) -> None:
        self._job = None
        self._start_next()

    def _apply(self, target: CorrectionTarget, correction: Correction) -> None:
        """Paint a correction in one step that can be undone."""
        if target.strokes not in self.viewer.layers:
            return
        self.held.add(target.image, target.strokes, correction.strokes.indices)
        self.changes.make(target, correction)
        self.source.strokes_corrected(target.strokes, np.unique(correction.strokes.values))
        self.message.note(f"{correction.text[0].upper()}{correction.text[1:]}; Ctrl+Z takes it back.")


def _correct(
    name: str,
    target: CorrectionTarget,
    plane: Index,
    frame: Index,
    path: npt.NDArray[np.float64],
    *,
    width: float,
    label: int,
    strokes: Any,
    result: Any,
) -> Correction:
    """Work a correction out; called in a worker."""
    read = Plane(strokes, frame)
    highest = int(read.read(tuple(slice(0, size) for size in read.shape)).max(initial=0))
    scene = Scene(
        strokes=strokes,
        result=np.broadcast_to(np.uint16(0), strokes.shape) if result is None else result,
        plane=plane,
        frame=frame,
        task=target.task,
        new_label=max(FIRST_OBJECT, highest, target.used) + 1,
    )
    if name == "merge":
        return corrections.merge(scene, path, width)
    if name == "fill":
        return corrections.fill(scene, path, max(1, label))
    tools = {
        "accept": corrections.accept,
        "reject": corrections.reject,
        "split": corrections.split,
        "erase": corrections.erase,
    }
    return tools[name](scene, path)
