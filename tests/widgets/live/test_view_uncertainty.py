"""The uncertainty of what is in view while one paints: with the answer, or where it takes longer after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

import napari_unet as nu
from napari_unet.live.learner import LiveLearner
from napari_unet.models.adapt import Adapter
from napari_unet.models.uncertainty import uncertainty
from napari_unet.widgets.live import view_uncertainty as module
from napari_unet.widgets.live.view_uncertainty import ViewUncertainty
from napari_unet.widgets.results.arrays import ResultArray
from napari_unet.widgets.results.predict_job import PredictRequest
from napari_unet.widgets.results.uncertainty import UncertaintyTarget
from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import answered, changes, stroke


def want(dock: SegmentDock, measure: str) -> None:
    spot = dock.panel.spot
    spot.measures.setCurrentIndex(spot.measures.findData(measure))
    spot.uncertainty.setChecked(True)


def test_nothing_is_measured_unless_it_is_wanted(live: SegmentDock, viewer: ViewerModel, qtbot: QtBot) -> None:
    answered(live, qtbot)
    qtbot.waitUntil(lambda: live.runner.model is not None)
    assert [layer.name for layer in viewer.layers if "uncertainty" in layer.name or "disagree" in layer.name] == []
    learner = live.live._learner
    assert learner is not None
    assert learner._answers.adapter._turned.used == 0


def test_entropy_comes_with_each_answer(live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any) -> None:
    want(live, "entropy")
    answered(live, qtbot)
    qtbot.waitUntil(lambda: viewer.layers["uncertainty: spots"].data.max() > 0)
    before, seen = viewer.layers["uncertainty: spots"].data.copy(), changes(live)
    stroke(live.strokes, slice(40, 44), 2)
    answered(live, qtbot, seen)
    assert not np.array_equal(viewer.layers["uncertainty: spots"].data, before)
    assert do.messages() == []


def test_disagreement_follows_the_answers_when_the_hand_rests(
    live: SegmentDock, viewer: ViewerModel, qtbot: QtBot, do: Any
) -> None:
    answered(live, qtbot)
    want(live, "disagreement")  # while it answers
    qtbot.waitUntil(lambda: "disagreement: spots" in viewer.layers)
    layer = viewer.layers["disagreement: spots"]
    qtbot.waitUntil(lambda: layer.data.max() > 0)
    before, seen = layer.data.copy(), changes(live)
    stroke(live.strokes, slice(40, 44), 2)
    answered(live, qtbot, seen)
    learner = live.live._learner
    assert learner is not None
    expected = uncertainty(learner.current_model(), viewer.layers["spots"].data, "YX", device="cpu")
    qtbot.waitUntil(lambda: not np.array_equal(layer.data, before) and np.allclose(layer.data, expected, atol=0.03))
    assert live.panel.spot.why.isHidden()
    assert do.messages() == []


class Shown:
    """Stands for the learner: an image and what makes its result."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.sample = nu.Sample(rng.random((40, 40)).astype(np.float32), np.zeros((40, 40), np.uint8))
        self.adapter = Adapter(nu.Model.create(nu.ModelConfig(features=2, depth=1)), "cpu")
        self.asked = 0

    def shown_model(self, key: str) -> tuple[Adapter, nu.Sample]:
        self.asked += 1
        return self.adapter, self.sample


@pytest.fixture
def request_of(rng: np.random.Generator) -> Callable[[str], PredictRequest]:
    """Return a function that makes a request as far as the uncertainty needs it."""

    def make(measure: Any) -> PredictRequest:
        class Layout:
            @staticmethod
            def split_box(box: Any) -> tuple[tuple[int, ...], Any]:
                return (), box

        target = UncertaintyTarget(measure, ResultArray((np.zeros((40, 40), np.float32),)))
        look = type("Look", (), {"focus": lambda self: (20.0, 20.0)})()
        source = type("Source", (), {"layout": Layout})()
        return PredictRequest(
            source, cast("Any", None), "classes", cast("Any", None), cast("Any", None), look, uncertainty=target
        )

    return make


REGION = (slice(0, 40), slice(0, 40))


def test_it_gives_way_goes_on_and_measures_nothing_twice(
    rng: np.random.Generator, request_of: Callable[[str], PredictRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REST_SECONDS", 0.0)
    shown, called = Shown(rng), True
    view = ViewUncertainty(cast("LiveLearner", shown), lambda: called)
    request = request_of("disagreement")
    view.ask("image", REGION, request, 1)
    assert view.step() is None, "a call comes first"
    called = False
    piece = view.step()
    assert piece is not None
    assert (piece.box, piece.share) == (REGION, 1.0)
    assert request.uncertainty is not None
    assert request.uncertainty.array.levels[0].max() > 0
    assert view.step() is None
    assert view.step() is None
    assert shown.asked == 2
    view.ask("image", REGION, request, 1)  # only the network has become better: that waits
    assert view.step() is None
    view.ask("image", REGION, request, 2)
    assert view.step() is not None


def test_what_comes_with_the_answers_is_not_measured(
    rng: np.random.Generator, request_of: Callable[[str], PredictRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REST_SECONDS", 0.0)
    shown = Shown(rng)
    view = ViewUncertainty(cast("LiveLearner", shown), lambda: False)
    view.ask("image", REGION, request_of("disagreement"), 1)
    view.ask("image", REGION, request_of("entropy"), 1)
    assert view.step() is None
    view.ask("image", REGION, request_of("disagreement"), 2)
    view.forget()
    assert view.step() is None
    assert shown.asked == 0
