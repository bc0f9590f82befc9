"""Losses, against PyTorch's own and against sums by hand; what is not painted has no say."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from napari_unet.learn.losses import dice_loss, segmentation_loss, weighted_cross_entropy

LOSSES = [weighted_cross_entropy, dice_loss, segmentation_loss]


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


@pytest.mark.parametrize("loss", LOSSES)
def test_ignored_pixels_have_no_gradient_and_no_say(loss: object) -> None:
    assert callable(loss)
    logits, target, weights = _case()
    logits.requires_grad_(True)
    value = loss(logits, target, weights)
    (gradient,) = torch.autograd.grad(value, logits)
    ignored = (weights == 0)[:, None].expand_as(logits)
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).any()
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
    for loss in (weighted_cross_entropy, dice_loss):
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss(x, target, weights), logits.requires_grad_(True))
