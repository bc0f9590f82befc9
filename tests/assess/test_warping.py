"""Homotopic warping: what it must keep, what it must not leave, and splits and merges worked out by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import euler_number

from napari_unet.assess.metrics import CHALLENGE_THRESHOLDS, warp, warping_error
from napari_unet.errors import InputError


def topology(mask: np.ndarray) -> tuple[int, int, int]:
    padded = np.pad(mask, 1)
    everywhere = np.ones((3,) * mask.ndim)
    return ndimage.label(padded)[1], ndimage.label(~padded, everywhere)[1], euler_number(padded, connectivity=1)


def random_masks(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    return smooth + 0.5 * ndimage.gaussian_filter(rng.normal(size=shape), 1.0) > 0, smooth > 0


def two_cells() -> np.ndarray:
    """Return two cells of 7x5 pixels with a membrane one pixel thick between them."""
    cells = np.zeros((9, 13), bool)
    cells[1:8, 1:6] = cells[1:8, 7:12] = True
    return cells


@pytest.mark.parametrize("shape", [(31, 27), (9, 11, 10)], ids=["2D", "3D"])
@pytest.mark.parametrize("seed", range(6))
def test_warping_keeps_the_topology_and_leaves_no_pixel_that_could_be_flipped(
    seed: int, shape: tuple[int, ...]
) -> None:
    predicted, reference = random_masks(seed, shape)
    done = warp(predicted, reference)
    assert topology(done.warped) == topology(reference)
    assert np.array_equal(done.mismatches, done.warped != predicted)
    assert not (done.warped ^ reference)[predicted == reference].any()  # only what differed was flipped
    assert not (done.splits & done.merges).any()
    assert not ((done.splits | done.merges) & ~done.mismatches).any()
    if len(shape) == 2:
        for place in np.argwhere(done.mismatches):
            flipped = done.warped.copy()
            flipped[tuple(place)] ^= True
            assert topology(flipped) != topology(reference)


def test_identical_masks_and_other_shapes_of_the_same_objects_are_no_error() -> None:
    cells = two_cells()
    assert warping_error(cells, cells) == 0
    moved = np.zeros_like(cells)
    moved[2:9, 0:5], moved[0:6, 6:13] = True, True
    assert warping_error(moved, cells, errors="all") == 0
    assert warping_error(np.zeros((5, 5)), np.zeros((5, 5)), errors="all") == 0


def test_gap_in_a_membrane_is_a_merge_as_long_as_the_gap() -> None:
    predicted = two_cells()
    predicted[3:6, 6] = True
    done = warp(predicted, two_cells())
    assert np.argwhere(done.merges).tolist() == [[3, 6], [4, 6], [5, 6]]
    assert not done.splits.any()
    assert warping_error(predicted, two_cells()) == pytest.approx(3 / predicted.size)


def test_membrane_across_a_cell_is_a_split_of_one_pixel() -> None:
    predicted = two_cells()
    predicted[4, 1:6] = False
    done = warp(predicted, two_cells())
    assert done.splits.sum() == 1
    assert not done.merges.any()
    assert done.splits[4, 1:6].any()
    assert warping_error(predicted, two_cells()) == pytest.approx(1 / predicted.size)


def test_split_in_a_volume_is_a_hole_that_can_not_be_filled_from_its_rim() -> None:
    bar = np.zeros((5, 5, 9), bool)
    bar[1:4, 1:4, 1:8] = True
    cut = bar.copy()
    cut[:, :, 4] = False
    assert warp(cut, bar).splits.sum() == 1
    two = cut.copy()
    done = warp(bar, two)
    assert done.merges.sum() == done.mismatches.sum() == 9  # the whole wall between the halves


@pytest.mark.parametrize(
    ("predicted", "reference", "left"),
    [
        ("false object", "nothing", 6),
        ("nothing", "false object", 1),
        ("ring", "disc", 1),
        ("disc", "ring", 1),
    ],
)
def test_objects_and_holes_too_many_or_too_few_are_no_splits_and_merges(
    predicted: str, reference: str, left: int
) -> None:
    images = {name: np.zeros((9, 9), bool) for name in ("nothing", "false object", "disc", "ring")}
    images["false object"][3:6, 3:5] = True
    images["disc"][2:7, 2:7] = True
    images["ring"][2:7, 2:7] = True
    images["ring"][4, 4] = False
    assert warping_error(images[predicted], images[reference]) == 0
    assert warping_error(images[predicted], images[reference], errors="all") == pytest.approx(left / 81)


def test_cut_through_a_ring_is_a_split_only_where_its_ends_are_far_apart() -> None:
    ring = np.zeros((61, 61), bool)
    ring[3:58, 3:58] = True
    ring[9:52, 9:52] = False
    cut = ring.copy()
    cut[30, :10] = False
    assert warp(cut, ring).splits.sum() == 1  # within 20 pixels the two ends do not meet
    assert warp(cut, ring, radius=None).splits.sum() == 0  # the ring is open, and still one object
    assert warp(cut, ring, radius=None).mismatches.sum() == 1


def test_surest_pixels_are_flipped_first() -> None:
    reference = np.zeros((5, 9), bool)
    reference[1:4, 1:8] = True
    probabilities = np.where(reference, 0.9, 0.1)
    probabilities[1:4, 4] = (0.2, 0.45, 0.3)  # a membrane across the cell, least sure in the middle
    sure = warp(probabilities > 0.5, reference, sureness=np.abs(probabilities - 0.5))
    assert np.argwhere(sure.mismatches).tolist() == [[2, 4]]


def test_lowest_error_over_thresholds_counts() -> None:
    cells = two_cells()
    probabilities = np.where(cells, 0.9, 0.1)
    probabilities[3:6, 6] = 0.45  # a weak place in the membrane
    probabilities[4, 1:6] = 0.65  # a shade across the left cell
    pixels = cells.size
    assert warping_error(probabilities, cells, 0.4) == pytest.approx(3 / pixels)
    assert warping_error(probabilities, cells, 0.5) == 0
    assert warping_error(probabilities, cells, 0.7) == pytest.approx(1 / pixels)
    assert warping_error(probabilities, cells, (0.4, 0.7)) == pytest.approx(1 / pixels)
    assert warping_error(probabilities, cells, CHALLENGE_THRESHOLDS) == 0


def test_frames_of_a_stack_are_warped_one_by_one_and_counted_together() -> None:
    gap, line = two_cells(), two_cells()
    gap[3:6, 6], line[4, 1:6] = True, False
    both = np.stack([gap, line])
    reference = np.stack([two_cells()] * 2)
    assert warping_error(both, reference, ndim=2) == pytest.approx(4 / both.size)


def test_nothing_is_flipped_or_counted_where_it_is_not_valid() -> None:
    predicted = two_cells()
    predicted[3:6, 6] = True
    valid = np.ones(predicted.shape, bool)
    valid[4:6] = False
    assert warping_error(predicted, two_cells(), valid=valid) == pytest.approx(1 / valid.sum())
    assert warping_error(predicted, two_cells(), valid=np.zeros_like(valid)) == 0


def test_membranes_on_512_pixels_square_take_seconds(real_data: object) -> None:
    assert callable(real_data)
    data = real_data("isbi2012_em")
    inside = data["membrane"][9] == 0
    image = ndimage.gaussian_filter(data["images"][9].astype(float), 1.5)
    began = time.process_time()
    error = warping_error(image / image.max(), inside, 0.45)
    assert time.process_time() - began < 5
    assert 0 < error < 0.1


def test_arrays_that_do_not_fit_are_told() -> None:
    with pytest.raises(InputError, match="one shape"):
        warping_error(np.zeros((3, 4)), np.zeros((4, 3)))
    with pytest.raises(InputError, match="2 or 3 axes"):
        warping_error(np.zeros(4), np.ones(4))
    with pytest.raises(InputError, match="`errors`"):
        warping_error(np.zeros((3, 4)), np.zeros((3, 4)), errors="some")  # type: ignore[arg-type]
