"""What the dock "U-Net: Segment" looks like: its parts and where they are, without any of what they do."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_unet.learn.config import TrainConfig
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.widgets.annotate.class_list import ClassList
from napari_unet.widgets.correct.next_spot import SpotPanel
from napari_unet.widgets.correct.panel import CorrectPanel
from napari_unet.widgets.guide.strip import GuideStrip
from napari_unet.widgets.parts.button_styles import START, STOP
from napari_unet.widgets.parts.form import FoldedSection, SettingsForm
from napari_unet.widgets.parts.layer_chooser import LayerChooser
from napari_unet.widgets.parts.messages import MessageLine
from napari_unet.widgets.parts.progress_and_files import make_progress_bar
from napari_unet.widgets.parts.text_size import SMALL, TextSize
from napari_unet.widgets.parts.window_keys import KeyList
from napari_unet.widgets.segment.window_config import WindowConfig
from napari_unet.widgets.sessions.part import OfferLine, SessionPart
from napari_unet.widgets.training.plot import TrainingPlot

__all__ = ["Choice", "SegmentPanel"]

_MUTED = "rgb(140, 140, 145)"  # readable on dark and on light


class Choice(QWidget):
    """A few exclusive options side by side."""

    def __init__(self, options: dict[str, str], tips: dict[str, str]) -> None:
        super().__init__()
        self.group = QButtonGroup(self)
        self.buttons: dict[str, QRadioButton] = {}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(14)
        for key, title in options.items():
            button = QRadioButton(title)
            button.setToolTip(tips[key])
            self.group.addButton(button)
            self.buttons[key] = button
            layout.addWidget(button)
        layout.addStretch()
        next(iter(self.buttons.values())).setChecked(True)

    @property
    def value(self) -> str:
        """The key of the chosen option."""
        return next(key for key, button in self.buttons.items() if button.isChecked())

    @value.setter
    def value(self, key: str) -> None:
        self.buttons[key].setChecked(True)


class SegmentPanel(QWidget):
    """The parts of the dock, from top to bottom in the order in which they are used."""

    def __init__(self, image: LayerChooser, strokes: LayerChooser, classes: ClassList) -> None:
        super().__init__()
        self.image, self.strokes, self.classes = image, strokes, classes
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 8, 10, 8)
        layout.setSpacing(6)
        self.offer = OfferLine()
        layout.addWidget(self.offer)
        self.guide = GuideStrip()
        layout.addWidget(self.guide)
        layout.addLayout(self._make_source_rows())
        layout.addWidget(_line())
        layout.addWidget(self.classes)
        self.hint = _small(QLabel(), muted=False)
        self.hint.setWordWrap(True)
        layout.addWidget(self.hint)
        layout.addWidget(_line())
        layout.addLayout(self._make_train_row())
        layout.addLayout(self._make_progress())
        layout.addWidget(_line())
        layout.addLayout(self._make_predict_row())
        self.spot = SpotPanel()
        layout.addWidget(self.spot)
        self.message = MessageLine()
        layout.addWidget(self.message)
        layout.addWidget(_line())
        self.correct = CorrectPanel()
        self.correct_section = FoldedSection("Correct", self.correct)
        self.key_list = KeyList()
        self.model_section = FoldedSection("Model", self._make_model_part())
        self.session = SessionPart()
        self.session_section = FoldedSection("Session", self.session)
        self.advanced_section = FoldedSection("Advanced", self._make_advanced_part())
        self.key_section = FoldedSection("Keys", self.key_list)
        sections = (self.correct_section, self.model_section, self.session_section, self.advanced_section)
        for section in (*sections, self.key_section):
            layout.addWidget(section)
        layout.addStretch()

    def show_share(self, share: float | None) -> None:
        """Show how much of the running job is done, 0 to 1; None: nothing runs, or nobody knows when it ends."""
        self.bar.setVisible(share is not None)
        self.bar.setUpdatesEnabled(False)  # otherwise Qt draws the whole window at once, and once more for what follows
        self.bar.setValue(int(1000 * (share or 0)))
        self.bar.setUpdatesEnabled(True)

    def show_running(self, *, training: bool, predicting: bool) -> None:
        """Turn the buttons of what goes on into stop buttons."""
        self.train.setText("Stop" if training else "Train")
        self.train.setStyleSheet(STOP if training else START)
        self.train.setToolTip(
            "End the training now and keep the best model so far."
            if training
            else "Train on the strokes; the result gets better while you look at it and paint on."
        )
        self.predict.setText("Stop" if predicting else "Predict")
        self.predict.setEnabled(not training)
        for part in (self.save, self.open, self.start_over):
            part.setEnabled(not training)

    def _make_source_rows(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(10)
        grid.setVerticalSpacing(5)
        grid.setColumnStretch(1, 1)
        self.image.setToolTip("The image to segment.")
        self.info = _small(QLabel())
        self.info.setWordWrap(True)
        self.strokes.setToolTip(
            "The labels layer that you paint on. It is made for each image; you can also choose one of your own.\n"
            "0 = not painted, 1 = background, 2, 3, ... = classes or objects."
        )
        self.task = Choice(
            {"objects": "separate objects", "classes": "areas"},
            {
                "objects": "Each object gets a label of its own, also where objects touch each other.",
                "classes": "Every pixel gets the label of its class; there may be any number of classes.",
            },
        )
        self.dims = Choice(
            {"2": "slice by slice", "3": "whole volume"},
            {
                "2": "A 2D network reads one slice at a time; strokes on a few slices are enough.",
                "3": "A 3D network reads a volume at once; it needs more time and memory.",
            },
        )
        self.dims_label = QLabel("Read")
        for row, (label, part) in enumerate(
            [("Image", self.image), ("", self.info), ("Strokes", self.strokes), ("Find", self.task)]
        ):
            grid.addWidget(QLabel(label), row, 0)
            grid.addWidget(part, row, 1, 1, 1 if part is self.image else 2)
        self.help = QPushButton("Help")
        self.help.setToolTip("What to do, the tools and the keys; offline.")
        grid.addWidget(self.help, 0, 2)
        grid.addWidget(self.dims_label, 4, 0)
        grid.addWidget(self.dims, 4, 1, 1, 2)
        return grid

    def _make_train_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        self.train = QPushButton("Train")
        self.train.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.seconds = QSpinBox()
        self.seconds.setRange(0, 1_000_000)
        self.seconds.setSpecialValueText("until I stop")
        self.seconds.setPrefix("for ")
        self.seconds.setSuffix(" s")
        self.seconds.setSingleStep(30)
        self.seconds.setToolTip(
            "'until I stop': the training goes on while you paint, takes up each new stroke, and rests when the score "
            "no longer rises.\nA number: a single training of so many seconds on the strokes as they are now."
        )
        row.addWidget(self.train, 1)
        row.addWidget(self.seconds)
        return row

    def _make_progress(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(3)
        self.bar = make_progress_bar()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.device = _small(QLabel())
        self.device.setWordWrap(True)
        self.shown = _small(QLabel())
        self.shown.setWordWrap(True)
        self.shown.hide()
        self.plot = TrainingPlot()
        column.addWidget(self.bar)
        column.addWidget(self.status)
        column.addWidget(self.shown)
        column.addWidget(self.device)
        column.addSpacing(4)
        column.addWidget(self.plot)
        return column

    def _make_predict_row(self) -> QVBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(8)
        self.predict = QPushButton("Predict")
        self.predict.setToolTip("Segment with the model as it is; the result appears tile by tile.")
        self.extent = QComboBox()
        self.extent.setToolTip("How much to segment.")
        self.probabilities = QCheckBox("also show probabilities")
        self.probabilities.setToolTip("Also show how sure the model is of each class, as an image layer from 0 to 1.")
        self.join = QCheckBox("join objects over slices")
        self.join.setToolTip(
            "When all slices are predicted, objects of neighbouring slices that overlap become one object."
        )
        self.join.hide()
        row.addWidget(self.predict, 1)
        row.addWidget(self.extent, 1)
        column = QVBoxLayout()
        column.setSpacing(6)
        column.addLayout(row)
        column.addWidget(self.join)
        column.addWidget(self.probabilities)
        return column

    def _make_model_part(self) -> QWidget:
        part = QWidget()
        column = QVBoxLayout(part)
        column.setContentsMargins(4, 0, 2, 4)
        column.setSpacing(5)
        self.model_text = _small(QLabel())
        self.model_text.setWordWrap(True)
        self.save = QPushButton("Save…")
        self.save.setToolTip("Save the model to a file.")
        self.open = QPushButton("Open…")
        self.open.setToolTip("Open a saved model and go on with it.")
        self.start_over = QPushButton("Start over")
        self.start_over.setToolTip("Put this model away: the next training begins with a new one.")
        row = QHBoxLayout()
        row.setSpacing(6)
        for button in (self.save, self.open, self.start_over):
            row.addWidget(button)
        column.addWidget(self.model_text)
        column.addLayout(row)
        return part

    def _make_advanced_part(self) -> QWidget:
        part = QWidget()
        column = QVBoxLayout(part)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self.window_form = SettingsForm(WindowConfig)
        self.model_form = SettingsForm(ModelConfig, skip=("ndim", "in_channels"), automatic=("features",))
        self.train_form = SettingsForm(TrainConfig, skip=("max_seconds", "task"))
        self.predict_form = SettingsForm(PredictConfig, skip=("device",))
        for title, form in (
            ("Window", self.window_form),
            ("Network of a new model", self.model_form),
            ("Training", self.train_form),
            ("Prediction", self.predict_form),
        ):
            heading = QLabel(title)
            heading.setStyleSheet("font-weight: 600; padding-top: 4px;")
            column.addWidget(heading)
            column.addWidget(form)
        return part


def _small(label: QLabel, *, muted: bool = True) -> QLabel:
    TextSize(label, SMALL if muted else 1.0, "{size} " + (f"color: {_MUTED};" if muted else ""))
    label.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
    return label


def _line() -> QFrame:
    line = QFrame()
    line.setFixedHeight(1)
    line.setStyleSheet("background: rgba(128, 128, 128, 70);")
    return line
