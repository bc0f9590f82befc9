"""The search for the next place to paint, on images, stacks and volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import napari_unet as nu
from napari_unet.errors import AnnotationError
from napari_unet.models.adapt import Adapter
from napari_unet.models.next_spot import Spot, UncertainPart, find_spot
from napari_unet.models.uncertainty import uncertainty_parts
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.uncertainty import entropy


def scene(size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with bright, with dark and with striped squares, and strokes on ground and a bright square."""
    image = np.random.default_rng(0).normal(0.5, 0.02, (size, size)).astype(np.float32)
    image[10:30, 10:30] = image[60:80, 8:28] = 0.9
    image[10:40, 60:90] += 0.45 * (np.arange(30) % 6 < 3)
    strokes = np.zeros((size, size), np.uint8)
    strokes[2:5, 2:50], strokes[14:17, 12:28] = 1, 2
    return image, strokes


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return Adapter(nu.Model.pretrained(), "cpu")


def search(adapter: Adapter, sample: nu.Sample, **options: object) -> tuple[list[UncertainPart], Spot | None]:
    adapter.adapt([sample], task="classes")
    events = list(find_spot(adapter, [sample], task="classes", **options))  # type: ignore[arg-type]
    spots = [event for event in events if isinstance(event, Spot)]
    return [event for event in events if isinstance(event, UncertainPart)], spots[0] if spots else None


def test_it_leads_to_what_is_unlike_the_strokes_and_not_to_the_same_place_twice(adapter: Adapter) -> None:
    image, strokes = scene()
    sample = nu.Sample(image, strokes)
    visited: list[tuple[int, ...]] = []
    for _ in range(3):
        _, spot = search(adapter, sample, visited=tuple(visited))
        assert spot is not None
        assert strokes[spot.place] == 0
        assert all(max(abs(a - b) for a, b in zip(spot.place, old, strict=True)) > 12 for old in visited)
        visited.append(spot.place)
    striped = [8 <= y < 42 and 58 <= x < 92 for y, x in visited]
    assert any(striped)


def test_the_uncertainty_is_that_of_the_probabilities(adapter: Adapter) -> None:
    image, strokes = scene()
    parts, _ = search(adapter, nu.Sample(image, strokes))
    found = np.full(image.shape, np.nan, np.float32)
    for part in parts:
        found[part.box] = part.uncertainty
    np.testing.assert_allclose(found, entropy(adapter.probabilities(image)), atol=1e-5)


def test_what_counts_as_uncertain_can_be_what_changes_when_the_image_is_turned(adapter: Adapter) -> None:
    image, strokes = scene()
    sample = nu.Sample(np.stack([image, image[::-1]]), np.stack([strokes, np.zeros_like(strokes)]), "ZYX")
    parts, spot = search(adapter, sample, measure="disagreement")
    found = np.full(sample.image.shape, np.nan, np.float32)
    for part in parts:
        found[part.box] = part.uncertainty
    whole = [(part.box, part.uncertainty) for part in uncertainty_parts(adapter, sample.image, "ZYX")]
    for box, values in whole:
        np.testing.assert_allclose(found[box], values, atol=1e-6)
    assert not np.allclose(found, entropy(adapter.probabilities(sample.image, "ZYX")), atol=0.05)
    assert [part.share for part in parts] == [0.5, 1]
    assert spot is not None
    assert sample.annotation[spot.place] == 0
    around = tuple(slice(max(0, at - 2), at + 2) for at in spot.place[1:])
    assert spot.uncertainty == pytest.approx(float(found[(spot.place[0], *around)].mean()), rel=1e-3)


def test_nothing_is_found_where_all_is_painted_and_the_search_can_be_stopped(adapter: Adapter) -> None:
    image, _ = scene()
    full = np.ones(image.shape, np.uint8)
    full[20:40] = 2
    parts, spot = search(adapter, nu.Sample(image, full))
    assert (len(parts), spot) == (1, None)
    assert search(adapter, nu.Sample(image, full), should_stop=lambda: True) == ([], None)


def test_a_stack_is_looked_through_and_a_large_image_around_the_focus(adapter: Adapter) -> None:
    image, strokes = scene()
    stack = np.stack([image] + [np.full_like(image, 0.5)] * 3 + [image[::-1]])
    painted = np.zeros(stack.shape, np.uint8)
    painted[0] = strokes
    sample = nu.Sample(stack, painted, "ZYX")
    parts, spot = search(adapter, sample)
    assert sorted({part.box[0].start for part in parts}) == [0, 1, 2, 3, 4]
    assert spot is not None
    assert spot.place[0] in (0, 4)
    _, other = search(adapter, sample, visited=(spot.place,))
    assert other is not None
    assert other.place != spot.place

    wide = np.tile(image, (6, 6))
    marks = np.zeros(wide.shape, np.uint8)
    marks[:96, :96] = strokes
    near, _ = search(adapter, nu.Sample(wide, marks), focus=(500.0, 500.0), most_pixels=70_000)
    assert [part.box for part in near] == [(slice(256, 512), slice(256, 512))]


def test_what_a_stored_prediction_is_unsure_of_is_looked_at_in_any_frame(adapter: Adapter, tmp_path: Path) -> None:
    image, strokes = scene()
    wide = np.stack([np.tile(image, (6, 6))] * 3)
    painted = np.zeros(wide.shape, np.uint8)
    painted[0, :96, :96] = strokes
    config = nu.PredictConfig(tile=256, device="cpu")
    list(nu.predict_to_store(adapter.model, wide, tmp_path / "s.zarr", "TYX", config, keep_probabilities=True))
    store = TileStore.open(tmp_path / "s.zarr")
    (array,) = store.probabilities
    for index in array.indices():
        value = {(2, 1, 0): 128, (1, 0, 1): 100, (0, 2, 2): 20, (1, 1, 1): 10}.get(index, 255)
        array.write(index, np.full([part.stop - part.start for part in array.box(index)], value, np.uint8))
    sample = nu.Sample(wide, painted, "TYX")
    parts, spot = search(adapter, sample, stored=store, most_pixels=3 * 256**2, focus=(0.0, 0.0, 0.0))
    corners = {tuple(side.start for side in part.box) for part in parts}
    assert corners == {(2, 256, 0), (1, 0, 256), (1, 256, 256)}  # the most uncertain, and the others by their rank
    assert spot is not None
    assert spot.place[0] in (1, 2)


def test_a_volume_is_searched() -> None:
    model = nu.Model.create(nu.ModelConfig(ndim=3, features=4, depth=1))
    volume = np.random.default_rng(0).random((12, 24, 24)).astype(np.float32)
    strokes = np.zeros(volume.shape, np.uint8)
    strokes[5, 2:4], strokes[5, 12:14] = 1, 2
    _, spot = search(Adapter(model, "cpu"), nu.Sample(volume, strokes, "ZYX"))
    assert spot is not None
    assert strokes[spot.place] == 0


def test_one_class_alone_is_not_enough(adapter: Adapter) -> None:
    image, strokes = scene()
    with pytest.raises(AnnotationError):
        list(find_spot(adapter, [nu.Sample(image, np.where(strokes == 1, 1, 0).astype(np.uint8))], task="classes"))
