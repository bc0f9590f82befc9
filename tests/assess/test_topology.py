"""Simple points against what they mean: flipping one changes no number of objects, holes or tunnels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import euler_number

from napari_unet.assess.topology import neighbour_offsets, neighbourhoods, object_pieces, simple_points


def neighbourhood(code: int, ndim: int) -> np.ndarray:
    """Draw a neighbourhood with a margin of background."""
    mask = np.zeros((5,) * ndim, bool)
    for bit, step in enumerate(neighbour_offsets(ndim)):
        mask[tuple(2 + s for s in step)] = bool(code >> bit & 1)
    return mask


def topology(mask: np.ndarray) -> tuple[int, int, int]:
    """Count objects, pieces of background, and the Euler number (which tells the tunnels from these)."""
    everywhere = np.ones((3,) * mask.ndim)
    return ndimage.label(mask)[1], ndimage.label(~mask, everywhere)[1], euler_number(mask, connectivity=1)


def flip_changes_nothing(code: int, ndim: int) -> bool:
    without = neighbourhood(code, ndim)
    with_it = without.copy()
    with_it[(2,) * ndim] = True
    return topology(without) == topology(with_it)


def test_table_in_2d_is_complete_and_right() -> None:
    table = simple_points(2)
    assert [bool(table[code]) for code in range(256)] == [flip_changes_nothing(code, 2) for code in range(256)]
    assert sum(bool(table[code]) for code in range(256)) == 116  # the number that is known of 8-neighbourhoods


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_simple_points_in_3d_change_no_topology(share: float) -> None:
    rng = np.random.default_rng(int(10 * share))
    table = simple_points(3)
    found = 0
    for _ in range(300):
        code = int(sum(1 << k for k in range(26) if rng.random() < share))
        if table[code]:
            found += 1
            assert flip_changes_nothing(code, 3)
    assert found > 5


@pytest.mark.parametrize(
    ("block", "simple"),
    [
        (np.zeros((3, 3, 3)), False),  # a new object
        (np.ones((3, 3, 3)), False),  # a closed cavity
        (np.pad(np.ones((1, 3, 3)), ((0, 2), (0, 0), (0, 0))), True),  # on top of a plate
        (np.pad(np.ones((1, 3, 3)), ((1, 1), (0, 0), (0, 0))), False),  # a hole in a plate is a tunnel
        (np.pad(np.ones((3, 1, 1)), ((0, 0), (1, 1), (1, 1))), False),  # the only link of a thread
        (np.pad(np.ones((1, 1, 1)), ((0, 2), (1, 1), (1, 1))), True),  # the end of a thread
        (np.pad(np.ones((1, 1, 1)), ((0, 2), (0, 2), (0, 2))), False),  # beside a corner: a new object
    ],
    ids=["empty", "full", "on a plate", "in a plate", "in a thread", "at the end", "at a corner"],
)
def test_places_in_3d_worked_out_by_hand(block: np.ndarray, simple: bool) -> None:
    code = sum(1 << k for k, step in enumerate(neighbour_offsets(3)) if block[tuple(1 + s for s in step)])
    assert bool(simple_points(3)[code]) == simple


@pytest.mark.parametrize("ndim", [2, 3])
def test_neighbourhoods_of_a_mask_are_read_at_every_pixel(ndim: int) -> None:
    mask = np.random.default_rng(ndim).random((6, 5, 4)[:ndim]) < 0.5
    padded = np.pad(mask, 1)
    codes = neighbourhoods(mask)
    for place in np.ndindex(*mask.shape):
        around = [
            padded[tuple(p + 1 + s for p, s in zip(place, step, strict=True))] for step in neighbour_offsets(ndim)
        ]
        assert codes[place] == sum(1 << k for k, value in enumerate(around) if value)


def test_pieces_of_an_object_are_counted_over_sides() -> None:
    bits = {step: 1 << k for k, step in enumerate(neighbour_offsets(2))}
    left, right, above, corner = bits[0, -1], bits[0, 1], bits[-1, 0], bits[-1, 1]
    assert object_pieces(0, 2) == 0
    assert object_pieces(left | right, 2) == 2
    assert object_pieces(above | right, 2) == 2  # they meet over the corner only
    assert object_pieces(above | corner | right, 2) == 1
    assert object_pieces(left | corner, 2) == 1  # the corner does not touch the pixel
