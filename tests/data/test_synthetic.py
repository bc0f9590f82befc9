"""The synthetic images are what they say: exact, varied, of the asked-for size, crowding and sharpness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from napari_unet.data.synthetic import cells, microscope, smooth_noise
from napari_unet.errors import InputError

CASES = [
    ((120, 150), "YX", None),
    ((24, 60, 70), "ZYX", (2, 1, 1)),
    ((4, 80, 90), "TYX", None),
    ((3, 12, 50, 40), "TZYX", None),
]


@pytest.mark.parametrize(("shape", "axes", "spacing"), CASES, ids=lambda value: str(value))
def test_image_and_labels_have_the_shape_and_follow_the_seed(shape: Any, axes: str, spacing: Any) -> None:
    first, again, other = (cells(shape, axes, radius=8, spacing=spacing, seed=seed) for seed in (4, 4, 5))
    assert first.image.shape == first.labels.shape == shape
    assert (first.image.dtype, first.labels.dtype, first.axes) == (np.uint16, np.uint16, axes)
    assert first.spacing == tuple(map(float, spacing or (1,) * len(first.spacing)))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.image != other.image).any()
    assert (first.labels != other.labels).any()


@pytest.mark.parametrize(("shape", "axes"), [((200, 220), "YX"), ((24, 80, 80), "ZYX")])
def test_objects_are_numbered_without_gaps_and_each_is_one_piece(shape: Any, axes: str) -> None:
    labels = cells(shape, axes, radius=9, coverage=0.45, touching=0.8, seed=2).labels
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    assert labels.max() > 20
    for region in regionprops(labels):
        assert label(region.image, connectivity=1).max() == 1


@pytest.mark.parametrize("coverage", [0.0, 0.1, 0.3])
def test_cells_cover_the_share_that_was_asked_for(coverage: float) -> None:
    covered = np.mean([(cells((256, 256), coverage=coverage, seed=seed).labels > 0).mean() for seed in range(4)])
    assert covered == pytest.approx(coverage, rel=0.2)


def test_the_share_of_touching_cells_can_be_chosen() -> None:
    def touching_share(touching: float) -> float:
        labels = cells((300, 300), touching=touching, coverage=0.2, seed=6).labels
        pairs = np.concatenate([np.stack([labels[1:], labels[:-1]]).reshape(2, -1),
                                np.stack([labels[:, 1:], labels[:, :-1]]).reshape(2, -1)], axis=1)  # fmt: skip
        between = pairs[:, (pairs[0] != pairs[1]) & (pairs > 0).all(axis=0)]
        return float(np.unique(between).size / labels.max())

    assert touching_share(0.0) < 0.1
    assert touching_share(1.0) > 0.6


def test_the_image_shows_the_labels() -> None:
    made = cells((256, 256), noise=0.1, unevenness=0.0, blur=1.0, seed=3)
    seen = made.image > threshold_otsu(made.image)
    truth = made.labels > 0
    assert 2 * (seen & truth).sum() / (seen.sum() + truth.sum()) > 0.9


def test_cells_are_as_thick_as_wide_in_real_units() -> None:
    made = cells((40, 120, 120), "ZYX", radius=10, spacing=(2.5, 1, 1), coverage=0.15, seed=8)
    inside = [r for r in regionprops(made.labels) if r.bbox[0] > 0 and r.bbox[3] < 40 and min(r.bbox[1:3]) > 0]
    thick = np.mean([(r.bbox[3] - r.bbox[0]) * 2.5 for r in inside])
    wide = np.mean([r.bbox[4] - r.bbox[1] for r in inside])
    assert thick == pytest.approx(wide, rel=0.2)
    assert wide == pytest.approx(2 * 10, rel=0.35)


def test_cells_keep_their_number_and_move_a_little_from_frame_to_frame() -> None:
    made = cells((6, 160, 160), "TYX", radius=10, seed=1)
    steps = []
    for before, after in zip(made.labels[:-1], made.labels[1:], strict=True):
        old, new = ({r.label: np.array(r.centroid) for r in regionprops(frame)} for frame in (before, after))
        assert len(old.keys() & new.keys()) >= 0.85 * len(old)
        steps += [np.linalg.norm(new[i] - old[i]) for i in old.keys() & new.keys()]
    assert 0.5 < np.mean(steps) < 5
    assert np.quantile(steps, 0.9) < 10


def test_an_image_smaller_than_a_cell_can_be_made() -> None:
    assert cells((1, 1)).image.shape == (1, 1)
    assert cells((17, 23), radius=50).labels.shape == (17, 23)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (64,)}, "axes"),
        ({"shape": (64, 64), "axes": "ZYX"}, "axes"),
        ({"shape": (2, 64, 64), "axes": "CYX"}, "axes"),
        ({"shape": (0, 64)}, "at least 1 pixel"),
        ({"shape": (64, 64), "spacing": (1, 1, 1)}, "spacing"),
        ({"shape": (64, 64), "spacing": (1, 0)}, "spacing"),
        ({"shape": (64, 64), "radius": 0}, "radius"),
        ({"shape": (64, 64), "coverage": 0.9}, "coverage"),
        ({"shape": (64, 64), "touching": -0.1}, "touching"),
        ({"shape": (64, 64), "noise": float("nan")}, "noise"),
        ({"shape": (4096, 4096), "radius": 1}, "too many"),
    ],
)
def test_settings_that_do_not_fit_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cells(**arguments)


@pytest.mark.parametrize("scale", [1.0, 5.0, 40.0, 1000.0])
def test_smooth_noise_has_unit_spread_and_the_asked_for_smoothness(scale: float, rng: np.random.Generator) -> None:
    fields = np.stack([smooth_noise((60, 60), scale, rng) for _ in range(300)])
    assert fields.dtype == np.float32
    np.testing.assert_allclose(fields.std(axis=0).mean(), 1, atol=0.05)
    np.testing.assert_allclose(fields.mean(), 0, atol=0.2)
    steps = np.mean(np.diff(fields, axis=1) ** 2)
    assert steps < 4 / scale**2 if scale > 1 else steps > 0.5


def test_smooth_noise_keeps_the_order_of_its_axes(rng: np.random.Generator) -> None:
    field = smooth_noise((50, 40, 30), np.array([100.0, 100.0, 1.0]), rng)
    assert field.shape == (50, 40, 30)
    roughness = [float(np.abs(np.diff(field, axis=axis)).mean()) for axis in range(3)]
    assert roughness[2] > 10 * max(roughness[:2])


def test_a_perfect_microscope_shows_the_signal_itself(rng: np.random.Generator) -> None:
    signal = rng.random((30, 40), dtype=np.float32)
    image = microscope(signal, rng, blur=0, noise=0, haze=0)
    np.testing.assert_allclose(image, 100 + 1900 * signal, atol=1)


def test_the_noise_grows_with_the_root_of_the_brightness(rng: np.random.Generator) -> None:
    spreads = [
        microscope(np.full((300, 300), level, np.float32), rng, blur=0, noise=0.05, haze=0).std() for level in (1, 4)
    ]
    assert spreads[0] == pytest.approx(1900 * 0.05, rel=0.05)
    assert spreads[1] / spreads[0] == pytest.approx(2, rel=0.05)
