"""Strokes far apart on a large image: parts of one frame, learnt from as if a single box held them."""

from __future__ import annotations

import numpy as np
import pytest

import napari_unet as nu
from napari_unet.data import painted_area
from napari_unet.data.crops import AnnotatedFrame, CropSampler, same_frames
from napari_unet.learn import anchor
from napari_unet.learn.anchor import mostly_unpainted
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.events import FitScored, FitStarted
from napari_unet.learn.holdout import count_strokes, hold_out
from napari_unet.learn.painted_boxes import cover_with_boxes
from napari_unet.learn.prepare import prepare_frames
from napari_unet.nets.config import ModelConfig

SHAPE = (3000, 3000)
NAMES = ("background", "foreground")
CONFIG = TrainConfig(max_steps=4, validate_every=2, crop=32, batch_size=2, holdout=0.3)


def paint(corners: tuple[tuple[int, int], ...] = ((20, 30), (2800, 2700))) -> nu.Sample:
    """Paint strokes of background and of two objects that nearly touch in each of some places."""
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    strokes = np.zeros(SHAPE, np.uint8)
    for y, x in corners:
        strokes[y : y + 3, x : x + 40] = strokes[y + 40 : y + 42, x : x + 30] = 1
        strokes[y + 8 : y + 20, x + 5 : x + 12], strokes[y + 8 : y + 20, x + 14 : x + 20] = 2, 3
        image[y + 8 : y + 20, x + 5 : x + 20] += 4
    return nu.Sample(image, strokes)


def in_one_box(sample: nu.Sample, monkeypatch: pytest.MonkeyPatch) -> list[AnnotatedFrame]:
    with monkeypatch.context() as patch:
        patch.setattr(painted_area, "_ONE_BOX", 2**40)
        return prepare_frames([sample], ModelConfig(), CONFIG)


def whole(frames: list[AnnotatedFrame]) -> np.ndarray:
    """Return the weights of one frame."""
    return np.sum([frame.read((0, 0), SHAPE)[2] for frame in frames], axis=0)


def test_the_parts_have_the_weights_of_one_box(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = paint()
    frames, (one,) = prepare_frames([sample], ModelConfig(), CONFIG), in_one_box(sample, monkeypatch)
    assert len(frames) == 2
    assert same_frames(frames) == [[0, 1]]
    assert sum(frame.weights.size for frame in frames) < 5000 < one.weights.size
    np.testing.assert_allclose(whole(frames), whole([one]), rtol=1e-6)
    for index in range(2):
        total = sum(float(frame.weights[frame.classes == index].sum()) for frame in frames)
        assert total == pytest.approx(float(one.weights[one.classes == index].sum()))
    assert np.array_equal(np.concatenate([frame.painted[0] for frame in frames]), one.painted[0])
    assert np.array_equal(np.concatenate([frame.painted[1] for frame in frames]), one.painted[1])


def test_strokes_are_large_or_not_beside_all_that_is_painted_on_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = paint()
    sample.annotation[1500:1520, 1500:1520] = 1  # fills a part of its own
    frames, (one,) = prepare_frames([sample], ModelConfig(), CONFIG), in_one_box(sample, monkeypatch)
    assert len(frames) == 3
    assert count_strokes(frames) == count_strokes([one]) == 4
    split = hold_out(frames, 0.3, NAMES, seed=1)
    assert len(split.train) == len(split.score) == 3  # how large a stroke is depends on all parts
    assert count_strokes(split.score) < 4
    for train, score, frame in zip(split.train, split.score, frames, strict=True):
        np.testing.assert_array_equal(train.weights + score.weights, frame.weights)
    middle = split.score[1].weights > 0
    assert middle.all() or not middle.any()


def test_a_frame_is_unpainted_and_covered_with_boxes_whatever_its_parts_are(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = tuple((y, x) for y in (20, 700, 1500) for x in (30, 900, 2000))
    sample = paint(corners)
    frames, (one,) = prepare_frames([sample], ModelConfig(), CONFIG), in_one_box(sample, monkeypatch)
    assert len(frames) == 9
    boxes = cover_with_boxes(frames, (64, 64), (64, 64))
    assert sum(int((box.classes >= 0).sum()) for box in boxes) == len(one.painted[0])
    assert {id(box.frame) for box in boxes} == {id(frame) for frame in frames}
    share = len(one.painted[0]) / one.reader.image.size
    for limit, sparse in ((1.1 * share, True), (0.9 * share, False)):
        monkeypatch.setattr(anchor, "_SPARSE", limit)
        assert mostly_unpainted(frames) == mostly_unpainted([one]) == sparse


def test_an_image_is_drawn_from_as_often_in_parts_as_in_one_box(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = paint((*((20, x) for x in range(0, 2800, 400)), (2800, 30)))
    parts, (one,) = prepare_frames([sample], ModelConfig(), CONFIG), in_one_box(sample, monkeypatch)
    other = in_one_box(paint(((40, 40),)), monkeypatch)
    shares = []
    for frames in ([*parts, *other], [one, *other]):
        drawn = _draw(CropSampler(frames, (32, 32), (32, 32)))
        shares.append(np.mean([frame.reader is not other[0].reader for frame in drawn]))
    assert shares[0] == pytest.approx(shares[1], abs=0.05)
    assert {id(frame) for frame in _draw(CropSampler(parts, (32, 32), (32, 32)))} == {id(frame) for frame in parts}


def _draw(sampler: CropSampler, count: int = 1500) -> list[AnnotatedFrame]:
    return [sampler._draw_place()[0] for _ in range(count)]


def test_a_network_is_trained_on_all_parts() -> None:
    model = nu.Model.create(ModelConfig(features=4, depth=1))
    events = list(nu.fit(model, [paint()], CONFIG, device="cpu"))
    assert [event.held_out for event in events if isinstance(event, FitStarted)] == [True]
    assert all(0 <= event.score <= 1 for event in events if isinstance(event, FitScored))
    assert events[-1].step == 4
