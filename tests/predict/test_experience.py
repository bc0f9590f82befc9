"""What strokes tell and one more would tell, against the regression solved from all pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_unet.learn.closed_form import ClosedForm
from napari_unet.predict.experience import Experience

FORM = ClosedForm(ridge=0.08, scale=2.0, offset=0.7)


def painted(rng: np.random.Generator, classes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kinds = rng.permutation(np.repeat(classes, 100))
    return rng.normal(size=(len(kinds), 5)) + 3 + kinds[:, None] * np.linspace(-1, 1, 5), kinds, rng.random(len(kinds))


def made(features: np.ndarray, kinds: np.ndarray, weights: np.ndarray) -> Experience:
    return Experience(features, kinds, weights, ridge=FORM.ridge, scale=FORM.scale, offset=FORM.offset)


def probabilities_after(
    features: np.ndarray, kinds: np.ndarray, weights: np.ndarray, at: np.ndarray, kind: int, others: np.ndarray
) -> np.ndarray:
    """Solve from all pixels, 50 more of one class among them."""
    weight, bias = FORM.solve(
        torch.from_numpy(np.concatenate([features, np.repeat(at[None], 50, axis=0)])),
        torch.from_numpy(np.concatenate([kinds, np.full(50, kind)])),
        4,
        weights=torch.from_numpy(np.concatenate([weights, np.ones(50)])),
    )
    return (torch.from_numpy(others).float() @ weight.T + bias).softmax(dim=1).numpy()


@pytest.mark.parametrize("classes", [(0, 1), (0, 1, 3), (1, 2)])
def test_clearness_is_that_of_the_classifier_solved_anew(classes: tuple[int, ...], rng: np.random.Generator) -> None:
    features, kinds, weights = painted(rng, classes)
    chosen, others = rng.normal(size=(6, 5)) + 3, rng.normal(size=(40, 5)) + 3
    likely = np.zeros((6, 4))
    likely[:, classes] = 0.2 + rng.random((6, len(classes)))
    likely /= likely.sum(axis=1, keepdims=True)
    found = made(features, kinds, weights).clearness(chosen, likely, others)
    for place, shares, value in zip(chosen, likely, found, strict=True):
        wanted = 0.0
        for kind in classes:
            p = probabilities_after(features, kinds, weights, place, kind, others)[:, list(classes)]
            wanted += shares[kind] * float(((p**2).sum(axis=0) / p.sum(axis=0)).mean())
        assert value == pytest.approx(wanted, rel=1e-4)


def test_a_class_that_is_most_unlikely_at_a_place_is_not_tried_there(rng: np.random.Generator) -> None:
    features, kinds, weights = painted(rng, (0, 1))
    chosen, others = rng.normal(size=(3, 5)) + 3, rng.normal(size=(40, 5)) + 3
    experience = made(features, kinds, weights)
    sure = experience.clearness(chosen, np.array([[1.0, 0.0, 0.0, 0.0]] * 3), others)
    nearly = experience.clearness(chosen, np.array([[0.98, 0.02, 0.0, 0.0]] * 3), others)
    unknown = experience.clearness(chosen, np.array([[0.0, 0.0, 1.0, 0.0]] * 3), others)
    torn = experience.clearness(chosen, np.array([[0.5, 0.5, 0.0, 0.0]] * 3), others)
    np.testing.assert_allclose(nearly, sure)
    np.testing.assert_allclose(unknown, torn)  # a class that is not painted yet
    assert not np.allclose(torn, sure)


def test_unlikeness_is_the_variance_of_the_regression(rng: np.random.Generator) -> None:
    features, kinds, weights = painted(rng, (0, 1))
    places = rng.normal(size=(12, 5))
    share = weights / np.bincount(kinds, weights)[kinds] / 2
    mean = share @ features
    covariance = np.linalg.inv((features - mean).T @ np.diag(share) @ (features - mean) + FORM.ridge * np.eye(5))
    wanted = [(place - mean) @ covariance @ (place - mean) for place in places]
    np.testing.assert_allclose(made(features, kinds, weights).unlikeness(places), wanted, rtol=1e-8)


def test_a_gain_is_the_variance_that_one_more_pixel_takes_away(rng: np.random.Generator) -> None:
    features, kinds, weights = painted(rng, (0, 1))
    places, doubt = rng.normal(size=(12, 5)) + 3, rng.random(12)
    gains = made(features, kinds, weights).gains(places, doubt)
    share = weights / np.bincount(kinds, weights)[kinds] / 2
    mean = share @ features
    information = (features - mean).T @ np.diag(share) @ (features - mean) + FORM.ridge * np.eye(5)

    def variance(matrix: np.ndarray) -> np.ndarray:
        return np.array([f @ np.linalg.inv(matrix) @ f for f in places - mean])

    for number, chosen in enumerate(places - mean):
        less = variance(information) - variance(information + np.outer(chosen, chosen))
        assert gains[number] == pytest.approx((doubt * less).sum(), rel=1e-8)
