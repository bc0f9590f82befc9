"""Hills are those of a watershed, and each of them is found from its surroundings alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import local_maxima
from skimage.segmentation import watershed

from napari_unet.predict.hills import find_hills
from napari_unet.predict.landscape import read_landscape


@pytest.mark.parametrize("shape", [(90, 80), (20, 30, 25)])
def test_hills_are_those_of_a_watershed(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    noise = ndimage.gaussian_filter(rng.random(shape), 1.5)
    landscape = np.where(noise > np.median(noise), noise, 0).astype(np.float32)
    inside = (slice(1, -1),) * len(shape)
    found = find_hills(np.pad(landscape, 1)).numbers[inside]
    markers = label(local_maxima(np.pad(landscape, 1))[inside], connectivity=len(shape))
    expected = watershed(-landscape, markers, mask=landscape > 0, connectivity=len(shape))
    assert found.max() == markers.max() > 20
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == found.max() + 1  # one to one


def test_passes_are_the_highest_ways_between_hills() -> None:
    landscape = np.zeros((5, 11), np.float32)
    landscape[1, 1:10] = [3, 5, 2, 4, 6, 1, 1, 7, 2]
    landscape[2, 3] = 3
    hills = find_hills(landscape)
    assert hills.heights.tolist() == [5, 6, 7]
    assert hills.passes.hills.tolist() == [[0, 1], [1, 2]]
    assert hills.passes.heights.tolist() == [3, 1]
    assert hills.passes.pixels[0].tolist() == [2 * 11 + 3, 11 + 4]


@pytest.mark.parametrize("spacing", [None, (2.0, 1.0)])
def test_the_landscape_of_a_part_is_that_of_the_whole(
    spacing: tuple[float, float] | None, rng: np.random.Generator
) -> None:
    noise = ndimage.gaussian_filter(rng.random((300, 200)), 6)
    foreground = (noise > np.quantile(noise, 0.1)).astype(np.float32) * rng.uniform(0.6, 1, noise.shape)
    whole = read_landscape(foreground, (slice(0, 300), slice(0, 200)), threshold=0.5, spacing=spacing)
    assert ndimage.distance_transform_edt(foreground > 0.5, sampling=spacing).max() > 24  # needs a second look
    for box in ((slice(0, 50), slice(0, 50)), (slice(130, 171), slice(90, 200)), (slice(299, 300), slice(7, 8))):
        part = read_landscape(foreground, box, threshold=0.5, spacing=spacing)
        around = tuple(slice(span.start, span.stop + 2) for span in box)
        np.testing.assert_array_equal(part, whole[around])
