"""The positions in which a frame lies on the same pixels again: by quarter turns, and turned over."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Turn", "list_positions"]


@dataclass(frozen=True)
class Turn:
    """One position of a frame.

    Attributes
    ----------
    quarters : int
        Quarter turns in the YX plane, 0 to 3.
    over : bool
        Whether the frame is turned over first: X is mirrored, and in a volume also Z, so that it stays a rotation.

    Examples
    --------
    >>> Turn(1, over=False).apply(np.array([[[1, 2, 3], [4, 5, 6]]])).tolist()
    [[[3, 6], [2, 5], [1, 4]]]
    """

    quarters: int
    over: bool

    def _mirrored(self, ndim: int) -> tuple[int, ...]:
        return ((-1,) if ndim == 2 else (-3, -1)) if self.over else ()

    def apply(self, block: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn a block (C, \\*space)."""
        mirrored = np.flip(block, self._mirrored(block.ndim - 1))
        return np.ascontiguousarray(np.rot90(mirrored, self.quarters, axes=(-2, -1)))

    def undo(self, block: torch.Tensor) -> torch.Tensor:
        """Turn a block (C, \\*space) back."""
        return torch.rot90(block, -self.quarters, dims=(-2, -1)).flip(self._mirrored(block.ndim - 1))


def list_positions() -> list[Turn]:
    """List the eight positions of a square, or of a volume with a square base; the first is that of the image itself.

    Examples
    --------
    >>> list_positions()[0], len(set(list_positions()))
    (Turn(quarters=0, over=False), 8)
    """
    return [Turn(quarters, over) for over, quarters in product((False, True), range(4))]
