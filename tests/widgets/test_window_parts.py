"""Small parts of the window: messages, layer chooser, loading PyTorch, pauses of memory searches, the manifest."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import npe2
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.settings import get_settings
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

import napari_unet
from napari_unet.errors import InputError
from napari_unet.widgets.parts.layer_chooser import LayerChooser
from napari_unet.widgets.parts.memory_pauses import MemoryPauses
from napari_unet.widgets.parts.messages import MessageLine, in_words
from napari_unet.widgets.segment.dock import SegmentDock
from napari_unet.widgets.training.warm_up import is_warm, warm_up


@pytest.fixture
def line(qtbot: QtBot) -> MessageLine:
    line = MessageLine()
    qtbot.addWidget(line)
    notification_manager.records.clear()
    return line


def test_an_error_of_ours_is_said_once_and_another_without_its_traceback(line: MessageLine) -> None:
    with line.reporting("Reading"):
        raise InputError("The image 'a' is too small.")
    assert (
        [record.message for record in notification_manager.records] == [line.text()] == ["The image 'a' is too small."]
    )
    line.failure(RuntimeError("first line\nTraceback (most recent call last)"), "Reading")
    assert line.text() == "Reading stopped: first line."
    line.clear_message()
    assert line.isHidden()


def test_errors_without_words_are_named() -> None:
    assert in_words(ZeroDivisionError(), "It") == "It stopped: ZeroDivisionError."
    assert "memory is not enough" in in_words(MemoryError(), "It")


def test_a_mistake_in_the_program_is_not_swallowed(line: MessageLine) -> None:
    with pytest.raises(AttributeError), line.reporting("Reading"):
        raise AttributeError("typo")


@pytest.fixture
def chooser(qtbot: QtBot) -> Iterator[LayerChooser]:
    viewer = ViewerModel()
    chooser = LayerChooser(viewer, lambda layer: isinstance(layer, Image), "none")
    qtbot.addWidget(chooser)
    yield chooser
    chooser.disconnect_viewer()


def test_the_chooser_follows_layers_and_names(chooser: LayerChooser, qtbot: QtBot) -> None:
    viewer = chooser._viewer
    with qtbot.waitSignal(chooser.layer_chosen) as chosen:
        first = viewer.add_image(np.zeros((4, 4)), name="same")
    assert chosen.args == [first]
    second = viewer.add_image(np.zeros((4, 4)), name="other")
    viewer.add_labels(np.zeros((4, 4), np.uint8))
    second.name = "renamed"
    qtbot.waitUntil(lambda: [chooser.itemText(i) for i in range(chooser.count())] == ["same", "renamed"])
    assert chooser.layer is first
    with qtbot.waitSignal(chooser.layer_chosen) as chosen:
        viewer.layers.remove(first)
    assert chosen.args == [second]
    with qtbot.waitSignal(chooser.layer_chosen) as chosen:
        viewer.layers.clear()
    assert chosen.args == [None]
    assert chooser.currentText() == "none"
    assert not chooser.isEnabled()


def test_full_searches_wait_until_the_hand_rests(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_threshold()
    searches: list[int] = []
    monkeypatch.setattr(gc, "collect", lambda *args: searches.append(1))
    monkeypatch.setattr(QApplication, "mouseButtons", lambda: Qt.MouseButton.NoButton)
    pauses = MemoryPauses()
    pauses.hold("job")
    assert gc.get_threshold()[2] > 100_000
    pauses.release("job")
    assert searches == []
    qtbot.waitUntil(lambda: bool(searches))
    assert gc.get_threshold() == before
    pauses.hold("job")
    pauses.close()
    assert gc.get_threshold() == before


def test_the_docks_hold_full_searches_back_together() -> None:
    before = gc.get_threshold()
    first, second = MemoryPauses(), MemoryPauses()
    first.hold("job")
    second.hold("live")
    first.close()
    assert gc.get_threshold()[2] > 100_000
    second.close()
    assert gc.get_threshold() == before


def test_while_something_runs_a_full_search_waits_for_a_long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[int] = []
    now = [1000.0]
    monkeypatch.setattr(gc, "collect", lambda *args: searches.append(1))
    monkeypatch.setattr(QApplication, "mouseButtons", lambda: Qt.MouseButton.NoButton)
    monkeypatch.setattr("napari_unet.widgets.parts.memory_pauses.time.monotonic", lambda: now[0])
    pauses = MemoryPauses()
    pauses.hold("live")
    pauses._look()
    now[0] += 200
    pauses.touch()
    now[0] += 10
    pauses._look()
    assert searches == []
    now[0] += 10
    pauses._look()
    pauses._look()
    assert searches == [1]
    pauses.close()


def test_torch_works_after_its_libraries_were_opened_beforehand() -> None:
    code = (
        "from napari_unet.widgets.parts.torch_loading import load_torch; load_torch(); load_torch();"
        "import torch; print(torch.ones(2, 2).matmul(torch.ones(2, 2)).sum().item())"
    )
    folder = str(Path(napari_unet.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=folder)
    assert (done.stdout.strip(), done.returncode) == ("8.0", 0), done.stderr


def test_warming_up_loads_everything_and_can_be_stopped() -> None:
    list(warm_up(lambda: True))
    list(warm_up(lambda: False))
    assert is_warm()
    assert {"torch._dynamo", "napari_unet.learn.fit", "napari_unet.predict.instances"} <= set(sys.modules)


def test_the_dock_loads_no_torch() -> None:
    code = (
        "import sys; import napari_unet.widgets.segment.dock, napari_unet.widgets.sample_data;"
        "print([name for name in ('torch', 'skimage.segmentation') if name in sys.modules])"
    )
    folder = str(Path(napari_unet.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.stdout.strip() == "[]", done.stderr


def test_everything_that_the_manifest_names_is_there() -> None:
    path = Path(napari_unet.__file__).parent / "napari.yaml"
    manifest = npe2.PluginManifest.from_file(path)
    manifest.validate_imports()
    assert manifest.contributions.widgets is not None
    assert "U-Net: Segment" in [widget.display_name for widget in manifest.contributions.widgets]
    assert len(manifest.contributions.sample_data or []) == 4
    assert "napari/layers/segment" in manifest.contributions.menus


def test_letters_follow_the_size_that_is_set_in_napari(viewer: ViewerModel, qtbot: QtBot) -> None:
    dock = SegmentDock(viewer)  # type: ignore[arg-type]
    panel = dock.panel
    labels = [
        panel.hint,
        panel.info,
        panel.guide.how,
        panel.correct.how,
        panel.session.status,
        panel.classes.rows[0].name,
    ]
    labels = [*labels, panel.correct_section.heading]
    settings = get_settings().appearance
    before = settings.font_size
    try:
        settings.font_size = 10
        small = [label.fontInfo().pointSizeF() for label in labels if label.ensurePolished() is None]
        settings.font_size = 20
        large = [label.fontInfo().pointSizeF() for label in labels if label.ensurePolished() is None]
    finally:
        settings.font_size = before
        dock.close_dock()
        dock.deleteLater()
    np.testing.assert_allclose(large, 2 * np.array(small), rtol=0.15)  # of whole pixels
