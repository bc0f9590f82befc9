"""What a person sees of sessions: a line at the top of the dock that offers something, and a section of buttons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qtpy.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_unet.widgets.parts.text_size import SMALL, TextSize

__all__ = ["Offer", "OfferLine", "SessionPart"]


@dataclass(frozen=True, eq=False)
class Offer:
    """A sentence and two answers to it.

    Attributes
    ----------
    text : str
        The sentence.
    yes, no : tuple of (str, callable)
        What is on each button, and what it does.
    tip : str
        Says what `no` means.
    """

    text: str
    yes: tuple[str, Callable[[], None]]
    no: tuple[str, Callable[[], None]]
    tip: str = ""


class OfferLine(QFrame):
    """Shows one offer after the other; hidden while there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("offer")
        self.setStyleSheet("#offer { border-left: 3px solid #56b4e9; background: rgba(128, 128, 128, 40); }")
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setAccessibleName("Offer")
        self.yes, self.no = QPushButton(), QPushButton()
        self.yes.clicked.connect(lambda: self._answer(0))
        self.no.clicked.connect(lambda: self._answer(1))
        row = QHBoxLayout()
        row.addWidget(self.yes, 1)
        row.addWidget(self.no, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(9, 6, 6, 6)
        layout.addWidget(self.text)
        layout.addLayout(row)
        self._offers: list[Offer] = []
        self._show()

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What is shown, and what follows it."""
        return tuple(self._offers)

    def add(self, offer: Offer) -> None:
        """Show an offer, after those that are there."""
        self._offers.append(offer)
        self._show()

    def take_back(self, offer: Offer) -> None:
        """Offer something no longer."""
        self._offers = [other for other in self._offers if other is not offer]
        self._show()

    def _answer(self, which: int) -> None:
        if self._offers:
            offer = self._offers.pop(0)
            self._show()
            (offer.yes, offer.no)[which][1]()

    def _show(self) -> None:
        self.setVisible(bool(self._offers))
        if self._offers:
            offer = self._offers[0]
            self.text.setText(offer.text)
            self.yes.setText(offer.yes[0])
            self.no.setText(offer.no[0])
            self.no.setToolTip(offer.tip)


class SessionPart(QWidget):
    """The buttons for sessions."""

    def __init__(self) -> None:
        super().__init__()
        self.status = QLabel()
        self.status.setWordWrap(True)
        TextSize(self.status, SMALL, "{size} color: rgb(140, 140, 145);")
        self.save = QPushButton("Save session…")
        self.save.setToolTip(
            "Save strokes, classes, settings and model as a folder, which you can copy to another computer."
        )
        self.open = QPushButton("Open session…")
        self.open.setToolTip("Open a saved session in this window, beside what is here.")
        self.restore = QPushButton("Restore last session")
        self.restore.setToolTip("Bring back what you worked on before: the last session that was saved by itself.")
        self.bring_back = QPushButton("Bring back removed strokes")
        self.bring_back.setToolTip("Put the strokes layer that was removed last back into the window.")
        self.bring_back.setVisible(False)
        self.keep_images = QCheckBox("keep copies of images that have no file")
        self.keep_images.setChecked(True)
        self.keep_images.setToolTip(
            "Samples and images made by other tools are stored with the session, up to 200 MB each."
        )
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self.save)
        row.addWidget(self.open)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 0, 2, 4)
        column.setSpacing(5)
        column.addWidget(self.status)
        column.addLayout(row)
        column.addWidget(self.restore)
        column.addWidget(self.bring_back)
        column.addWidget(self.keep_images)
