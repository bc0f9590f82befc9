"""The first steps in the dock, and its help page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.widgets.batch.dock import BatchDock
from napari_unet.widgets.correct.panel import TOOLS
from napari_unet.widgets.evaluate.dock import EvaluateDock
from napari_unet.widgets.evaluate.error_layer import ERROR_COLOURS
from napari_unet.widgets.guide.help_window import help_page
from napari_unet.widgets.segment.dock import SegmentDock


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UNET_SETTINGS", str(tmp_path / "choices"))


def test_each_step_is_ticked_off_when_it_was_done_and_the_strip_goes_for_good(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Callable[..., Any], do: Any
) -> None:
    dock = make_dock()
    strip = dock.panel.guide
    assert dock.guide.done == set()
    assert "Open Sample" in strip.how.text()
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots")
    do.qtbot.waitUntil(lambda: dock.guide.done == {"open"})
    do.paint(dock, truth)
    assert dock.guide.done == {"open", "background", "class"}
    do.run(dock)
    assert dock.guide.done == {"open", "background", "class", "train"}
    assert dock.strokes is not None
    dock.strokes.data_setitem((np.array([3]), np.array([3])), 1)
    assert "correct" in dock.guide.done
    assert not strip.isHidden()
    dock.panel.predict.click()
    do.wait(dock)
    assert strip.isHidden()
    assert make_dock().panel.guide.isHidden()


def test_an_answer_to_the_strokes_is_no_training_yet(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Callable[..., Any], do: Any
) -> None:
    dock = make_dock()
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(image, name="spots")
    do.qtbot.waitUntil(lambda: dock.guide.done == {"open"})
    assert dock.strokes is not None
    dock.strokes.data_setitem((np.array([3]), np.array([3])), 1)
    assert f"press {dock.desk.next_key}" in dock.panel.guide.how.text()
    do.paint(dock, truth)
    dock.runner.model = Model.create(ModelConfig(features=4, depth=1))
    dock.runner.show_state()
    dock.update_hint()
    assert dock.guide.done == {"open", "background", "class"}
    assert "Press Train" in dock.panel.guide.how.text()
    assert dock.panel.status.text() == "not trained yet"
    dock.runner.model.history |= {"steps": 3, "best_score": 0.5}
    dock.runner.show_state()
    dock.update_hint()
    assert "train" in dock.guide.done
    assert dock.panel.status.text() == "trained before · score 0.50 (held out)"


def test_it_is_put_away_and_help_brings_it_back(make_dock: Callable[[], SegmentDock]) -> None:
    dock = make_dock()
    dock.panel.guide.put_away.click()
    dock.update_hint()
    assert dock.panel.guide.isHidden()
    other = make_dock()
    assert other.panel.guide.isHidden()
    other.panel.help.click()
    other.guide.first_steps.click()
    assert not other.panel.guide.isHidden()
    assert not make_dock().panel.guide.isHidden()


def test_the_help_page_lists_the_tools_and_keys_that_there_are(make_dock: Callable[[], SegmentDock]) -> None:
    dock = make_dock()
    dock.panel.help.click()
    assert dock.guide.help is not None
    shown = dock.guide.help.page.toPlainText()
    assert all(key in shown and does in shown for key, does in dock.keys.entries)
    listed = re.findall(r"^- \*\*(.+?)\*\*", help_page("segment"), re.MULTILINE)
    assert listed == [tool.title for tool in TOOLS.values()]


@pytest.mark.parametrize(("kind", "heading"), [(EvaluateDock, "U-Net: Evaluate"), (BatchDock, "U-Net: Batch")])
def test_the_other_docks_have_a_page_each(viewer: ViewerModel, docks: list[Any], kind: Any, heading: str) -> None:
    dock = kind(viewer)
    docks.append(dock)
    dock.panel.help.click()
    page = dock.panel.help.window_shown
    assert page.page.toPlainText().startswith(heading)
    assert "Keys" not in page.page.toPlainText()
    dock.panel.help.click()
    assert dock.panel.help.window_shown is page


def test_the_pages_name_what_the_docks_show(viewer: ViewerModel, docks: list[Any]) -> None:
    named = re.findall(r"^- \*\*(.+?)\*\*", help_page("evaluate"), re.MULTILINE)
    assert named == list(ERROR_COLOURS)
    dock = BatchDock(viewer)  # type: ignore[arg-type]
    docks.append(dock)
    choices = dock.panel.existing
    named = re.findall(r"^- \*\*(.+?)\*\*", help_page("batch"), re.MULTILINE)
    assert named == [choices.itemText(number) for number in range(choices.count())]
