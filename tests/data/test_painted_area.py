"""Boxes around what is painted: exact, far apart, and found without a copy of the frame."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from napari_unet.data import painted_area
from napari_unet.data.painted_area import boxes_apart, find_boxes, join_boxes, merge_near

GAPS = {2: (16, 12), 3: (8, 8, 12)}
Ends = list[tuple[int, int]]


def reference(painted: np.ndarray, gap: tuple[int, ...]) -> list[Ends]:
    """Begin with a box for each pixel, and join two that are near until none are."""
    boxes = [[(int(at), int(at) + 1) for at in place] for place in np.argwhere(painted)]

    def near(one: Ends, other: Ends) -> bool:
        return all(max(a[0], b[0]) - min(a[1], b[1]) < side for a, b, side in zip(one, other, gap, strict=True))

    done: list[Ends] = []
    while boxes:
        box = boxes.pop()
        other = next((other for other in done if near(box, other)), None)
        if other is None:
            done.append(box)
        else:  # the larger box is compared with all again
            done.remove(other)
            boxes.append([(min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(box, other, strict=True)])
    return sorted(done, key=lambda box: [start for start, _ in box])


def ends(boxes: list[tuple[slice, ...]]) -> list[Ends]:
    return [[(part.start, part.stop) for part in box] for box in boxes]


@pytest.fixture
def small_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painted_area, "GAPS", GAPS)
    monkeypatch.setattr(painted_area, "_ONE_BOX", 500)


@pytest.mark.usefixtures("small_gaps")
@pytest.mark.parametrize("shape", [(150, 170), (7, 300), (40, 50, 60), (3, 90, 80), (90, 2, 70)])
@pytest.mark.parametrize("seed", range(12))
def test_the_boxes_are_those_that_joining_pixels_gives(shape: tuple[int, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    painted = np.zeros(shape, [bool, np.uint8, np.uint16, np.int64][seed % 4])
    for _ in range(int(rng.integers(0, 9))):
        corner = [int(rng.integers(0, n)) for n in shape]
        painted[tuple(slice(a, a + int(rng.integers(1, 4))) for a in corner)] = rng.choice([1, 1, 1, 0])
    if seed % 3 == 2:
        painted = painted.T.copy().T  # strokes layers may lie in memory in any order
    found = find_boxes(painted)
    assert ends(found) == reference(painted != 0, GAPS[len(shape)])
    apart = boxes_apart(painted)
    assert apart == join_boxes(found)
    whole = np.argwhere(painted)
    if len(whole) and np.prod(np.ptp(whole, axis=0) + 1) <= 500:
        assert ends(apart) == [list(zip(whole.min(0).tolist(), (whole.max(0) + 1).tolist(), strict=True))]
    else:
        assert apart == found


@pytest.mark.usefixtures("small_gaps")
def test_boxes_that_come_near_by_joining_others_are_joined_too() -> None:
    corners = [(0, 0), (100, 100), (100, 0), (50, 90), (60, 0)]
    boxes = [(slice(y, y + 5), slice(x, x + 5)) for y, x in corners]
    long = (slice(10, 95), slice(10, 85))  # touches three of them, and the box of all four the last one
    assert ends(merge_near([*boxes, long], GAPS[2])) == [[(0, 105), (0, 105)]]
    assert merge_near(boxes, GAPS[2]) == sorted(boxes, key=lambda box: (box[0].start, box[1].start))
    assert merge_near([], GAPS[2]) == []


@pytest.mark.parametrize("side", [15, 16])
def test_a_gap_parts_and_less_does_not(side: int) -> None:
    boxes = [(slice(0, 3), slice(0, 9)), (slice(3 + side, 30), slice(0, 9))]
    assert len(merge_near(boxes, GAPS[2])) == 1 + (side == 16)


def test_nothing_painted_and_numbers_that_are_no_labels_give_boxes_as_well() -> None:
    assert boxes_apart(np.zeros((5, 5), np.uint8)) == boxes_apart(np.zeros((0, 5), np.uint8)) == []
    odd = np.zeros((30, 40))
    odd[3:5, 7] = 0.5
    assert boxes_apart(odd) == [(slice(3, 5), slice(7, 8))]
    assert boxes_apart(-odd.astype(np.int8) - np.int8(1))[0] == (slice(0, 30), slice(0, 40))


def test_a_huge_frame_is_gone_through_without_a_copy() -> None:
    frame: np.ndarray[Any, Any] = np.zeros((16384, 16384), np.uint8)
    frame[5, 9] = frame[9000:9020, 3000] = frame[-1, -1] = 3
    tracemalloc.start()
    try:
        found = boxes_apart(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ends(found) == [[(5, 6), (9, 10)], [(9000, 9020), (3000, 3001)], [(16383, 16384), (16383, 16384)]]
    assert peak < 20_000_000
