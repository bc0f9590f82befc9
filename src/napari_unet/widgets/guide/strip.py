"""The first steps as the dock shows them: what is done, and what comes next, in three lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QToolButton, QVBoxLayout

from napari_unet.widgets.parts.text_size import TextSize

__all__ = ["STEPS", "GuideStrip", "Step"]


@dataclass(frozen=True)
class Step:
    """One of the first steps.

    Attributes
    ----------
    title : str
        What is done, in a word or two.
    how : str
        What the person does.
    """

    title: str
    how: str


STEPS = {
    "open": Step("open an image", "Drop an image into the window, or take one of File > Open Sample > U-Net."),
    "background": Step("paint background", "The brush is in hand: paint a stroke or two where nothing is to be found."),
    "class": Step("paint a class", "Click the next class in the list, or press its key, and paint on a few objects."),
    "train": Step("train", "Press Train. The result gets better while you look at it and paint on; Stop ends it."),
    "correct": Step("correct", "Look for a mistake, and paint a stroke of the right class there."),
    "segment": Step("segment all", "Press Stop if it still trains. Choose how much beside Predict, and press Predict."),
}


class GuideStrip(QFrame):
    """Shows how far the person is; hidden until it is asked to show something.

    Signals
    -------
    dismissed :
        The person does not want it.
    """

    dismissed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("guide")
        self.setStyleSheet("#guide { border-left: 3px solid #2bb58a; background: rgba(128, 128, 128, 40); }")
        self.heading, self.how = QLabel(), QLabel()
        TextSize(self.heading, style="font-weight: 600; {size}")
        TextSize(self.how)
        self.how.setWordWrap(True)
        self.how.setAccessibleName("First steps")
        self.put_away = QToolButton()
        self.put_away.setText("×")
        self.put_away.setToolTip("Put the first steps away. Help brings them back.")
        self.put_away.clicked.connect(self.dismissed)
        top = QHBoxLayout()
        top.setSpacing(4)
        top.addWidget(self.heading, 1)
        top.addWidget(self.put_away)
        column = QVBoxLayout(self)
        column.setContentsMargins(9, 3, 4, 5)
        column.setSpacing(2)
        column.addLayout(top)
        column.addWidget(self.how)
        self.hide()

    def show_steps(self, done: Sequence[str], more: Mapping[str, str] | None = None) -> None:
        """Show which steps are done; the first of the others comes next, with what there is more to say of it."""
        following = next((name for name in STEPS if name not in done), None)
        if following is None:
            return
        marks = "".join("●" if name in done else "○" for name in STEPS)
        self.heading.setText(f"{marks}  Next: {STEPS[following].title}")
        self.heading.setToolTip(
            "\n".join(f"{'✓' if name in done else '·'} {step.title}" for name, step in STEPS.items())
        )
        self.how.setText(STEPS[following].how + (more or {}).get(following, ""))
        self.show()
