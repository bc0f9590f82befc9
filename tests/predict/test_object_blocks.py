"""Objects found block by block are those of the whole frame, whatever the blocks are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_unet.assess.metrics import average_precision
from napari_unet.errors import InputError
from napari_unet.predict import part_shelf
from napari_unet.predict.instances import separate_objects
from napari_unet.predict.object_blocks import (
    BlockLabelled,
    BlockSearched,
    ObjectsCounted,
    ObjectsFinished,
    choose_block,
    label_blocks,
    label_objects,
)

FloatArray = npt.NDArray[np.float32]
TILINGS = 20


def blobs(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> FloatArray:
    """Make smooth noise between 0 and 1 that hangs together over long ways."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), scale) * (2 * scale * np.pi**0.5) ** (len(shape) / 2)
    return np.asarray(1 / (1 + np.exp(-3 * noise)), np.float32)


def blurred(labels: npt.NDArray[Any], rng: np.random.Generator) -> FloatArray:
    """Make what a network may say of objects: blurred, dimmer where two touch, noisy."""
    apart = labels > 0
    apart &= ndimage.maximum_filter(labels, 3) == ndimage.minimum_filter(np.where(labels, labels, labels.max()), 3)
    noise = ndimage.gaussian_filter(rng.standard_normal(labels.shape), 1)
    mixed = 0.7 * ndimage.gaussian_filter((labels > 0).astype(np.float32), 1) + 0.3 * apart + 0.3 * noise
    return np.asarray(np.clip(mixed, 0, 1), np.float32)


def tilings(rng: np.random.Generator, shape: tuple[int, ...], smallest: int) -> list[tuple[int, ...]]:
    return [tuple(int(rng.integers(smallest, max(smallest + 1, size))) for size in shape) for _ in range(TILINGS)]


def test_real_nuclei_for_twenty_tilings(
    real_data: Callable[[str], dict[str, npt.NDArray[Any]]], rng: np.random.Generator
) -> None:
    arrays = real_data("nuclei_fluo_dsb2018")
    names = sorted(key for key in arrays if key.startswith("label"))
    scores = []
    for number, sides in enumerate(tilings(rng, (200, 200), 60)):
        truth = arrays[names[number % len(names)]].astype(np.int64)
        foreground = blurred(truth, rng)
        whole = separate_objects(foreground)
        np.testing.assert_array_equal(label_objects(foreground, block=sides), whole)
        scores.append(average_precision(whole, truth, 0.5))
    assert np.mean(scores) > 0.85


def test_real_embryo_nuclei_for_twenty_tilings(
    real_data: Callable[[str], dict[str, npt.NDArray[Any]]], rng: np.random.Generator
) -> None:
    spacing = (1.75, 0.8, 0.8)
    arrays = real_data("embryo_nuclei_3d")
    crops = [arrays[key][10:38, 30:76, 30:76] for key in arrays if key.startswith("label")]
    crop = max(crops, key=lambda labels: len(np.unique(labels)))
    foreground = blurred(crop.astype(np.int64), rng)
    whole = separate_objects(foreground, spacing=spacing)
    assert whole.max() > 10
    for sides in tilings(rng, crop.shape, 18):
        np.testing.assert_array_equal(label_objects(foreground, block=sides, spacing=spacing), whole)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    ("shape", "spacing"), [((110, 90), None), ((110, 90), (2.5, 1.0)), ((14, 36, 32), (3.0, 1.0, 1.2))]
)
def test_foreground_that_hangs_together_all_over_for_twenty_tilings(
    shape: tuple[int, ...], spacing: tuple[float, ...] | None, flat: bool, rng: np.random.Generator
) -> None:
    foreground = blobs(rng, shape, 1.5)
    if flat:  # every height comes many times
        foreground = (foreground > 0.4).astype(np.float32)
    whole = separate_objects(foreground, threshold=0.4, spacing=spacing)
    assert whole.max() > 15
    for sides in tilings(rng, shape, min(shape) // 2):
        tiled = label_objects(foreground, block=sides, threshold=0.4, spacing=spacing)
        np.testing.assert_array_equal(tiled, whole)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 30), min_size=2, max_size=2),
    cuts=st.lists(st.integers(1, 5), min_size=2, max_size=2),
    seed=st.integers(0, 1000),
    threshold=st.sampled_from([0.1, 0.4, 0.6, 0.9]),
    min_size=st.integers(0, 30),
    depth=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_any_frame_in_any_blocks(
    shape: list[int], cuts: list[int], seed: int, threshold: float, min_size: int, depth: float
) -> None:
    foreground = blobs(np.random.default_rng(seed), tuple(shape), 1.0).round(1)
    chosen: dict[str, Any] = {"threshold": threshold, "min_size": min_size, "depth": depth}
    sides = [-(-size // parts) for size, parts in zip(shape, cuts, strict=True)]
    np.testing.assert_array_equal(
        label_objects(foreground, block=sides, **chosen), separate_objects(foreground, **chosen)
    )


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_object_larger_than_many_blocks(value: float) -> None:
    foreground = np.full((90, 80), value, np.float32)
    assert (label_objects(foreground, block=32) == value).all()


def test_the_order_of_the_blocks_does_not_matter(rng: np.random.Generator) -> None:
    foreground = blobs(rng, (90, 80), 2)
    whole = separate_objects(foreground)
    labels = np.zeros(foreground.shape, np.uint16)
    boxes = []
    for event in label_blocks(foreground, block=25, focus=(80, 10)):
        if isinstance(event, BlockLabelled):
            boxes.append(event.box)
            labels[event.box] = event.labels
    np.testing.assert_array_equal(labels, whole)
    assert boxes[0] == (slice(75, 90), slice(0, 25))


@pytest.mark.parametrize("kind", ["zarr", "memmap", "dask"])
def test_arrays_on_the_disk_are_read_and_written_block_by_block(
    kind: str, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreground = blobs(rng, (90, 80), 2)
    if kind == "zarr":
        source: Any = zarr.create_array(tmp_path / "source.zarr", data=foreground, chunks=(32, 32))
    elif kind == "memmap":
        np.save(tmp_path / "source.npy", foreground)
        source = np.load(tmp_path / "source.npy", mmap_mode="r")
    else:
        source = da.from_array(foreground, chunks=40)
    target = zarr.create_array(tmp_path / "labels.zarr", shape=(90, 80), chunks=(16, 32), dtype=np.uint32)
    monkeypatch.setattr(part_shelf, "_IN_MEMORY", 0)
    assert label_objects(source, target, block=(16, 32)) is target
    np.testing.assert_array_equal(np.asarray(target[:]), separate_objects(foreground))


class Recorded:
    """An array that remembers how much was read from it at once, and may break down."""

    def __init__(self, array: FloatArray, reads: int = 10**9) -> None:
        self.array, self.left = array, reads
        self.shape, self.largest = array.shape, 0

    def __getitem__(self, box: Any) -> FloatArray:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        block = self.array[box]
        self.largest = max(self.largest, block.size)
        return block


def test_only_the_surroundings_of_a_block_are_read(rng: np.random.Generator) -> None:
    source = Recorded(blobs(rng, (200, 200), 2))
    label_objects(source, block=40)
    assert source.largest <= (40 + 2 * (24 + 5)) ** 2
    thick = Recorded(np.ones((40, 2000), np.float32))
    label_objects(thick, block=200)
    assert thick.largest <= 40 * (200 + 2 * (256 + 5))


def test_an_interrupted_search_goes_on_where_it_was(tmp_path: Path, rng: np.random.Generator) -> None:
    foreground = blobs(rng, (90, 80), 2)
    folder = tmp_path / "parts"
    reads = 0
    for _ in range(4):
        source = Recorded(foreground, reads=5)
        try:
            labels = label_objects(source, block=25, scratch=folder)
        except KeyboardInterrupt:
            reads += 5
        else:
            reads += 5 - source.left
    np.testing.assert_array_equal(labels, separate_objects(foreground))
    assert reads == 16  # blocks
    assert not folder.exists()


def test_intermediate_results_of_another_search_are_refused(tmp_path: Path) -> None:
    foreground = np.ones((20, 20), np.float32)
    next(label_blocks(foreground, block=8, scratch=tmp_path / "parts"))
    with pytest.raises(InputError, match="other settings"):
        next(label_blocks(foreground, block=9, scratch=tmp_path / "parts"))
    (tmp_path / "own.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        next(label_blocks(foreground, block=8, scratch=tmp_path))
    assert os.listdir(tmp_path / "parts")


def test_the_search_tells_how_far_it_is_and_stops_when_asked() -> None:
    foreground = np.zeros((20, 20), np.float32)
    foreground[4:16, 4:16] = 1
    events = list(label_blocks(foreground, block=10))
    assert [type(event) for event in events] == [
        *[BlockSearched] * 4, ObjectsCounted, *[BlockLabelled] * 4, ObjectsFinished
    ]  # fmt: skip
    assert [event.done for event in events] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert {event.total for event in events} == {8}
    counted = events[4]
    assert isinstance(counted, ObjectsCounted)
    assert counted.count == 1
    asked = iter([False] * 6 + [True])
    events = list(label_blocks(foreground, block=10, should_stop=lambda: next(asked)))
    assert isinstance(events[-1], ObjectsFinished)
    assert events[-1].stopped
    assert sum(isinstance(event, BlockLabelled) for event in events) == 2


def test_more_than_65535_objects_get_a_larger_type() -> None:
    foreground = np.zeros((1024, 1028), np.float32)
    foreground[::4, ::4] = 1
    labels = label_objects(foreground, block=300, min_size=1)
    assert labels.dtype == np.uint32
    assert labels.max() == 256 * 257
    with pytest.raises(InputError, match="65,792 objects"):
        label_objects(foreground, np.zeros(foreground.shape, np.uint16), block=300, min_size=1)
    assert label_objects(foreground[:1000], block=300, min_size=1).dtype == np.uint16


def test_blocks_are_whole_chunks_and_hold_a_few_million_pixels() -> None:
    assert choose_block((100, 200)) == (100, 200)
    for shape in ((40_000, 40_000), (100, 10**6), (500, 2048, 2048), (30, 4000, 6000)):
        assert 2_000_000 < np.prod(choose_block(shape)) <= 8_000_000
        chunked = choose_block(shape, (16, 64, 64)[-len(shape) :])
        assert all(side % chunk == 0 for side, chunk in zip(chunked, (16, 64, 64)[-len(shape) :], strict=True))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"block": 0}, "block"),
        ({"block": (4, 4, 4)}, "block"),
        ({"threshold": 1.5}, "threshold"),
        ({"depth": -0.1}, "depth"),
        ({"spacing": (1.0,)}, "spacing"),
        ({"out": np.zeros((3, 3), np.uint16)}, "shape"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        label_objects(np.ones((20, 20), np.float32), **wrong)
