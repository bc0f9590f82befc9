"""What a training in the dock begins with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.components import ViewerModel

from napari_unet.models.model import Model
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


def test_after_a_model_was_opened_and_put_away_a_new_one_begins_with_the_starting_weights(
    painted: SegmentDock, tmp_path: Path, do: Any
) -> None:
    model = Model.pretrained(1)
    model.save(tmp_path / "model.unet.safetensors")
    painted.panel.model_form.set_values({"features": None, "depth": 4})
    painted.open_model_from(tmp_path / "model.unet.safetensors")
    do.wait(painted)
    opened = painted.runner.model
    do.run(painted)
    assert painted.runner.model is opened
    painted.panel.start_over.click()
    do.run(painted)
    assert painted.runner.model is not None
    assert painted.runner.model is not opened
    assert painted.runner.model.history["start"]["pretrained"] is True
    assert "scratch" not in painted.message.text()


def test_a_volume_after_slices_begins_a_new_model_and_says_why(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], spots: Callable[..., Any], do: Any
) -> None:
    image, truth = spots((16, 32, 32), count=6, radius=6.0)
    viewer.add_image(image, name="spots")
    dock = make_dock()
    do.paint(dock, truth)
    do.run(dock)
    first = dock.runner.model
    dock.panel.dims.buttons["3"].click()
    dock.panel.window_form.set_values({"predict_after": False})
    do.run(dock)
    assert dock.runner.model is not None
    assert dock.runner.model is not first
    assert "the one before reads single slices, and can't read whole volumes" in dock.message.text()


def test_nothing_as_a_start_needs_no_words(painted: SegmentDock, do: Any) -> None:
    painted.panel.window_form.set_values({"start": "nothing"})
    do.run(painted)
    assert painted.runner.model is not None
    assert painted.runner.model.closed_form is None
    assert "scratch" not in painted.message.text()
