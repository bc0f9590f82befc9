from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

from napari_unet.learn.config import TrainConfig
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.settings import describe_settings
from napari_unet.widgets.parts.form import SettingsForm
from napari_unet.widgets.segment.window_config import WindowConfig


@pytest.mark.parametrize("config", [TrainConfig, ModelConfig, PredictConfig, WindowConfig])
def test_an_untouched_form_gives_the_defaults(qtbot: QtBot, config: type) -> None:
    form = SettingsForm(config)
    qtbot.addWidget(form)
    assert config(**form.values()) == config()


@pytest.mark.parametrize("config", [TrainConfig, ModelConfig, PredictConfig, WindowConfig])
def test_every_setting_explains_itself(qtbot: QtBot, config: type) -> None:
    form = SettingsForm(config)
    qtbot.addWidget(form)
    for info in describe_settings(config):
        assert form.editors[info.name].toolTip().startswith(info.description)


def test_each_network_says_when_to_use_it(qtbot: QtBot) -> None:
    form = SettingsForm(ModelConfig)
    qtbot.addWidget(form)
    box = form.editors["architecture"]
    assert isinstance(box, QComboBox)
    (info,) = (info for info in describe_settings(ModelConfig) if info.name == "architecture")
    for index, note in enumerate(info.choice_notes):
        assert box.itemData(index, Qt.ItemDataRole.ToolTipRole) == note
        box.setCurrentIndex(index)
        assert box.toolTip().endswith(f"{info.choices[index]}: {note}")


def test_what_is_entered_comes_back(qtbot: QtBot) -> None:
    form = SettingsForm(TrainConfig)
    qtbot.addWidget(form)
    entered = {"learning_rate": 3e-5, "max_steps": 12, "flips": False, "task": "classes", "seed": 5, "crop": 64}
    form.set_values(entered | {"unknown": 1})
    assert {name: form.values()[name] for name in entered} == entered
    form.set_values({"max_steps": None, "crop": None})
    assert form.values()["max_steps"] is None
    assert form.values()["crop"] is None


def test_a_number_may_be_left_to_the_program(qtbot: QtBot) -> None:
    form = SettingsForm(ModelConfig, skip=("ndim",), automatic=("features",))
    qtbot.addWidget(form)
    assert "ndim" not in form.values()
    assert form.values()["features"] is None
    form.set_values({"features": 64})
    assert form.values()["features"] == 64


def test_a_number_that_is_no_number_is_not_taken(qtbot: QtBot) -> None:
    form = SettingsForm(TrainConfig)
    qtbot.addWidget(form)
    editor = form.editors["learning_rate"]
    editor.setText("much")  # type: ignore[attr-defined]
    assert form.values()["learning_rate"] == TrainConfig().learning_rate
