"""Objects of slices are joined over the slices where the person asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_unet.data.axes import ImageLayout
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.same_objects import SameObjects
from napari_unet.predict.stitch import stitch_stack
from napari_unet.widgets.results.arrays import ResultArray
from napari_unet.widgets.results.record import PredictionRecord
from napari_unet.widgets.results.stitched import join_slices
from napari_unet.widgets.segment.dock import SegmentDock


@pytest.fixture
def stack(viewer: ViewerModel, make_dock: Callable[[], SegmentDock], rng: np.random.Generator) -> SegmentDock:
    """Return a dock with a stack, a model that finds something in it, and all slices chosen."""
    viewer.add_image(rng.normal(size=(4, 48, 64)).astype(np.float32), name="stack")
    dock = make_dock()
    dock.panel.window_form.set_values({"device": "cpu", "threads": 1})
    dock.runner.adopt(Model.create(ModelConfig(features=2, depth=1), seed=4), "cells")
    dock.panel.extent.setCurrentIndex(dock.panel.extent.findData("all"))
    return dock


def predict(dock: SegmentDock, do: Any) -> np.ndarray:
    dock.panel.predict.click()
    do.wait(dock)
    return np.array(do.result_of(dock.viewer).data)


def test_the_choice_is_there_only_where_it_applies(
    stack: SegmentDock, viewer: ViewerModel, rng: np.random.Generator
) -> None:
    panel = stack.panel
    assert not panel.join.isHidden()
    panel.extent.setCurrentIndex(panel.extent.findData("view"))
    assert panel.join.isHidden()
    panel.extent.setCurrentIndex(panel.extent.findData("all"))
    stack.choose_task("classes")
    assert panel.join.isHidden()
    stack.choose_task("objects")
    assert not panel.join.isHidden()
    panel.dims.buttons["3"].click()
    assert panel.join.isHidden()
    panel.dims.buttons["2"].click()
    stack.image_chooser.choose(viewer.add_image(rng.normal(size=(48, 64)), name="plane"))
    stack.update_image()
    assert panel.join.isHidden()


def test_objects_are_joined_over_slices(stack: SegmentDock, do: Any) -> None:
    plain = predict(stack, do)
    expected = plain.copy()
    count = stitch_stack(expected, ImageLayout("ZYX", plain.shape, 2), 0.1)
    assert 0 < count < len(np.unique(plain)) - 1

    stack.panel.join.setChecked(True)
    joined = predict(stack, do)
    np.testing.assert_array_equal(joined > 0, plain > 0)
    pairs = np.unique(np.stack([joined, expected]).reshape(2, -1), axis=1)
    assert pairs.shape[1] == count + 1  # the same objects, whatever their ids
    assert stack.panel.status.text().splitlines()[-1].startswith(f"{count} object")
    assert do.messages() == []

    np.testing.assert_array_equal(predict(stack, do), joined)
    assert "predicted already" in stack.message.text()
    stack.panel.join.setChecked(False)
    again = predict(stack, do)
    assert len(np.unique(again)) == len(np.unique(plain))


def test_joined_objects_keep_their_ids() -> None:
    layout = ImageLayout("ZYX", (3, 16, 32), 2)
    labels = np.zeros(layout.shape, np.uint16)
    labels[:, :8, :8] = 7  # joined before
    labels[0, 10:, :8], labels[1:, 10:, :8] = 4, 9  # now one, most of it was 9
    labels[0, :8, 20:], labels[2, :8, 20:] = 5, 5  # one before, now two: it is missing in between
    record, result = PredictionRecord(), ResultArray((labels,))
    record.begin("model", layout, 16)
    for position in layout.frames():
        record.add(position, (slice(0, 16), slice(0, 32)))

    def choose(count: int, same: SameObjects) -> np.ndarray:
        ids = same.ids(count)
        ids[1:][ids[1:] == 0] = 30
        return ids.astype(np.uint16)

    *_, count = join_slices(result, record, layout, 0.1, lambda: False, choose)
    assert count == 4
    assert labels[:, 0, 0].tolist() == [7, 7, 7]
    assert labels[:, 12, 0].tolist() == [9, 9, 9]
    assert labels[:, 0, 25].tolist() == [5, 0, 30]


def test_joined_objects_of_the_dock_keep_most_ids(stack: SegmentDock, do: Any) -> None:
    stack.panel.join.setChecked(True)
    before = predict(stack, do)
    model = stack.runner.model
    assert model is not None
    for parameter in model.network.parameters():
        parameter.data *= 1.0001  # another model that sees nearly the same
    after = predict(stack, do)
    assert do.messages() == []
    assert not np.array_equal(before, after)
    both = (before > 0) & (after > 0)
    assert (before == after)[both].mean() > 0.7


def test_nothing_is_joined_until_all_slices_are_there_and_a_stop_leaves_them_as_they_are() -> None:
    layout = ImageLayout("ZYX", (3, 16, 16), 2)
    labels = np.ones((3, 16, 16), np.uint16) * np.array([4, 5, 6], np.uint16)[:, None, None]
    record, result = PredictionRecord(), ResultArray((labels,))
    record.begin("model", layout, 16)
    for position in ((0,), (1,)):
        record.add(position, (slice(0, 16), slice(0, 16)))
    assert list(join_slices(result, record, layout, 0.1, lambda: False)) == []
    record.add((2,), (slice(0, 16), slice(0, 16)))
    list(join_slices(result, record, layout, 0.1, lambda: True))
    assert labels[:, 0, 0].tolist() == [4, 5, 6]
    *shares, count = join_slices(result, record, layout, 0.1, lambda: False)
    assert count == 1
    assert isinstance(count, int)
    assert (labels == 1).all()
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert list(join_slices(result, record, layout, 0.1, lambda: False)) == []


def test_a_result_on_the_disk_can_not_be_joined_and_the_dock_says_so(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], stack: SegmentDock, do: Any
) -> None:
    stack.image_chooser.choose(viewer.add_image(np.zeros((4, 600, 600), np.float32), name="large"))
    stack.update_image()
    stack.panel.window_form.set_values({"most_in_memory": 1})
    stack.panel.extent.setCurrentIndex(stack.panel.extent.findData("all"))
    stack.panel.join.setChecked(True)
    stack.panel.predict.click()
    do.wait(stack)
    assert "can't be joined over slices in a result on the disk" in stack.message.text()
