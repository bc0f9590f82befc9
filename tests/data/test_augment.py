"""Augmentation: image, classes and weights move together, as known maps of numpy and scipy move them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.interpolate import CubicHermiteSpline

from napari_unet.data.augment import AugmentConfig, Augmenter, elastic_displacement
from napari_unet.data.place import relative_places
from napari_unet.nets.place import place_logits

STILL = AugmentConfig(flips=False, rotation=0, scaling=0, shift=0, elastic=0, grey=0)
CPU = torch.device("cpu")


def _batch(
    shape: tuple[int, ...], count: int = 3, channels: int = 2
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    image = torch.rand(count, channels, *shape, generator=generator)
    classes = torch.randint(0, 3, (count, *shape), generator=generator)
    return image, classes, torch.rand(count, *shape, generator=generator) + 0.5


def _fixed(matrix: torch.Tensor) -> Augmenter:
    """Return an augmenter that draws one known map."""
    augmenter = Augmenter(STILL, matrix.shape[0])
    augmenter._matrices = lambda count: matrix.repeat(count, 1, 1)  # type: ignore[method-assign]
    return augmenter


@pytest.mark.parametrize("shape", [(32, 32), (17, 23), (1, 16), (8, 16, 24), (5, 7, 9)])
def test_no_strength_changes_nothing(shape: tuple[int, ...]) -> None:
    image, classes, weights = _batch(shape)
    new_image, new_classes, new_weights = Augmenter(STILL, len(shape))(image, classes, weights)
    torch.testing.assert_close(new_image, image, atol=1e-4, rtol=0)
    assert torch.equal(new_classes, classes)
    assert torch.equal(new_weights, weights)
    assert (new_image.dtype, new_classes.dtype, new_weights.dtype) == (torch.float32, torch.int64, torch.float32)


KNOWN_2D: list[tuple[list[list[float]], Callable[[np.ndarray], np.ndarray]]] = [
    ([[1, 0], [0, -1]], lambda a: a[..., ::-1]),
    ([[-1, 0], [0, 1]], lambda a: a[..., ::-1, :]),
    ([[-1, 0], [0, -1]], lambda a: a[..., ::-1, ::-1]),
    ([[0, 1], [-1, 0]], lambda a: np.rot90(a, 1, (-2, -1))),
    ([[0, -1], [1, 0]], lambda a: np.rot90(a, -1, (-2, -1))),
    ([[0, 1], [1, 0]], lambda a: np.swapaxes(a, -1, -2)),
]


@pytest.mark.parametrize(("matrix", "move"), KNOWN_2D)
@pytest.mark.parametrize("ndim", [2, 3])
def test_mirroring_and_quarter_turns_are_numpys(
    matrix: list[list[float]], move: Callable[[np.ndarray], np.ndarray], ndim: int
) -> None:
    shape = (16, 16) if ndim == 2 else (6, 15, 15)
    full = torch.eye(ndim)
    full[-2:, -2:] = torch.tensor(matrix)
    image, classes, weights = _batch(shape)
    new = _fixed(full)(image, classes, weights)
    np.testing.assert_allclose(new[0].numpy(), move(image.numpy()), atol=1e-4)
    np.testing.assert_array_equal(new[1].numpy(), move(classes.numpy()))
    np.testing.assert_array_equal(new[2].numpy(), move(weights.numpy()))


@pytest.mark.parametrize("angle", [17.0, -63.0, 140.0])
def test_a_turned_and_zoomed_image_is_scipys(angle: float) -> None:
    turn = math.radians(angle)
    matrix = 0.9 * torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    image, classes, weights = _batch((41, 41), count=1, channels=1)
    image = torch.from_numpy(ndimage.gaussian_filter(image.numpy(), (0, 0, 2, 2)))
    new = _fixed(matrix)(image, classes, weights)
    offset = 20 - matrix.numpy() @ (20, 20)
    expected = ndimage.affine_transform(image[0, 0].numpy(), matrix.numpy(), offset, order=1, mode="mirror")
    np.testing.assert_allclose(new[0][0, 0].numpy(), expected, atol=1e-4)
    painted = ndimage.affine_transform(np.ones((41, 41)), matrix.numpy(), offset, order=0, mode="constant")
    differing = ((new[2][0].numpy() > 0) != (painted > 0)).mean()
    assert differing < 0.03  # a rim of half a pixel


@pytest.mark.parametrize("shape", [(64, 64), (40, 57), (16, 48, 48)])
def test_labels_and_weights_move_with_the_image(shape: tuple[int, ...]) -> None:
    """An image that equals its labels still equals them after any deformation, apart from the interpolated edges."""
    ndim = len(shape)
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    pattern = (sum(g // 12 for g in grid) % 2).astype(np.int64)
    classes = torch.from_numpy(pattern).expand(6, *shape).clone()
    augmenter = Augmenter(AugmentConfig(grey=0), ndim, seed=4)
    image, new_classes, weights = augmenter(classes[:, None].float(), classes, classes.float() + 1)
    valid = weights > 0
    assert 0.3 < valid.float().mean() < 1
    difference = (image[:, 0] - new_classes).abs()
    assert difference[valid].max() <= (0.5 if ndim == 2 else 0.75) + 1e-3  # nearest pixel against linear between two
    assert (difference[valid] < 1e-3).float().mean() > (0.7 if ndim == 2 else 0.5)
    assert torch.equal(weights[valid], new_classes[valid] + 1.0)
    assert (new_classes != classes).float().mean() > 0.2  # it did move


@pytest.mark.parametrize("shape", [(48, 48), (16, 32, 32)])
def test_nothing_counts_as_painted_that_comes_from_beyond_the_border(shape: tuple[int, ...]) -> None:
    """An image of its own coordinates, unmirrored inside, says where each pixel was taken from."""
    ndim = len(shape)
    config = AugmentConfig(grey=0)
    grid = Augmenter(config, ndim, seed=9)._sampling_grid(8, shape, CPU)  # the same draws as below
    place = (grid.flip(-1) + 1) / 2 * (torch.tensor(shape) - 1)
    inside = ((place > -0.49) & (place < torch.tensor(shape) - 0.51)).all(-1)
    outside = ((place < -0.51) | (place > torch.tensor(shape) - 0.49)).any(-1)
    image, classes, weights = torch.rand(8, 1, *shape), torch.ones(8, *shape, dtype=torch.int64), torch.ones(8, *shape)
    new_image, new_classes, new_weights = Augmenter(config, ndim, seed=9)(image, classes, weights)
    assert outside.any()
    assert not new_weights[outside].any()
    assert not new_classes[outside].any()
    assert (new_weights[inside] == 1).all()
    assert torch.isfinite(new_image).all()
    assert new_image.min() >= 0
    assert new_image.max() <= 1  # mirrored, not padded with zeros
    assert (new_image[:, 0][outside] > 0).all()


def test_held_out_pixels_never_come_back() -> None:
    image, classes, weights = _batch((48, 48), count=8, channels=1)
    weights[:, :, 20:30] = 0
    marked = torch.zeros_like(image)
    marked[:, 0, :, 20:30] = 1
    new_image, _, new_weights = Augmenter(AugmentConfig(grey=0), 2, seed=2)(marked, classes, weights)
    assert new_image[:, 0][new_weights > 0].max() <= 0.5 + 1e-3


# --------------------------------------------------------------------------------------------- elastic deformation


@pytest.mark.parametrize("sigma", [4.0, 10.0])
@pytest.mark.parametrize("grid", [3, 5])
@pytest.mark.parametrize("size", [(65, 97), (17, 33, 65)])
def test_displacements_have_the_standard_deviation_on_the_grid(size: tuple[int, ...], grid: int, sigma: float) -> None:
    count = 400 if len(size) == 2 else 40
    field = elastic_displacement(
        count, size, sigma=sigma, grid=grid, generator=torch.Generator().manual_seed(1), device=CPU
    )
    assert field.shape == (count, len(size), *size)
    step = [(n - 1) // (grid - 1) for n in size]
    on_grid = field[(slice(None), slice(None), *(slice(None, None, s) for s in step))]
    assert on_grid.shape[2:] == (grid,) * len(size)
    tolerance = 4 * sigma / math.sqrt(2 * on_grid.numel())
    assert abs(on_grid.std().item() - sigma) < tolerance
    assert abs(on_grid.mean().item()) < 4 * sigma / math.sqrt(on_grid.numel())


def test_displacements_are_smooth_and_independent() -> None:
    field = elastic_displacement(
        50, (128, 128), sigma=10, grid=3, generator=torch.Generator().manual_seed(1), device=CPU
    )
    slope = torch.diff(field, dim=-1)
    bend = torch.diff(slope, dim=-1)
    assert slope.abs().max() < 1.5  # pixels a pixel: a random field without smoothing has 14
    assert bend.abs().max() < 0.1  # a bilinear field has kinks of up to 0.5
    both = torch.stack([field[:, 0].flatten(), field[:, 1].flatten()])
    assert abs(torch.corrcoef(both)[0, 1].item()) < 0.2
    assert field.std(0).min() > 3  # every place moves, the corners too


@pytest.mark.parametrize("size", [(33, 65), (129, 129)])
def test_interpolation_is_bicubic_as_pytorchs(size: tuple[int, int]) -> None:
    """Catmull-Rom is the cubic convolution with a = -0.5, PyTorch's has a = -0.75: close, not equal."""
    coarse = torch.randn(20, 2, 3, 3, generator=torch.Generator().manual_seed(3))
    field = elastic_displacement(20, size, sigma=1.0, grid=3, generator=torch.Generator().manual_seed(3), device=CPU)
    other = torch.nn.functional.interpolate(coarse, size, mode="bicubic", align_corners=True)
    assert (field - other).abs().max() < 0.25
    assert (field - other).abs().mean() < 0.05
    torch.testing.assert_close(field[..., :: size[0] // 2, :: size[1] // 2], coarse, atol=1e-5, rtol=0)


def test_interpolation_is_the_catmull_rom_spline_of_scipy() -> None:
    coarse = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(3))[0, 0].double().numpy()
    field = elastic_displacement(1, (31, 46), sigma=1.0, grid=4, generator=torch.Generator().manual_seed(3), device=CPU)

    def spline(values: np.ndarray, size: int) -> np.ndarray:
        around = np.concatenate([values[:1], values, values[-1:]])
        slopes = (around[2:] - around[:-2]) / 2
        return CubicHermiteSpline(np.arange(len(values)), values, slopes)(np.linspace(0, len(values) - 1, size))

    expected = spline(spline(coarse, 31).T, 46).T
    np.testing.assert_allclose(field[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 16), (32, 32), (128, 128), (16, 64, 64)])
def test_small_crops_and_thin_volumes_are_bent_but_not_folded(shape: tuple[int, ...]) -> None:
    config = AugmentConfig(flips=False, rotation=0, scaling=0, shift=0, grey=0)
    ndim = len(shape)
    grid = Augmenter(config, ndim, seed=1)._sampling_grid(30 if ndim == 2 else 4, shape, CPU)
    place = (grid.flip(-1) + 1) / 2 * (torch.tensor(shape) - 1)
    slopes = torch.stack(torch.gradient(place, dim=list(range(1, ndim + 1))), -1)
    folded = (torch.linalg.det(slopes) <= 0).float().mean().item()
    assert folded < 0.005
    moved = place - torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"), -1)
    assert moved.std().item() > 0.04 * min(shape)


# ----------------------------------------------------------------------------------------------------- the draws


def test_shift_zoom_and_angle_stay_within_their_bounds() -> None:
    config = AugmentConfig(flips=False, rotation=30, scaling=0.25, shift=5, elastic=0, grey=0)
    augmenter = Augmenter(config, 2, seed=0)
    matrices = augmenter._matrices(3000)
    zoom = torch.linalg.det(matrices).sqrt()
    angle = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert 1 / 1.25 - 1e-4 <= zoom.min() < 0.81
    assert 1.24 < zoom.max() <= 1.25 + 1e-4
    assert 29 < angle.max() <= 30.01
    assert -30.01 <= angle.min() < -29
    grid = augmenter._sampling_grid(500, (101, 101), CPU)
    centre = grid[:, 50, 50] * 50
    assert 4.8 < centre.abs().max() <= 5.001
    grid = Augmenter(config, 2, seed=0)._sampling_grid(500, (17, 17), CPU)
    assert (grid[:, 8, 8] * 8).abs().max() <= 17 / 8  # strokes stay in a small crop


def test_in_a_volume_only_the_plane_is_turned_and_every_axis_mirrored() -> None:
    matrices = Augmenter(AugmentConfig(scaling=0, elastic=0, shift=0, grey=0), 3, seed=1)._matrices(2000)
    assert (matrices[:, 0, 1:] == 0).all()
    assert (matrices[:, 1:, 0] == 0).all()
    assert abs((matrices[:, 0, 0] < 0).float().mean().item() - 0.5) < 0.05
    mirrored = torch.linalg.det(matrices[:, 1:, 1:]) < 0
    assert abs(mirrored.float().mean().item() - 0.5) < 0.05


def test_grey_values_vary_for_each_crop_and_channel_and_touch_no_label() -> None:
    config = AugmentConfig(flips=False, rotation=0, scaling=0, shift=0, elastic=0, grey=0.2)
    ramp = torch.linspace(-1, 10, 16 * 16).reshape(1, 1, 16, 16).repeat(40, 2, 1, 1)
    _, classes, weights = _batch((16, 16), count=40)
    new, new_classes, new_weights = Augmenter(config, 2)(ramp, classes, weights)
    assert torch.equal(new_classes, classes)
    assert torch.equal(new_weights, weights)
    assert torch.isfinite(new).all()
    values = new.reshape(80, -1)
    assert (torch.diff(values, dim=1) > -1e-4).all()  # brighter stays brighter
    at_one = values[:, int((values.shape[1] - 1) * 2 / 11)]
    assert at_one.min() > 0.65
    assert at_one.max() < 1.35
    assert len({round(v, 4) for v in at_one.tolist()}) > 70


def test_a_seed_means_the_same_and_leaves_pytorchs_numbers_alone() -> None:
    batch = _batch((32, 32))
    state = torch.get_rng_state()
    first, again, other = (Augmenter(AugmentConfig(), 2, seed=s)(*batch) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], other[0])
    augmenter = Augmenter(AugmentConfig(), 2, seed=3)
    assert torch.equal(augmenter(*batch)[0], first[0])
    assert not torch.equal(augmenter(*batch)[0], first[0])  # the next batch is varied anew


def test_the_crops_that_went_in_are_as_before() -> None:
    batch = _batch((32, 32))
    copies = [part.clone() for part in batch]
    Augmenter(AugmentConfig(), 2)(*batch)
    for part, copy in zip(batch, copies, strict=True):
        assert torch.equal(part, copy)


@pytest.mark.parametrize(
    "matrix", [[[1, 0], [0, -1]], [[0, 1], [-1, 0]], [[0.8, 0.6], [-0.6, 0.8]], [[0, 0.9], [1.1, 0]]]
)
@pytest.mark.parametrize("shape", [(15, 15), (3, 11, 11)])
def test_places_are_those_that_pixels_came_from(matrix: list[list[float]], shape: tuple[int, ...]) -> None:
    ndim, frame = len(shape), tuple(3 * side for side in shape)
    start = tuple(side // 2 for side in shape)
    places = relative_places(start, tuple(a + b for a, b in zip(start, shape, strict=True)), frame)
    whole = torch.eye(ndim)
    whole[-2:, -2:] = torch.tensor(matrix)
    batch = torch.cat([torch.rand(1, *shape), torch.from_numpy(places)])[None]
    moved, *_ = _fixed(whole)(batch, torch.zeros(1, *shape).long(), torch.ones(1, *shape), channels=1)
    coefficients = np.random.default_rng(2).normal(size=(2, *(4,) * ndim)).astype(np.float32)
    found = place_logits(torch.from_numpy(coefficients), moved[:, 1:])[0].numpy()
    half = np.array([(side - 1) / 2 for side in shape])
    pixels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - half
    source = pixels @ whole.numpy().T + half  # in pixels of the crop
    inside = ((source > -1e-3) & (source < np.array(shape) - 1 + 1e-3)).all(-1)
    expected = np.zeros((2, *shape))
    for centre in np.ndindex(*(4,) * ndim):
        square = (((source + start) / (np.array(frame) - 1) * 3 - centre) ** 2).sum(-1)
        expected += coefficients[(slice(None), *centre)].reshape(2, *(1,) * ndim) * np.exp(-square / 2)
    assert inside.sum() > 40
    np.testing.assert_allclose(found[:, inside], expected[:, inside], atol=1e-4)


def test_grey_values_vary_as_without_further_channels_and_these_stay() -> None:
    image, classes, weights = _batch((16, 24))
    spoilt = replace(STILL, grey=0.4, noise=0.2, blur=2.0)
    both = Augmenter(spoilt, 2, 3)(image, classes, weights, channels=1)[0]
    alone = Augmenter(spoilt, 2, 3)(image[:, :1], classes, weights)[0]
    torch.testing.assert_close(both[:, :1], alone)
    torch.testing.assert_close(both[:, 1:], image[:, 1:], atol=1e-4, rtol=0)
    assert (both[:, :1] - image[:, :1]).abs().max() > 0.1
