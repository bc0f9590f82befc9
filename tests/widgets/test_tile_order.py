"""Which tiles the window has predicted first, with a small network."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
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
from napari_unet.widgets.results import tile_order
from napari_unet.widgets.results.arrays import ResultArray
from napari_unet.widgets.results.predict_job import PredictRequest
from napari_unet.widgets.results.record import PredictionRecord
from napari_unet.widgets.results.tile_order import predict_view_first, split_part, view_middle

MODEL = Model.create(ModelConfig(features=2, depth=1))


def run(
    image: np.ndarray, view: Box, model: Model = MODEL, moves: Mapping[int, Box] = MappingProxyType({}), **others: Any
) -> tuple[np.ndarray, list[Box], np.ndarray]:
    """Return the probabilities, the boxes in their order, and how often each pixel was predicted.

    After so many tiles the view moves.
    """
    source = read_source(Image(image))
    record = PredictionRecord()
    record.begin("", source.layout, model.network.divisor)  # type: ignore[arg-type]
    look: Any = SimpleNamespace(view=view, focus=lambda: [(s.start + s.stop - 1) / 2 for s in look.view])
    request = PredictRequest(source, model, "classes", ResultArray(()), record, look, **others)
    result, count, boxes = np.zeros((2, *image.shape), np.float32), np.zeros(image.shape, int), []
    for event in predict_view_first(request, measure_range(image, source.layout), lambda: False):
        if isinstance(event, TilePredicted):
            result[(slice(None), *event.box)] = event.probabilities
            count[event.box] += 1
            record.add(*source.layout.split_box(event.box))
            boxes.append(event.box)
            look.view = moves.get(len(boxes), look.view)
    return result, boxes, count


def test_the_view_is_done_first_and_the_whole_result_is_that_of_the_image(rng: np.random.Generator) -> None:
    image = rng.random((700, 900)).astype(np.float32)
    view = (slice(101, 405), slice(500, 833))
    result, boxes, count = run(image, view)
    assert boxes[0] == (slice(100, 406), slice(500, 834))
    assert count.min() == 1
    np.testing.assert_allclose(result, predict(MODEL, image, "YX"), atol=1e-5)


@pytest.fixture
def large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all but the first tiles 320 pixels long, however fast they are, and the first 128."""
    monkeypatch.setattr(tile_order._Speed, "choose_tile", lambda *_: (320, 320))
    monkeypatch.setattr(tile_order, "_FIRST_SIDE", 128)
    monkeypatch.setattr(tile_order, "_LEAST_SIDE", 64)
    monkeypatch.setattr(tile_order, "_FIRST_SECONDS", 60.0)


@pytest.mark.parametrize("call", [3, 6, 9])
def test_a_view_that_moves_and_comes_back_at_once_leaves_nothing_out(
    call: int, rng: np.random.Generator, large_tiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = tile_order._Views.have_moved, iter(range(1000))
    monkeypatch.setattr(tile_order._Views, "have_moved", lambda views: next(calls) == call or plain(views))
    _, _, count = run(rng.random((960, 700)).astype(np.float32), (slice(0, 200), slice(0, 200)))
    assert count.min() == 1


def test_what_a_moved_view_shows_is_predicted_next_in_small_tiles(rng: np.random.Generator, large_tiles: None) -> None:
    image = rng.random((960, 1280)).astype(np.float32)
    first, second = (slice(0, 200), slice(0, 200)), (slice(700, 900), slice(1000, 1200))
    result, boxes, _ = run(image, first, moves={5: second})
    assert [_sides(box) for box in boxes[:6]] == [(100, 100)] * 4 + [(320, 320), (100, 100)]
    assert _covers(boxes[5:9], second)
    assert all(_sides(box) == (320, 320) for box in boxes[9:])
    np.testing.assert_allclose(result, predict(MODEL, image, "YX"), atol=1e-5)


def test_a_view_that_moves_on_is_left_after_the_tile_under_way(rng: np.random.Generator, large_tiles: None) -> None:
    image = rng.random((960, 1280)).astype(np.float32)
    first, second = (slice(0, 200), slice(0, 200)), (slice(700, 900), slice(1000, 1200))
    _, boxes, _ = run(image, first, moves={2: second})
    assert not _covers(boxes[:2], first)
    assert _covers(boxes[2:6], second)


def test_of_a_view_that_is_moved_a_little_only_what_is_new_comes_next(
    rng: np.random.Generator, large_tiles: None
) -> None:
    image = rng.random((960, 1280)).astype(np.float32)
    view, moved = (slice(320, 520), slice(320, 520)), (slice(320, 520), slice(250, 450))
    _, boxes, _ = run(image, view, moves={4: moved})
    assert _covers(boxes[4:6], (slice(320, 520), slice(250, 320)))
    assert all(box[1].stop <= 330 for box in boxes[4:6])


def test_large_tiles_go_on_where_nothing_new_is_in_view(rng: np.random.Generator, large_tiles: None) -> None:
    image = rng.random((960, 1280)).astype(np.float32)
    _, boxes, count = run(
        image, (slice(0, 200), slice(0, 200)), moves={5: (slice(10, 190), slice(5, 190)), 6: (slice(-90, 0),) * 2}
    )
    assert [_sides(box) for box in boxes[4:]] == [(320, 320)] * 12
    assert count.max() == 2


def test_a_prediction_that_goes_on_keeps_its_tiles(rng: np.random.Generator) -> None:
    source = read_source(Image(rng.random((320, 320))))
    record = PredictionRecord()
    record.begin("", source.layout, 2)
    record.tile = (64, 128)
    look: Any = SimpleNamespace(view=(slice(0, 0),) * 2, focus=lambda: None)
    request = PredictRequest(source, MODEL, "classes", ResultArray(()), record, look)
    intensity = measure_range(source.array, source.layout)
    events = [e for e in predict_view_first(request, intensity, lambda: False) if isinstance(e, TilePredicted)]
    assert {_sides(event.box) for event in events} == {(64, 128), (64, 64)}
    record.begin("another model", source.layout, 2)
    assert record.tile is None


def _sides(box: Box) -> tuple[int, ...]:
    return tuple(span.stop - span.start for span in box)


def _covers(boxes: list[Box], part: Box) -> bool:
    covered = np.zeros((1280, 1280), bool)
    for box in boxes:
        covered[box] = True
    return bool(covered[part].all())


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
    middle = view_middle((slice(0, 8192), slice(0, 8192)))
    first, tile = split_part(middle, (8192, 8192), divisor=16)
    assert all(span.start < 4096 < span.stop and span.stop - span.start <= 1344 + 32 for span in first)
    assert all(side <= 464 for side in tile)
