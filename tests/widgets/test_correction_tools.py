"""The correction tools on layers: strokes in one step that napari's undo takes back, the shown result in step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from pytestqt.qtbot import QtBot

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.widgets.parts.layer_tools import read_role
from napari_unet.widgets.results.predict_job import PredictRequest
from napari_unet.widgets.segment.dock import SegmentDock

Path = list[tuple[float, ...]]


class Corrector:
    """Uses the tools of a dock and waits until they are done."""

    def __init__(self, dock: SegmentDock, qtbot: QtBot) -> None:
        self.dock, self.qtbot = dock, qtbot
        assert dock.strokes is not None
        self.strokes: Labels = dock.strokes
        self.tools = dock.tools.corrections

    @property
    def result(self) -> Labels:
        return next(
            layer
            for layer in self.dock.viewer.layers
            if isinstance(layer, Labels) and "result" in str(read_role(layer))
        )

    def show(self, labels: np.ndarray) -> None:
        """Put labels where a prediction would."""
        self.result.data[...] = labels
        self.result.refresh()

    def use(self, name: str, path: Path) -> None:
        self.tools.use(name, np.array(path, float))
        self.qtbot.waitUntil(lambda: not self.tools.is_busy)

    def said(self) -> str:
        return self.dock.message.text()


@pytest.fixture
def objects() -> np.ndarray:
    """Two blocks side by side, 3 and 7, and a third, 9, away from them."""
    labels = np.zeros((60, 80), np.uint16)
    labels[10:30, 10:40], labels[34:54, 10:40], labels[20:40, 55:70] = 3, 7, 9
    return labels


@pytest.fixture
def at(viewer: ViewerModel, make_dock: Callable[[], SegmentDock], qtbot: QtBot, objects: np.ndarray) -> Corrector:
    viewer.add_image(np.random.default_rng(0).random(objects.shape).astype(np.float32), name="blocks")
    found = Corrector(make_dock(), qtbot)
    found.show(objects)
    return found


USES: dict[str, Path] = {
    "accept": [(20, 20)],
    "reject": [(20, 20)],
    "split": [(5, 25), (32, 25)],
    "merge": [(25, 20), (45, 20)],
    "fill": [(42, 45), (42, 52), (55, 52), (55, 45)],
    "erase": [(2, 2)],
}


@pytest.mark.parametrize("name", USES)
def test_each_tool_is_one_step_for_undo_and_redo(at: Corrector, objects: np.ndarray, name: str) -> None:
    at.strokes.data_setitem((np.array([1, 2, 2]), np.array([2, 2, 3])), 1)
    before = at.strokes.data.copy()
    at.strokes.selected_label = 2
    at.use(name, USES[name])
    after, shown = at.strokes.data.copy(), at.result.data.copy()
    assert (after != before).any()
    assert "Ctrl+Z" in at.said()

    at.strokes.undo()
    np.testing.assert_array_equal(at.strokes.data, before)
    np.testing.assert_array_equal(at.result.data, objects)
    at.strokes.redo()
    np.testing.assert_array_equal(at.strokes.data, after)
    np.testing.assert_array_equal(at.result.data, shown)
    at.strokes.undo()
    at.strokes.undo()
    assert not at.strokes.data.any()


def test_an_accepted_object_has_a_label_of_its_own_and_background_around_it(at: Corrector) -> None:
    at.use("accept", USES["accept"])
    at.use("accept", [(25.0, 60.0)])
    assert {int(label) for label in np.unique(at.strokes.data)} == {0, 1, 3, 4}
    np.testing.assert_array_equal(at.strokes.data == 3, at.result.data == 3)
    np.testing.assert_array_equal(at.strokes.data == 4, at.result.data == 9)
    assert at.strokes.data[8, 20] == at.strokes.data[9, 20] == 1
    assert at.strokes.data[7, 20] == 0
    assert at.dock.desk.painted == {1, 2}
    at.dock.desk.next_object()
    assert at.strokes.selected_label == 5


def test_what_a_rejected_object_showed_is_gone_and_the_result_stays_the_docks(at: Corrector) -> None:
    at.use("reject", USES["reject"])
    assert (at.strokes.data[10:30, 10:40] == 1).all()
    assert not (at.result.data == 3).any()
    assert (at.result.data == 7).sum() == 600


def test_undo_leaves_what_a_prediction_wrote_since(at: Corrector) -> None:
    at.use("reject", USES["reject"])
    at.result.data[10:30, 10:40] = 77
    at.strokes.undo()
    assert (at.result.data[10:30, 10:40] == 77).all()


def test_a_layer_of_the_persons_own_is_read_and_not_written(at: Corrector, objects: np.ndarray) -> None:
    at.dock.viewer.layers.remove(at.result)
    own = at.dock.viewer.add_labels(objects.copy(), name="mine")
    at.use("reject", USES["reject"])
    assert (at.strokes.data[10:30, 10:40] == 1).all()
    np.testing.assert_array_equal(own.data, objects)


def test_several_are_accepted_with_an_outline(at: Corrector) -> None:
    at.use("accept", [(5, 5), (5, 45), (57, 45), (57, 5)])
    assert at.said().startswith("2 objects accepted")
    np.testing.assert_array_equal(at.strokes.data > 1, (at.result.data == 3) | (at.result.data == 7))


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("accept", [(2, 2)], "no object"),
        ("split", [(20, 5), (20, 20)], "from one side"),
        ("merge", [(20, 12), (20, 30)], "to the other"),
        ("fill", [(20, 12)], "Draw around"),
        ("erase", [(20, 12)], "no strokes"),
        ("accept", [(-50, -50)], "no object"),
    ],
)
def test_what_can_not_be_done_is_said_and_changes_nothing(at: Corrector, name: str, path: Path, words: str) -> None:
    at.use(name, path)
    assert words in at.said()
    assert not at.strokes.data.any()
    assert at.dock.message.property("kind") == "note"


def test_a_tool_in_hand_takes_the_mouse_and_gives_it_back(at: Corrector) -> None:
    viewer, strokes, tools = at.dock.viewer, at.strokes, at.tools
    names = [layer.name for layer in viewer.layers]
    at.dock.panel.correct.buttons["split"].click()
    assert (tools.tool, viewer.layers.selection.active, strokes.mode) == ("split", strokes, "pan_zoom")
    assert not strokes.mouse_pan
    assert at.dock.panel.correct.buttons["split"].isChecked()
    strokes.mode = "paint"
    assert (tools.tool, strokes.mode) == (None, "paint")
    assert [layer.name for layer in viewer.layers] == names
    assert not at.dock.panel.correct.buttons["split"].isChecked()

    tools.toggle("merge")
    tools.toggle("fill")
    assert tools.tool == "fill"
    tools.toggle("fill")
    assert (tools.tool, strokes.mode, strokes.mouse_pan) == (None, "paint", False)
    tools.take("accept")
    viewer.layers.selection.active = at.result
    assert tools.tool is None
    assert [layer.name for layer in viewer.layers] == names
    tools.take("accept")
    viewer.layers.remove(strokes)
    assert tools.tool is None


def test_the_slice_that_is_shown_is_corrected(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], qtbot: QtBot, objects: np.ndarray
) -> None:
    viewer.add_image(np.zeros((4, *objects.shape), np.float32), name="stack", scale=(3, 0.5, 0.5))
    at = Corrector(make_dock(), qtbot)
    at.show(np.broadcast_to(objects, (4, *objects.shape)))
    viewer.dims.set_point(0, 2 * 3)
    at.use("reject", [(2, 20, 20)])
    assert np.unique(np.nonzero(at.strokes.data)[0]).tolist() == [2]
    assert (at.result.data[2] == 3).sum() == 0
    assert (at.result.data[1] == 3).sum() == 600
    at.strokes.undo()
    assert (at.result.data[2] == 3).sum() == 600

    at.dock.panel.dims.value = "3"
    at.dock.update_image()
    at.use("accept", [(2, 20, 20)])
    np.testing.assert_array_equal(at.strokes.data > 1, at.result.data == 3)


def test_areas_of_classes_are_corrected(at: Corrector, objects: np.ndarray) -> None:
    at.dock.choose_task("classes")
    areas = np.where(objects > 0, 2, 1).astype(np.uint8)
    areas[:, 45:] = 0
    at.show(areas)
    at.use("reject", USES["reject"])
    assert (at.result.data[10:30, 10:40] == 1).all()
    at.use("accept", [(45.0, 20.0)])
    np.testing.assert_array_equal(at.strokes.data == 2, objects == 7)


def test_strokes_read_as_a_ground_truth_are_left_alone(at: Corrector) -> None:
    at.dock.panel.window_form.set_values({"meaning": "ground truth"})
    at.dock.notes.set_meaning(at.strokes, "ground truth")
    at.use("reject", USES["reject"])
    assert "ground truth" in at.said()
    assert not at.strokes.data.any()


def test_predictions_of_the_image_are_told_what_the_tools_painted(at: Corrector) -> None:
    at.strokes.data_setitem((np.array([1, 2, 2]), np.array([2, 2, 3])), 1)
    at.use("split", USES["split"])
    request, _ = at.dock.prediction(Model.create(ModelConfig(features=2, depth=1)), after_training=False)
    assert isinstance(request, PredictRequest)
    assert request.held is not None
    whole = (slice(0, 60), slice(0, 80))
    held = request.held.read(whole)
    assert held is not None
    np.testing.assert_array_equal(held[5:], at.strokes.data[5:])
    assert not held[:5].any()  # painted with the brush
    at.strokes.undo()
    assert request.held.read(whole) is None
