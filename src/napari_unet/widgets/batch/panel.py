"""What the dock "U-Net: Batch" looks like: its parts and where they are, without any of what they do."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_unet.batch.plan import FORMATS
from napari_unet.predict.config import PredictConfig
from napari_unet.widgets.batch.table import BatchTable
from napari_unet.widgets.guide.help_window import HelpButton
from napari_unet.widgets.parts.button_styles import START, STOP
from napari_unet.widgets.parts.form import FoldedSection, SettingsForm
from napari_unet.widgets.parts.messages import MessageLine
from napari_unet.widgets.parts.progress_and_files import make_progress_bar

__all__ = ["TRAINED", "BatchPanel"]

TRAINED = "the trained one"
_TITLES = {
    "source": "as the image", "tif": "TIFF (OME)", "png": "PNG", "npy": "NPY", "zarr": "OME-Zarr", "nii": "NIfTI",
    "nii.gz": "NIfTI, compressed",
}  # fmt: skip
_EXISTING = {
    "resume": ("go on", "Leave out what the same model and settings made from the same image."),
    "keep": ("keep all", "Make only results that are missing."),
    "overwrite": ("make again", "Overwrite results, also those that were corrected by hand."),
}


class BatchPanel(QWidget):
    """The parts of the dock, from top to bottom in the order in which they are used."""

    def __init__(self) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 8, 10, 8)
        layout.setSpacing(7)
        layout.addLayout(self._make_rows())
        self.form = SettingsForm(PredictConfig)
        self.advanced = FoldedSection("Advanced", self.form)
        layout.addWidget(self.advanced)
        self.start = QPushButton("Start")
        layout.addWidget(self.start)
        layout.addLayout(self._make_progress())
        self.message = MessageLine()
        layout.addWidget(self.message)
        self.table = BatchTable()
        layout.addWidget(self.table)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        layout.addWidget(self.summary)
        layout.addStretch()
        self.table.hide()
        self.show_running(False)

    def show_running(self, running: bool) -> None:
        """Turn the button into a stop button, and back."""
        self.start.setEnabled(True)
        self.start.setText("Stop" if running else "Start")
        self.start.setStyleSheet(STOP if running else START)
        self.start.setToolTip(
            "End the batch; what is done stays, and Start goes on from there."
            if running
            else "Segment all images, one after the other."
        )
        self.bar.setVisible(running)
        self.progress.setVisible(running)
        if not running:
            self.bar.setValue(0)

    def show_share(self, share: float, words: str) -> None:
        """Show how much is done, 0 to 1, and say it."""
        self.bar.setUpdatesEnabled(False)  # otherwise Qt draws the whole window at once, and once more for what follows
        self.bar.setValue(int(1000 * share))
        self.bar.setUpdatesEnabled(True)
        if self.progress.text() != words:
            self.progress.setText(words)

    def _make_rows(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(5)
        grid.setColumnStretch(1, 1)
        self.model = QComboBox()
        self.model.addItem(TRAINED, None)
        self.model.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.model.setMinimumContentsLength(8)
        self.model.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.model.setToolTip(
            "The network that segments: the one that was trained in U-Net: Segment, or one from a file."
        )
        self.open_model = _small_button("Open…", "Take a model from a file.")
        self.help = HelpButton("batch")
        self.images = _line(
            "a folder, file or pattern", "A folder of images, an image, or a pattern like plate/*/*.tif."
        )
        self.choose_folder = _button("Folder…", "Choose a folder: all images in it are segmented.")
        self.choose_files = _button("Files…", "Choose some images.")
        self.pattern = _line("all images", "Of a folder, only names like this: *_w1.tif, for example.")
        self.results = _line("segmented, beside the images", "The folder for the results; it is made if it is missing.")
        self.choose_results = _small_button("…", "Choose a folder for the results.")
        self.format = QComboBox()
        for name in FORMATS:
            self.format.addItem(_TITLES[name], name)
        self.format.setToolTip("Format of the results. JPEG becomes PNG, and DICOM becomes NIfTI.")
        self.existing = QComboBox()
        for name, (title, tip) in _EXISTING.items():
            self.existing.addItem(title, name)
            self.existing.setToolTip("\n".join(filter(None, (self.existing.toolTip(), f"{title}: {tip}"))))
        self.probabilities = QCheckBox("probabilities, too")
        self.probabilities.setToolTip("Also write the probability of each class for each pixel.")
        rows: list[tuple[str, QWidget, list[QWidget]]] = [
            ("Model", self.model, [self.open_model]),
            ("Images", self.images, [self.help]),
            ("", self.choose_folder, [self.choose_files]),
            ("Only", self.pattern, []),
            ("Results", self.results, [self.choose_results]),
            ("Format", self.format, []),
            ("", self.probabilities, []),
            ("If there", self.existing, []),
        ]
        for number, (title, editor, extras) in enumerate(rows):
            if title:
                label = QLabel(title)
                label.setBuddy(editor)
                editor.setAccessibleName(title)
                grid.addWidget(label, number, 0)
            row = QHBoxLayout()
            row.setSpacing(4)
            row.addWidget(editor, 1)
            for extra in extras:
                row.addWidget(extra, int(not title))
            grid.addLayout(row, number, 1)
        return grid

    def _make_progress(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(3)
        self.bar = make_progress_bar()
        self.progress = QLabel()
        self.progress.setAccessibleName("What is being done")
        column.addWidget(self.bar)
        column.addWidget(self.progress)
        return column


def _line(placeholder: str, tip: str) -> QLineEdit:
    line = QLineEdit()
    line.setPlaceholderText(placeholder)
    line.setToolTip(tip)
    line.setClearButtonEnabled(True)
    return line


def _button(title: str, tip: str) -> QPushButton:
    button = QPushButton(title)
    button.setToolTip(tip)
    return button


def _small_button(title: str, tip: str) -> QPushButton:
    """Make a button that is no wider than its title."""
    button = _button(title, tip)
    button.setFixedWidth(button.fontMetrics().horizontalAdvance(title) + 20)
    return button
