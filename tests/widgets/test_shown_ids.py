"""Ids, hence colours, that stay from one result to the next."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from scipy import ndimage

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.instances import separate_objects
from napari_unet.widgets.parts.source import read_source
from napari_unet.widgets.results.arrays import ResultArray
from napari_unet.widgets.results.frame_labels import FrameLabeller
from napari_unet.widgets.results.object_ids import NewIds
from napari_unet.widgets.results.predict_job import PredictRequest
from napari_unet.widgets.results.record import PredictionRecord

MODELS = {ndim: Model.create(ModelConfig(features=2, depth=1, ndim=ndim)) for ndim in (2, 3)}
Shape = tuple[int, ...]


def labeller_for(shape: Shape, ndim: int, dtype: Any = np.uint16) -> FrameLabeller:
    axes = "zyx"[-len(shape) :]
    source = read_source(Image(np.zeros(shape, np.float32), axis_labels=tuple(axes)), ndim=ndim)
    result = ResultArray((np.zeros(shape, dtype),))
    look: Any = SimpleNamespace(view=tuple(slice(0, n) for n in shape), focus=lambda: (0.0,) * len(shape))
    request = PredictRequest(source, MODELS[ndim], "objects", result, PredictionRecord(), look)
    request.record.begin("live", source.layout, 1)
    return FrameLabeller(request)


def balls(shape: Shape, centres: list[Shape], radius: float = 6.0) -> np.ndarray:
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return np.any([sum((g - c) ** 2 for g, c in zip(grid, at, strict=True)) < radius**2 for at in centres], axis=0)


def answer(labeller: FrameLabeller, mask: np.ndarray, box: Any = None) -> np.ndarray:
    """Let the labeller write what a network says of a mask; return the result."""
    box = box or tuple(slice(0, n) for n in mask.shape)
    foreground = np.where(mask[box], 0.9, 0.1).astype(np.float32)
    assert labeller.take(box, np.stack([1 - foreground, foreground]))
    return np.array(labeller.request.result.levels[0])


CASES = [((64, 80), 2), ((24, 40, 48), 3)]


def lifted(shape: Shape, *places: tuple[int, int]) -> list[Shape]:
    return [(shape[0] // 2,) * (len(shape) - 2) + place for place in places]


@pytest.mark.parametrize(("shape", "ndim"), CASES)
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_an_object_keeps_its_id_from_answer_to_answer_and_to_the_finished_result(
    shape: Shape, ndim: int, dtype: Any
) -> None:
    labeller = labeller_for(shape, ndim, dtype)
    places = lifted(shape, (8, 8), (8, 38), (30, 12), (30, 38))
    first = answer(labeller, balls(shape, places))
    ids = [int(first[at]) for at in places]
    assert len(set(ids) - {0}) == 4
    assert np.array_equal(first > 0, balls(shape, places))

    # the first is gone, the second grows, the third moves, and a new one comes first of all
    fresh = lifted(shape, (20, 25))
    mask = balls(shape, fresh, 4) | balls(shape, places[1:2], 8) | balls(shape, lifted(shape, (32, 13), (30, 38)))
    second = answer(labeller, mask)
    assert [int(second[at]) for at in places[1:]] == ids[1:]
    assert int(second[fresh[0]]) not in (0, *ids)
    np.testing.assert_array_equal(answer(labeller, mask), second)  # nothing new: nothing jumps

    finished = FrameLabeller(replace(labeller.request, record=labeller.record))
    spans = tuple(slice(0, n) for n in labeller.layout.frame_shape)
    assert list(finished.finish((), spans, lambda: False))
    np.testing.assert_array_equal(labeller.request.result.levels[0], second)
    assert finished.summary == "4 objects"


@pytest.mark.parametrize(("shape", "ndim"), CASES)
def test_answers_for_parts_of_an_image_never_give_an_id_twice(shape: Shape, ndim: int) -> None:
    labeller = labeller_for(shape, ndim)
    rng = np.random.default_rng(3)
    for turn in range(12):
        noise = ndimage.gaussian_filter(rng.standard_normal(shape), 3)
        corner = [int(rng.integers(0, n // 2)) for n in shape] if turn else [0] * len(shape)
        box = tuple(slice(a, n if not turn else a + n // 2) for a, n in zip(corner, shape, strict=True))
        shown = answer(labeller, noise > 0.03, box)
        found = separate_objects(np.where(noise[box] > 0.03, 0.9, 0.1).astype(np.float32))
        pairs = np.unique(np.stack([found, shown[box]]).reshape(2, -1), axis=1)
        assert pairs.shape[1] == found.max() + 1 == len(np.unique(pairs[1]))
        beyond = shown.copy()
        beyond[box] = 0
        for label in set(np.unique(shown[box])[1:]) & set(np.unique(beyond)):
            inside = np.zeros(shape, bool)
            inside[box] = shown[box] == label
            assert (ndimage.binary_dilation(inside) & (beyond == label)).any()  # it is one object, cut by the box


def test_ids_given_by_hand_are_not_given_again_and_unused_ones_come_again() -> None:
    ids = NewIds()
    assert ids.take(2, 6, lambda: np.array([0])).tolist() == [1, 2]
    ids.leave_out(np.array([3, 5]))
    assert ids.take(2, 6, lambda: np.array([0, 1, 3])).tolist() == [4, 6]
    assert ids.take(3, 6, lambda: np.array([0, 1, 3, 6])).tolist() == [2, 4, 5]
    wide = NewIds()
    wide.take(3, 2**32 - 1, lambda: np.array([0]))
    assert wide.take(70_000, 2**32 - 1, lambda: np.array([0]))[0] == 4
