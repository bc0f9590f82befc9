"""Forms that are built from the description of a config's settings, so that dock and terminal have the same ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, get_args, get_type_hints

from qtpy.QtCore import QEvent, QLocale, QObject, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QDoubleValidator
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_unet.settings import SettingInfo, describe_settings
from napari_unet.widgets.parts.text_size import TextSize

__all__ = ["FoldedSection", "SettingsForm"]

_AUTO = "auto"
_LEAST_CHOICE = 10  # letters of a choice that are always seen
_LARGEST = 2**31 - 1


class _WheelOnlyWithFocus(QObject):
    """Keeps the mouse wheel, which scrolls the form, from changing what happens to lie under it."""

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        wheel = event is not None and event.type() == QEvent.Type.Wheel
        if event is not None and wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return False


class FoldedSection(QWidget):
    """A heading that folds what lies under it away.

    Signals
    -------
    unfolded :
        What lies under it is shown from now on.
    """

    unfolded = Signal()

    def __init__(self, title: str, content: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.content = content
        self.heading = QToolButton()
        self.heading.setText(title)
        self.heading.setCheckable(True)
        self.heading.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        TextSize(self.heading, style="QToolButton { border: none; background: transparent; padding: 3px 0px; {size} }")
        self.heading.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.heading.toggled.connect(self.set_open)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.heading)
        layout.addWidget(content)
        self.set_open(False)

    def set_open(self, opened: bool) -> None:
        """Unfold or fold."""
        self.heading.setChecked(opened)
        self.heading.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        self.content.setVisible(opened)
        if opened:
            self.unfolded.emit()


class SettingsForm(QWidget):
    """Editors for the self-describing fields of a config class.

    Parameters
    ----------
    config : type
        A dataclass whose fields were made with `napari_unet.settings.setting`.
    skip : collection of str
        Fields that are set elsewhere.
    automatic : collection of str
        Numbers that may be left to the program although the config has a fixed default; their value is then None.
    """

    changed = Signal()

    def __init__(self, config: type, *, skip: Collection[str] = (), automatic: Collection[str] = ()) -> None:
        super().__init__()
        types = get_type_hints(config)
        self._automatic = set(automatic)
        self.editors: dict[str, QWidget] = {}
        self._wheel_guard = _WheelOnlyWithFocus(self)
        layout = QFormLayout(self)
        layout.setContentsMargins(4, 0, 2, 4)
        layout.setHorizontalSpacing(10)
        layout.setVerticalSpacing(4)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for info in describe_settings(config):
            if info.name in skip:
                continue
            editor = self._make_editor(info, types[info.name])
            editor.setToolTip(info.description)
            if isinstance(editor, QComboBox) and info.choice_notes:
                _explain_choices(editor, info)
            editor.setAccessibleName(info.title)
            editor.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            editor.installEventFilter(self._wheel_guard)
            label = QLabel(info.title)
            label.setToolTip(info.description)
            label.setBuddy(editor)
            layout.addRow(label, editor)
            self.editors[info.name] = editor

    def values(self) -> dict[str, Any]:
        """Return what is entered, by field name; an automatic number is None."""
        return {name: _value_of(editor) for name, editor in self.editors.items()}

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Enter values; names that the form does not have are left out."""
        for name, value in values.items():
            if name in self.editors:
                _enter(self.editors[name], value)

    def _make_editor(self, info: SettingInfo, kind: Any) -> QWidget:
        kinds = set(get_args(kind)) or {kind}
        optional = type(None) in kinds or info.name in self._automatic
        default = None if info.name in self._automatic else info.default
        if info.choices:
            box = QComboBox()
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(_LEAST_CHOICE)
            for choice in info.choices:
                box.addItem("none" if choice is None else str(choice), choice)
            box.currentIndexChanged.connect(self.changed)
            editor: QWidget = box
        elif kind is bool:
            editor = QCheckBox()
            editor.toggled.connect(self.changed)
        elif float in kinds:
            editor = _NumberEdit(info.minimum, info.maximum, optional=optional)
            editor.editingFinished.connect(self.changed)
        elif int in kinds:
            editor = _whole_number_editor(info, optional)
            editor.valueChanged.connect(self.changed)
        else:
            editor = QLineEdit()
            editor.editingFinished.connect(self.changed)
        _enter(editor, default)
        return editor


class _NumberEdit(QLineEdit):
    """A number of any size, written as short as can be."""

    def __init__(self, minimum: float | None, maximum: float | None, *, optional: bool) -> None:
        super().__init__()
        self.optional = optional
        self.last: float | None = None
        validator = QDoubleValidator(
            -math.inf if minimum is None else minimum, math.inf if maximum is None else maximum, 12, self
        )
        validator.setLocale(QLocale.c())
        self.setValidator(validator)
        if optional:
            self.setPlaceholderText(_AUTO)

    def number(self) -> float | None:
        """Return the number, None if there is none, or the last good one."""
        if self.optional and not self.text().strip():
            return None
        if self.hasAcceptableInput():
            self.last = float(self.text())
        return self.last

    def set_number(self, value: float | None) -> None:
        self.last = value
        self.setText("" if value is None else f"{value:g}")


def _explain_choices(box: QComboBox, info: SettingInfo) -> None:
    """Show the note of each choice while it is pointed at in the list, and that of the chosen one on the box."""

    def explain(index: int) -> None:
        if 0 <= index < len(info.choice_notes):
            box.setToolTip(f"{info.description}\n{box.itemText(index)}: {info.choice_notes[index]}")

    for index, note in enumerate(info.choice_notes):
        box.setItemData(index, note, Qt.ItemDataRole.ToolTipRole)
    box.currentIndexChanged.connect(explain)
    explain(box.currentIndex())


def _whole_number_editor(info: SettingInfo, optional: bool) -> QSpinBox:
    editor = QSpinBox()
    lowest = 0 if info.minimum is None else int(info.minimum)
    editor.setProperty("optional", optional)
    if optional:
        editor.setSpecialValueText(_AUTO)
        lowest -= 1
    editor.setRange(lowest, _LARGEST if info.maximum is None else int(info.maximum))
    editor.setKeyboardTracking(False)
    return editor


def _value_of(editor: QWidget) -> Any:
    if isinstance(editor, QComboBox):
        return editor.currentData()
    if isinstance(editor, QCheckBox):
        return editor.isChecked()
    if isinstance(editor, QSpinBox):
        return None if editor.property("optional") and editor.value() == editor.minimum() else editor.value()
    if isinstance(editor, _NumberEdit):
        return editor.number()
    return editor.text().strip() if isinstance(editor, QLineEdit) else None


def _enter(editor: QWidget, value: Any) -> None:
    if isinstance(editor, QComboBox):
        editor.setCurrentIndex(max(0, editor.findData(value)))
    elif isinstance(editor, QCheckBox):
        editor.setChecked(bool(value))
    elif isinstance(editor, QSpinBox):
        editor.setValue(editor.minimum() if value is None else int(value))
    elif isinstance(editor, _NumberEdit):
        editor.set_number(value)
    elif isinstance(editor, QLineEdit):
        editor.setText("" if value is None else str(value))
