"""The dock's keys take none of napari's, are given back, and are listed."""

from __future__ import annotations

from collections.abc import Callable

from napari.components import ViewerModel
from napari.utils.shortcuts import default_shortcuts
from qtpy.QtWidgets import QLabel

from napari_unet.widgets.parts.window_keys import WindowKeys
from napari_unet.widgets.segment.dock import SegmentDock


def test_no_key_is_one_that_napari_uses(make_dock: Callable[[], SegmentDock]) -> None:
    keys = [key for key, _ in make_dock().keys.entries]
    napari_keys = {str(key).upper() for found in default_shortcuts.values() for key in found}
    assert len(keys) == len(set(keys)) > 10
    assert not {key.upper() for key in keys} & napari_keys


def test_all_keys_of_the_window_are_listed_and_given_back(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock]
) -> None:
    before = {str(key) for key in viewer.keymap}
    dock = make_dock()
    bound = {str(key) for key in viewer.keymap} - before
    listed = {label.text() for label in dock.panel.key_list.findChildren(QLabel)}
    assert bound == {key for key, _ in dock.keys.entries}
    assert bound <= listed
    dock.close_dock()
    assert {str(key) for key in viewer.keymap} == before


def test_a_key_that_is_taken_is_left_alone(viewer: ViewerModel) -> None:
    done = []
    viewer.bind_key("Shift+Q", lambda viewer: done.append("theirs"))
    keys = WindowKeys(viewer)
    assert keys.bind("Shift+Q", "mine", lambda: done.append("mine")) == ""
    assert keys.bind("Shift+U", "mine", lambda: done.append("mine")) == "Shift+U"
    assert keys.entries == [("Shift+U", "mine")]


def test_a_key_shows_and_hides_the_result(viewer: ViewerModel, painted: SegmentDock) -> None:
    result = next(layer for layer in viewer.layers if layer.name.startswith("objects"))
    painted.tools.toggle_result()
    assert not result.visible
    painted.tools.toggle_result()
    assert result.visible
