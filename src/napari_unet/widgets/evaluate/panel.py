"""What the dock "U-Net: Evaluate" looks like: its parts and where they are, without any of what they do."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.widgets.evaluate.error_layer import ERROR_COLOURS, ERROR_MEANINGS
from napari_unet.widgets.evaluate.score_table import ScoreTable
from napari_unet.widgets.guide.help_window import HelpButton
from napari_unet.widgets.parts.button_styles import START, STOP
from napari_unet.widgets.parts.form import SettingsForm
from napari_unet.widgets.parts.layer_chooser import LayerChooser
from napari_unet.widgets.parts.messages import MessageLine
from napari_unet.widgets.parts.progress_and_files import make_progress_bar

__all__ = ["EvaluatePanel"]


class EvaluatePanel(QWidget):
    """The parts of the dock, from top to bottom in the order in which they are used."""

    def __init__(self, predicted: LayerChooser, reference: LayerChooser) -> None:
        super().__init__()
        self.predicted, self.reference = predicted, reference
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 8, 10, 8)
        layout.setSpacing(7)
        layout.addLayout(self._make_layer_rows())
        self.form = SettingsForm(EvaluationConfig)
        layout.addWidget(self.form)
        layout.addLayout(self._make_start_row())
        self.bar = make_progress_bar()
        layout.addWidget(self.bar)
        self.message = MessageLine()
        layout.addWidget(self.message)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        layout.addWidget(self.summary)
        self.table = ScoreTable()
        layout.addWidget(self.table)
        layout.addWidget(self._make_legend())
        layout.addLayout(self._make_table_row())
        layout.addStretch()
        self.show_running(False)
        self.show_scored(False)

    def show_running(self, running: bool) -> None:
        """Turn the button into a stop button, and back."""
        self.score.setText("Stop" if running else "Score")
        self.score.setStyleSheet(STOP if running else START)
        self.score.setToolTip(
            "End the scoring; what is scored so far is shown."
            if running
            else "Compare the result with the reference, pixel by pixel and object by object."
        )
        self.bar.setVisible(running)
        if not running:
            self.bar.setValue(0)

    def show_scored(self, scored: bool, *, errors: bool = False) -> None:
        """Show the parts that only make sense when there are scores."""
        for part in (self.summary, self.table, self.copy, self.save):
            part.setVisible(scored)
        self.legend.setVisible(scored and errors)

    def _make_layer_rows(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(5)
        grid.setColumnStretch(1, 1)
        self.predicted.setToolTip("The labels layer that is scored.")
        self.predicted.setAccessibleName("Result")
        self.reference.setToolTip("The labels layer that is right.")
        self.reference.setAccessibleName("Reference")
        for row, (label, part) in enumerate([("Result", self.predicted), ("Reference", self.reference)]):
            grid.addWidget(QLabel(label), row, 0)
            grid.addWidget(part, row, 1, 1, 1 if part is self.predicted else 2)
        self.help = HelpButton("evaluate")
        grid.addWidget(self.help, 0, 2)
        return grid

    def _make_start_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        self.score = QPushButton("Score")
        self.score.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.with_errors = QCheckBox("error layer")
        self.with_errors.setChecked(True)
        self.with_errors.setToolTip("Also show where the result is wrong, in a layer with a colour for each kind.")
        row.addWidget(self.score, 1)
        row.addWidget(self.with_errors)
        return row

    def _make_legend(self) -> QWidget:
        self.legend = QWidget()
        row = QHBoxLayout(self.legend)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(5)
        for kind, colour in ERROR_COLOURS.items():
            square = QLabel()
            square.setFixedSize(12, 12)
            square.setStyleSheet(f"background: {colour}; border-radius: 2px;")
            words = QLabel(kind)
            for part in (square, words):
                part.setToolTip(ERROR_MEANINGS[kind])
                row.addWidget(part)
            row.addSpacing(6)
        row.addStretch()
        return self.legend

    def _make_table_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(6)
        self.copy = QPushButton("Copy table")
        self.copy.setToolTip("Copy all of the table, to paste it into a spreadsheet.")
        self.save = QPushButton("Save table…")
        self.save.setToolTip("Save all of the table as CSV.")
        row.addWidget(self.copy)
        row.addWidget(self.save)
        return row
