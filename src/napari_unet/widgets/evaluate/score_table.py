"""The table of scores in the dock: metrics below each other, the mean first, then the frames side by side."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_unet.assess.evaluation_table import EvaluationTable, format_value

__all__ = ["ScoreTable", "ScoreTableModel"]

_EMPTY = EvaluationTable(())
_ROW_HEIGHT = 20
_MOST_ROWS_SHOWN = 22
_MEANINGS = {
    "pixels": "Pixels that were compared: those that are labelled in both.",
    "missed": "Objects of the reference that nothing was found of.",
    "false": "Objects that were found where there are none.",
    "split": "Objects of the reference that fell apart.",
    "merged": "Objects that take in several of the reference.",
    "Dice": "Twice the overlap over the sum of both areas; 1 is best.",
    "IoU": "Overlap over the area of both together; 1 is best.",
    "pixel error": "Share of the pixels that differ; 0 is best.",
    "pixel accuracy": "Share of the pixels that agree; 1 is best.",
    "sensitivity": "Share of the reference's foreground that was found; 1 is best.",
    "specificity": "Share of the reference's background that was left alone; 1 is best.",
    "AP 0.5": "Right objects over right, missed and false ones, right being an IoU above 0.5; 1 is best.",
    "AP 0.75": "The same for an IoU of at least 0.75.",
    "AP 0.5:0.95": "Its mean for IoUs from 0.5 to 0.95.",
    "SEG": "Mean IoU of the reference's objects with their matches (Cell Tracking Challenge); 1 is best.",
    "Rand error": "Pairs of pixels put together or apart wrongly (ISBI 2012 challenge); 0 is best.",
    "VI split": "Variation of information in bits, the part of objects that fell apart; 0 is best.",
    "VI merge": "Variation of information in bits, the part of objects that ran together; 0 is best.",
    "warping error": "Share of pixels that split or merge objects, whatever their shape (ISBI 2012); 0 is best.",
}


class ScoreTableModel(QAbstractTableModel):
    """Gives a table view what it shows of an `EvaluationTable`; nothing is copied, however many frames there are."""

    def __init__(self) -> None:
        super().__init__()
        self.table = _EMPTY

    def show(self, table: EvaluationTable) -> None:
        """Show another table."""
        self.beginResetModel()
        self.table = table
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of metrics."""
        return 0 if parent is not None and parent.isValid() else len(self.table.columns)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return 1 for one frame, otherwise one more than there are."""
        count = len(self.table.rows)
        return 0 if parent is not None and parent.isValid() else count + (count > 1)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a value as text."""
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role != Qt.ItemDataRole.DisplayRole or not index.isValid():
            return None
        name = self.table.columns[index.row()]
        mean = len(self.table.rows) > 1 and index.column() == 0
        place = index.column() - (len(self.table.rows) > 1)
        values = self.table.means if mean else self.table.rows[place].values
        return format_value(name, values.get(name, math.nan))

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return the name of a metric or of a frame."""
        vertical = orientation == Qt.Orientation.Vertical
        if vertical and role == Qt.ItemDataRole.ToolTipRole:
            name = self.table.columns[section]
            return _MEANINGS.get(name) or _MEANINGS.get(name.partition(":")[0])
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        if vertical:
            return self.table.columns[section]
        if len(self.table.rows) == 1:
            return "value"
        return "mean / sum" if section == 0 else self.table.rows[section - 1].name


class ScoreTable(QTableView):
    """Shows scores; its height is that of its rows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scores = ScoreTableModel()
        self.setModel(self.scores)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ContiguousSelection)
        self.setStyleSheet("QTableView::item { padding: 0px 6px; } QHeaderView::section { padding: 1px 4px; }")
        self.setAccessibleName("Scores")
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        if rows is not None and columns is not None:
            rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            rows.setDefaultSectionSize(_ROW_HEIGHT)
            rows.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            columns.setDefaultSectionSize(84)
            columns.setStretchLastSection(True)

    def show_table(self, table: EvaluationTable) -> None:
        """Show a table in as much height as it takes."""
        self.scores.show(table)
        self.updateGeometry()
        self.setFixedHeight(self.sizeHint().height())

    def sizeHint(self) -> QSize:
        """Ask for room for the rows."""
        header = self.horizontalHeader()
        top = 0 if header is None else header.sizeHint().height()
        rows = min(self.scores.rowCount(), _MOST_ROWS_SHOWN)
        scrollbar = 16 if self.scores.columnCount() > 2 else 0
        return QSize(280, top + rows * _ROW_HEIGHT + scrollbar + 4)
