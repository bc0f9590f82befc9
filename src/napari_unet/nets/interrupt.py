"""Giving up a run of a network on the way: a large tile takes a CPU a second or more, which nobody wants to wait.

So can a step of a training, until its gradients are known.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["AskedBeforeOperations", "ask_before_gradients", "asked_before_operations"]


class AskedBeforeOperations(TorchFunctionMode):
    """Within this context a function is called before each operation of PyTorch in this thread; it may raise.

    Other threads that run the same network are not concerned. When it has raised, it is not called any more: what
    contexts do at their end goes through.

    Parameters
    ----------
    check : callable
        The function.

    Examples
    --------
    >>> import torch
    >>> asked = []
    >>> with AskedBeforeOperations(lambda: asked.append("?")):
    ...     torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3), torch.nn.ReLU())(torch.zeros(1, 1, 8, 8)).shape
    torch.Size([1, 1, 6, 6])
    >>> len(asked) >= 2
    True
    """

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check
        self._has_raised = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self._has_raised and func is not torch._C._set_grad_enabled:  # else `torch.no_grad` could not end
            self._has_raised = True
            self._check()
            self._has_raised = False
        return func(*args, **(kwargs or {}))


def asked_before_operations(check: Callable[[], None] | None) -> AbstractContextManager[Any]:
    """Return the context in which a function is called before each operation; one that does nothing for None."""
    return nullcontext() if check is None else AskedBeforeOperations(check)


def ask_before_gradients(loss: torch.Tensor, check: Callable[[], None] | None) -> None:
    """Have a function called before each operation of ``loss.backward()``, too; it may raise. None: nothing is done.

    Examples
    --------
    >>> asked = []
    >>> weight = torch.ones(3, requires_grad=True)
    >>> loss = (weight * 2).sum()
    >>> ask_before_gradients(loss, lambda: asked.append("?"))
    >>> loss.backward()
    >>> weight.grad.tolist(), len(asked) >= 2
    ([2.0, 2.0, 2.0], True)
    """
    left, known = [loss.grad_fn], set()
    while check is not None and left:
        node = left.pop()
        if node is not None and node not in known:
            known.add(node)
            node.register_prehook(lambda gradients: check())
            left.extend(before for before, _ in node.next_functions)
