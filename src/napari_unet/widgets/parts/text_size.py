"""Letters that are as large as napari's own: a person who needs large ones sets them once, in napari's Preferences."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from napari.settings import get_settings
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QWidget

__all__ = ["SMALL", "TextSize"]

SMALL = 11 / 12  # of the size of napari's letters, for what is said on the side


class TextSize(QObject):
    """Gives a widget letters of a share of napari's size, now and when that changes.

    Parameters
    ----------
    widget : QWidget
        Gets the style, and keeps this object.
    share : float
        Of the size that is set in napari.
    style : str
        The rest of its style; with selectors, what ``{size}`` in it stands for is the size.
    """

    def __init__(self, widget: QWidget, share: float = 1.0, style: str = "{size}") -> None:
        super().__init__(widget)
        self._widget, self._share, self._style = widget, share, style
        get_settings().appearance.events.font_size.connect(self._on_size)
        self._on_size()

    def set_style(self, style: str) -> None:
        """Take another style, of the same size."""
        self._style = style
        self._on_size()

    def _on_size(self, event: Any = None) -> None:
        points = self._share * float(get_settings().appearance.font_size)
        with suppress(RuntimeError):  # the widget may be gone
            self._widget.setStyleSheet(self._style.replace("{size}", f"font-size: {points:.2f}pt;"))
