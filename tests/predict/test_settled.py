"""Stored predictions agree with what corrections painted, across tiles and after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_unet as nu
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import TileStored
from napari_unet.predict.settled import SettledStrokes
from napari_unet.predict.tile_store import TileStore

CONFIG = PredictConfig(tile=32, device="cpu", precision="float32")
SHAPE = (2, 96, 80)


@pytest.fixture(scope="module")
def model() -> nu.Model:
    return nu.Model.create(nu.ModelConfig(features=2, depth=1), seed=4)


@pytest.fixture
def strokes() -> np.ndarray:
    """Background over several tiles, an object in two places, and one that tiles cut; all in the second frame."""
    painted = np.zeros(SHAPE, np.uint32)
    painted[1, 5:70, 40:79] = 1
    painted[1, 20:44, 50:60], painted[1, 60:68, 70:76] = 7, 7
    painted[1, 76:90, 10:70] = 9
    return painted


def store_of(path: Path, model: nu.Model, strokes: np.ndarray, task: Any, stops: int | None = None) -> np.ndarray:
    image = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
    indices = np.nonzero(strokes)
    settled = SettledStrokes(indices, strokes[indices])
    left = [stops]

    def should_stop() -> bool:
        return left[0] is not None and left[0] <= 0

    for event in nu.predict_to_store(
        model, image, path, "TYX", CONFIG, task=task, settled=settled, should_stop=should_stop
    ):
        if left[0] is not None and isinstance(event, TileStored):
            left[0] -= 1
    return np.asarray(TileStore.open(path).tiles.levels[0])


@pytest.mark.parametrize("stops", [None, 5, 25])
def test_objects_agree(tmp_path: Path, model: nu.Model, strokes: np.ndarray, stops: int | None) -> None:
    path = tmp_path / "r.zarr"
    if stops is not None:
        store_of(path, model, strokes, "objects", stops)
    found = store_of(path, model, strokes, "objects")
    assert not found[strokes == 1].any()
    ids = [set(np.unique(found[strokes == label])) for label in (7, 9)]
    assert [len(each) for each in ids] == [1, 1]  # also where it is in two places
    assert 0 not in ids[0] | ids[1]
    assert ids[0] != ids[1]
    plain = store_of(tmp_path / "plain.zarr", model, np.zeros(SHAPE, np.uint32), "objects")
    np.testing.assert_array_equal(found[0], plain[0])
    assert len(np.unique(found)) == found.max() + 1  # numbered through, without gaps


def test_classes_agree(tmp_path: Path, model: nu.Model, strokes: np.ndarray) -> None:
    strokes = np.minimum(strokes, 2)
    found = store_of(tmp_path / "r.zarr", model, strokes, "classes")
    np.testing.assert_array_equal(found[strokes > 0], strokes[strokes > 0])
    plain = store_of(tmp_path / "plain.zarr", model, 0 * strokes, "classes")
    np.testing.assert_array_equal(found[strokes == 0], plain[strokes == 0])
