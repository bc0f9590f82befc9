"""Losses, against PyTorch's own and against sums by hand; what is not painted has no say."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from napari_unet.learn.config import LossName
from napari_unet.learn.losses import boundary_loss, dice_loss, focal_loss, segmentation_loss, weighted_cross_entropy

LOSSES = [weighted_cross_entropy, focal_loss, dice_loss, boundary_loss, segmentation_loss]
NAMES = get_args(LossName)


def _case(
    space: tuple[int, ...] = (9, 7), classes: int = 3, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, *space, generator=generator, dtype=torch.float64) * 2
    target = torch.randint(0, classes, (2, *space), generator=generator)
    weights = torch.rand(2, *space, generator=generator, dtype=torch.float64) * 3
    weights[torch.rand(weights.shape, generator=generator) < 0.4] = 0
    return logits, target, weights


@pytest.mark.parametrize("space", [(9, 7), (3, 5, 4), (1, 1)])
@pytest.mark.parametrize("classes", [2, 5])
def test_cross_entropy_of_equal_weights_is_pytorchs_with_an_ignored_index(space: tuple[int, ...], classes: int) -> None:
    logits, target, weights = _case(space, classes, seed=3)
    painted = weights > 0
    ignoring = torch.where(painted, target, -100)
    expected = functional.cross_entropy(logits, ignoring, ignore_index=-100) if painted.any() else torch.tensor(0.0)
    result = weighted_cross_entropy(logits, target, painted.double())
    torch.testing.assert_close(result, expected.double())


def test_cross_entropy_of_class_weights_is_pytorchs() -> None:
    logits, target, _ = _case()
    by_class = torch.tensor([0.5, 2.0, 3.5], dtype=torch.float64)
    expected = functional.cross_entropy(logits, target, by_class)  # divides by the sum of the weights, too
    torch.testing.assert_close(weighted_cross_entropy(logits, target, by_class[target]), expected)


def test_cross_entropy_by_hand() -> None:
    logits, target, weights = _case()
    total = 0.0
    for n in range(2):
        for y in range(9):
            for x in range(7):
                scores = logits[n, :, y, x].tolist()
                softmax = math.exp(scores[target[n, y, x]]) / sum(math.exp(s) for s in scores)
                total -= weights[n, y, x].item() * math.log(softmax)
    assert weighted_cross_entropy(logits, target, weights).item() == pytest.approx(total / weights.sum().item())


def test_dice_by_hand() -> None:
    logits, target, weights = _case()
    probability = logits.softmax(1)
    losses = []
    for index in (1, 2):
        overlap = size = 0.0
        for place in torch.nonzero(weights > 0).tolist():
            p = probability[place[0], index, place[1], place[2]].item()
            truth = float(target[tuple(place)] == index)
            overlap += p * truth
            size += p + truth
        losses.append(1 - (2 * overlap + 1) / (size + 1))
    assert dice_loss(logits, target, weights).item() == pytest.approx(sum(losses) / 2)


def test_dice_is_nothing_for_a_perfect_and_nearly_one_for_a_wrong_answer() -> None:
    target = torch.zeros(1, 20, 20, dtype=torch.int64)
    target[:, 5:15, 5:15] = 1
    certain = functional.one_hot(target, 2).movedim(-1, 1).float() * 200 - 100
    weights = torch.ones(1, 20, 20)
    assert dice_loss(certain, target, weights).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(-certain, target, weights).item() > 0.99


def test_a_class_that_is_not_painted_in_the_batch_does_not_count_for_dice() -> None:
    logits, target, weights = _case()
    only_one = torch.where(target == 2, 0, target)
    probability = logits.softmax(1)[:, 1][weights > 0]
    truth = (only_one == 1)[weights > 0].double()
    expected = 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    torch.testing.assert_close(dice_loss(logits, only_one, weights), expected)


def test_the_loss_is_the_sum_of_its_terms() -> None:
    logits, target, weights = (part.float() if part.is_floating_point() else part for part in _case())
    entropy, dice = weighted_cross_entropy(logits, target, weights), dice_loss(logits, target, weights)
    torch.testing.assert_close(segmentation_loss(logits, target, weights, dice_weight=0.7), entropy + 0.7 * dice)
    torch.testing.assert_close(segmentation_loss(logits, target, weights, dice_weight=0), entropy)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("space", [(6, 5), (3, 4, 2)])
def test_focal_by_hand(gamma: float, space: tuple[int, ...]) -> None:
    logits, target, weights = _case(space)
    total = 0.0
    for place in np.ndindex(2, *space):
        scores = np.exp(logits[(place[0], slice(None), *place[1:])].numpy())
        p = scores[target[place]] / scores.sum()
        total -= weights[place].item() * (1 - p) ** gamma * np.log(p)
    assert focal_loss(logits, target, weights, gamma=gamma).item() == pytest.approx(total / weights.sum().item())


def test_focal_is_the_cross_entropy_at_gamma_0_and_lets_easy_pixels_go() -> None:
    logits, target, weights = _case()
    entropy = weighted_cross_entropy(logits, target, weights)
    torch.testing.assert_close(focal_loss(logits, target, weights, gamma=0.0), entropy)
    logits = torch.tensor([[[4.0, -1.0], [0.0, 0.0]]])[..., None]  # the first pixel right, the second wrong
    target, weights = torch.zeros(1, 2, 1, dtype=torch.int64), torch.ones(1, 2, 1)
    slopes = []
    for gamma in (0.0, 2.0):
        x = logits.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(focal_loss(x, target, weights, gamma=gamma), x)
        slopes.append((slope[0, 0, 0] / slope[0, 0, 1]).item())
    assert slopes[1] < slopes[0] / 50


def _boundary_by_scipy(logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> float:
    """Compute the boundary loss with scipy's rank filters, one class and one crop at a time."""
    probability, truth, valid = logits.softmax(1).numpy(), target.numpy(), weights.numpy() > 0
    losses = []
    for index in range(1, logits.shape[1]):
        found = predicted = met = true = 0.0
        for p, t, v in zip(probability[:, index], truth, valid, strict=True):
            known = ndimage.minimum_filter(v, 3, mode="constant", cval=True)
            edges = []
            for x in (p, (t == index).astype(float)):
                edges.append(np.where(known, x - ndimage.minimum_filter(x, 3, mode="constant", cval=np.inf), 0.0))
            wide = [ndimage.maximum_filter(edge, 5, mode="constant", cval=0.0) for edge in edges]
            found += (edges[0] * wide[1]).sum()
            predicted += edges[0].sum()
            met += (edges[1] * wide[0]).sum()
            true += edges[1].sum()
        if true > 0:
            precision, recall = (found + 1) / (predicted + 1), (met + 1) / (true + 1)
            losses.append(1 - 2 * precision * recall / (precision + recall))
    return float(np.mean(losses)) if losses else 0.0


@pytest.mark.parametrize("space", [(17, 14), (6, 9, 8), (1, 12)])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("ignored", [0.0, 0.03, 1.0])
def test_boundary_is_what_scipys_filters_give(space: tuple[int, ...], classes: int, ignored: float) -> None:
    logits, target, weights = _case(space, classes)
    weights = (torch.rand(weights.shape, generator=torch.Generator().manual_seed(1)) >= ignored).double()
    assert boundary_loss(logits, target, weights).item() == pytest.approx(_boundary_by_scipy(logits, target, weights))


def test_boundary_of_an_outline_that_is_right_near_and_far() -> None:
    """A disk moved by d pixels: all of its edge is found up to d = 2, the reach of the window, and ever less beyond."""
    y, x = torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij")
    target = (((y - 28) ** 2 + (x - 28) ** 2) < 225).long()[None]
    values = []
    for shift in (0, 1, 2, 4, 8):
        moved = functional.one_hot(torch.roll(target, shift, 2), 2).movedim(-1, 1).float() * 40 - 20
        values.append(boundary_loss(moved, target, torch.ones(1, 60, 60)).item())
    assert values[:3] == pytest.approx([0.0] * 3, abs=1e-5)
    assert 0.02 < values[3] < values[4] < 1
    nothing = torch.stack([torch.ones(1, 60, 60), -torch.ones(1, 60, 60)], 1) * 20
    assert boundary_loss(nothing, target, torch.ones(1, 60, 60)).item() > 0.95


def test_strokes_that_do_not_touch_have_no_outline() -> None:
    target, weights = torch.zeros(1, 20, 20, dtype=torch.int64), torch.zeros(1, 20, 20)
    target[:, 10:15, 10:15] = 1
    weights[:, 2:7, 2:7] = weights[:, 10:15, 10:15] = 1
    logits = torch.randn(1, 2, 20, 20, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    value = boundary_loss(logits, target, weights)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == 0
    assert (gradient == 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("space", "classes"), [((24, 20), 2), ((24, 20), 4), ((8, 10, 9), 3)])
def test_each_loss_falls_under_descent_to_the_right_answer(name: Any, space: tuple[int, ...], classes: int) -> None:
    _, target, _ = _case(space, classes)
    blocks = functional.interpolate(target[:, None, ::4, ::4].float(), scale_factor=4) if len(space) == 2 else None
    target = target if blocks is None else blocks[:, 0].long()
    weights = torch.ones(target.shape)
    logits = torch.zeros(2, classes, *target.shape[1:], requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    values = []
    for _ in range(40):
        value = segmentation_loss(logits, target, weights, loss=name)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.1 * values[0]
    assert (logits.argmax(1) == target).float().mean() > 0.99


def test_a_name_chooses_the_terms() -> None:
    logits, target, weights = (part.float() if part.is_floating_point() else part for part in _case((16, 16)))
    weights = weights + 1
    entropy, outline = weighted_cross_entropy(logits, target, weights), boundary_loss(logits, target, weights)
    assert outline > 0.01
    expected = {
        "cross-entropy+dice": entropy + 0.7 * dice_loss(logits, target, weights),
        "cross-entropy": entropy,
        "focal": focal_loss(logits, target, weights, gamma=3.0),
        "cross-entropy+boundary": entropy + 0.3 * outline,
    }
    assert set(expected) == set(NAMES)
    for name in NAMES:
        value = segmentation_loss(
            logits, target, weights, loss=name, dice_weight=0.7, boundary_weight=0.3, focal_gamma=3.0
        )
        torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize("loss", LOSSES)
def test_ignored_pixels_have_no_gradient_and_no_say(loss: object) -> None:
    assert callable(loss)
    logits, target, weights = _case()
    if loss is boundary_loss:
        weights[:, :6] += 0.1  # an outline is known only inside of what is painted
    logits.requires_grad_(True)
    value = loss(logits, target, weights)
    (gradient,) = torch.autograd.grad(value, logits)
    ignored = (weights == 0)[:, None].expand_as(logits)
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).any()
    assert ignored.any()
    other = torch.where(ignored, torch.randn_like(logits) * 50, logits)
    elsewhere = torch.where(weights == 0, 2 - target, target)
    torch.testing.assert_close(loss(other, elsewhere, weights), value)


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_painted_costs_nothing_and_teaches_nothing(loss: object) -> None:
    assert callable(loss)
    logits, target, weights = _case()
    logits = (logits * 1000).requires_grad_(True)
    value = loss(logits, target, torch.zeros_like(weights))
    assert value.item() == 0
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient == 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_certain_answers_stay_finite(loss: object) -> None:
    assert callable(loss)
    target = torch.tensor([[[0, 1], [1, 0]]])
    for sign in (1, -1):
        logits = (functional.one_hot(target, 2).movedim(-1, 1).float() * sign * 1e4).requires_grad_(True)
        value = loss(logits, target, torch.ones(1, 2, 2))
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()


def test_logits_in_16_bits_are_summed_in_32() -> None:
    logits, target, weights = _case((64, 64))
    exact = segmentation_loss(logits, target, weights.float())
    rough = segmentation_loss(logits.to(torch.bfloat16), target, weights.float())
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.01)


def test_the_gradient_is_the_numerical_one() -> None:
    logits, target, weights = _case((3, 2))
    weights[:, :, 0] = 1
    for loss in (weighted_cross_entropy, focal_loss, dice_loss):
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, target, weights), logits.requires_grad_(True))


def test_the_gradient_of_the_outlines_is_the_numerical_one() -> None:
    logits, target, _ = _case((5, 6))
    weights = torch.ones(2, 5, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: boundary_loss(x, target, weights), logits.requires_grad_(True))
