"""The state of an optimiser as named tensors, which a file can hold."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["optimizer_state", "optimizer_tensors"]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Name the tensors of an optimiser: ``"3.exp_avg"`` belongs to its fourth parameter."""
    return {
        f"{number}.{key}": value
        for number, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
    }


def optimizer_state(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Make of what `optimizer_tensors` returned what ``optimizer.load_state_dict`` takes.

    A fused step goes through the memory as it lies, so that each tensor is brought into the layout of its parameter.
    """
    state: dict[int, dict[str, torch.Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter.detach()).copy_(value)
        state.setdefault(int(number), {})[key] = value
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
