"""The help page of a dock, from the package itself, with the keys as they are bound, and the button that opens it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources

from qtpy.QtWidgets import QDialog, QPushButton, QTextBrowser, QVBoxLayout, QWidget

__all__ = ["HelpButton", "HelpWindow", "help_page"]


def help_page(name: str, keys: Iterable[tuple[str, str]] = ()) -> str:
    """Return a help page as Markdown.

    Parameters
    ----------
    name : str
        Of the page in ``napari_unet/help``.
    keys : iterable of (str, str)
        Keys and what they do, listed at the end.

    Examples
    --------
    >>> help_page("segment", [("Q", "paint")]).splitlines()[-1]
    '- `Q` paint'
    """
    page = (resources.files("napari_unet") / "help" / f"{name}.md").read_text(encoding="utf-8").rstrip()
    lines = [f"- `{key}` {does}" for key, does in keys]
    return "\n".join([page, "", "## Keys", "", *lines]) if lines else page


class HelpWindow(QDialog):
    """Shows a help page beside the work.

    Parameters
    ----------
    name : str
        Of the page.
    parent : QWidget
        The dock.
    keys : iterable of (str, str)
        Keys and what they do.
    """

    def __init__(self, name: str, parent: QWidget, keys: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(parent)
        self.setWindowTitle("U-Net: Help")
        self.resize(560, 680)
        self.page = QTextBrowser()
        self.page.setOpenExternalLinks(True)
        self.page.setMarkdown(help_page(name, keys))
        column = QVBoxLayout(self)
        column.addWidget(self.page)

    def add_button(self, title: str) -> QPushButton:
        """Return a button under the page."""
        button = QPushButton(title)
        button.setAutoDefault(False)
        column = self.layout()
        if column is not None:
            column.addWidget(button)
        return button

    def bring_up(self) -> None:
        """Show the page in front."""
        self.show()
        self.raise_()


class HelpButton(QPushButton):
    """Opens a help page.

    Parameters
    ----------
    name : str
        Of the page.

    Attributes
    ----------
    window_shown : HelpWindow or None
        The page, once it was opened.
    """

    def __init__(self, name: str) -> None:
        super().__init__("Help")
        self.setToolTip("What to do, and what it means; offline.")
        self.setFixedWidth(self.fontMetrics().horizontalAdvance("Help") + 24)
        self.window_shown: HelpWindow | None = None
        self._name = name
        self.clicked.connect(self._on_click)

    def _on_click(self) -> None:
        if self.window_shown is None:
            self.window_shown = HelpWindow(self._name, self)
        self.window_shown.bring_up()
