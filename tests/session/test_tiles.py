"""Finding changed tiles: never one too few, and none that has not changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zarr

from napari_unet.session.tiles import TILE, TileWatch, joined


def apply(watch: TileWatch, copy: np.ndarray, regions: Any = None) -> int:
    """Bring a copy up to date with what a look yields; return how many tiles there were."""
    count = 0
    for origin, tile in watch.look(regions):
        copy[tuple(slice(at, at + n) for at, n in zip(origin, tile.shape, strict=True))] = tile
        count += 1
    watch.commit()
    return count


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1300, 700), np.uint8), ((3, 2, 90, 1100), np.uint16), ((1, 1), np.uint8)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_copy_follows_random_changes(shape: Any, dtype: Any, order: str, rng: np.random.Generator) -> None:
    labels, copy = np.zeros(shape, dtype, order=order), np.zeros(shape, dtype)
    watch = TileWatch(labels)
    for _ in range(20):
        start = [int(rng.integers(n)) for n in shape]
        box = tuple(slice(at, at + int(rng.integers(1, 300))) for at in start)
        labels[box] = rng.integers(0, 3)
        apply(watch, copy, [box] if rng.random() < 0.5 else None)
        np.testing.assert_array_equal(copy, labels)
    assert apply(watch, copy) == 0


def test_only_the_changed_tile_is_yielded_and_an_emptied_one_comes_as_zeros() -> None:
    labels = np.ones((4, 2 * TILE, 2 * TILE), np.uint8)
    watch, copy = TileWatch(labels), np.zeros((4, 2 * TILE, 2 * TILE), np.uint8)
    assert apply(watch, copy) == 16
    labels[2, TILE, 3] = 5
    assert apply(watch, copy) == 1
    labels[2, TILE:, :TILE] = 0
    ((origin, tile),) = watch.look()
    assert origin == (2, TILE, 0)
    assert not tile.any()
    assert not watch.is_empty


def test_what_was_not_stored_is_yielded_again() -> None:
    labels = np.zeros((10, 10), np.uint8)
    watch = TileWatch(labels)
    labels[3] = 1
    assert len(list(watch.look())) == 1
    watch.forget_look()
    assert len(list(watch.look())) == 1
    watch.commit()
    assert list(watch.look()) == []


def test_a_change_outside_the_regions_is_found_by_the_next_full_look() -> None:
    labels = np.zeros((3 * TILE, TILE), np.uint8)
    watch, copy = TileWatch(labels), np.zeros((3 * TILE, TILE), np.uint8)
    assert apply(watch, copy) == 0
    labels[0, 0] = labels[-1, -1] = 1
    assert apply(watch, copy, [(slice(0, 5), slice(0, 5))]) == 1
    assert apply(watch, copy) == 1
    np.testing.assert_array_equal(copy, labels)
    labels[1, 1] = 7
    apply(watch, copy, [(slice(0, 5), slice(0, 5))])
    labels[1, 1] = 0  # back to what the row was at the last full look
    assert apply(watch, copy) == 1
    np.testing.assert_array_equal(copy, labels)


def test_an_array_in_blocks_is_watched_too() -> None:
    labels = zarr.create_array(store=zarr.storage.MemoryStore(), shape=(2, 600, 600), chunks=(1, 512, 512), dtype="u2")
    watch, copy = TileWatch(labels), np.zeros((2, 600, 600), np.uint16)
    labels[1, 500:530, 7] = 300
    assert apply(watch, copy) == 2
    np.testing.assert_array_equal(copy, labels[:])


def test_emptiness_is_known_before_and_after_a_commit() -> None:
    labels = np.zeros((10, 10), np.uint8)
    watch = TileWatch(labels)
    list(watch.look())
    assert watch.is_empty
    labels[1] = 1
    list(watch.look())
    assert not watch.is_empty
    watch.commit()
    labels[1] = 0
    list(watch.look())
    assert watch.is_empty


def test_many_boxes_become_one() -> None:
    boxes = [(slice(n, n + 1), slice(2 * n, 2 * n + 5)) for n in range(100)]
    assert joined(boxes) == [(slice(0, 100), slice(0, 203))]
    assert joined(boxes[:2] * 50) == boxes[:2]
    assert joined([]) == []
