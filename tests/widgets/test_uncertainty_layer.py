"""The layer that shows where the model is uncertain: with a prediction, after one, and while it is stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot

from napari_unet.models import uncertainty as uncertainty_module
from napari_unet.models.model import Model
from napari_unet.models.uncertainty import uncertainty
from napari_unet.nets.config import ModelConfig
from napari_unet.predict import features as features_module
from napari_unet.widgets.segment.dock import SegmentDock
from napari_unet.widgets.sessions.settings import apply_settings, read_settings


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "_SIDE", {2: 32, 3: 16})


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have a few tiles measured one by one; all others wait until this is set, or the measuring is to stop."""
    wanted, parts = threading.Event(), uncertainty_module.uncertainty_parts

    def few_parts(*arguments: Any, should_stop: Callable[[], bool], **options: Any) -> Iterator[Any]:
        for number, part in enumerate(parts(*arguments, should_stop=should_stop, **options), start=1):
            yield part
            while number > 2 and not (wanted.is_set() or should_stop()):
                time.sleep(0.01)

    monkeypatch.setattr(uncertainty_module, "uncertainty_parts", few_parts)
    monkeypatch.setattr(uncertainty_module, "_FIRST_PIXELS", 1)
    monkeypatch.setattr(uncertainty_module, "_PIXELS", 1)
    return wanted


def choose(dock: SegmentDock, measure: str) -> None:
    """Want the uncertainty shown, by a measure."""
    spot = dock.panel.spot
    spot.measures.setCurrentIndex(spot.measures.findData(measure))
    spot.uncertainty.setChecked(True)


def ready(dock: SegmentDock, ndim: int = 2) -> SegmentDock:
    """Give the dock a model that cares how the image lies, and look for areas."""
    dock.choose_task("classes")
    model = Model.create(ModelConfig(features=4, depth=1, ndim=ndim))
    model.network.head.weight.data.mul_(8)  # type: ignore[union-attr, operator]
    dock.runner.model = model
    return dock


def predict(dock: SegmentDock, do: Any) -> None:
    dock.panel.predict.click()
    do.wait(dock)


def layer_of(viewer: ViewerModel, measure: str) -> Image:
    return viewer.layers[f"{ {'entropy': 'uncertainty', 'disagreement': 'disagreement'}[measure] }: image"]


@pytest.mark.parametrize(
    ("measure", "shape", "ndim", "extent"),
    [
        ("entropy", (70, 45), 2, "frame"),
        ("disagreement", (70, 45), 2, "frame"),
        ("disagreement", (3, 40, 40), 2, "all"),
        ("disagreement", (17, 33, 40), 3, "frame"),
    ],
)
def test_a_prediction_shows_it_for_all_that_was_asked_for(
    measure: str, shape: tuple[int, ...], ndim: int, extent: str,
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], do: Any, rng: np.random.Generator,
) -> None:  # fmt: skip
    image = rng.random(shape).astype(np.float32)
    viewer.add_image(image, name="image", scale=(0.5,) * len(shape))
    dock = make_dock()
    if ndim == 3:
        dock.panel.dims.buttons["3"].click()
    ready(dock, ndim)
    dock.panel.extent.setCurrentIndex(dock.panel.extent.findData(extent))
    choose(dock, measure)
    predict(dock, do)
    layer = layer_of(viewer, measure)
    np.testing.assert_array_equal(layer.scale, viewer.layers["image"].scale)
    axes = "YX" if len(shape) == 2 else "ZYX"
    expected = uncertainty(dock.runner.model, image, axes, measure=measure, device="cpu")  # type: ignore[arg-type]
    assert expected.max() > 0.01
    np.testing.assert_allclose(layer.data, expected, atol=0.02)
    assert dock.image is viewer.layers["image"]
    assert do.messages() == []


def test_what_was_predicted_before_is_only_measured(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], do: Any, rng: np.random.Generator
) -> None:
    viewer.add_image(rng.random((70, 45)).astype(np.float32), name="image")
    dock = ready(make_dock())
    predict(dock, do)
    assert [layer.name for layer in viewer.layers if isinstance(layer, Image)] == ["image"]
    choose(dock, "entropy")
    predict(dock, do)
    first = layer_of(viewer, "entropy").data.copy()
    assert first.min() > 0
    assert "predicted already" in dock.message.text()
    choose(dock, "disagreement")
    predict(dock, do)
    assert layer_of(viewer, "disagreement").data.max() > 0
    np.testing.assert_array_equal(layer_of(viewer, "entropy").data, first)
    layer_of(viewer, "disagreement").data[:] = 7
    predict(dock, do)
    assert (layer_of(viewer, "disagreement").data == 7).all(), "it was there, but is measured once more"


def test_stop_keeps_what_is_measured_and_predict_goes_on(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], do: Any, qtbot: QtBot, rng: np.random.Generator,
    go_on: threading.Event,
) -> None:  # fmt: skip
    viewer.add_image(rng.random((160, 160)).astype(np.float32), name="image")
    dock = ready(make_dock())
    predict(dock, do)
    choose(dock, "disagreement")
    dock.panel.predict.click()
    qtbot.waitUntil(lambda: "measuring the uncertainty" in dock.panel.status.text())
    dock.panel.predict.click()
    do.wait(dock)
    layer = layer_of(viewer, "disagreement")
    done = layer.data > 0
    assert 0 < np.count_nonzero(done) < done.size
    layer.data[done] = 7
    go_on.set()
    predict(dock, do)
    assert (layer.data[done] == 7).all()
    assert (layer.data > 0).mean() > 0.99


def test_without_its_layer_it_is_measured_no_further(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], do: Any, qtbot: QtBot, rng: np.random.Generator,
    go_on: threading.Event,
) -> None:  # fmt: skip
    viewer.add_image(rng.random((160, 160)).astype(np.float32), name="image")
    dock = ready(make_dock())
    choose(dock, "disagreement")
    dock.panel.predict.click()
    qtbot.waitUntil(lambda: "measuring the uncertainty" in dock.panel.status.text())
    layer = layer_of(viewer, "disagreement")
    viewer.layers.remove(layer)
    do.wait(dock)
    assert (layer.data == 0).mean() > 0.1
    assert (viewer.layers["areas: image"].data > 0).all()
    assert do.messages() == []


def test_removing_the_layer_takes_the_tick_away(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], do: Any, rng: np.random.Generator
) -> None:
    viewer.add_image(rng.random((40, 45)).astype(np.float32), name="image")
    dock = ready(make_dock())
    for measure in ("entropy", "disagreement"):
        choose(dock, measure)
        predict(dock, do)
    viewer.layers.remove(layer_of(viewer, "entropy"))
    assert dock.panel.spot.uncertainty.isChecked()
    viewer.layers.remove(layer_of(viewer, "disagreement"))
    assert not dock.panel.spot.uncertainty.isChecked()
    predict(dock, do)
    assert [layer.name for layer in viewer.layers if isinstance(layer, Image)] == ["image"]


def test_the_choice_is_kept_with_the_session(make_dock: Callable[[], SegmentDock]) -> None:
    dock = make_dock()
    spot = dock.panel.spot
    assert [spot.measure, spot.shown_measure] == ["entropy", None]
    choose(dock, "disagreement")
    settings = read_settings(dock.panel)
    other = make_dock()
    apply_settings(other.panel, settings)
    assert other.panel.spot.shown_measure == "disagreement"
    apply_settings(other.panel, {"measure": "nonsense"})
    assert [other.panel.spot.measure, other.panel.spot.shown_measure] == ["disagreement", None]
