"""Faults while it learns live, in the real window: each is one clear message, no stroke is lost, and it goes on.

All tests share a window; each takes the dock of the one before, on another image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from napari.utils.notifications import notification_manager
from pytestqt.qtbot import QtBot

from napari_unet.widgets.segment.dock import SegmentDock
from tests.widgets.live_steps import answered, changes, new_stroke, still_usable, stop, stroke

pytestmark = [pytest.mark.window, pytest.mark.filterwarnings("ignore::ResourceWarning")]

SHAPES = RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x8 and 4x8)")
CPU_FULL = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8589934592 bytes.")
GPU_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8.00 GiB")

STEP = "napari_unet.learn.trainer.Trainer.step"
ANSWER = "napari_unet.models.adapt.Adapter.probabilities"
SOLVE = "napari_unet.models.adapt.Adapter.solve"
OBJECTS = "napari_unet.widgets.results.frame_labels.FrameLabeller.take"
REST = "napari_unet.widgets.results.predict_job.predict_view_first"
MEASURE = "napari_unet.models.uncertainty.uncertainty_parts"
TURNED = "napari_unet.models.adapt.Adapter.turned_maps"
ENTROPY = "napari_unet.predict.uncertainty.entropy"
COMPLETE = "napari_unet.live.view.View.complete"
COPY = "napari_unet.live.learner.LiveLearner.current_model"


FAULTS = [
    (STEP, MemoryError(), "The network does not fit into the memory"),
    (STEP, GPU_FULL, "The network does not fit into the memory"),
    (SOLVE, SHAPES, "The result could not be brought up to date (RuntimeError)"),
    (SOLVE, CPU_FULL, "The memory was not enough; close other programs"),
    (ANSWER, GPU_FULL, "The memory was not enough; close other programs"),
    (OBJECTS, MemoryError(), "The memory was not enough; close other programs"),
    (REST, SHAPES, "What is not in view could not be predicted (RuntimeError)"),
    (REST, CPU_FULL, "The memory was not enough to predict what is not in view"),
    (REST, GPU_FULL, "The memory was not enough to predict what is not in view"),
    (COPY, MemoryError(), "The memory was not enough to predict what is not in view"),
]


UNCERTAINTY_FAULTS = [
    ("disagreement", MEASURE, SHAPES, "The uncertainty could not be measured (RuntimeError)"),
    ("disagreement", TURNED, CPU_FULL, "The memory was not enough; close other programs"),
    ("disagreement", TURNED, GPU_FULL, "The memory was not enough; close other programs"),
    ("entropy", ENTROPY, SHAPES, "The result could not be brought up to date (RuntimeError)"),
    ("entropy", ENTROPY, MemoryError(), "The memory was not enough; close other programs"),
]


def pauses(dock: SegmentDock) -> bool:
    """Let it seem that the person has paused, so that the rest is predicted."""
    dock.live._mail.touched = 0.0
    return True


def predict_rest(dock: SegmentDock, qtbot: QtBot, wanted: bool) -> None:
    """Choose whether what is not in view is predicted in pauses, where the same parts of the program are used."""
    dock.panel.window_form.set_values({"predict_after": wanted})
    qtbot.waitUntil(lambda: dock.live._mail.rest == wanted)


@pytest.fixture
def meets(
    dock: SegmentDock, qtbot: QtBot, do: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int, str, Exception, str], None]]:
    """Return a function that paints a row while something fails, and checks that this is one message and no more."""
    learner = dock.live._learner

    def meet(row: int, place: str, error: Exception, words: str) -> None:
        predict_rest(dock, qtbot, "not in view" in words)
        new_stroke(dock, qtbot, row - 30)  # what is being predicted of the rest is given up
        with monkeypatch.context() as patched:
            patched.setattr(place, Mock(side_effect=error))
            kept = dock.strokes.data.copy()
            kept[row, 4:24] = 2
            stroke(dock.strokes, slice(row, row + 1), 2)
            qtbot.waitUntil(lambda: pauses(dock) and len(do.messages()) > 0)
            said = do.messages()[0]
            assert said.startswith(words)
            qtbot.waitUntil(lambda: dock.message.text() == said)
        np.testing.assert_array_equal(dock.strokes.data, kept)
        new_stroke(dock, qtbot, row - 20)
        problems = dock.live.report.problems
        qtbot.waitUntil(lambda: pauses(dock) and not problems.any_left)  # all goes well again, the training, too
        assert dock.message.text() == ""
        assert do.messages() == [said]
        notification_manager.records.clear()

    yield meet
    predict_rest(dock, qtbot, True)
    assert dock.live.training
    assert dock.live._learner is learner  # the network that was in training, too
    still_usable(dock, qtbot)
    assert do.messages() == []


def test_each_fault_is_one_message_and_learning_goes_on(meets: Callable[..., None]) -> None:
    for row, fault in enumerate(FAULTS, start=40):
        meets(row, *fault)


def test_so_is_each_fault_of_the_uncertainty_in_view(dock: SegmentDock, meets: Callable[..., None]) -> None:
    spot = dock.panel.spot
    for row, (measure, *fault) in enumerate(UNCERTAINTY_FAULTS, start=40):
        spot.measures.setCurrentIndex(spot.measures.findData(measure))
        spot.uncertainty.setChecked(True)
        meets(row, *fault)
    spot.uncertainty.setChecked(False)


@pytest.mark.parametrize(
    ("error", "words"),
    [(SHAPES, "The result could not be brought up to date (RuntimeError)"), (GPU_FULL, "The memory was not enough;")],
    ids=["exception", "memory"],
)
def test_a_fault_while_the_rest_of_the_view_is_completed(
    error: Exception, words: str, dock: SegmentDock, window: Any, qtbot: QtBot, do: Any,
    monkeypatch: pytest.MonkeyPatch, spots: Callable[..., Any],
) -> None:  # fmt: skip
    monkeypatch.setattr("napari_unet.predict.features._SIDE", {2: 16, 3: 16})  # only a part is answered at once
    learner = dock.live._learner
    image, _ = spots((96, 96))

    def fail(*_: Any) -> Iterator[None]:
        raise error
        yield

    with monkeypatch.context() as patched:
        patched.setattr(COMPLETE, fail)
        dock.image_chooser.choose(window.add_image(image, name="large"))
        stroke(dock.strokes, slice(2, 4), 1)
        stroke(dock.strokes, slice(6, 8), 2)
        kept = dock.strokes.data.copy()
        qtbot.waitUntil(lambda: (do.result_of(window, "objects: large").data > 0).any())  # the part
        qtbot.waitUntil(lambda: len(do.messages()) == 1)
        (said,) = do.messages()
        assert said.startswith(words)
    np.testing.assert_array_equal(dock.strokes.data, kept)
    new_stroke(dock, qtbot, 40)
    qtbot.waitUntil(lambda: dock.message.text() != said)
    assert dock.live._learner is learner
    still_usable(dock, qtbot)
    assert do.messages() == [said]


def test_the_view_that_follows_a_full_memory_is_answered(
    dock: SegmentDock, window: Any, qtbot: QtBot, do: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(dock, qtbot)
    seen = changes(dock)
    with monkeypatch.context() as patched:
        patched.setattr(SOLVE, Mock(side_effect=CPU_FULL))
        stroke(dock.strokes, slice(40, 42), 2)
        qtbot.waitUntil(lambda: len(do.messages()) == 1)
    assert "look at a smaller part of the image" in do.messages()[0]
    window.scene.camera.zoom *= 4  # as the message says, and nothing is painted
    answered(dock, qtbot, seen)
    assert dock.message.text() == ""
