"""Uncertainty that is kept in the store of a prediction, against that of the whole image at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import napari_unet as nu
from napari_unet.errors import InputError
from napari_unet.models.adapt import Adapter
from napari_unet.models.stored_uncertainty import measure_stored
from napari_unet.models.uncertainty import uncertainty
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.uncertainty import Measure, entropy

SHAPE = (90, 70)


def make_model(seed: int = 3, **config: Any) -> nu.Model:
    model = nu.Model.create(nu.ModelConfig(features=4, depth=1, **config), seed=seed)
    model.network.head.weight.data.mul_(8)  # type: ignore[union-attr, operator]
    return model


def stored(model: nu.Model, image: np.ndarray, path: Path, axes: str = "YX", **settings: Any) -> TileStore:
    """Predict into a store with tiles that are no multiples of those that features are kept in."""
    config = PredictConfig(tile=32, device="cpu", precision="float32")
    for _ in nu.predict_to_store(model, image, path, axes, config, task="classes", **settings):
        pass
    return TileStore.open(path)


def values(store: TileStore, measure: Measure) -> np.ndarray:
    return store.uncertainty[measure].levels[0][:].astype(np.float32) / 65535


@pytest.mark.parametrize(
    ("measure", "shape", "axes", "ndim"),
    [("disagreement", SHAPE, "YX", 2), ("entropy", (2, *SHAPE), "TYX", 2), ("disagreement", (9, 40, 33), "ZYX", 3)],
)
def test_it_is_that_of_the_whole_image(
    measure: Measure, shape: tuple[int, ...], axes: str, ndim: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    model, image = make_model(ndim=ndim), rng.random(shape, np.float32)
    store = stored(model, image, tmp_path / "s.zarr", axes)
    parts = list(measure_stored(Adapter(model, "cpu"), image, store, measure))
    assert len(parts) == np.prod(store.grid)
    assert parts[-1].share == 1
    expected = uncertainty(model, image, axes, measure=measure, device="cpu")
    assert expected.max() > 0.005
    again = TileStore.open(store.path)
    np.testing.assert_allclose(values(again, measure), expected, atol=2e-3)  # of half precision in the features
    (levels,) = zarr.open_group(store.path / "uncertainty" / measure).attrs["ome"]["multiscales"]  # type: ignore[index, call-overload, misc]
    assert [axis["name"] for axis in levels["axes"]] == list(axes.lower())
    assert not list(measure_stored(Adapter(model, "cpu"), image, again, measure))


def test_entropy_comes_with_the_tiles_that_are_predicted(tmp_path: Path, rng: np.random.Generator) -> None:
    model, image = make_model(classes=("background", "one", "two")), rng.random(SHAPE, np.float32)
    store = stored(model, image, tmp_path / "s.zarr", keep_entropy=True)
    expected = entropy(nu.predict(model, image, "YX", PredictConfig(device="cpu", precision="float32")))
    np.testing.assert_allclose(values(store, "entropy"), expected, atol=1e-4)
    assert not list(measure_stored(Adapter(model, "cpu"), image, store, "entropy"))


def test_what_was_stopped_goes_on_with_the_tiles_that_are_missing(tmp_path: Path, rng: np.random.Generator) -> None:
    model, image = make_model(), rng.random(SHAPE, np.float32)
    store = stored(model, image, tmp_path / "s.zarr")
    asked = 0

    def stop_in_the_third_tile() -> bool:
        nonlocal asked
        asked += 1
        return len(boxes) == 2 and asked > 5

    boxes: list[Any] = []
    for part in measure_stored(
        Adapter(model, "cpu"), image, store, "disagreement", focus=(89, 69), should_stop=stop_in_the_third_tile
    ):
        boxes.append(part.box)
        asked = 0
    assert boxes[0] == (slice(64, 90), slice(64, 70))  # the nearest to the focus
    assert len(boxes) == 2
    rest = [p.box for p in measure_stored(Adapter(model, "cpu"), image, TileStore.open(store.path), "disagreement")]
    assert len(rest) == 7
    assert not [box for box in rest if box in boxes]
    expected = uncertainty(model, image, "YX", device="cpu")
    np.testing.assert_allclose(values(TileStore.open(store.path), "disagreement"), expected, atol=2e-3)


def test_a_store_of_another_model_or_without_labels_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    model, image = make_model(), rng.random((32, 32), np.float32)
    store = stored(model, image, tmp_path / "s.zarr")
    other = Adapter(make_model(seed=4), "cpu")
    with pytest.raises(InputError, match="by another model"):
        next(measure_stored(other, image, store, "entropy"))
    bare = stored(model, image, tmp_path / "p.zarr", content="probabilities")
    with pytest.raises(InputError, match="holds no labels"):
        next(measure_stored(Adapter(model, "cpu"), image, bare, "entropy"))


def test_the_memory_does_not_grow_with_the_image(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of the network at once is one tile of the store, whatever the image."""
    from napari_unet.models import stored_uncertainty

    asked: list[Any] = []
    parts: Callable[..., Any] = stored_uncertainty.uncertainty_parts

    def watch(*arguments: Any, **settings: Any) -> Any:
        asked.append(settings["region"])
        return parts(*arguments, **settings)

    monkeypatch.setattr(stored_uncertainty, "uncertainty_parts", watch)
    model, image = make_model(), rng.random((70, 300), np.float32)
    store = stored(model, image, tmp_path / "s.zarr")
    for _ in measure_stored(Adapter(model, "cpu"), image, store, "entropy"):
        pass
    assert len(asked) == 30
    assert max(span.stop - span.start for box in asked for span in box) == 32
