"""Random numbers that nothing else draws from, so that a seed means the same whatever else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from napari_unet.nets.random_state import seeded

__all__ = ["PrivateRandom"]


class PrivateRandom:
    """Takes the place of PyTorch's random numbers for a while, as dropout draws them.

    Parameters
    ----------
    seed : int
        Where the numbers begin.
    device : torch.device
        Whose numbers are replaced beside those of the CPU.
    rank : int
        Of this process: each draws others.

    Attributes
    ----------
    generator : torch.Generator
        Its state is all that there is to keep.

    Examples
    --------
    >>> def draw(seed):
    ...     with PrivateRandom(seed, torch.device("cpu")).in_use():
    ...         return torch.rand(3)
    >>> torch.equal(draw(1), draw(1)), torch.equal(draw(1), draw(2))
    (True, False)
    """

    def __init__(self, seed: int, device: torch.device, rank: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self._devices = [device] if device.type == "cuda" else []
        self._rank = rank

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Draw from these numbers; afterwards PyTorch's are as they were."""
        with seeded(int(torch.randint(2**62, (), generator=self.generator)) + self._rank, self._devices):
            yield
