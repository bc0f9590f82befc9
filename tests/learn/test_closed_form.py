"""The solved last layer: against scikit-learn's ridge regression, numpy, and numerical derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from napari_unet.errors import InputError
from napari_unet.learn.closed_form import ABSENT, ClosedForm, solve_head


def make_strokes(rng: np.random.Generator, count: int, sizes: list[int], dim: int = 6) -> tuple[torch.Tensor, ...]:
    classes = np.repeat(np.arange(count), sizes)
    features = rng.normal(size=(count, dim))[classes] + rng.normal(0, 0.7, (len(classes), dim)) + 2
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(classes)


@pytest.mark.parametrize(("count", "sizes"), [(2, [40, 7]), (3, [5, 100, 30])])
@pytest.mark.parametrize("ridge", [1e-4, 0.05, 3.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_weighted_ridge_regression_of_scikit_learn(
    count: int, sizes: list[int], ridge: float, weighted: bool, rng: np.random.Generator
) -> None:
    features, classes = make_strokes(rng, count, sizes)
    given = torch.from_numpy(rng.uniform(0.1, 2, len(classes)).astype(np.float32)) if weighted else None
    weight, bias = solve_head(features, classes, count, weights=given, ridge=ridge, scale=2.5, offset=0.75)

    y, own = classes.numpy(), np.ones(len(classes)) if given is None else given.numpy().astype(np.float64)
    balanced = np.concatenate([own[y == k] / own[y == k].sum() / count for k in range(count)])
    reference = Ridge(ridge, solver="cholesky")
    reference.fit(features.double().numpy(), 2.0 * np.eye(count)[y] - 1, sample_weight=balanced)
    coefficients, intercept = np.reshape(reference.coef_, (count, -1)), np.asarray(reference.intercept_)
    intercept = 2.5 * intercept + 0.75 * (np.arange(count) == 0)
    np.testing.assert_allclose(weight, 2.5 * coefficients, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(bias, intercept, rtol=1e-4, atol=1e-5)
    assert (weight.dtype, bias.dtype) == (torch.float32, torch.float32)


def test_repeating_the_strokes_of_a_class_changes_nothing(rng: np.random.Generator) -> None:
    features, classes = make_strokes(rng, 2, [20, 10])
    more = torch.cat([torch.arange(30), torch.arange(20).repeat(5)])
    few, many = (
        solve_head(features[index], classes[index], 2, ridge=0.1, scale=1.0, offset=0.0)
        for index in (torch.arange(30), more)
    )
    for a, b in zip(few, many, strict=True):
        torch.testing.assert_close(a, b)


def test_a_class_without_strokes_is_never_chosen_and_leaves_the_others_as_they_are(rng: np.random.Generator) -> None:
    features, classes = make_strokes(rng, 2, [20, 10])
    options: dict[str, Any] = {"ridge": 0.1, "scale": 4.0, "offset": 0.5}
    two, three = solve_head(features, classes, 2, **options), solve_head(features, 2 * classes, 3, **options)
    torch.testing.assert_close(three[0][[0, 2]], two[0])
    torch.testing.assert_close(three[1][[0, 2]], two[1])
    assert not three[0][1].any()
    assert three[1][1].item() == ABSENT
    probability = (features @ three[0].T + three[1]).softmax(1)
    assert probability[:, 1].max() < 1e-8
    assert torch.equal(probability.argmax(1), 2 * classes)


def test_one_class_alone_is_everywhere() -> None:
    weight, bias = solve_head(torch.randn(5, 3), torch.ones(5, dtype=torch.int64), 2, ridge=0.1, scale=2.0, offset=1.0)
    assert not weight.any()
    assert bias.tolist() == [ABSENT, 2.0]


def test_nothing_painted_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="paint a stroke"):
        solve_head(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 2, ridge=0.1, scale=1.0, offset=0.0)


def test_more_features_than_pixels_and_equal_features_have_a_finite_solution() -> None:
    features = torch.ones(3, 40)
    weight, bias = solve_head(features, torch.tensor([0, 1, 1]), 2, ridge=1e-4, scale=1.0, offset=0.0)
    logits = features @ weight.T + bias
    assert logits.isfinite().all()
    torch.testing.assert_close(logits, torch.zeros(3, 2), atol=1e-5, rtol=0)


def test_the_gradients_are_those_of_finite_differences(rng: np.random.Generator) -> None:
    features, classes = make_strokes(rng, 3, [4, 6, 5], dim=4)
    query = torch.from_numpy(rng.normal(size=(8, 4)).astype(np.float32))

    def loss(f: torch.Tensor, ridge: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        weight, bias = solve_head(f, classes, 3, ridge=ridge, scale=scale, offset=offset)
        return torch.nn.functional.cross_entropy((query @ weight.T + bias).double(), torch.arange(8) % 3)

    values = [features.clone(), torch.tensor(0.2), torch.tensor(1.5), torch.tensor(-0.3)]
    for value in values:
        value.requires_grad_()
    loss(*values).backward()
    for place, value in enumerate(values):
        direction = torch.from_numpy(rng.choice([-1.0, 1.0], tuple(value.shape)).astype(np.float32))
        step = 0.01
        ends = []
        for sign in (-1, 1):
            moved = [v.detach().clone() for v in values]
            moved[place] += sign * step * direction
            ends.append(loss(*moved).item())
        assert value.grad is not None
        expected = (ends[1] - ends[0]) / (2 * step)
        assert (value.grad * direction).sum().item() == pytest.approx(expected, rel=0.03, abs=1e-4)


def test_autocast_changes_nothing(rng: np.random.Generator) -> None:
    features, classes = make_strokes(rng, 2, [30, 30])
    plain = solve_head(features, classes, 2, ridge=0.01, scale=1.0, offset=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        same = solve_head(features, classes, 2, ridge=0.01, scale=1.0, offset=0.0)
    for a, b in zip(plain, same, strict=True):
        assert torch.equal(a, b)


def test_the_defaults_tell_apart_what_is_apart(rng: np.random.Generator) -> None:
    features, classes = make_strokes(rng, 2, [50, 20], dim=16)
    default = ClosedForm()
    weight, bias = solve_head(features, classes, 2, ridge=default.ridge, scale=default.scale, offset=default.offset)
    assert ((features @ weight.T + bias).argmax(1) == classes).float().mean() > 0.95
