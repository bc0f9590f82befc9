"""The help page of a dock, from the package itself, with the keys as they are bound."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources

from qtpy.QtWidgets import QDialog, QPushButton, QTextBrowser, QVBoxLayout, QWidget

__all__ = ["HelpWindow", "help_page"]


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
    keys : iterable of (str, str)
        Keys and what they do.
    parent : QWidget
        The dock.
    """

    def __init__(self, name: str, keys: Iterable[tuple[str, str]], parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("U-Net: Help")
        self.resize(560, 680)
        self.page = QTextBrowser()
        self.page.setOpenExternalLinks(True)
        self.page.setMarkdown(help_page(name, keys))
        self.first_steps = QPushButton("Show the first steps in the dock")
        self.first_steps.setAutoDefault(False)
        column = QVBoxLayout(self)
        column.addWidget(self.page)
        column.addWidget(self.first_steps)
