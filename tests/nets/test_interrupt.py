"""A step of a network is given up at any of its operations, and nothing of it stays behind."""

from __future__ import annotations

from itertools import count

import pytest
import torch

from napari_unet.nets.interrupt import ask_before_gradients, asked_before_operations


class GivenUp(Exception):
    pass


def test_it_may_be_given_up_anywhere() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Conv2d(2, 1, 3))
    image = torch.rand(1, 1, 8, 8)
    left = 0

    def check() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise GivenUp

    def step() -> None:
        with asked_before_operations(check):
            with torch.no_grad():
                known = network(image)
            loss = ((network(image) - known - 1) ** 2).mean()
        ask_before_gradients(loss, check)
        loss.backward()

    for most in count():
        left = most
        network.zero_grad(set_to_none=True)
        try:
            step()
        except GivenUp:
            assert torch.is_grad_enabled()
            continue
        break
    found = [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
    assert most > 10
    network.zero_grad(set_to_none=True)
    left = 10**6
    step()
    for weight, gradient in zip(network.parameters(), found, strict=True):
        torch.testing.assert_close(weight.grad, gradient)


@pytest.mark.parametrize("grad", [True, False])
def test_without_a_question_nothing_is_changed(grad: bool) -> None:
    weight = torch.ones(2, requires_grad=grad)
    with asked_before_operations(None):
        total = weight.sum()
    ask_before_gradients(total, None)
    assert total.requires_grad == grad
