"""Views and looks of episodes: exact cuts at any scale, and how the look of images varies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_unet.data.episodes.stream import EpisodeStream
from napari_unet.data.episodes.view import View, draw_exposure, draw_look, draw_turn, draw_view, draw_zoom


def test_a_view_at_full_scale_is_a_cut(rng: np.random.Generator) -> None:
    image, labels = rng.random((3, 20, 30)).astype(np.float32), rng.integers(0, 9, (20, 30))
    view = View((4.0, 7.0), 1.0, (10, 12))
    assert np.array_equal(view.image(image), image[:, 4:14, 7:19])
    assert np.array_equal(view.labels(labels), labels[4:14, 7:19])


def test_what_lies_outside_is_mirrored(rng: np.random.Generator) -> None:
    image = rng.random((1, 6, 7)).astype(np.float32)
    expected = np.pad(image, [(0, 0), (2, 4), (0, 5)], mode="reflect")
    assert np.array_equal(View((-2.0, 0.0), 1.0, (12, 12)).image(image), expected)
    assert np.array_equal(View((-2.0, 0.0), 1.0, (12, 12)).labels(image[0]), expected[0])


@pytest.mark.parametrize("zoom", [0.4, 0.8, 1.1, 2.6])
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_scaled_view_is_the_ramp_at_the_pixels_centres(zoom: float, ndim: int) -> None:
    """A linear ramp stays one under averaging and linear interpolation, away from the mirrored ends."""
    space, shape = (60,) * ndim, (16,) * ndim
    start = (8.3,) * ndim
    centres = 8.3 + (np.arange(16) + 0.5) * zoom - 0.5
    for axis in range(ndim):
        ramp = np.broadcast_to(np.arange(60.0).reshape(-1, *(1,) * (ndim - 1 - axis)), space)
        view = View(start, zoom, shape)
        cut = np.moveaxis(view.image(ramp[np.newaxis])[0], axis, -1)
        inner = slice(2, -2) if zoom > 1.2 else slice(None)
        shift = 0.5 if round(zoom) % 2 == 0 and zoom > 1.2 else 0.0  # an even window lies half a pixel aside
        assert np.abs(cut[..., inner] - centres[inner]).max() < 1e-3 + shift
        labels = np.moveaxis(view.labels(ramp), axis, -1)
        assert np.abs(labels - centres).max() <= 0.5 + 1e-9


def test_a_view_shows_what_it_is_aimed_at(rng: np.random.Generator) -> None:
    regions = np.zeros((90, 120), np.uint8)
    regions[80:83, 10:13] = 7
    for _ in range(30):
        zoom = draw_zoom(rng, regions.shape, (32, 32))
        assert 0 < zoom <= 90 / 32
        assert (draw_view(rng, regions, 7, zoom, (32, 32)).labels(regions) == 7).any()


def test_looks_and_turns_treat_all_arrays_alike(rng: np.random.Generator) -> None:
    image = rng.random((3, 8, 8)).astype(np.float32)
    seen = set()
    for seed in range(40):
        look, turn = draw_look(np.random.default_rng(seed)), draw_turn(np.random.default_rng(seed), (8, 8))
        assert np.array_equal(look(image), look(image.copy()))
        assert look(image).shape == image.shape
        assert np.array_equal(turn(image)[0], turn(image[0]))
        seen.add(turn(image).tobytes())
    assert len(seen) == 8
    assert draw_turn(np.random.default_rng(0), (4, 8))(image[:, :4]).shape == (3, 4, 8)


def test_an_exposure_changes_contrast_and_light_but_not_what_is_brighter_nearby() -> None:
    board = np.where(np.indices((3, 64, 64))[1:].sum(0) % 2, 0.6, 0.4).astype(np.float32)
    seen = [draw_exposure(np.random.default_rng(seed), (64, 64))(board) for seed in range(60)]
    assert all(image.dtype == np.float32 and image.shape == board.shape for image in seen)
    assert all(np.array_equal(image[0], image[1]) for image in seen)  # no colours come of it
    assert all(((np.diff(image) > 0) == (np.diff(board) > 0)).all() for image in seen)
    assert np.ptp([image[0, 32, 32] for image in seen]) > 0.2


def test_only_a_share_of_the_images_is_exposed(monkeypatch: pytest.MonkeyPatch) -> None:
    def mark(rng: np.random.Generator, shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda image: np.full_like(image, 7)

    monkeypatch.setattr("napari_unet.data.episodes.episode.draw_exposure", mark)
    for share, least, most in ((0.0, 0, 0), (0.5, 2, 14), (1.0, 16, 16)):
        stream = EpisodeStream((32, 32), (40, 40), exposed=share)
        images = [image for number in range(8) for image in stream.episode(number).images]
        assert least <= sum(bool((image == 7).all()) for image in images) <= most
