"""The learnt leaky ReLU against PyTorch's own PReLU."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_unet.nets.activations import LearntLeakyReLU


@pytest.mark.parametrize("shape", [(2, 5, 7, 9), (2, 4, 3, 5, 6), (1, 1, 1, 1)])
@pytest.mark.parametrize("slope", [0.25, -0.5, 0.0, 1.0])
def test_result_and_gradients_are_those_of_pytorch(shape: tuple[int, ...], slope: float) -> None:
    results = []
    for layer in (nn.PReLU(init=slope), LearntLeakyReLU()):
        nn.init.constant_(layer.weight, slope)
        torch.manual_seed(1)
        x = torch.randn(shape, requires_grad=True)
        y = layer(x)
        y.backward(torch.randn(shape))
        results.append((y, x.grad, layer.weight.grad))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_in_sixteen_bits_the_slope_still_learns() -> None:
    layer = LearntLeakyReLU()
    x = torch.linspace(-3, 1, 64 * 64).reshape(1, 1, 64, 64).bfloat16().requires_grad_()
    y = layer(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(
        layer.weight.grad.item(), x.detach().float().clamp(max=0).sum().item(), rtol=1e-2, atol=1
    )


def test_without_gradient_it_is_the_plain_layer() -> None:
    layer = LearntLeakyReLU()
    with torch.inference_mode():
        assert layer(torch.tensor([[-4.0, 2.0]])).tolist() == [[-1.0, 2.0]]
