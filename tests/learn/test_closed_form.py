"""The solved last layer: against scikit-learn's ridge regression, numpy, and numerical derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import Ridge

from napari_unet.errors import InputError
from napari_unet.learn.closed_form import _KEPT, _MOST_PIXELS, ABSENT, ClosedForm, follow_strokes, solve_head


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


@pytest.mark.parametrize(("count", "sizes"), [(2, [40, 7]), (3, [5, 100, 30])])
@pytest.mark.parametrize(
    ("weighted", "elsewhere", "background"), [(False, 0.0, 1.0), (True, 0.0, 1.0), (True, 2.0, 1.0), (True, 0.0, 3.0)]
)
def test_following_strokes_is_the_minimum_that_scipy_finds(
    count: int, sizes: list[int], weighted: bool, elsewhere: float, background: float, rng: np.random.Generator
) -> None:
    features, classes = make_strokes(rng, count, sizes)
    classes[:3] = count - 1  # which no linear layer gets right
    given = torch.from_numpy(rng.uniform(0.1, 2, len(classes)).astype(np.float32)) if weighted else None
    start = ClosedForm().solve(features, classes, count, weights=given)
    told = torch.from_numpy(rng.normal(0, elsewhere, (len(classes), count))).float() if elsewhere else None
    weight, bias = follow_strokes(features, classes, *start, weights=given, given=told, background=background)
    others = 0.0 if told is None else told.double().numpy()

    y, own = classes.numpy(), np.ones(len(classes)) if given is None else given.numpy().astype(np.float64)
    f = np.pad(features.double().numpy(), ((0, 0), (0, 1)), constant_values=1)
    begin = torch.cat([start[0], start[1][:, None]], dim=1).double().numpy()

    def loss(flat: np.ndarray) -> float:
        layer = flat.reshape(count, -1)
        logits = f @ layer.T + others
        entropy = logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]
        by_class = [np.average(entropy[y == kind], weights=own[y == kind]) for kind in range(count)]
        return float(
            np.average(by_class, weights=[background] + [1] * (count - 1)) + _KEPT / 2 * ((layer - begin) ** 2).sum()
        )

    best = minimize(loss, begin.ravel(), method="BFGS", options={"gtol": 1e-6})
    found = torch.cat([weight, bias[:, None]], dim=1).double().numpy()
    assert loss(found.ravel()) == pytest.approx(best.fun, abs=1e-5)
    assert best.fun < loss(begin.ravel()) - 1e-3
    np.testing.assert_allclose(found, best.x.reshape(count, -1), atol=3e-3)
    assert (weight.dtype, bias.dtype) == (torch.float32, torch.float32)


def test_a_layer_that_is_sure_of_all_strokes_is_left_alone(rng: np.random.Generator) -> None:
    classes = torch.arange(60) % 2
    features = torch.from_numpy(rng.normal(0, 0.05, (60, 4)).astype(np.float32)) + 2.0 * classes[:, None]
    start = solve_head(features, classes, 2, ridge=1e-3, scale=6.0, offset=0.0)
    weight, bias = follow_strokes(features, classes, *start)
    torch.testing.assert_close(weight, start[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(bias, start[1], atol=1e-3, rtol=0)


def test_a_correction_counts_where_a_regression_looks_at_what_is_far_off() -> None:
    features = torch.tensor([0.0] * 20 + [2.0] * 60 + [10.0] * 20)[:, None]
    classes = torch.tensor([0] * 20 + [1] * 80)
    form = ClosedForm()
    for layer, found in ((form.solve(features, classes, 2), 0), (form.solve_and_follow(features, classes, 2), 1)):
        shown = (features @ layer[0].T + layer[1]).argmax(dim=1)
        assert shown.tolist() == [0] * 20 + [found] * 60 + [1] * 20


@pytest.mark.parametrize("times", [3.0, 10.0])
def test_a_frequent_background_moves_the_bound_to_where_it_is_as_probable(times: float) -> None:
    x = np.linspace(-6, 6, 2001)  # two classes around -1 and 1, which overlap: logits of 2 x for the same frequency
    density = np.exp(-((x[:, None] - [-1, 1]) ** 2) / 2)
    features = torch.from_numpy(np.concatenate([x, x])).float()[:, None]
    classes = torch.from_numpy(np.repeat([0, 1], len(x)))
    weights = torch.from_numpy(density.T.ravel())
    form = ClosedForm(ridge=1e-6, scale=2)  # the regression's slope is a half, and that of both logits one
    bounds = []
    for background in (1.0, times):
        weight, bias = form.solve_and_follow(features, classes, 2, weights=weights, background=background)
        bounds.append(((bias[0] - bias[1]) / (weight[1, 0] - weight[0, 0])).item())
    assert bounds == pytest.approx([0, np.log(times) / 2], abs=0.05)


def test_following_strokes_leaves_a_class_without_strokes_as_it_is(rng: np.random.Generator) -> None:
    features, classes = make_strokes(rng, 2, [20, 10])
    form = ClosedForm()
    two, three = (form.solve_and_follow(features, kinds, count) for kinds, count in ((classes, 2), (2 * classes, 3)))
    torch.testing.assert_close(three[0][[0, 2]], two[0])
    torch.testing.assert_close(three[1][[0, 2]], two[1])
    assert not three[0][1].any()
    assert three[1][1].item() == ABSENT


def test_of_very_many_pixels_some_are_enough(rng: np.random.Generator) -> None:
    features, classes = make_strokes(rng, 2, [300, 100])
    start = ClosedForm().solve(features, classes, 2)
    times = 4 * _MOST_PIXELS // 300
    few = follow_strokes(features, classes, *start)
    many = follow_strokes(features.repeat(times, 1), classes.repeat(times), *start)
    for a, b in zip(few, many, strict=True):
        torch.testing.assert_close(a, b, atol=0.02, rtol=0)


def test_following_strokes_whose_features_are_no_numbers_is_no_error(rng: np.random.Generator) -> None:
    features, classes = make_strokes(rng, 2, [20, 10])
    features[3] = torch.nan
    weight, bias = ClosedForm().solve_and_follow(features, classes, 2)
    assert weight.isnan().all()
    assert bias.isnan().all()
