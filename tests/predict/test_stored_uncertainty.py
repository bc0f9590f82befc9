"""How uncertain a stored prediction is, tile by tile, against plain loops over what is stored."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import napari_unet as nu
from napari_unet.data.axes import ImageLayout
from napari_unet.errors import InputError
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.stored_uncertainty import uncertainty_by_tile
from napari_unet.predict.tile_store import TileStore


def stored(folder: Path, shape: tuple[int, ...], axes: str) -> TileStore:
    """Return a store of random probabilities of three classes."""
    model = nu.Model.create(nu.ModelConfig(features=2, depth=1, classes=("background", "one", "two")), seed=1)
    config = PredictConfig(tile=128, device="cpu")
    image = np.random.default_rng(0).random(shape, np.float32)
    for _ in nu.predict_to_store(model, image, folder / "s.zarr", axes, config, keep_probabilities=True):
        pass
    store = TileStore.open(folder / "s.zarr")
    rng = np.random.default_rng(2)
    for array in store.probabilities:
        for index in array.indices():
            sides = [part.stop - part.start for part in array.box(index)]
            array.write(index, rng.integers(0, 128, sides, dtype=np.uint8))
    return store


def test_each_tile_has_the_mean_entropy_of_the_smallest_version(tmp_path: Path) -> None:
    store = stored(tmp_path, (2, 1100, 90), "TYX")
    layout = ImageLayout("TYX", (2, 1100, 90))
    found = uncertainty_by_tile(store, layout, (96, 40))
    assert found.shape == (2, 12, 3)
    one, two = (np.asarray(array.levels[-1]) / 255 for array in store.probabilities)
    assert one.shape == (2, 550, 45)
    expected, counts = np.zeros(found.shape), np.zeros(found.shape)
    for t, y, x in product(*map(range, one.shape)):
        shares = np.array([1 - one[t, y, x] - two[t, y, x], one[t, y, x], two[t, y, x]])
        place = (t, 2 * y // 96, 2 * x // 40)
        expected[place] -= sum(share * np.log(share) for share in shares if share > 1e-9) / np.log(3)
        counts[place] += 1
    np.testing.assert_allclose(found, expected / counts, atol=1e-5)


def test_of_a_large_one_only_a_part_is_read_another_with_every_seed(tmp_path: Path) -> None:
    store = stored(tmp_path, (6, 256, 256), "TYX")
    layout = ImageLayout("TYX", (6, 256, 256))
    few = [uncertainty_by_tile(store, layout, (128, 128), most_pixels=70_000, seed=seed) for seed in range(9)]
    assert [np.count_nonzero(each) for each in few] == [4] * 9  # two rows of two tiles
    whole = uncertainty_by_tile(store, layout, (128, 128))
    np.testing.assert_allclose(few[0][few[0] > 0], whole[few[0] > 0])
    assert np.count_nonzero(np.maximum.reduce(few)) > 12
    assert not uncertainty_by_tile(store, layout, (128, 128), should_stop=lambda: True).any()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    store = stored(tmp_path, (64, 64), "YX")
    with pytest.raises(InputError, match="another shape"):
        uncertainty_by_tile(store, ImageLayout("YX", (64, 65)), (32, 32))
    bare = replace(store, probabilities=())
    with pytest.raises(InputError, match="keep_probabilities"):
        uncertainty_by_tile(bare, ImageLayout("YX", (64, 64)), (32, 32))
