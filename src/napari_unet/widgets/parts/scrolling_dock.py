"""What the docks have in common: a panel that scrolls where the window is low, and an end when they are taken out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QFrame, QMainWindow, QScrollArea, QVBoxLayout, QWidget

from napari_unet.widgets.parts.form import FoldedSection
from napari_unet.widgets.parts.worker import program_ends

if TYPE_CHECKING:
    import napari.viewer
    from napari.components import ViewerModel

__all__ = ["ScrollingDock"]

_MAY_CHANGE_WIDTH = (QEvent.Type.LayoutRequest, QEvent.Type.Show, QEvent.Type.StyleChange, QEvent.Type.Resize)
_RAISE_MS = 50  # when the window has laid the tabs out
_LEAST_WIDTH = 316  # of a panel
_BAR_WIDTH = 16  # with napari's margins, which the bar does not know before it is shown


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
    is_placed : bool
        Whether it has its place in a window.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer: ViewerModel = getattr(viewer, "__wrapped__", viewer)
        self._closing: _Once | None = None
        self.is_placed = False
        self._unfolded: FoldedSection | None = None

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
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is None:
                self.close_dock()
            else:
                QTimer.singleShot(0, self._join_other_docks)
        return bool(super().event(event))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Be as wide as the panel needs, so that nothing of it is cut off when a part of it is unfolded."""
        if event is not None and event.type() in _MAY_CHANGE_WIDTH and isinstance(watched, QWidget):
            self._fit_width(watched)
        return bool(super().eventFilter(watched, event))

    def _fit_width(self, panel: QWidget) -> None:
        self.setMinimumWidth(max(_LEAST_WIDTH, panel.minimumSizeHint().width()) + _BAR_WIDTH)

    def _join_other_docks(self) -> None:
        """Become a tab of a dock of this kind that is in the window already, rather than share its height."""
        window, own = self.window(), _dock_widget_of(self)
        if own is None or not isinstance(window, QMainWindow) or own.isFloating():
            return
        placed = [_dock_widget_of(other) for other in window.findChildren(ScrollingDock) if other.is_placed]
        self.is_placed = True
        for other in placed:
            beside = other is not None and window.dockWidgetArea(other) == window.dockWidgetArea(own)
            if other is not None and beside and other is not own and not other.isFloating():
                window.tabifyDockWidget(other, own)
                QTimer.singleShot(_RAISE_MS, self._raise)
                return

    def _raise(self) -> None:
        own = _dock_widget_of(self)
        if own is not None:
            own.raise_()

    def _put_into_scroll_area(self, panel: QWidget) -> None:
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(panel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        self._area = area
        panel.installEventFilter(self)
        self._fit_width(panel)
        for section in panel.findChildren(FoldedSection):
            section.unfolded.connect(partial(self._on_unfolded, section))

    def _on_unfolded(self, section: FoldedSection) -> None:
        self._unfolded = section
        QTimer.singleShot(0, self._show_unfolded)  # when it is laid out

    def _show_unfolded(self) -> None:
        """Scroll to the section: all of it if it fits, from its heading on if not."""
        section, panel = self._unfolded, self._area.widget()
        bar, viewport = self._area.verticalScrollBar(), self._area.viewport()
        if section is None or panel is None or bar is None or viewport is None:
            return
        top = section.mapTo(panel, section.rect().topLeft()).y()
        end = top + section.height() - viewport.height()
        bar.setValue(min(top, max(bar.value(), end)))


def _dock_widget_of(widget: QWidget) -> QDockWidget | None:
    """Return the dock widget of the window that a widget lies in."""
    place = widget.parentWidget()
    while place is not None and not isinstance(place, QDockWidget):
        place = place.parentWidget()
    return place


class _Once:
    """Calls something the first time only, and not when Python ends, which takes Qt's objects apart in any order."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work

    def __call__(self, *_: object) -> None:
        work, self._work = self._work, None
        if work is not None and not program_ends():
            work()
