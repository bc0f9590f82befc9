"""Activations with something to learn."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

__all__ = ["LearntLeakyReLU"]


class LearntLeakyReLU(nn.PReLU):
    """A PReLU with one slope whose gradient is quick on CPUs, where PyTorch's own takes longer than a convolution.

    PyTorch 2.13 goes through the map element by element there; the same sums are taken here with whole-map operations.

    References
    ----------
    He et al. 2015, Delving deep into rectifiers, arXiv 1502.01852.
    """

    def __init__(self) -> None:
        super().__init__(num_parameters=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, \\*space) to the same shape: x where it is positive, else x times the learnt slope."""
        if getattr(x, "requires_grad", False) and x.device.type == "cpu":  # not so what `nets.reach` sends through
            mapped: torch.Tensor = _LeakySlope.apply(x, self.weight)  # type: ignore[no-untyped-call]
            return mapped
        return super().forward(x)


class _LeakySlope(torch.autograd.Function):
    """A leaky ReLU that has a gradient for its slope, too."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.slope = float(slope.detach())
        return functional.leaky_relu(x, ctx.slope)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (x,) = ctx.saved_tensors
        of_slope = (gradient * x.clamp(max=0)).sum().reshape(1).float()
        of_x: torch.Tensor = torch.ops.aten.leaky_relu_backward(gradient, x, ctx.slope, False)
        return of_x, of_slope
