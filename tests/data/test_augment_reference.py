"""Elastic deformation, blur and noise, against what scipy makes of the same displacements and strengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_unet.data.augment import AugmentConfig, Augmenter

STILL: dict[str, Any] = {"flips": False, "rotation": 0, "scaling": 0, "shift": 0, "elastic": 0, "grey": 0}
SHAPES = [(64, 64), (31, 45), (97, 20), (9, 33, 31), (16, 24, 40)]


def _batch(shape: tuple[int, ...], count: int, channels: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    image = torch.rand(count, channels, *shape, generator=generator)
    return (
        image,
        torch.randint(0, 4, (count, *shape), generator=generator),
        torch.rand(count, *shape, generator=generator) + 0.1,
    )


@pytest.mark.parametrize("settings", [{**STILL, "elastic": 10.0}, {"grey": 0}], ids=["elastic", "all"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_deformation_is_that_of_map_coordinates(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    config = AugmentConfig(**settings)
    image, classes, weights = _batch(shape, 3)
    grid = Augmenter(config, len(shape), seed=8)._sampling_grid(3, shape, torch.device("cpu"))
    new_image, new_classes, new_weights = Augmenter(config, len(shape), seed=8)(image, classes, weights)
    centre = (np.array(shape) - 1) / 2
    places = (grid.flip(-1).double().numpy() + 1) * centre
    moved = places - np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    assert moved.std() > 0.5
    for crop, place in enumerate(np.moveaxis(places, -1, 1)):
        for channel in range(2):
            expected = ndimage.map_coordinates(image[crop, channel].numpy(), place, order=1, mode="mirror")
            np.testing.assert_allclose(new_image[crop, channel].numpy(), expected, atol=2e-4)
        halfway = np.abs(place - np.floor(place) - 0.5).min(axis=0) < 1e-3  # where rounding decides
        inside = np.all([(p >= 0) & (p <= n - 1) for p, n in zip(place, shape, strict=True)], axis=0) & ~halfway
        assert inside.mean() > 0.2
        for new, old in ((new_classes, classes), (new_weights, weights)):
            expected = ndimage.map_coordinates(old[crop].numpy(), place, order=0)
            np.testing.assert_array_equal(new[crop].numpy()[inside], expected[inside])
        beyond = np.any([(p < -0.501) | (p > n - 0.499) for p, n in zip(place, shape, strict=True)], axis=0)
        assert not new_weights[crop].numpy()[beyond].any()


# ------------------------------------------------------------------------------------------------- blur and noise


def _strengths(most: float, ndim: int, seed: int, count: int) -> np.ndarray:
    """Draw what an augmenter with nothing else to do draws next."""
    augmenter = Augmenter(AugmentConfig(**STILL), ndim, seed=seed)
    augmenter(*_batch((8,) * ndim, count))
    return augmenter._strengths(most, torch.zeros(count, 1)).flatten().numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_blur_is_a_gaussian_in_the_plane_alone(shape: tuple[int, ...], channels: int) -> None:
    ndim, count, most = len(shape), 8, 1.5
    image, classes, weights = _batch(shape, count, channels)
    new, new_classes, new_weights = Augmenter(AugmentConfig(**STILL, blur=most), ndim, seed=3)(image, classes, weights)
    assert torch.equal(new_classes, classes)
    assert torch.equal(new_weights, weights)
    sigmas = _strengths(most, ndim, 3, count)
    assert 0 < (sigmas > 0).sum() < count
    for before, after, sigma in zip(image.numpy(), new.numpy(), sigmas, strict=True):
        expected = ndimage.gaussian_filter(before, (*(0,) * (ndim - 1), sigma, sigma), mode="nearest", radius=5)
        np.testing.assert_allclose(after, expected, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_has_the_drawn_strength_in_each_crop(shape: tuple[int, ...]) -> None:
    ndim, count, most = len(shape), 30, 0.3
    image, classes, weights = _batch(shape, count)
    new, new_classes, new_weights = Augmenter(AugmentConfig(**STILL, noise=most), ndim, seed=3)(image, classes, weights)
    assert torch.equal(new_classes, classes)
    assert torch.equal(new_weights, weights)
    strengths = _strengths(most, ndim, 3, count)
    noise = (new - image).flatten(1).numpy()
    np.testing.assert_allclose(noise.std(axis=1), strengths, rtol=0.1, atol=1e-4)
    np.testing.assert_allclose(noise.mean(axis=1), 0, atol=4 * most / np.sqrt(noise.shape[1]))
    assert 0.2 < (strengths == 0).mean() < 0.8
    assert strengths.max() > 0.6 * most
    assert np.abs(np.corrcoef(noise[strengths > 0])[np.triu_indices((strengths > 0).sum(), 1)]).max() < 0.3


def test_noise_and_blur_repeat_with_the_seed_and_leave_pytorchs_numbers_alone() -> None:
    batch, config = _batch((32, 32), 6), AugmentConfig(noise=0.1, blur=1.0)
    state = torch.get_rng_state()
    first, again, other = (Augmenter(config, 2, seed=seed)(*batch)[0] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    augmenter = Augmenter(config, 2, seed=1)
    augmenter(*batch)
    resumed = Augmenter(config, 2)
    resumed.generator.set_state(augmenter.generator.get_state())
    assert torch.equal(resumed(*batch)[0], augmenter(*batch)[0])


def test_without_noise_and_blur_the_draws_are_as_without_the_settings() -> None:
    batch = _batch((32, 32), 4)
    plain, spoilt = (Augmenter(AugmentConfig(noise=noise, blur=0), 2, seed=1) for noise in (0.0, 0.2))
    first, second = plain(*batch), spoilt(*batch)
    assert torch.equal(first[1], second[1])  # noise is drawn last: the same deformation
    assert torch.equal(first[2], second[2])
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("name", ["flips", "rotation", "scaling", "shift", "elastic", "grey", "noise", "blur"])
def test_each_setting_alone_varies(name: str) -> None:
    assert not AugmentConfig(**STILL).varies
    assert AugmentConfig(**{**STILL, name: 1}).varies
