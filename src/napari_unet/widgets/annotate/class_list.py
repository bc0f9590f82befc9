"""The list of classes in the dock: a click paints with a class, a double click renames or recolours it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import QEvent, QObject, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QMouseEvent
from qtpy.QtWidgets import QColorDialog, QFrame, QHBoxLayout, QLabel, QLineEdit, QToolButton, QVBoxLayout, QWidget

from napari_unet.errors import InputError
from napari_unet.widgets.annotate.class_table import ClassEntry, ClassTable
from napari_unet.widgets.parts.text_size import TextSize

__all__ = ["ClassList", "ClassRow"]

_ROW_STYLE = """
ClassRow { border-radius: 3px; border-left: 3px solid EDGE; background: GROUND; }
ClassRow QLabel, ClassRow QLineEdit, ClassRow QToolButton { background: transparent; }
ClassRow QLineEdit { {size} }
"""
_EDITING_STYLE = "background: rgba(128, 128, 128, 90);"


class ClassRow(QFrame):
    """One class: a patch of its colour, its name and its key."""

    chosen = Signal(int)
    renamed = Signal(int, str)
    recolour_wanted = Signal(int)
    remove_wanted = Signal(int)

    def __init__(self, index: int, name: str, colour: str, key: str, *, removable: bool) -> None:
        super().__init__()
        self.index = index
        self._current = False
        self._size = TextSize(self)
        self.patch = QLabel()
        self.patch.setFixedSize(18, 18)
        self.patch.setStyleSheet(f"background: {colour}; border-radius: 3px;")
        self.name = QLineEdit(name)
        self.name.setFrame(False)
        self.name.setAccessibleName(f"Name of class {index + 1}")
        self.suffix = QLabel()
        self.suffix.setEnabled(False)
        self.key = QLabel(key)
        self.key.setMinimumWidth(22)
        self.key.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.key.setStyleSheet("border: 1px solid rgba(160, 160, 160, 120); border-radius: 3px;" if key else "")
        self.remove = QToolButton()
        self.remove.setText("×")
        self.remove.setToolTip(f"Remove the class '{name}'")
        self.remove.setVisible(removable)
        self.remove.clicked.connect(lambda: self.remove_wanted.emit(self.index))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 3, 6, 3)
        layout.setSpacing(7)
        for part in (self.patch, self.name, self.suffix, self.remove, self.key):
            layout.addWidget(part, 1 if part is self.name else 0)
        hint = f" (key {key})" if key else ""
        self.setToolTip(f"Click: paint with '{name}'{hint}. Double click: rename it; on the colour: change that.")
        self.name.editingFinished.connect(self._end_editing)
        self.name.installEventFilter(self)
        self._set_editing(False)
        self.set_current(False)

    def set_current(self, current: bool) -> None:
        """Show whether this is the class that is painted with."""
        self._current = current
        ground = "rgba(128, 128, 128, 60)" if current else "transparent"
        edge = "rgba(200, 200, 200, 200)" if current else "transparent"
        self._size.set_style(_ROW_STYLE.replace("EDGE", edge).replace("GROUND", ground))

    @property
    def is_current(self) -> bool:
        """Whether this is the class that is painted with."""
        return self._current

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Choose the class."""
        self.chosen.emit(self.index)

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Recolour or rename the class."""
        if event is not None and event.pos().x() <= self.patch.geometry().right() + 4:
            self.recolour_wanted.emit(self.index)
        else:
            self.start_editing()

    def start_editing(self) -> None:
        """Let the person type a name."""
        self._set_editing(True)
        self.name.setFocus()
        self.name.selectAll()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """End editing without a change at Escape."""
        pressed = event is not None and event.type() == QEvent.Type.KeyPress
        if pressed and event.key() == Qt.Key.Key_Escape and not self.name.isReadOnly():  # type: ignore[union-attr]
            self.name.undo()
            self._set_editing(False)
            return True
        return False

    def _end_editing(self) -> None:
        if not self.name.isReadOnly():
            self._set_editing(False)
            self.renamed.emit(self.index, self.name.text())

    def _set_editing(self, editing: bool) -> None:
        self.name.setReadOnly(not editing)
        self.name.setFocusPolicy(Qt.FocusPolicy.StrongFocus if editing else Qt.FocusPolicy.NoFocus)
        self.name.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents, not editing)
        self.name.deselect()
        self.name.setCursorPosition(0)
        self.name.setStyleSheet(_EDITING_STYLE if editing else "")


class ClassList(QWidget):
    """The rows of a `ClassTable`.

    Attributes
    ----------
    on_remove : callable
        Called when the person wants to remove a class; `remove` does it at once.

    Signals
    -------
    chosen : int
        The person wants to paint with this class.
    changed :
        Names, colours or the number of classes have changed.
    problem : str
        Why a change was not made.
    """

    chosen = Signal(int)
    changed = Signal()
    problem = Signal(str)

    def __init__(self, table: ClassTable, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = table
        self.on_remove: Callable[[int], None] = self.remove
        self.rows: list[ClassRow] = []
        self._keys: tuple[str, ...] = ()
        self._shown: int | None = None
        self._current = 0
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(2)
        self.add_button = QToolButton()
        self.add_button.setText("+ add class")
        self.add_button.setToolTip("Add a class. A double click on a name or colour changes it.")
        TextSize(self.add_button)
        self.add_button.clicked.connect(self._on_add)
        self._layout.addWidget(self.add_button)
        self.rebuild()

    def set_keys(self, keys: Sequence[str]) -> None:
        """Show which key chooses which class."""
        self._keys = tuple(keys)
        self.rebuild()

    def show_only(self, count: int | None) -> None:
        """Show only the first classes, without a way to add more; None: all."""
        self._shown = count
        self.rebuild()

    @property
    def shown(self) -> int:
        """How many classes there are to choose from."""
        return len(self.table) if self._shown is None else min(self._shown, len(self.table))

    def set_current(self, index: int, suffix: str = "") -> None:
        """Show which class is painted with; `suffix` says more about it."""
        self._current = index
        for row in self.rows:
            row.set_current(row.index == index)
            row.suffix.setText(suffix if row.index == index else "")

    def rebuild(self) -> None:
        """Make the rows anew from the table."""
        for row in self.rows:
            self._layout.removeWidget(row)
            row.hide()
            row.deleteLater()
        self.rows = []
        for index, entry in enumerate(self.table.entries[: self.shown]):
            key = self._keys[index] if index < len(self._keys) else ""
            row = ClassRow(index, entry.name, entry.colour, key, removable=index >= 2 and index == len(self.table) - 1)
            row.chosen.connect(self.chosen)
            row.renamed.connect(self._on_renamed)
            row.recolour_wanted.connect(self._on_recolour)
            row.remove_wanted.connect(self._on_remove_wanted)
            self._layout.insertWidget(index, row)
            self.rows.append(row)
        self.add_button.setVisible(self._shown is None)
        self.set_current(min(self._current, self.shown - 1))

    def add(self, entry: ClassEntry) -> None:
        """Add a class with a name, or another where it is taken by now, and a colour."""
        name = "" if entry.name in self.table.names else entry.name
        self.table.add(name, entry.colour)
        self._after_change()

    def _on_add(self) -> None:
        try:
            index = self.table.add()
        except InputError as error:
            self.problem.emit(str(error))
            return
        self._after_change()
        self.chosen.emit(index)

    def _on_remove_wanted(self, index: int) -> None:
        self.on_remove(index)

    def remove(self, index: int) -> None:
        """Take a class off the list."""
        try:
            self.table.remove(index)
        except InputError as error:
            self.problem.emit(str(error))
            return
        self._after_change()
        self.chosen.emit(min(self._current, self.shown - 1))

    def _on_renamed(self, index: int, name: str) -> None:
        try:
            self.table.rename(index, name)
        except InputError as error:
            self.problem.emit(str(error))
        self._after_change()

    def _on_recolour(self, index: int) -> None:
        colour = QColorDialog.getColor(QColor(self.table.colours[index]), self, f"Colour of {self.table.names[index]}")
        if colour.isValid():
            self.table.recolour(index, colour.name())
            self._after_change()

    def _after_change(self) -> None:
        self.rebuild()
        self.changed.emit()
