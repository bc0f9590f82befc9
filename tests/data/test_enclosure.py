"""How far pixels are enclosed: against a search for the lowest way out, on smaller copies, in boxes and at pixels."""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt
import pytest

from napari_unet.data import enclosure
from napari_unet.data.axes import ImageLayout
from napari_unet.data.enclosure import EnclosureMap, measure_enclosure, shrink_frame
from napari_unet.data.intensity import FrameReader, IntensityRange


def lowest_ways(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Find the highest value on the lowest way from each pixel to the border, the border first (Dijkstra)."""
    height, width = plane.shape
    best = np.full(plane.shape, np.inf)
    border = [(y, x) for y in range(height) for x in range(width) if y in (0, height - 1) or x in (0, width - 1)]
    waiting = [(float(plane[pixel]), *pixel) for pixel in border]
    heapq.heapify(waiting)
    while waiting:
        level, y, x = heapq.heappop(waiting)
        if level >= best[y, x]:
            continue
        best[y, x] = level
        for a in range(max(0, y - 1), min(height, y + 2)):
            for b in range(max(0, x - 1), min(width, x + 2)):
                if best[a, b] == np.inf:
                    heapq.heappush(waiting, (max(level, float(plane[a, b])), a, b))
    return best


@pytest.mark.parametrize("shape", [(9, 14), (1, 7), (2, 5), (3, 11, 8)])
def test_it_is_how_much_the_lowest_way_out_leads_up(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    image = rng.random(shape).astype(np.float32)
    found = measure_enclosure(image)
    for plane, (hole, hill) in zip(
        image.reshape(-1, *shape[-2:]), np.moveaxis(found.reshape(2, -1, *shape[-2:]), 0, 1), strict=True
    ):
        np.testing.assert_allclose(hole, lowest_ways(plane.astype(float)) - plane, atol=1e-6)
        np.testing.assert_allclose(hill, lowest_ways(-plane.astype(float)) + plane, atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
@pytest.mark.parametrize("shape", [(13, 10), (3, 8, 9)])
def test_a_smaller_copy_has_the_means_of_squares(
    shape: tuple[int, ...], factor: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enclosure, "_MOST_PIXELS", 40)  # several bands
    monkeypatch.setattr(enclosure.ndimage, "uniform_filter", lambda values, *_, **__: values)
    image = rng.random((2, *shape)).astype(np.float32)
    found = shrink_frame(lambda box: image[(slice(None), *box)], shape, factor)
    assert found.shape == (*shape[:-2], -(-shape[-2] // factor), -(-shape[-1] // factor))
    for cell in np.ndindex(found.shape[-2:]):
        rows, columns = (slice(factor * i, factor * (i + 1)) for i in cell)
        expected = image[..., rows, columns].mean(axis=(0, -2, -1))
        np.testing.assert_allclose(found[(..., *cell)], expected, atol=1e-6)


def test_air_in_a_body_is_told_from_air_around_it_in_an_image_of_any_size() -> None:
    y, x = np.mgrid[-1:1:600j, -1:1:700j]
    body, lung = y**2 + x**2 < 0.7, (y**2 + (abs(x) - 0.4) ** 2 < 0.05)
    image = (body & ~lung).astype(np.float32)
    for step in (1, 2, 5):
        part = image[::step, ::step]
        depth = EnclosureMap(lambda box, part=part: part[box][np.newaxis], part.shape).box(
            [np.arange(n) for n in part.shape]
        )[0]
        inside, outside = lung[::step, ::step], ~body[::step, ::step]
        assert depth[inside].mean() > 0.85
        assert depth[outside].max() < 0.05


@pytest.mark.parametrize("shape", [(30, 41), (4, 23, 17)])
def test_boxes_pixels_and_a_reader_agree(
    shape: tuple[int, ...], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enclosure, "_LONGEST_SIDE", 12)
    image = rng.random(shape).astype(np.float32)
    layout = ImageLayout("ZYX"[-len(shape) :], shape, len(shape))
    reader = FrameReader(image, layout, IntensityRange((0.0,), (1.0,)), surroundings=len(shape) + 2)
    whole = reader.enclosed_box((), (0,) * len(shape), shape)
    assert whole.shape == (2, *shape)
    assert whole.max() > 0.01
    pixels = rng.permutation(image.size)[:50]
    told = reader.places((), pixels, enclosed=True)
    np.testing.assert_allclose(told[:, -2:], whole.reshape(2, -1)[:, pixels].T, atol=1e-6)
    np.testing.assert_array_equal(told[:, :-2], reader.places((), pixels, enclosed=False))
    start, stop = (-3,) * len(shape), tuple(n + 2 for n in shape)
    block = reader.read((), start, stop)
    assert block.shape == (1 + len(shape) + 2, *(n + 5 for n in shape))
    mirrored = np.pad(whole, [(0, 0), *((3, 2),) * len(shape)], mode="reflect")
    np.testing.assert_allclose(block[-2:], mirrored, atol=1e-6)


def test_the_copy_of_a_volume_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosure, "_MOST_COPIED", 100)
    image = np.zeros((12, 20, 30), np.float32)
    found = EnclosureMap(lambda box: image[box][np.newaxis], image.shape)
    assert found.values.shape == (2, 12, 3, 4)


def test_frames_are_measured_once_and_the_oldest_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet.data.intensity._ENCLOSURE_BYTES", 2 * (2 * 8 * 9 * 4))  # those of two frames
    seen = []
    plain = enclosure.measure_enclosure
    monkeypatch.setattr(enclosure, "measure_enclosure", lambda image: seen.append(image) or plain(image))
    image = np.random.default_rng(0).random((3, 8, 9)).astype(np.float32)
    reader = FrameReader(image, ImageLayout("TYX", image.shape, 2), IntensityRange((0.0,), (1.0,)))
    for frame in (0, 0, 1, 0, 2, 1, 0):
        reader.places((frame,), np.array([3]), enclosed=True)
    assert len(seen) == 4


def test_a_frame_that_is_too_large_is_not_read_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet.data.intensity._LARGE", 50)
    image = np.random.default_rng(0).random((8, 9))
    reader = FrameReader(image, ImageLayout("YX", image.shape, 2), IntensityRange((0.0,), (1.0,)))
    assert not reader.places((), np.arange(72), enclosed=True)[:, -2:].any()
    assert reader.enclosed_box((), (0, 0), (8, 9)).any()
