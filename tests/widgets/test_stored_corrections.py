"""Corrections hold in results on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.widgets.results.held import HeldPixels
from napari_unet.widgets.segment.dock import SegmentDock


def test_a_result_on_the_disk_agrees_with_corrections(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], tmp_path: Path, do: Any
) -> None:
    image = viewer.add_image(np.random.default_rng(3).normal(size=(1088, 1088)).astype(np.float32), name="slide")
    dock = make_dock()
    dock.panel.window_form.set_values(
        {"most_in_memory": 1, "result_folder": str(tmp_path), "device": "cpu", "threads": 1}
    )
    dock.runner.model = Model.create(ModelConfig(features=2, depth=1), seed=4)

    before: list[Any] = []

    def predict() -> np.ndarray:
        dock.panel.predict.click()
        do.wait(dock)
        (layer,) = (layer for layer in viewer.layers if "on disk" in layer.name and layer not in before)
        before.append(layer)
        assert isinstance(layer, Labels)
        return np.asarray(layer.data[0])

    plain = predict()
    assert plain[200:900, 200:400].any()
    strokes = dock.strokes
    assert strokes is not None
    for value, columns in ((1, slice(200, 400)), (5, slice(500, 540))):
        rows, place = np.mgrid[200:900, columns]
        strokes.data_setitem((rows.ravel(), place.ravel()), value)
        dock.tools.corrections.held.add(image, strokes, (rows.ravel(), place.ravel()))
    found = predict()
    assert not found[200:900, 200:400].any()
    assert len(np.unique(found[200:900, 500:540])) == 1
    assert found[300, 520] > 0
    assert len(list(tmp_path.glob("*.zarr"))) == 2  # what was made before the corrections stays
    assert do.messages() == []


def test_what_counts_is_what_the_strokes_say_now() -> None:
    class Layer:
        def __init__(self) -> None:
            self.data = np.zeros((5, 7), np.uint8)

    held, first, second = HeldPixels(), Layer(), Layer()
    assert held.settled() is None
    first.data[1, 2:5], second.data[1, 4] = 3, 1
    held.add(first, (np.array([1, 1, 1, 1]), np.array([2, 3, 4, 6])))
    held.add(second, (np.array([1]), np.array([4])))
    first.data[1, 3] = 0  # erased since
    whole = (slice(0, 5), slice(0, 7))
    settled = held.settled()
    assert settled is not None
    np.testing.assert_array_equal(settled.read(whole), held.read(whole))
    assert settled.read(whole)[1].tolist() == [0, 0, 3, 0, 1, 0, 0]
    first.data = np.zeros((2, 2), np.uint8)  # another shape: what was corrected is not there any more
    assert held.read(whole)[1].tolist() == [0, 0, 0, 0, 1, 0, 0]
    first.data = second.data = np.zeros((5, 7), np.uint8)
    assert held.settled() is None is held.read(whole)
