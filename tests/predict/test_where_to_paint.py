"""The choice of the next place to paint, against plain ways to reckon the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_unet.predict.experience import Experience
from napari_unet.predict.where_to_paint import Candidates, choose, join, make_candidates


def cells(features: np.ndarray, foreground: np.ndarray, free: np.ndarray | None = None) -> Candidates:
    n = len(features)
    return Candidates(
        np.stack([np.arange(n), np.arange(n)], 1), features.astype(np.float32),
        np.stack([1 - foreground, foreground], axis=1).astype(np.float32), np.full(n, 0.5, np.float32),
        np.zeros(n, bool), np.ones(n, bool) if free is None else free,
    )  # fmt: skip


def experience(features: np.ndarray, classes: list[int]) -> Experience:
    return Experience(features, np.array(classes), np.ones(len(classes)), ridge=0.05, scale=3.0, offset=0.2)


def test_what_would_make_all_else_clear_comes_first_and_what_stands_alone_last() -> None:
    painted = np.array([[0.0, 0.0], [0.1, 0.0], [1.0, 0.0]])
    features = np.array([[0.5, 0.0]] * 31 + [[0.5, 1.0]] * 29 + [[0.5, -1.2]])
    known = experience(painted, [0, 0, 1])
    found = choose(known, cells(features, np.full(61, 0.5)), np.zeros(61, bool))
    assert found is not None
    assert 31 <= found.number < 60
    assert "unlike what is painted" in found.why
    assert known.unlikeness(features).argmax() == 60


def test_what_is_painted_or_closed_is_left_out(rng: np.random.Generator) -> None:
    known = experience(rng.normal(size=(9, 4)), [0, 1] * 4 + [0])
    free = np.zeros(8, bool)
    free[3:5] = True
    places = cells(rng.normal(size=(8, 4)), np.full(8, 0.4), free)
    first = choose(known, places, np.zeros(8, bool))
    assert first is not None
    assert first.number in (3, 4)
    assert choose(known, places, np.zeros(8, bool)) == first
    closed = np.arange(8) == first.number
    second = choose(known, places, closed)
    assert second is not None
    assert {first.number, second.number} == {3, 4}
    assert choose(known, places, ~(closed & ~free)) is None


@pytest.mark.parametrize("shape", [(17, 22), (7, 10, 9)])
def test_cells_are_means_of_their_pixels(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    ndim, cell = len(shape), {2: 4, 3: 2}[len(shape)]
    features = torch.from_numpy(rng.normal(size=(3, *shape)).astype(np.float32))
    foreground = rng.random(shape).astype(np.float32)
    probabilities = np.stack([1 - foreground, foreground])
    painted = np.zeros(shape, bool)
    painted[(0,) * ndim] = True
    box = tuple(slice(100, 100 + size) for size in shape)
    found = make_candidates(features, probabilities, painted, box)
    assert len(found.places) == np.prod([-(-size // cell) for size in shape])
    corner = tuple(slice(0, cell) for _ in shape)
    np.testing.assert_allclose(
        found.features[0], features.numpy()[(slice(None), *corner)].reshape(3, -1).mean(1), rtol=1e-5
    )
    assert found.probabilities[0, 1] == pytest.approx(float(foreground[corner].mean()), rel=1e-5)
    number = np.indices([-(-size // cell) for size in shape]).reshape(ndim, -1)
    np.testing.assert_array_equal(found.free, number.max(axis=0) > 2)
    assert (found.places >= 100).all()
    assert (found.places < np.array(shape) + 100).all()


def test_an_edge_is_where_the_class_changes() -> None:
    foreground = np.zeros((40, 40), np.float32)
    foreground[:, 21:] = 1
    found = make_candidates(
        torch.zeros(1, 40, 40), np.stack([1 - foreground, foreground]), np.zeros((40, 40), bool),
        (slice(0, 40), slice(0, 40)),
    )  # fmt: skip
    assert set(found.places[found.at_edge][:, 1].tolist()) == {18, 22, 26}
    joined = join([found, found])
    assert len(joined.places) == 2 * len(found.places)
