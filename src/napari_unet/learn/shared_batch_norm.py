"""Batch normalisation over the parts of a batch that several processes hold, on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["SharedBatchNorm"]


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation whose mean and variance are those of all processes' parts together.

    On GPUs `torch.nn.SyncBatchNorm` does this; it has no form for the CPU. Parameters, statistics and their names are
    those of `torch.nn.BatchNorm2d`. All processes must hold parts of the same size.

    References
    ----------
    Ioffe and Szegedy 2015, arXiv 1502.03167: algorithm 1 for the result, section 3 for the gradient.
    """

    @classmethod
    def convert(cls, network: nn.Module) -> nn.Module:
        """Put such layers in the place of a network's own, with the same parameters."""
        for parent in list(network.modules()):
            for name, layer in parent.named_children():
                if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
                    shared = cls(layer.num_features, layer.eps, layer.momentum)
                    shared.__dict__.update(layer.__dict__)
                    setattr(parent, name, shared)
        return network

    def _check_input_dim(self, input: torch.Tensor) -> None:  # 2D and 3D alike
        pass

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, channel, \\*space) to the same shape."""
        if not self.training:
            return super().forward(x)
        mean, variance, count = _statistics(x.detach())
        self._remember(mean, variance * (count / max(count - 1, 1)))
        result: torch.Tensor = _Normalise.apply(x, self.weight, self.bias, mean, variance, count, self.eps)  # type: ignore[no-untyped-call]
        return result

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def _statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Mean and variance of each channel over all processes, and the number of values behind them."""
    size, rank = distributed.get_world_size(), distributed.get_rank()
    axes = (0, *range(2, x.ndim))
    variance, mean = torch.var_mean(_at_least_float32(x), axes, correction=0)
    parts = torch.zeros(size, 2, x.shape[1], dtype=mean.dtype)
    parts[rank, 0], parts[rank, 1] = mean, variance
    distributed.all_reduce(parts)
    means, variances = parts.unbind(1)
    return means.mean(0), variances.mean(0) + means.var(0, correction=0), size * (x.numel() // x.shape[1])


def _at_least_float32(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _Normalise(torch.autograd.Function):
    """Normalisation with given statistics, whose gradient knows that they come from the values of all processes."""

    @staticmethod
    def forward(
        context: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor,
        variance: torch.Tensor, count: int, eps: float,
    ) -> torch.Tensor:  # fmt: skip
        context.save_for_backward(x, weight, mean, variance)
        context.count, context.eps = count, eps
        return functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, mean, variance = context.saved_tensors
        # with fixed statistics: the gradient of x, and the sums over this process's part for weight and bias
        fixed, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, context.eps, [True, True, True]
        )
        sums = torch.stack([of_weight, of_bias])
        distributed.all_reduce(sums)
        scale = (variance + context.eps).rsqrt()
        slope = -weight * scale**2 * sums[0] / context.count
        level = -weight * scale * sums[1] / context.count - slope * mean
        channels = (1, -1, *(1,) * (x.ndim - 2))
        through_statistics = torch.addcmul(level.view(channels), _at_least_float32(x), slope.view(channels))
        return (fixed + through_statistics).to(x.dtype), of_weight, of_bias, None, None, None, None
