"""PyTorch's random numbers, which all threads of a process share, for one of them alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

__all__ = ["seeded"]

_ALONE = threading.RLock()


@contextmanager
def seeded(seed: int, devices: Sequence[torch.device] = ()) -> Iterator[None]:
    """Let PyTorch draw from a seed; afterwards its numbers go on as they were.

    One thread does so at a time: the same seed gives the same weights, whoever makes a network beside it.

    Parameters
    ----------
    seed : int
        Where the numbers begin.
    devices : sequence of torch.device
        GPUs whose numbers are replaced beside those of the CPU.

    Examples
    --------
    >>> def draw(seed):
    ...     with seeded(seed):
    ...         return torch.rand(3)
    >>> torch.equal(draw(1), draw(1)), torch.equal(draw(1), draw(2))
    (True, False)
    """
    with _ALONE, torch.random.fork_rng(devices=list(devices)):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
