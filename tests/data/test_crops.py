"""Crops: each holds a painted pixel, classes come up equally often, a seed means the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_unet.data.axes import ImageLayout
from napari_unet.data.crops import AnnotatedFrame, CropSampler, tell_place
from napari_unet.data.intensity import FrameReader, IntensityRange
from napari_unet.errors import AnnotationError


def _frame(image: np.ndarray, annotation: np.ndarray, margin: int = 0) -> AnnotatedFrame:
    """Build a frame from an annotation (0 unlabelled, 1.. classes), cut to its painted part plus a margin."""
    ndim = annotation.ndim
    places = np.argwhere(annotation)
    low = np.maximum(places.min(0) - margin, 0)
    box = tuple(slice(a, b + 1 + margin) for a, b in zip(low, places.max(0), strict=True))
    layout = ImageLayout("ZYX"[-ndim:], image.shape, ndim)
    part = annotation[box]
    return AnnotatedFrame(
        FrameReader(image, layout, IntensityRange((0.0,), (1.0,))), (), tuple(int(a) for a in low),
        np.maximum(part.astype(np.int64) - 1, 0).astype(np.uint8), (part > 0).astype(np.float32),
    )  # fmt: skip


def _sparse(shape: tuple[int, ...], rng: np.random.Generator, share: float = 0.01) -> np.ndarray:
    annotation = (rng.random(shape) < share).astype(np.uint8)
    annotation[rng.random(shape) < share / 20] = 2
    annotation[tuple(n // 2 for n in shape)] = 2
    annotation[tuple(n // 3 for n in shape)] = 1
    return annotation


@pytest.mark.parametrize(
    ("shape", "crop", "reach", "draws"),
    [
        ((61, 83), (32, 32), (32, 32), 10_000),
        ((17, 23), (32, 32), (32, 32), 2000),
        ((200, 31), (128, 48), (128, 48), 1000),
        ((40, 40), (72, 88), (16, 32), 2000),  # an unpadded network reads more than it writes
        ((9, 21, 30), (16, 32, 32), (16, 32, 32), 1000),
    ],
)
def test_every_crop_holds_a_painted_pixel_where_the_network_writes(
    shape: tuple[int, ...], crop: tuple[int, ...], reach: tuple[int, ...], draws: int, rng: np.random.Generator
) -> None:
    sampler = CropSampler([_frame(rng.random(shape), _sparse(shape, rng, 0.002))], crop, reach)
    written = tuple(slice((c - r) // 2, (c - r) // 2 + r) for c, r in zip(crop, reach, strict=True))
    for _ in range(draws // 50):
        batch = sampler.draw(50)
        assert batch.weights.shape == (50, *crop)
        assert (batch.weights[(slice(None), *written)].reshape(50, -1).max(1) > 0).all()


def test_a_painted_pixel_stays_inside_however_the_crop_is_turned(rng: np.random.Generator) -> None:
    annotation = np.zeros((300, 300), np.uint8)
    annotation[150, 150] = 1
    sampler = CropSampler([_frame(rng.random((300, 300)), annotation)], (128, 48), (128, 48))
    for weights in sampler.draw(500).weights:
        y, x = np.argwhere(weights)[0] - (64, 24)
        assert np.hypot(y, x) <= 24


@pytest.mark.parametrize("counts", [(5000, 3), (40, 4000), (700, 700)])
def test_classes_come_up_equally_often_however_much_of_each_is_painted(
    counts: tuple[int, int], rng: np.random.Generator
) -> None:
    annotation = np.zeros(100 * 100, np.uint8)
    chosen = rng.permutation(annotation.size)
    annotation[chosen[: counts[0]]], annotation[chosen[-counts[1] :]] = 1, 2
    frame = _frame(rng.random((100, 100)), annotation.reshape(100, 100))
    sampler = CropSampler([frame], (1, 1), (1, 1))  # a crop is the drawn pixel itself
    classes = sampler.draw(4000).classes.ravel()
    assert abs(classes.mean() - 0.5) < 0.04  # five standard deviations


def test_all_images_take_part_and_small_ones_more_than_their_share(rng: np.random.Generator) -> None:
    frames = []
    for value, painted in ((0.0, 10_000), (1.0, 100)):
        annotation = np.zeros(100 * 100, np.uint8)
        annotation[:painted] = 1 + np.arange(painted) % 2
        frames.append(_frame(np.full((100, 100), value), annotation.reshape(100, 100)))
    share = CropSampler(frames, (1, 1), (1, 1)).draw(4000).image.mean()
    assert abs(share - 1 / 11) < 0.025  # as the square roots of the painted pixels, 100 to 10


def test_a_crop_is_what_numpy_cuts_from_the_mirrored_image(rng: np.random.Generator) -> None:
    image = rng.random((17, 23)).astype(np.float32)
    annotation = _sparse((17, 23), rng, 0.1)
    sampler = CropSampler([_frame(image, annotation, margin=1)], (32, 32), (32, 32), seed=3)
    batch = sampler.draw(40)
    width = 64
    mirrored = np.pad(image, width, mode="reflect")
    painted = np.pad(annotation, width)
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, (32, 32))
    for crop, classes, weights in zip(batch.image, batch.classes, batch.weights, strict=True):
        found = np.argwhere((windows[..., 0, 0] == crop[0, 0, 0]) & (windows[..., 31, 31] == crop[0, 31, 31]))
        matches = [tuple(at) for at in found if np.array_equal(windows[tuple(at)], crop[0])]
        targets = [painted[y : y + 32, x : x + 32] for y, x in matches]
        assert any(
            np.array_equal(weights, target > 0) and np.array_equal(classes, np.maximum(target.astype(int) - 1, 0))
            for target in targets
        )


def test_nothing_is_painted_beyond_the_border_of_the_frame(rng: np.random.Generator) -> None:
    frame = _frame(rng.random((17, 23)), np.ones((17, 23), np.uint8))
    image, classes, weights = frame.read((-10, -100), (40, 50))
    expected = np.zeros((50, 150), np.float32)
    expected[10:27, 100:123] = 1
    np.testing.assert_array_equal(weights, expected)
    assert image.shape == (1, 50, 150)
    assert not classes.any()
    for start, stop in (((-60, 0), (-20, 9)), ((30, 0), (44, 9)), ((0, 90), (9, 99))):  # wholly outside
        assert not frame.read(start, stop)[2].any()


def test_a_seed_means_the_same_crops(rng: np.random.Generator) -> None:
    frames = [_frame(rng.random((50, 60)), _sparse((50, 60), rng)) for _ in range(3)]
    first, again, other = (CropSampler(frames, (32, 32), (32, 32), seed).draw(20) for seed in (7, 7, 8))
    for name in ("image", "classes", "weights"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.image, other.image)


def test_one_painted_pixel_is_enough(rng: np.random.Generator) -> None:
    annotation = np.zeros((17, 23), np.uint8)
    annotation[16, 0] = 2
    batch = CropSampler([_frame(rng.random((17, 23)), annotation)], (32, 32), (32, 32)).draw(200)
    assert (batch.weights.reshape(200, -1).sum(1) == 1).all()
    assert (batch.classes[batch.weights > 0] == 1).all()
    assert batch.image.dtype == np.float32
    assert batch.classes.dtype == np.int64


def test_held_out_pixels_are_neither_drawn_nor_weighted(rng: np.random.Generator) -> None:
    annotation = np.zeros((60, 60), np.uint8)
    annotation[5:8, 5:50], annotation[50:53, 5:50] = 1, 2
    frame = _frame(rng.random((60, 60)), annotation)
    mask = np.zeros(frame.weights.shape, bool)
    mask[:10] = True
    kept = frame.keep(mask)
    batch = CropSampler([kept], (16, 16), (16, 16)).draw(100)
    assert (batch.classes[batch.weights > 0] == 0).all()
    assert frame.weights[-1].any()  # the frame itself is as before


def test_nothing_painted_is_said(rng: np.random.Generator) -> None:
    frame = _frame(rng.random((20, 20)), np.ones((20, 20), np.uint8))
    for frames in ([], [frame.keep(np.zeros((20, 20), bool))]):
        with pytest.raises(AnnotationError, match="Nothing is painted"):
            CropSampler(frames, (16, 16), (16, 16))


def test_millions_of_painted_pixels_are_no_burden(rng: np.random.Generator) -> None:
    frame = _frame(rng.random((1500, 1500)), np.ones((1500, 1500), np.uint8))
    sampler = CropSampler([frame], (8, 8), (8, 8))
    kept = sum(flat.nbytes for places in sampler._places.values() for _, flat in places)
    assert kept < 2_000_000
    corners = {(int(y) // 500, int(x) // 500) for y, x in _centres(sampler, 300)}
    assert len(corners) == 9  # from everywhere


def test_unpainted_crops_come_from_everywhere_in_all_images_and_frames() -> None:
    """Each pixel says which image, frame, row and column it is; one stroke in a corner is all that is painted."""
    stack = np.arange(2 * 20 * 24, dtype=np.float32).reshape(2, 20, 24)
    image = 10_000 + np.arange(15 * 15, dtype=np.float32).reshape(15, 15)
    painted, nothing = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.float32)
    readers = [
        FrameReader(x, ImageLayout(axes, x.shape, 2), IntensityRange((0.0,), (16_384.0,)))
        for x, axes in ((stack, "TYX"), (image, "YX"))
    ]
    frames = [
        AnnotatedFrame(readers[0], (0,), (0, 0), painted, nothing),
        AnnotatedFrame(readers[0], (0,), (9, 9), painted, nothing),
        AnnotatedFrame(readers[1], (), (0, 0), painted, nothing * 0),
    ]
    sampler = CropSampler(frames, (6, 8), (6, 8), seed=1)
    crops = sampler.draw_anywhere(12_000) * 16_384
    assert crops.shape == (12_000, 1, 6, 8)
    assert set(np.unique(crops).tolist()) == set(stack.ravel().tolist()) | set(image.ravel().tolist())
    assert (np.diff(crops, axis=-1) == 1).all()  # never mirrored where the frame is large enough
    share = (crops[:, 0, 0, 0] >= 10_000).mean()
    assert 0.45 < share < 0.55  # by image, however many frames of it are painted
    wide = (
        CropSampler([frames[2], replace(frames[0], weights=nothing)], (30, 18), (30, 18), seed=1).draw_anywhere(200)
        * 16_384
    )
    assert set(np.unique(wide).tolist()) >= set(image.ravel().tolist())


def test_a_seed_means_the_same_unpainted_crops(rng: np.random.Generator) -> None:
    image = rng.random((40, 40)).astype(np.float32)
    samplers = [CropSampler([_frame(image, _sparse((40, 40), np.random.default_rng(1)))], (8, 8), (8, 8), s)
                for s in (5, 5, 6)]  # fmt: skip
    one, same, other = (sampler.draw_anywhere(10) for sampler in samplers)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def _centres(sampler: CropSampler, count: int) -> list[np.ndarray]:
    flat = sampler._places[0][0][1]
    return [np.array(np.unravel_index(int(i), (1500, 1500))) for i in sampler.rng.choice(flat, count)]


@pytest.mark.parametrize(("shape", "crop"), [((13, 22), (16, 8)), ((5, 9, 14), (4, 16, 8))])
def test_a_crop_tells_the_place_of_each_pixel_in_the_whole_frame(shape: tuple[int, ...], crop: tuple[int, ...]) -> None:
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)  # each pixel says which one it is
    reader = FrameReader(
        numbers, ImageLayout("ZYX"[-len(shape) :], shape, len(shape)), IntensityRange((0.0,), (999.0,))
    )
    frame = AnnotatedFrame(reader, (), (0,) * len(shape), np.zeros(shape, np.uint8), np.ones(shape, np.float32))
    batch = CropSampler(tell_place([frame], len(shape)), crop, crop).draw(12)
    assert batch.image.shape == (12, 1 + len(shape), *crop)
    inside = batch.weights > 0
    pixels = np.rint(batch.image[:, 0][inside] * 999).astype(int)
    for axis, (places, size) in enumerate(zip(np.unravel_index(pixels, shape), shape, strict=True), start=1):
        np.testing.assert_allclose(batch.image[:, axis][inside], places / (size - 1), atol=1e-6)
    assert not inside.all()  # some crops reach beyond the frame


def test_frames_of_one_image_still_share_what_reads_it() -> None:
    image = np.zeros((3, 8, 8), np.float32)
    reader = FrameReader(image, ImageLayout("TYX", (3, 8, 8), 2), IntensityRange((0.0,), (1.0,)))
    strokes = np.zeros((8, 8), np.uint8), np.ones((8, 8), np.float32)
    told = tell_place([AnnotatedFrame(reader, (i,), (0, 0), *strokes) for i in range(3)], 2)
    assert len({id(frame.reader) for frame in told}) == 1
    assert reader.surroundings == 0
