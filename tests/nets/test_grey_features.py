"""What is known of a pixel without learning: against SciPy and NumPy, and alike wherever it is looked at."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage

from napari_unet.nets.grey_features import GREY_REACH, GREYS, grey_features, tree_features

Image = npt.NDArray[np.float32]


def expected(plane: Image) -> npt.NDArray[np.float64]:
    """Return (20, Y, X) of a plane: smoothed, gradient, larger and smaller curvature at each scale."""
    found = []
    for scale in (1, 2, 4, 8, 16):
        wide = np.pad(plane.astype(np.float64), 3 * scale + 1, mode="edge")
        smooth = ndimage.gaussian_filter(wide, scale, mode="nearest", truncate=3)[3 * scale :, 3 * scale :]
        s = smooth[: plane.shape[0] + 2, : plane.shape[1] + 2]
        height, width = plane.shape
        at = {
            (y, x): s[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in itertools.product((-1, 0, 1), repeat=2)
        }
        slope = np.hypot(at[1, 0] - at[-1, 0], at[0, 1] - at[0, -1]) / 2
        yy, xx = (at[y, x] + at[-y, -x] - 2 * at[0, 0] for y, x in ((1, 0), (0, 1)))
        yx = (at[1, 1] + at[-1, -1] - at[1, -1] - at[-1, 1]) / 4
        small, large = np.moveaxis(
            np.linalg.eigvalsh(np.stack([yy, yx, yx, xx], -1).reshape(height, width, 2, 2)), -1, 0
        )
        found += [at[0, 0], scale * slope, scale**2 * large, scale**2 * small]
    return np.stack(found)


def features(image: Image) -> Image:
    return grey_features(torch.from_numpy(image.copy())[None])[0].numpy()


@pytest.mark.parametrize("shape", [(1, 1, 37, 53), (2, 3, 61, 20)])
def test_they_are_those_of_scipy_and_numpy(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    image = rng.normal(size=shape).astype(np.float32)
    found = grey_features(torch.from_numpy(image)).numpy()
    assert found.shape == (shape[0], GREYS * shape[1], *shape[2:])
    for picture, own in zip(image, found, strict=True):
        reference = np.concatenate([expected(plane) for plane in picture])
        np.testing.assert_allclose(own, reference, atol=2e-4)


def test_autocast_changes_nothing(rng: np.random.Generator) -> None:
    image = torch.from_numpy(rng.normal(size=(1, 1, 20, 20)).astype(np.float32))
    with torch.autocast("cpu", torch.bfloat16):
        found = grey_features(image)
    assert torch.equal(found, grey_features(image))


def test_turning_and_flipping_the_image_turns_and_flips_them(rng: np.random.Generator) -> None:
    image = rng.normal(size=(2, 33, 47)).astype(np.float32)
    plain = features(image)
    for turns, flipped in itertools.product(range(4), (False, True)):
        axes = (-1,) if flipped else ()
        turned = features(np.flip(np.rot90(image, turns, (1, 2)), axes))
        np.testing.assert_allclose(turned, np.flip(np.rot90(plain, turns, (1, 2)), axes), atol=5e-4)


def test_what_is_farther_away_than_their_reach_changes_nothing_and_what_is_as_far_as_it_does(
    rng: np.random.Generator,
) -> None:
    side = 2 * GREY_REACH + 31
    image = rng.normal(size=(1, side, side)).astype(np.float32)
    middle = np.zeros((side, side), bool)
    middle[GREY_REACH + 1 : -GREY_REACH - 1, GREY_REACH + 1 : -GREY_REACH - 1] = True
    other = image.copy()
    other[:, [0, -1]] = other[:, :, [0, -1]] = 1000.0
    plain, changed = features(image), features(other)
    assert np.array_equal(plain[:, middle], changed[:, middle])
    other[:, :4] = other[:, -4:] = 1000.0
    assert not np.array_equal(plain[:, middle], features(other)[:, middle])


def test_a_tile_with_their_reach_around_it_has_those_of_the_whole(rng: np.random.Generator) -> None:
    image = rng.normal(size=(1, 150, 151)).astype(np.float32)
    tile = features(image[:, 10 : 41 + 2 * GREY_REACH, 7 : 27 + 2 * GREY_REACH])
    inner = (slice(None), slice(GREY_REACH, -GREY_REACH), slice(GREY_REACH, -GREY_REACH))
    whole = features(image)[:, 10 + GREY_REACH : 41 + GREY_REACH, 7 + GREY_REACH : 27 + GREY_REACH]
    np.testing.assert_allclose(tile[inner], whole, atol=1e-5)


def test_what_trees_ask_for_is_always_a_number_that_float16_has() -> None:
    image = torch.zeros(1, 1, 40, 40)
    image[0, 0, 10, 10], image[0, 0, 30, 30] = 1e6, torch.nan
    asked = tree_features(image)
    assert asked.dtype == torch.float16
    assert asked.isfinite().all()
