"""The button that leads to the next place to paint, on ViewerModel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot

from napari_unet.models.uncertainty import uncertainty_parts
from napari_unet.widgets.segment.dock import SegmentDock


@pytest.fixture
def begun(viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Callable[..., Any]) -> SegmentDock:
    """Return a dock with an image on which one stroke of background and one object are begun."""
    image, truth = spots((96, 96), count=14, radius=6.0)
    viewer.add_image(image, name="spots", scale=(0.5, 0.5), units=("um", "um"))
    dock = make_dock()
    assert dock.strokes is not None
    row = int(np.argmin((truth > 0).sum(axis=1)))
    for label, mask in ((1, (truth == 0) & (np.arange(96)[:, None] == row)), (2, truth == 4)):
        dock.strokes.data_setitem(np.nonzero(mask), label)
    return dock


def go(dock: SegmentDock, qtbot: QtBot) -> tuple[int, ...] | None:
    """Press the button; return the place that it led to."""
    assert dock.image is not None
    known = len(dock.tools.spots.visited.get(dock.image, []))
    dock.panel.spot.button.click()
    qtbot.waitUntil(lambda: not dock.tools.spots.is_busy, timeout=120_000)
    visited = dock.tools.spots.visited.get(dock.image, [])
    return visited[-1] if len(visited) > known else None


def test_the_view_goes_to_one_place_after_the_other(viewer: ViewerModel, begun: SegmentDock, qtbot: QtBot) -> None:
    strokes = begun.strokes
    assert strokes is not None
    strokes.mode = "pan_zoom"
    viewer.layers.selection.active = viewer.layers[0]
    place = go(begun, qtbot)
    assert place is not None
    assert strokes.data[place] == 0
    np.testing.assert_allclose(viewer.scene.camera.center[-2:], 0.5 * np.array(place))
    assert viewer.scene.camera.zoom >= 4
    assert (viewer.layers.selection.active, strokes.mode) == (strokes, "paint")
    assert begun.panel.spot.why.text().endswith("paint here.")
    ring = viewer.layers["next spot"]
    np.testing.assert_allclose(ring.data[0], place)
    second = go(begun, qtbot)
    assert second is not None
    assert second != place
    assert [layer.name for layer in viewer.layers].count("next spot") == 1

    strokes.data_setitem((np.array([second[0]]), np.array([second[1]])), 1)
    assert "next spot" not in viewer.layers
    strokes.undo()
    assert strokes.data[second] == 0


def test_uncertainty_is_shown_in_a_layer_of_its_own(viewer: ViewerModel, begun: SegmentDock, qtbot: QtBot) -> None:
    begun.panel.spot.uncertainty.setChecked(True)
    go(begun, qtbot)
    layer = viewer.layers["uncertainty: spots"]
    assert isinstance(layer, Image)
    assert 0 < layer.data.max() <= 1
    np.testing.assert_allclose(layer.scale, viewer.layers["spots"].scale)
    assert layer.units == viewer.layers["spots"].units
    assert begun.image is viewer.layers["spots"]
    go(begun, qtbot)
    assert sum(isinstance(found, Image) for found in viewer.layers) == 2


def test_the_place_and_the_layer_can_be_of_what_changes_when_the_image_is_turned(
    viewer: ViewerModel, begun: SegmentDock, qtbot: QtBot
) -> None:
    spot = begun.panel.spot
    spot.measures.setCurrentIndex(spot.measures.findData("disagreement"))
    spot.uncertainty.setChecked(True)
    spot.button.click()
    assert spot.button.text() == "Stop"
    spot.measures.setCurrentIndex(spot.measures.findData("entropy"))  # for the next search
    qtbot.waitUntil(lambda: not begun.tools.spots.is_busy, timeout=120_000)
    finder = begun.tools.spots.finder.adapter
    assert finder is not None
    expected = np.full((96, 96), np.nan, np.float32)
    for part in uncertainty_parts(finder, viewer.layers["spots"].data, "YX"):
        expected[part.box] = part.uncertainty
    np.testing.assert_allclose(viewer.layers["disagreement: spots"].data, expected, atol=1e-5)
    assert begun.image is not None
    assert len(begun.tools.spots.visited[begun.image]) == 1
    assert spot.button.text().startswith("Next uncertain spot")


def test_a_search_can_be_stopped(begun: SegmentDock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    def search(request: Any, should_stop: Callable[[], bool]) -> Iterator[None]:
        while not should_stop():
            yield None

    monkeypatch.setattr(begun.tools.spots.finder, "find", search)
    panel = begun.panel.spot
    panel.button.click()
    qtbot.wait(50)
    assert begun.tools.spots.is_busy
    panel.button.click()
    qtbot.waitUntil(lambda: not begun.tools.spots.is_busy)
    assert panel.why.isHidden()
    assert panel.button.text().startswith("Next uncertain spot")
    monkeypatch.undo()
    assert go(begun, qtbot) is not None


def test_the_slider_goes_along_in_a_stack(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Callable[..., Any], qtbot: QtBot
) -> None:
    image, truth = spots((64, 64), count=8, radius=6.0)
    viewer.add_image(np.stack([np.full_like(image, 0.2), image, image[::-1]]), name="stack", scale=(4, 1, 1))
    dock = make_dock()
    strokes = dock.strokes
    assert strokes is not None
    viewer.dims.set_point(0, 0)
    for label, mask in ((1, truth == 0), (2, truth > 0)):
        where = np.nonzero(mask & (np.arange(64)[:, None] < 12))
        strokes.data_setitem((np.ones(len(where[0]), int), *where), label)
    place = go(dock, qtbot)
    assert place is not None
    assert viewer.dims.current_step[0] == place[0]
    assert viewer.dims.point[0] == 4 * place[0]


def test_with_nothing_painted_it_says_what_to_do(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], qtbot: QtBot
) -> None:
    dock = make_dock()
    dock.panel.spot.button.click()
    assert "no image" in dock.message.text()
    viewer.add_image(np.zeros((32, 32), np.float32), name="empty")
    qtbot.waitUntil(lambda: dock.image is not None)
    dock.message.clear_message()
    assert go(dock, qtbot) is None
    assert "painted" in dock.message.text()
    assert dock.panel.spot.why.isHidden()


def test_the_search_uses_the_model_that_was_trained(begun: SegmentDock, do: Any, qtbot: QtBot) -> None:
    do.run(begun)
    weights = {key: value.clone() for key, value in begun.runner.model.network.state_dict().items()}  # type: ignore[union-attr]
    assert go(begun, qtbot) is not None
    finder = begun.tools.spots.finder.adapter
    assert finder is not None
    assert finder.model is begun.runner.model
    for key, value in begun.runner.model.network.state_dict().items():  # type: ignore[union-attr]
        np.testing.assert_array_equal(value.numpy(), weights[key].numpy())


def test_closing_the_dock_ends_the_search(begun: SegmentDock, viewer: ViewerModel, qtbot: QtBot) -> None:
    begun.panel.spot.button.click()
    begun.close_dock()
    qtbot.wait(300)
    assert "next spot" not in viewer.layers
