"""Synthetic scenes are exact, reproducible, of one style within a kind, and made fast."""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from napari_unet.data.scenes.kinds import COLOUR_KINDS, GREY_KINDS, draw_kind
from napari_unet.data.scenes.scene import Kind, Scene
from napari_unet.errors import InputError

ALL_KINDS = [*GREY_KINDS, *COLOUR_KINDS]
CASES = [(kind, 2) for kind in ALL_KINDS] + [(kind, 3) for kind in GREY_KINDS]
SHAPES = {2: (128, 144), 3: (10, 56, 64)}


def made(kind: type[Kind], ndim: int, seed: int, shape: tuple[int, ...] | None = None) -> tuple[Kind, Scene]:
    rng = np.random.default_rng(seed)
    drawn = kind.draw(rng, ndim)
    return drawn, drawn.scene(rng, shape or SHAPES[ndim])


def case_name(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else f"{value}D"


def check(scene: Scene, kind: Kind, shape: tuple[int, ...]) -> None:
    assert scene.image.dtype == np.float32
    assert scene.image.shape == (kind.channels, *shape)
    assert np.isfinite(scene.image).all()
    assert scene.image.min() >= 0
    assert scene.image.max() <= 1
    assert scene.image.std() > 0.003
    assert (scene.regions.dtype, scene.regions.shape) == (np.uint8, shape)
    assert scene.names == kind.names
    assert len(set(scene.names)) == len(scene.names) > 1
    assert scene.regions.max() < len(scene.names)
    if scene.objects is not None:
        assert (scene.objects.dtype, scene.objects.shape) == (np.uint16, shape)
        assert scene.objects.any()


@pytest.mark.parametrize(("kind", "ndim"), CASES, ids=case_name)
def test_scenes_are_valid_and_follow_the_seed(kind: type[Kind], ndim: int) -> None:
    for seed in range(4):
        drawn, scene = made(kind, ndim, seed)
        check(scene, drawn, SHAPES[ndim])
        again = made(kind, ndim, seed)[1]
        np.testing.assert_array_equal(scene.image, again.image)
        np.testing.assert_array_equal(scene.regions, again.regions)
    assert (scene.image.shape != made(kind, ndim, 9)[1].image.shape) or (
        scene.image != made(kind, ndim, 9)[1].image
    ).any()


@pytest.mark.parametrize(("kind", "ndim"), CASES, ids=case_name)
def test_what_a_kind_names_is_seen_in_most_of_its_scenes(kind: type[Kind], ndim: int) -> None:
    shape = (192, 192) if ndim == 2 else (16, 80, 80)
    seen: dict[str, list[bool]] = {}
    for seed in range(12):
        scene = made(kind, ndim, seed, shape)[1]
        counts = np.bincount(scene.regions.ravel(), minlength=len(scene.names))
        for name, count in zip(scene.names, counts, strict=True):
            seen.setdefault(name, []).append(bool(count >= 5))
    assert {name: np.mean(found) for name, found in seen.items() if np.mean(found) < 0.6} == {}


@pytest.mark.parametrize("kind", ALL_KINDS, ids=case_name)
@pytest.mark.parametrize("shape", [(33, 47), (8, 8), (300, 21)], ids=str)
def test_odd_small_and_narrow_images_can_be_made(kind: type[Kind], shape: tuple[int, ...]) -> None:
    for seed in range(3):
        drawn, scene = made(kind, 2, seed, shape)
        assert scene.image.shape == (drawn.channels, *shape)
        assert np.isfinite(scene.image).all()


@pytest.mark.parametrize("kind", GREY_KINDS, ids=case_name)
def test_odd_and_thin_stacks_can_be_made(kind: type[Kind]) -> None:
    for shape in ((5, 33, 47), (4, 8, 9), (30, 16, 16)):
        scene = made(kind, 3, 1, shape)[1]
        assert scene.regions.shape == shape
        assert np.isfinite(scene.image).all()


def histogram(scene: Scene) -> npt.NDArray[np.float64]:
    """Return how bright the image is, and how much neighbours differ: both as cumulative shares."""
    grey = scene.image.mean(axis=0)
    rough = np.abs(np.diff(grey, axis=1))
    levels = [np.quantile(grey, np.linspace(0.02, 0.98, 20)), 4 * np.quantile(rough, np.linspace(0.1, 0.95, 10))]
    return np.concatenate(levels)


def test_two_scenes_of_a_kind_are_closer_to_each_other_than_to_other_kinds() -> None:
    pairs = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        kind = draw_kind(rng, colour=False)
        pairs.append([histogram(kind.scene(rng, (128, 128))) for _ in range(2)])
    first, second = np.array(pairs).transpose(1, 0, 2)
    distances = np.abs(first[:, np.newaxis] - second).mean(axis=2)
    within, between = np.diag(distances), distances[~np.eye(len(pairs), dtype=bool)]
    assert np.median(within) < 0.3 * np.median(between)
    assert np.mean(distances.argmin(axis=1) == np.arange(len(pairs))) > 0.5


def test_the_truth_is_what_the_image_shows() -> None:
    """Things differ in brightness or roughness by more than chance, in nearly every scene."""
    visible = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        scene = draw_kind(rng, colour=False).scene(rng, (160, 160))
        grey = scene.image[0]
        shares = np.bincount(scene.regions.ravel(), minlength=len(scene.names)) / grey.size
        common = np.flatnonzero(shares > 0.01)
        means = [grey[scene.regions == thing].mean() for thing in common]
        rough = [np.abs(np.diff(grey, axis=0))[scene.regions[1:] == thing].mean() for thing in common]
        visible.append(np.ptp(means) > 0.1 * grey.std() or np.ptp(rough) > 0.1 * np.mean(rough))
    assert np.mean(visible) > 0.9


@pytest.mark.parametrize(("colour", "channels"), [(False, {1}), (True, {3}), (None, {1, 2, 3, 4, 5})])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_number_of_channels_can_be_chosen(colour: bool | None, channels: set[int], ndim: int) -> None:
    rng = np.random.default_rng(0)
    kinds = [draw_kind(rng, ndim, colour) for _ in range(80)]
    assert {kind.channels for kind in kinds} == channels
    for kind in {kind.channels: kind for kind in kinds}.values():
        check(kind.scene(rng, SHAPES[ndim]), kind, SHAPES[ndim])


def test_every_kind_is_drawn() -> None:
    rng = np.random.default_rng(0)
    assert {type(draw_kind(rng)) for _ in range(400)} == set(ALL_KINDS)
    assert {type(draw_kind(rng, 3)) for _ in range(400)} == set(GREY_KINDS)


@pytest.mark.parametrize(("ndim", "shape"), [(2, (64,)), (2, (7, 64)), (3, (64, 64)), (3, (3, 64, 64))], ids=str)
def test_shapes_that_do_not_fit_are_refused(ndim: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="shape"):
        draw_kind(rng, ndim).scene(rng, shape)


def test_other_numbers_of_axes_are_refused() -> None:
    with pytest.raises(InputError, match="ndim"):
        draw_kind(np.random.default_rng(0), 4)


@pytest.mark.parametrize(("kind", "ndim"), CASES, ids=case_name)
def test_scenes_are_made_fast(kind: type[Kind], ndim: int) -> None:
    """A generous limit in computing time, many times of what is usual: it fails where a loop over pixels creeps in."""
    shape, limit = ((256, 256), 0.4) if ndim == 2 else ((32, 96, 96), 4.0)
    times = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        drawn = kind.draw(rng, ndim)
        start = time.process_time()
        drawn.scene(rng, shape)
        times.append(time.process_time() - start)
    assert min(times) < limit


@pytest.mark.parametrize("options", [[], ["--kind", "StainedTissue"], ["--ndim", "3"]], ids=" ".join)
def test_a_sheet_of_scenes_is_drawn(options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "sheet.png"
    script = Path(__file__).parents[2] / "scripts" / "draw_scenes.py"
    small = ["--rows", "1", "--columns", "2", "--size", "32", "--shown", "16"]
    monkeypatch.setattr(sys, "argv", [str(script), str(out), *small, *options])
    runpy.run_path(str(script), run_name="__main__")
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (16, 64, 3)
    assert sheet[:, :16].std() > 5
