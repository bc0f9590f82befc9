"""What the docks have in common: a panel that scrolls where the window is low, and an end when they are taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_unet.widgets.parts.worker import program_ends

if TYPE_CHECKING:
    import napari.viewer
    from napari.components import ViewerModel

__all__ = ["ScrollingDock"]

_LEAST_WIDTH = 316  # of a panel


class ScrollingDock(QWidget):
    """A dock whose panel scrolls up and down.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The window's viewer; given by napari.

    Attributes
    ----------
    viewer : napari.components.ViewerModel
        The same without napari's wrapping, since layers are compared by identity.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: ViewerModel = getattr(viewer, "__wrapped__", viewer)
        self._closing: _Once | None = None

    def close_dock(self) -> None:
        """End what runs, give the keys back and stop following the window; layers and files that are whole stay."""
        if self._closing is not None:
            self._closing()

    def _when_closed(self, close: Callable[[], None]) -> None:
        """Have something called when the dock is taken out of its window, or goes with it; it must not use the dock."""
        self._closing = _Once(close)
        self.destroyed.connect(self._closing)

    def sizeHint(self) -> QSize:
        """Ask for the width at which nothing is cut off."""
        return QSize(340, 760)

    def event(self, event: QEvent | None) -> bool:
        """Clean up when the dock is taken out of the window; hiding or floating it changes nothing."""
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.close_dock()
        return bool(super().event(event))

    def _put_into_scroll_area(self, panel: QWidget) -> None:
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(panel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        bar = area.verticalScrollBar()
        self.setMinimumWidth(_LEAST_WIDTH + (0 if bar is None else bar.sizeHint().width()))


class _Once:
    """Calls something the first time only, and not when Python ends, which takes Qt's objects apart in any order."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work

    def __call__(self, *_: object) -> None:
        work, self._work = self._work, None
        if work is not None and not program_ends():
            work()
