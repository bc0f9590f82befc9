"""Digital topology: what flipping one pixel does to the objects and the background around it.

Objects hang together over the sides of pixels (4-connected in 2D, 6-connected in 3D), background also over edges and
corners (8, 26). The pixels around one are written as a number with one bit for each, so that what is found out once
holds for all places that look the same: in 2D there are 256 of them, kept in a table; in 3D they are remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt

__all__ = ["neighbour_offsets", "neighbourhoods", "object_pieces", "simple_points"]

_MOST_REMEMBERED = 1 << 20


@cache
def neighbour_offsets(ndim: int) -> tuple[tuple[int, ...], ...]:
    """Return the offsets of the pixels around one, in order: the opposite of the k-th is the k-th from the end."""
    return tuple(step for step in product((-1, 0, 1), repeat=ndim) if any(step))


@cache
def _adjacency(ndim: int) -> tuple[tuple[int, ...], tuple[int, ...], int, int]:
    """Return, as bits: for each neighbour those beside it over sides, and over corners; reach and start of objects."""
    offsets = neighbour_offsets(ndim)
    reach = sum(1 << k for k, step in enumerate(offsets) if sum(map(abs, step)) <= 2)  # N8 in 2D, N18 in 3D
    sides = sum(1 << k for k, step in enumerate(offsets) if sum(map(abs, step)) == 1)
    over_sides, over_corners = [], []
    for step in offsets:
        gaps = [tuple(abs(a - b) for a, b in zip(step, other, strict=True)) for other in offsets]
        over_sides.append(sum(1 << k for k, gap in enumerate(gaps) if sum(gap) == 1) & reach)
        over_corners.append(sum(1 << k for k, gap in enumerate(gaps) if max(gap) == 1))
    return tuple(over_sides), tuple(over_corners), reach, sides


def _pieces(left: int, starts: int, beside: tuple[int, ...]) -> int:
    """Count the pieces of the set `left` that hold one of `starts`."""
    count = 0
    starts &= left
    while starts:
        frontier = starts & -starts
        piece = 0
        while frontier:
            bit = frontier & -frontier
            piece |= bit
            frontier = (frontier | beside[bit.bit_length() - 1]) & left & ~piece
        starts &= ~piece
        count += 1
    return count


def object_pieces(code: int, ndim: int) -> int:
    """Count the pieces that the object around a pixel falls into when the pixel is left out, seen from close by.

    Parameters
    ----------
    code : int
        The pixels around it, one bit for each of `neighbour_offsets`, set where there is object.
    ndim : int
        2 or 3.
    """
    over_sides, _, reach, sides = _adjacency(ndim)
    return _pieces(code & reach, sides, over_sides)


def _is_simple(code: int, ndim: int) -> bool:
    if object_pieces(code, ndim) != 1:
        return False
    _, over_corners, _, _ = _adjacency(ndim)
    everything = (1 << len(over_corners)) - 1
    ground = everything & ~code
    return _pieces(ground, ground, over_corners) == 1


class _Remembering(dict[int, bool]):
    """Answers for neighbourhoods in 3D, found out when first asked for."""

    def __missing__(self, code: int) -> bool:
        answer = _is_simple(code, 3)
        if len(self) < _MOST_REMEMBERED:
            self[code] = answer
        return answer


@cache
def simple_points(ndim: int) -> Sequence[bool] | Mapping[int, bool]:
    """Return, to be asked with a neighbourhood: whether flipping the pixel in it changes no topology.

    It changes neither the number of objects nor that of holes (nor, in 3D, of tunnels) if, close by, the pixel touches
    exactly one piece of object and exactly one of background (Bertrand and Malandain 1994, A new characterization of
    three-dimensional simple points, Pattern Recognition Letters 15, 169). Its own value plays no part.

    Parameters
    ----------
    ndim : int
        2 or 3.

    Examples
    --------
    >>> row_above, beside = 0b00000111, 0b00011000
    >>> simple_points(2)[row_above], simple_points(2)[beside]  # the edge of an object; the only link between two
    (True, False)
    """
    return tuple(_is_simple(code, 2) for code in range(256)) if ndim == 2 else _Remembering()


def neighbourhoods(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return for each pixel the ones around it as bits, see `neighbour_offsets`; beyond the edge is background."""
    padded = np.pad(mask, 1).astype(np.int32)
    codes = np.zeros(mask.shape, np.int32)
    for bit, step in enumerate(neighbour_offsets(mask.ndim)):
        box = tuple(slice(1 + s, 1 + s + n) for s, n in zip(step, mask.shape, strict=True))
        codes |= padded[box] << bit
    return codes
