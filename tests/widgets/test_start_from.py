"""What a training in the dock begins with."""

from __future__ import annotations

from typing import Any

from napari_unet.widgets.segment.dock import SegmentDock


def test_a_new_model_begins_with_the_starting_weights_and_is_gone_on_with(painted: SegmentDock, do: Any) -> None:
    painted.panel.model_form.set_values({"features": None, "depth": 4})
    do.run(painted)
    model = painted.runner.model
    assert model is not None
    assert model.closed_form is not None
    assert model.history["start"]["pretrained"] is True
    assert "scratch" not in painted.message.text()
    do.run(painted)
    assert painted.runner.model is model


def test_another_network_is_trained_from_scratch_and_that_is_said(painted: SegmentDock, do: Any) -> None:
    do.run(painted)
    assert painted.runner.model is not None
    assert painted.runner.model.closed_form is None
    assert "Training from scratch" in painted.message.text()


def test_nothing_as_a_start_needs_no_words(painted: SegmentDock, do: Any) -> None:
    painted.panel.window_form.set_values({"start": "nothing"})
    do.run(painted)
    assert painted.runner.model is not None
    assert painted.runner.model.closed_form is None
    assert "scratch" not in painted.message.text()
