"""The part of the dock with the correction tools: a button for each, with its key."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_unet.widgets.parts.text_size import TextSize

__all__ = ["TOOLS", "CorrectPanel", "ToolInfo"]


@dataclass(frozen=True)
class ToolInfo:
    """How a tool is shown.

    Attributes
    ----------
    title : str
        On the button.
    key : str
        Chooses it.
    how : str
        What to do with the mouse.
    tip : str
        What comes of it.
    """

    title: str
    key: str
    how: str
    tip: str


TOOLS = {
    "accept": ToolInfo(
        "Accept",
        "Shift+G",
        "Click an object that is right, or draw around several.",
        "Take objects of the result over into your strokes, with a narrow ring of background around each.",
    ),
    "reject": ToolInfo(
        "Reject",
        "Shift+X",
        "Click an object that is none, or draw around several.",
        "Turn objects of the result into strokes of background.",
    ),
    "split": ToolInfo(
        "Split",
        "Shift+S",
        "Draw a line through an object, from one side to the other.",
        "Cut an object apart: the line becomes background, and each part an object of its own.",
    ),
    "merge": ToolInfo(
        "Merge",
        "Shift+M",
        "Draw from one object to the other that belongs to it.",
        "Join objects with a stroke of the brush's width.",
    ),
    "fill": ToolInfo(
        "Fill outline",
        "Shift+F",
        "Draw around something: it is filled with the class on the brush.",
        "Paint all that an outline encloses, with the class that you paint with.",
    ),
    "erase": ToolInfo(
        "Erase strokes",
        "Shift+E",
        "Click a stroke, or draw around several.",
        "Take strokes away; the next result does without them.",
    ),
}


class CorrectPanel(QWidget):
    """The buttons, and a line that says how the chosen tool is used."""

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[str, QPushButton] = {}
        grid = QGridLayout()
        grid.setSpacing(6)
        for number, (name, tool) in enumerate(TOOLS.items()):
            button = QPushButton(tool.title)
            button.setCheckable(True)
            button.setToolTip(f"{tool.how}\n{tool.tip}")
            button.setAccessibleName(tool.title)
            grid.addWidget(button, number // 2, number % 2)
            self.buttons[name] = button
        self.how = QLabel()
        self.how.setWordWrap(True)
        TextSize(self.how)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 0, 2, 4)
        column.setSpacing(5)
        column.addLayout(grid)
        column.addWidget(self.how)
        self.show_tool(None)

    def show_key(self, name: str, key: str) -> None:
        """Show the key of a tool; nothing if it has none."""
        tool = TOOLS[name]
        self.buttons[name].setText(f"{tool.title}  ({key})" if key else tool.title)

    def show_tool(self, chosen: str | None) -> None:
        """Show which tool is in hand and how it is used."""
        for name, button in self.buttons.items():
            button.setChecked(name == chosen)
        self.how.setText(TOOLS[chosen].how if chosen else "Choose a tool; again, or any of napari's, to put it away.")
