"""Objects that stay where they are keep their ids, by the same rule as a plain search through all pairs."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_unet.predict.same_objects import SameObjects

Labels = npt.NDArray[Any]


def plain_ids(found: Labels, before: Labels, taken: set[int] = frozenset()) -> list[int]:  # type: ignore[assignment]
    """Go through all pairs of objects, again and again, and serve the one that shares most."""
    numbers, olds = range(1, int(found.max()) + 1), set(np.unique(before).tolist()) - {0} - taken
    shared = {(old, new): int(((found == new) & (before == old)).sum()) for old in olds for new in numbers}
    ids = [0] * (int(found.max()) + 1)
    while any(shared.values()):
        most = max(shared.values())
        old, new = min(pair for pair, size in shared.items() if size == most)
        ids[new] = old
        shared = {pair: size for pair, size in shared.items() if pair[0] != old and pair[1] != new}
    return ids


def cells(rng: np.random.Generator, shape: tuple[int, ...], count: int = 25) -> Labels:
    """Share an area out among random points, with some background between."""
    places = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)[..., np.newaxis, :]
    away = ((places - rng.uniform(0, shape, (count, len(shape)))) ** 2).sum(axis=-1)
    return np.asarray(np.where(away.min(axis=-1) < 30, 1 + away.argmin(axis=-1), 0))


@pytest.mark.parametrize("shape", [(48, 64), (12, 24, 20)])
@pytest.mark.parametrize("seed", range(4))
def test_ids_are_those_of_a_search_through_all_pairs(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    found, first = cells(rng, shape), cells(rng, shape)
    names = np.concatenate([[0], rng.permutation(60_000)[: first.max()] + 1]).astype(np.uint16)
    before = names[first]
    taken = names[1:6]
    whole, in_blocks = SameObjects(), SameObjects()
    whole.add(found, before)
    for corner in product(*(range(0, size, 10) for size in shape)):
        box = tuple(slice(at, at + 10) for at in corner)
        in_blocks.add(found[box], before[box])
    count = int(found.max())
    expected = plain_ids(found, before)
    assert sum(entry > 0 for entry in expected) > 10
    assert whole.ids(count).tolist() == in_blocks.ids(count).tolist() == expected
    assert whole.ids(count, taken=taken).tolist() == plain_ids(found, before, set(taken.tolist()))
    part_of = np.concatenate([[0], np.arange(count) // 2 + 1])  # pairs of objects are one
    expected = plain_ids(part_of[found], before)
    assert whole.ids(int(part_of.max()), part_of).tolist() == expected


def test_the_larger_part_keeps_the_id_where_objects_split_and_merge() -> None:
    before = np.array([[4, 4, 4, 4, 4, 0, 9, 9, 2, 2, 2, 0]])
    found = np.array([[1, 1, 0, 2, 2, 2, 3, 3, 3, 3, 3, 4]])
    same = SameObjects()
    same.add(found, before)
    assert same.ids(4).tolist() == [0, 4, 0, 2, 0]  # of two that are as large the first; 3 was 9 and, more, 2


def test_an_object_that_goes_on_outside_gives_its_id_only_to_what_touches_it_there() -> None:
    before = np.array([[5, 5, 5, 5, 5, 5, 0, 8, 8]])  # what lies at both ends is not found anew
    found = np.array([[1, 0, 2, 2, 2, 0, 3]])
    same = SameObjects()
    same.add(found, before, [(0, 0), (1, 1)])
    assert same.ids(3).tolist() == [0, 5, 0, 8]
    inside = SameObjects()
    inside.add(found, before[:, 1:-1])
    assert inside.ids(3).tolist() == [0, 0, 5, 8]
