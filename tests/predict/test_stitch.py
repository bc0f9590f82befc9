"""Objects of planes are joined to objects of the volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_unet.assess.metrics import average_precision, iou
from napari_unet.data.axes import ImageLayout
from napari_unet.errors import InputError
from napari_unet.predict import object_blocks
from napari_unet.predict.stitch import stitch_planes, stitch_stack

Labels = npt.NDArray[np.int64]


def shuffled_planes(volume: Labels, rng: np.random.Generator) -> Labels:
    """Give the objects of each plane ids that say nothing about the other planes."""
    planes = np.zeros_like(volume)
    for plane, source in zip(planes, volume, strict=True):
        ids = np.concatenate([[0], 1 + rng.permutation(volume.max())])
        plane[:] = ids[source]
    return planes


def balls(rng: np.random.Generator) -> Labels:
    volume = np.zeros((30, 90, 90), np.int64)
    z, y, x = np.ogrid[:30, :90, :90]
    for number in range(1, 41):
        at = rng.uniform((4, 8, 8), (26, 82, 82))
        ball = (3 * (z - at[0])) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < 12**2
        inside = ball & (abs(z - at[0]) < 3)  # without the caps, which grow too fast from plane to plane
        if not volume[inside].any():
            volume[inside] = number
    return volume


def test_separate_balls_are_found_again(rng: np.random.Generator) -> None:
    truth = balls(rng)
    stitched = stitch_planes(shuffled_planes(truth, rng), iou=0.2)
    assert len(np.unique(truth)) > 10
    assert stitched.max() == len(np.unique(truth)) - 1
    assert average_precision(stitched, truth, 0.99) == 1
    firsts = [np.flatnonzero((stitched == number).any(axis=(1, 2)))[0] for number in range(1, stitched.max() + 1)]
    assert firsts == sorted(firsts)


def test_real_nuclei_are_found_again_from_their_planes(
    real_data: Callable[[str], dict[str, npt.NDArray[Any]]], rng: np.random.Generator
) -> None:
    arrays = real_data("embryo_nuclei_3d")
    scores = []
    for name in sorted(key for key in arrays if key.startswith("label")):
        truth = arrays[name].astype(np.int64)
        scores.append(average_precision(stitch_planes(shuffled_planes(truth, rng)), truth, 0.5))
    print(f"average precision {np.mean(scores):.3f}, lowest {min(scores):.3f}")
    assert np.mean(scores) > 0.75


def naive(labels: Labels, least: float) -> Labels:
    """Compare every object of a plane with every one of the plane before."""
    result = np.zeros_like(labels)
    count = 0
    for z, plane in enumerate(labels):
        before = result[z - 1] if z else np.zeros_like(plane)
        ratios = {
            (int(a), int(b)): iou(plane == b, before == a)
            for a in np.unique(before[before > 0])
            for b in np.unique(plane[plane > 0])
        }
        while ratios and max(ratios.values()) >= least:
            a, b = max(ratios, key=lambda pair: ratios[pair])
            result[z][plane == b] = a
            ratios = {pair: value for pair, value in ratios.items() if pair[0] != a and pair[1] != b}
        for b in np.unique(plane[(plane > 0) & (result[z] == 0)]):
            count += 1
            result[z][plane == b] = count
    return result


@pytest.mark.parametrize("least", [0.05, 0.3, 0.6])
def test_the_best_partner_is_taken_and_only_one(
    least: float, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.kron(rng.integers(0, 5, (5, 7, 6)), np.ones((1, 3, 3), int)).astype(np.int64)
    labels[:, ::2] = np.roll(labels[:, ::2], 1, axis=2)
    expected = naive(labels, least)
    found = stitch_planes(labels, iou=least)
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == expected.max() + 1 == found.max() + 1
    monkeypatch.setitem(object_blocks._PIXELS, 2, 40)  # the same in blocks
    np.testing.assert_array_equal(stitch_planes(labels, iou=least), found)


def test_labels_that_can_not_hold_the_ids_are_refused() -> None:
    labels = (np.arange(400).reshape(4, 10, 10) % 100 + 1).astype(np.int8)
    labels[1::2, :, ::2] = 0
    labels[::2, :, 1::2] = 0
    before = labels.copy()
    with pytest.raises(InputError, match="200 objects"):
        stitch_stack(labels, ImageLayout("ZYX", labels.shape, 2), 0.5)
    np.testing.assert_array_equal(labels, before)
    with pytest.raises(InputError, match=r"\(Z, Y, X\)"):
        stitch_planes(labels[0])
