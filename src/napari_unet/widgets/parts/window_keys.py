"""The keys of the dock: bound where nobody else uses them, given back when the dock goes, and listed for the person."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from napari.components import ViewerModel
from napari.settings import get_settings
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_unet.widgets.annotate.class_table import choose_keys
from napari_unet.widgets.parts.text_size import SMALL, TextSize

__all__ = ["KeyList", "WindowKeys", "taken_keys"]


def taken_keys(viewer: ViewerModel) -> set[str]:
    """Return the keys that napari's shortcuts, as the person has set them, and this window use."""
    shortcuts = get_settings().shortcuts.shortcuts
    return {str(key) for keys in shortcuts.values() for key in keys} | {str(key) for key in viewer.keymap}


class WindowKeys:
    """Binds keys in one window.

    Parameters
    ----------
    viewer : ViewerModel
        Gets the bindings.

    Attributes
    ----------
    entries : list of (str, str)
        Each key and what it does.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.entries: list[tuple[str, str]] = []
        self._bound: dict[str, Any] = {}

    def bind(self, key: str, does: str, action: Callable[[], None]) -> str:
        """Have a key do something; returns the key, or nothing if it is taken."""
        if not choose_keys(taken_keys(self.viewer), (key.upper(),)):
            return ""

        def pressed(viewer: Any) -> None:
            action()

        self.viewer.bind_key(key, pressed)
        self._bound[key] = pressed
        self.entries.append((key, does))
        return key

    def close(self) -> None:
        """Give the keys back."""
        for key, function in self._bound.items():
            bound = {str(known): known for known in self.viewer.keymap}
            if key in bound and self.viewer.keymap[bound[key]] is function:
                self.viewer.bind_key(key, None)
        self._bound.clear()


class KeyList(QWidget):
    """Shows keys and what they do."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(4, 0, 2, 4)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)

    def show_keys(self, entries: Iterable[tuple[str, str]]) -> None:
        """List keys, one a line."""
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        for row, (key, does) in enumerate(entries):
            shown = QLabel(key)
            shown.setAlignment(Qt.AlignmentFlag.AlignCenter)
            TextSize(
                shown, SMALL, "border: 1px solid rgba(160, 160, 160, 120); border-radius: 3px; padding: 0px 4px; {size}"
            )
            meaning = QLabel(does)
            TextSize(meaning, SMALL)
            meaning.setWordWrap(True)
            self._grid.addWidget(shown, row, 0)
            self._grid.addWidget(meaning, row, 1)
