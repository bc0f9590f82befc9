"""Lines, brush strokes and outlines as pixels, against plain ways to find them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from skimage.measure import grid_points_in_poly

from napari_unet.data.drawing import box_around, brush_mask, enclosed_mask, line_pixels

WHOLE = (slice(0, 40), slice(0, 50))


@pytest.mark.parametrize("seed", range(5))
def test_a_line_has_no_gaps_and_stays_near_what_was_drawn(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(0, 39, (6, 2))
    pixels = line_pixels(points, (40, 50))
    assert (np.abs(np.diff(pixels, axis=0)).max(axis=1) == 1).all()
    dense = np.concatenate([np.linspace(a, b, 200) for a, b in pairwise(points)])
    away = np.abs(pixels[:, None] - dense[None]).max(axis=2).min(axis=1)
    assert away.max() <= 0.51
    np.testing.assert_array_equal(pixels[[0, -1]], np.floor(points[[0, -1]] + 0.5))


def test_a_line_outside_of_the_image_is_left_out() -> None:
    assert line_pixels(np.array([[-9.0, -9.0], [-2.0, 4.0]]), (5, 5)).shape == (0, 2)
    assert line_pixels(np.array([[2.0, -3.0], [2.0, 9.0]]), (5, 5)).tolist() == [[2, n] for n in range(5)]


@pytest.mark.parametrize("seed", range(5))
def test_an_outline_encloses_what_a_point_in_polygon_test_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 25))
    outline = np.stack([20 + rng.uniform(3, 22, 25) * np.sin(angles), 25 + rng.uniform(3, 30, 25) * np.cos(angles)], 1)
    wanted = grid_points_in_poly((40, 50), outline)
    border = np.zeros((40, 50), bool)
    border[tuple(line_pixels(np.concatenate([outline, outline[:1]]), (40, 50)).T)] = True
    np.testing.assert_array_equal(enclosed_mask(outline, WHOLE) & ~border, wanted & ~border)
    assert enclosed_mask(outline, WHOLE)[border].all()


def test_an_outline_is_the_same_in_a_part_of_the_image() -> None:
    outline = np.array([[5.0, 5.0], [30.0, 12.0], [20.0, 44.0]])
    box = (slice(10, 33), slice(8, 30))
    np.testing.assert_array_equal(enclosed_mask(outline, box), enclosed_mask(outline, WHOLE)[box])


@pytest.mark.parametrize("width", [1.0, 3.0, 8.0])
def test_a_brush_covers_what_is_within_half_its_width(width: float) -> None:
    pixels = np.array([[10, 10], [11, 11], [12, 12], [90, 3]])
    y, x = np.mgrid[:40, :50]
    wanted = np.min([np.hypot(y - a, x - b) for a, b in pixels], axis=0) <= width / 2
    np.testing.assert_array_equal(brush_mask(pixels, width, WHOLE), wanted)


def test_a_box_ends_with_the_image() -> None:
    assert box_around(np.array([[1, 4], [3, 2]]), 2, (5, 9)) == (slice(0, 5), slice(0, 7))
