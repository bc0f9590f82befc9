"""The table of results in the dock "U-Net: Batch": one row for each image, as they get done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_unet.batch.record import BatchRow

__all__ = ["BatchTable", "BatchTableModel"]

_COLUMNS = ("Image", "Found", "Area", "Time")
_COLOURS = {"failed": QColor("#e07b6b"), "kept": QColor("#8f8f96")}
_WIDTHS = {1: 64, 2: 48, 3: 48}  # pixels that columns have at least
_MARGIN = 26  # pixels beside a text
_ROW_HEIGHT = 22
_ROWS_SHOWN = (4, 12)


class BatchTableModel(QAbstractTableModel):
    """Gives a table view the rows of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[BatchRow] = []

    def clear(self) -> None:
        """Take all rows out."""
        self.beginResetModel()
        self.rows = []
        self.endResetModel()

    def add(self, row: BatchRow) -> None:
        """Put a row at the end."""
        self.beginInsertRows(QModelIndex(), len(self.rows), len(self.rows))
        self.rows.append(row)
        self.endInsertRows()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of images so far."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(_COLUMNS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return a cell's text, colour or explanation."""
        if not index.isValid():
            return None
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _cells(row)[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(part for part in (row.file, row.error, row.note) if part)
        if role == Qt.ItemDataRole.ForegroundRole:
            return _COLOURS.get(row.state)
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() >= 2:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return the name of a column."""
        if role != Qt.ItemDataRole.DisplayRole or orientation != Qt.Orientation.Horizontal:
            return None
        return _COLUMNS[section]


def _cells(row: BatchRow) -> tuple[str, str, str, str]:
    name = Path(row.file).name
    found = row.error.removeprefix(f"{name} ") or row.found or "kept"
    unit = row.unit.replace("um", "µm").replace("^2", "²").replace("^3", "³")
    area = "" if row.area is None else f"{_number(row.area)} {'px' if unit in ('pixels', 'voxels') else unit}"
    return name, found, area, f"{row.seconds:.1f} s" if row.state == "done" else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= value < 1e9 else f"{value:.4g}"


class BatchTable(QTableView):
    """Shows the rows; a double click on one asks for its image and result."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.results = BatchTableModel()
        self.setModel(self.results)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Results")
        self.setToolTip("A double click opens the image and its result.")
        self.setStyleSheet("QTableView::item { padding: 0px 4px; } QHeaderView::section { padding: 1px 4px; }")
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        if rows is not None and columns is not None:
            rows.hide()
            rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            rows.setDefaultSectionSize(_ROW_HEIGHT)
            columns.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
            columns.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
            columns.setMinimumSectionSize(40)
            self._reset_widths()

    def add(self, row: BatchRow) -> None:
        """Put a row at the end, and keep it in view if the last one was."""
        bar = self.verticalScrollBar()
        follows = bar is None or bar.value() == bar.maximum()
        self.results.add(row)
        if row.state == "failed":
            self.setSpan(len(self.results.rows) - 1, 1, 1, len(_COLUMNS) - 1)
        else:
            self._fit(_cells(row))
        if len(self.results.rows) <= _ROWS_SHOWN[1]:
            self.setFixedHeight(self.sizeHint().height())
        if follows:
            self.scrollToBottom()

    def clear(self) -> None:
        """Take all rows out."""
        self.clearSpans()
        self.results.clear()
        self._reset_widths()

    def _reset_widths(self) -> None:
        for place, width in _WIDTHS.items():
            self.setColumnWidth(place, width)

    def _fit(self, texts: Sequence[str]) -> None:
        """Make columns wide enough for a row; the names of the images get what is left."""
        for place in _WIDTHS:
            width = self.fontMetrics().horizontalAdvance(texts[place]) + _MARGIN
            self.setColumnWidth(place, max(width, self.columnWidth(place)))

    def sizeHint(self) -> QSize:
        """Ask for room for the rows."""
        header = self.horizontalHeader()
        top = 0 if header is None else header.sizeHint().height()
        rows = min(max(len(self.results.rows), _ROWS_SHOWN[0]), _ROWS_SHOWN[1])
        return QSize(300, top + rows * _ROW_HEIGHT + 4)
