"""Which tiles the window has predicted first, with a small network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from napari_unet.data.axes import Box
from napari_unet.data.intensity import measure_range
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import TilePredicted
from napari_unet.predict.tiled import predict
from napari_unet.widgets.parts.source import read_source
from napari_unet.widgets.results.arrays import ResultArray
from napari_unet.widgets.results.predict_job import PredictRequest
from napari_unet.widgets.results.record import PredictionRecord
from napari_unet.widgets.results.tile_order import predict_view_first, split_view

MODEL = Model.create(ModelConfig(features=2, depth=1))


def run(image: np.ndarray, view: Box, model: Model = MODEL, **others: Any) -> tuple[np.ndarray, list[Box], np.ndarray]:
    """Return the probabilities, the boxes in their order, and how often each pixel was predicted."""
    source = read_source(Image(image))
    record = PredictionRecord()
    record.begin("", source.layout, model.network.divisor)  # type: ignore[arg-type]
    middle = tuple((span.start + span.stop - 1) / 2 for span in view)
    look: Any = SimpleNamespace(view=view, focus=lambda: middle)
    request = PredictRequest(source, model, "classes", ResultArray(()), record, look, **others)
    result, count, boxes = np.zeros((2, *image.shape), np.float32), np.zeros(image.shape, int), []
    for event in predict_view_first(request, measure_range(image, source.layout), lambda: False):
        if isinstance(event, TilePredicted):
            result[(slice(None), *event.box)] = event.probabilities
            count[event.box] += 1
            record.add(*source.layout.split_box(event.box))
            boxes.append(event.box)
    return result, boxes, count


def test_the_view_is_done_first_and_the_whole_result_is_that_of_the_image(rng: np.random.Generator) -> None:
    image = rng.random((700, 900)).astype(np.float32)
    view = (slice(301, 405), slice(500, 633))
    result, boxes, count = run(image, view)
    assert boxes[0] == (slice(300, 406), slice(500, 634))
    assert count.min() == 1
    np.testing.assert_allclose(result, predict(MODEL, image, "YX"), atol=1e-5)


def test_the_slice_in_view_is_done_first(rng: np.random.Generator) -> None:
    image = rng.random((5, 40, 50)).astype(np.float32)
    result, boxes, count = run(image, (slice(3, 4), slice(0, 40), slice(0, 50)))
    assert boxes[0] == (slice(3, 4), slice(0, 40), slice(0, 50))
    assert {box[0].start for box in boxes[1:3]} == {2, 4}
    assert (count == 1).all()
    np.testing.assert_allclose(result, predict(MODEL, image, "ZYX"), atol=1e-5)


def test_a_view_away_from_the_region_is_not_predicted(rng: np.random.Generator) -> None:
    image = rng.random((5, 40, 50)).astype(np.float32)
    region = (slice(1, 2), slice(0, 40), slice(0, 50))
    _, boxes, count = run(image, (slice(3, 4), slice(0, 40), slice(0, 50)), region=region)
    assert boxes == [region]
    assert count.sum() == 40 * 50


def test_tiles_named_by_the_settings_are_all_alike(rng: np.random.Generator) -> None:
    image = rng.random((96, 96)).astype(np.float32)
    view = (slice(33, 40), slice(33, 40))
    _, boxes, count = run(image, view, config=PredictConfig(tile=32))
    assert boxes[0] == (slice(32, 64), slice(32, 64))
    assert len(boxes) == 9
    assert (count == 1).all()


@pytest.mark.parametrize("model", [Model.create(ModelConfig(features=2, depth=1, norm="instance"))])
def test_tiles_that_are_blended_are_all_alike(rng: np.random.Generator, model: Model) -> None:
    image = rng.random((80, 96)).astype(np.float32)
    result, _, _ = run(image, (slice(33, 40), slice(33, 40)), model)
    np.testing.assert_allclose(result, predict(model, image, "YX"), atol=1e-5)


def test_of_a_view_of_everything_the_middle_comes_first() -> None:
    first, tile = split_view((slice(0, 8192), slice(0, 8192)), divisor=16)
    assert all(span.start < 4096 < span.stop and span.stop - span.start <= 1344 + 32 for span in first)
    assert all(side <= 464 for side in tile)
