"""The docks in the real window, as a person finds them: whole, beside each other, and where they look for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QDockWidget, QScrollArea, QWidget
from superqt.utils import GeneratorWorker

pytestmark = [pytest.mark.window, pytest.mark.filterwarnings("ignore::ResourceWarning")]

DOCKS = ("U-Net: Segment", "U-Net: Evaluate", "U-Net: Batch")


def dock_widget_of(widget: QWidget) -> QDockWidget:
    while not isinstance(widget, QDockWidget):
        widget = widget.parentWidget()
    return widget


def test_nothing_is_cut_off_the_docks_are_tabs_and_sections_come_into_view(
    make_napari_viewer: Callable[..., Any], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1200, 700)
    viewer.add_image(np.random.default_rng(0).random((5, 40, 40)), name="stack")
    docks = [viewer.window.add_plugin_dock_widget("napari-unet", name)[1] for name in DOCKS]
    places = [dock_widget_of(dock) for dock in docks]
    main = viewer.window._qt_window
    qtbot.waitUntil(lambda: len(main.tabifiedDockWidgets(places[0])) == 2)
    qtbot.waitUntil(lambda: docks[-1].visibleRegion().boundingRect().isValid())  # in front
    segment = docks[0]
    places[0].raise_()
    assert not segment.panel.dims.isHidden()  # slice by slice or whole volume: the widest row
    panel = segment.panel
    sections = (
        panel.correct_section, panel.model_section, panel.session_section, panel.advanced_section, panel.key_section,
    )  # fmt: skip
    area = segment.findChild(QScrollArea)

    def is_in_view(section: Any) -> bool:
        seen = section.heading.mapTo(area.viewport(), section.heading.rect().center()).y()
        end = section.mapTo(area.viewport(), section.rect().bottomLeft()).y()
        whole = end < area.viewport().height() or seen < section.heading.height()
        is_laid_out = section.height() > 2 * section.heading.height()
        return is_laid_out and 0 <= seen < area.viewport().height() and whole

    for section in sections:
        section.heading.click()
        qtbot.waitUntil(partial(is_in_view, section))

    def is_whole(dock: Any) -> bool:
        width = dock.findChild(QScrollArea).viewport().width()
        return bool(dock.isVisible() and dock.panel.minimumSizeHint().width() <= width < 400)

    for dock, place in zip(docks, places, strict=True):
        place.raise_()
        qtbot.waitUntil(partial(is_whole, dock))
    GeneratorWorker.await_workers(30_000)
