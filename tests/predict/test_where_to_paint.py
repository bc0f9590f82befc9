"""The choice of the next place to paint, against plain ways to reckon the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_unet.predict.where_to_paint import Candidates, Experience, choose, join, make_candidates


def cells(features: np.ndarray, doubt: np.ndarray, free: np.ndarray | None = None) -> Candidates:
    n = len(features)
    open_cells = np.ones(n, bool) if free is None else free
    return Candidates(
        np.stack([np.arange(n), np.arange(n)], 1), features.astype(np.float32), doubt.astype(np.float32),
        doubt.astype(np.float32), np.zeros(n, bool), open_cells,
    )  # fmt: skip


def test_a_gain_is_the_variance_that_one_more_pixel_takes_away(rng: np.random.Generator) -> None:
    painted, others, doubt = rng.normal(size=(9, 4)), rng.normal(size=(12, 4)), rng.random(12)
    experience = Experience(painted, np.full(9, 1 / 9), 0.1)
    gains, variances = experience.gains(cells(others, doubt))
    mean = painted.mean(axis=0)
    information = (painted - mean).T @ (painted - mean) / 9 + 0.1 * np.eye(4)
    away = others.astype(np.float32) - mean

    def variance(matrix: np.ndarray) -> np.ndarray:
        return np.array([f @ np.linalg.inv(matrix) @ f for f in away])

    before = variance(information)
    np.testing.assert_allclose(variances, before, rtol=1e-4)
    for number, chosen in enumerate(away):
        after = variance(information + np.outer(chosen, chosen))
        assert gains[number] == pytest.approx((doubt * (before - after)).sum(), rel=1e-4)


def test_what_is_unlike_the_painted_and_common_comes_first() -> None:
    painted = np.array([[0.0, 0.0], [0.1, 0.0], [1.0, 0.0]])
    features = np.array([[0.5, 0.0]] * 20 + [[0.5, 1.0]] * 5 + [[0.5, -1.2]])
    experience = Experience(painted, np.full(3, 1 / 3), 0.05)
    known = cells(features, np.full(26, 0.4))
    found = choose(experience, known, np.zeros(26, bool))
    assert found is not None
    assert found.number >= 20
    assert "unlike what is painted" in found.why
    certain = cells(features, np.concatenate([np.full(20, 0.4), np.zeros(6)]))
    calm = choose(experience, certain, np.zeros(26, bool))
    assert calm is not None
    assert calm.number < 20


def test_what_is_painted_or_closed_is_left_out(rng: np.random.Generator) -> None:
    experience = Experience(rng.normal(size=(9, 4)), np.full(9, 1 / 9), 0.1)
    free = np.zeros(8, bool)
    free[3:5] = True
    known = cells(rng.normal(size=(8, 4)), np.ones(8), free)
    first = choose(experience, known, np.zeros(8, bool))
    assert first is not None
    assert first.number in (3, 4)
    closed = np.arange(8) == first.number
    second = choose(experience, known, closed)
    assert second is not None
    assert {first.number, second.number} == {3, 4}
    assert choose(experience, known, ~(closed & ~free)) is None


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
    assert found.doubt[0] == pytest.approx(float((2 * foreground * (1 - foreground))[corner].mean()), rel=1e-5)
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
