"""Giving up a run of a network on the way: a large tile takes a CPU a second or more, which nobody wants to wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode

__all__ = ["AskedBeforeOperations"]


class AskedBeforeOperations(TorchFunctionMode):
    """Within this context a function is called before each operation of PyTorch in this thread; it may raise.

    Other threads that run the same network are not concerned.

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

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._check()
        return func(*args, **(kwargs or {}))
