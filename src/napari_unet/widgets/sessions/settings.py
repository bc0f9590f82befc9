"""What a person chose in the dock, as values that a session keeps, and what they chose in napari's preferences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import napari.settings

from napari_unet.widgets.segment.panel import SegmentPanel
from napari_unet.widgets.sessions.layers import plain

__all__ = ["apply_settings", "autosave_wanted", "read_settings"]

_PLUGIN = "napari-unet"
_FORMS = {"window": "window_form", "network": "model_form", "training": "train_form", "prediction": "predict_form"}
_OF_LAYERS = ("axes", "meaning")  # kept with each layer


def autosave_wanted() -> bool:
    """Whether sessions are to be saved by themselves: Preferences > Plugins > U-Net."""
    find = getattr(napari.settings, "get_plugin_settings", None)
    if find is None:
        return True  # a napari that has no settings for plugins
    try:
        return bool(find(_PLUGIN).session.autosave)
    except (KeyError, AttributeError):
        return True  # used without being installed as a plugin


def read_settings(panel: SegmentPanel) -> dict[str, Any]:
    """Return what is chosen in the dock, as JSON values."""
    return {
        "task": panel.task.value,
        "dims": panel.dims.value,
        "extent": panel.extent.currentData(),
        "seconds": panel.seconds.value(),
        "probabilities": panel.probabilities.isChecked(),
        "uncertainty": panel.spot.uncertainty.isChecked(),
        "measure": panel.spot.measure,
        "keep_images": panel.session.keep_images.isChecked(),
        **{name: plain(getattr(panel, form).values()) for name, form in _FORMS.items()},
    }


def apply_settings(panel: SegmentPanel, settings: Mapping[str, Any]) -> None:
    """Choose in the dock what was chosen in a session; what is missing or unknown stays as it is."""
    if settings.get("task") in panel.task.buttons:
        panel.task.value = settings["task"]
    if settings.get("dims") in panel.dims.buttons:
        panel.dims.value = settings["dims"]
    if panel.extent.findData(settings.get("extent")) >= 0:
        panel.extent.setCurrentIndex(panel.extent.findData(settings["extent"]))
    if isinstance(settings.get("seconds"), int):
        panel.seconds.setValue(settings["seconds"])
    panel.probabilities.setChecked(settings.get("probabilities") is True)
    panel.spot.uncertainty.setChecked(settings.get("uncertainty") is True)
    if panel.spot.measures.findData(settings.get("measure")) >= 0:
        panel.spot.measures.setCurrentIndex(panel.spot.measures.findData(settings["measure"]))
    panel.session.keep_images.setChecked(settings.get("keep_images") is not False)
    for name, form in _FORMS.items():
        values = settings.get(name)
        if isinstance(values, Mapping):
            getattr(panel, form).set_values({key: v for key, v in values.items() if key not in _OF_LAYERS})
