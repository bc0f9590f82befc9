"""The correction tools on arrays, against plain ways to do the same on the whole array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zarr
from scipy import ndimage

from napari_unet.data.changes import Change
from napari_unet.data.corrections import Correction, Scene, accept, erase, fill, is_click, merge, reject, split
from napari_unet.data.regions import Plane, find_region, regions_at, regions_within
from napari_unet.errors import AnnotationError

FLAT = (None, None)
AROUND = np.ones((3, 3))


@pytest.fixture
def discs() -> np.ndarray:
    """Return (200, 240) uint16: many discs that may touch, with ids from 11 on."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:200, :240]
    labels = np.zeros((200, 240), np.uint16)
    for number in range(40):
        away = np.hypot(y - rng.uniform(0, 200), x - rng.uniform(0, 240))
        labels[(away < rng.uniform(5, 16)) & (labels == 0)] = 11 + number
    return labels


def scene(result: Any, strokes: Any = None, *, task: str = "objects", plane: Any = FLAT, frame: Any = None) -> Scene:
    strokes = np.zeros(result.shape, np.uint16) if strokes is None else strokes
    return Scene(strokes, result, plane, frame or plane, task, 3)


def done(array: np.ndarray, change: Change | None) -> np.ndarray:
    """Return a copy of an array with a change made."""
    assert change is not None
    copy = np.array(array)
    copy[change.indices] = change.values
    return copy


def middle_of(mask: np.ndarray) -> np.ndarray:
    depth = ndimage.distance_transform_edt(mask)
    return np.array([np.unravel_index(depth.argmax(), depth.shape)], float)


def circle(row: float, column: float, radius: float) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 60)
    return np.stack([row + radius * np.sin(angles), column + radius * np.cos(angles)], axis=1)


# ---- regions


@pytest.mark.parametrize("reach", [1, 5, 48])
def test_a_region_is_that_of_the_whole_array(discs: np.ndarray, reach: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet.data.regions._FIRST_REACH", {2: reach})
    for label in (0, 11, 20, 33):
        place = np.argwhere(discs == label)[7]
        region = find_region(Plane(discs, FLAT), place)
        parts, _ = ndimage.label(discs == label, AROUND)
        np.testing.assert_array_equal(region.mask_in((slice(0, 200), slice(0, 240))), parts == parts[tuple(place)])
        assert region.label == label


def test_regions_in_an_outline_are_those_with_more_than_half_in_it(discs: np.ndarray) -> None:
    enclosed = np.zeros(discs.shape, bool)
    enclosed[50:140, 60:170] = True
    wanted = set()
    for label in np.unique(discs[discs > 0]):
        parts, count = ndimage.label(discs == label, AROUND)
        wanted |= {int(label) for part in range(1, count + 1) if enclosed[parts == part].mean() > 0.5}
    box = (slice(40, 150), slice(50, 180))
    found = regions_within(Plane(discs, FLAT), box, enclosed[box], lowest=1)
    assert {region.label for region in found} == wanted
    assert len(wanted) > 5


def test_regions_along_a_line_come_once_each_in_its_order(discs: np.ndarray) -> None:
    pixels = np.stack([np.full(240, 100), np.arange(240)], axis=1)
    found = [region.label for region in regions_at(Plane(discs, FLAT), pixels, lowest=1)]
    row = discs[100][discs[100] > 0]
    assert found == list(dict.fromkeys(row.tolist()))
    assert regions_at(Plane(discs, FLAT), pixels[:0], lowest=1) == []


# ---- accept and reject


def test_accepted_objects_get_labels_of_their_own_and_a_ring(discs: np.ndarray) -> None:
    painted = accept(scene(discs), circle(100, 120, 70))
    strokes = done(np.zeros_like(discs), painted.strokes)
    y, x = np.mgrid[:200, :240]
    inside = np.hypot(y - 100, x - 120) < 70
    parts = [(discs == label, ndimage.label(discs == label, AROUND)[1]) for label in np.unique(discs[discs > 0])]
    chosen = [mask for mask, pieces in parts if pieces == 1 and inside[mask].mean() > 0.52]
    assert len(chosen) > 5
    for mask in chosen:
        (value,) = np.unique(strokes[mask])
        np.testing.assert_array_equal(strokes == value, mask)
    near = ndimage.binary_dilation(strokes > 1, AROUND, iterations=2)
    np.testing.assert_array_equal(strokes == 1, near & (discs == 0))
    assert painted.result is None
    assert painted.text == f"{len(np.unique(strokes[strokes > 1]))} objects accepted"


def test_a_ring_leaves_what_is_painted(discs: np.ndarray) -> None:
    before = np.zeros_like(discs)
    before[::2] = 9
    at = middle_of(discs == 20)
    strokes = done(before, accept(scene(discs, before), at).strokes)
    assert ((strokes == 9) == ((before == 9) & (discs != 20))).all()


def test_a_rejected_object_becomes_background(discs: np.ndarray) -> None:
    painted = reject(scene(discs), middle_of(discs == 20))
    np.testing.assert_array_equal(done(np.zeros_like(discs), painted.strokes), discs == 20)
    np.testing.assert_array_equal(done(discs, painted.result), np.where(discs == 20, 0, discs))


def test_an_object_of_a_volume_is_accepted_as_a_whole() -> None:
    volume = np.zeros((9, 40, 40), np.uint16)
    z, y, x = np.mgrid[:9, :40, :40]
    volume[((z - 4) * 4) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 15**2] = 6
    whole = (None, None, None)
    painted = accept(scene(volume, plane=(4, None, None), frame=whole), np.array([[20.0, 20.0]]))
    np.testing.assert_array_equal(done(np.zeros_like(volume), painted.strokes) == 3, volume == 6)
    flat = accept(scene(volume, plane=(None, 20, None)), np.array([[4.0, 20.0]]))
    assert np.unique(flat.strokes.indices[1]).tolist() == [20]


def test_an_area_of_a_class_and_of_background_is_accepted(discs: np.ndarray) -> None:
    areas = np.where(discs > 0, 1 + discs % 3, 1).astype(np.uint8)
    areas[:, 200:] = 0
    parts, _ = ndimage.label(areas == 3, AROUND)
    strokes = done(np.zeros_like(areas), accept(scene(areas, task="classes"), middle_of(parts == 1)).strokes)
    np.testing.assert_array_equal(strokes == 3, parts == 1)
    background = done(np.zeros_like(areas), accept(scene(areas, task="classes"), middle_of(areas == 1)).strokes)
    assert (areas[background > 0] == 1).all()
    with pytest.raises(AnnotationError, match="no area"):
        accept(scene(areas, task="classes"), np.array([[10.0, 220.0]]))


# ---- split and merge


def dumbbell() -> np.ndarray:
    y, x = np.mgrid[:60, :100]
    return np.where((np.hypot(y - 30, x - 35) < 18) | (np.hypot(y - 30, x - 65) < 18), 5, 0).astype(np.uint16)


def test_a_split_object_falls_into_parts_with_background_between() -> None:
    result = dumbbell()
    strokes = np.where(result > 0, 8, 0).astype(np.uint16)
    done_split = split(scene(result, strokes), np.array([[5.0, 50.0], [55.0, 50.0]]))
    after, shown = done(strokes, done_split.strokes), done(result, done_split.result)
    assert ndimage.label(shown > 0, AROUND)[1] == 2
    assert set(np.unique(shown)) == {0, 1, 5}
    assert (after[:, 50][result[:, 50] > 0] == 1).all()
    left, right = np.unique(after[:, :49][result[:, :49] > 0]), np.unique(after[:, 52:][result[:, 52:] > 0])
    assert {left.item(), right.item()} == {3, 4}


def test_only_the_middle_of_the_parts_is_painted_where_nothing_was() -> None:
    result = dumbbell()
    after = done(np.zeros_like(result), split(scene(result), np.array([[5.0, 50.0], [55.0, 50.0]])).strokes)
    depth = ndimage.distance_transform_edt(result > 0)
    assert depth[after > 1].min() > 5
    assert ndimage.label(after > 1, AROUND)[1] == 2
    assert set(np.unique(after[25:36, 30:70])) >= {1, 3, 4}
    assert (after[result == 0] == 0).all()


@pytest.mark.parametrize("path", [[(5, 50), (30, 50)], [(2, 2), (2, 90)], [(30, 20), (12, 30)]])
def test_a_line_that_parts_nothing_says_how_it_is_drawn(path: list[tuple[float, float]]) -> None:
    with pytest.raises(AnnotationError, match="from one side"):
        split(scene(dumbbell()), np.array(path, float))


def test_an_area_is_split_with_its_class_on_both_sides() -> None:
    areas = np.where(dumbbell() > 0, 2, 1).astype(np.uint8)
    cut = split(scene(areas, task="classes"), np.array([[5.0, 50.0], [55.0, 50.0]]))
    after, shown = done(np.zeros_like(areas), cut.strokes), done(areas, cut.result)
    assert set(np.unique(after)) == {0, 1, 2}
    assert ndimage.label(shown == 2)[1] == 2
    assert shown.min() == 1


def test_merged_objects_share_a_label_and_the_stroke_joins_them() -> None:
    result = dumbbell()
    result[:, 48:53] = 0
    result[:, 53:][result[:, 53:] > 0] = 9
    strokes = np.zeros_like(result)
    strokes[28:32, 30:40], strokes[28:32, 60:70] = 2, 7
    merged = merge(scene(result, strokes), np.array([[30.0, 2.0], [30.0, 98.0]]), 5.0)
    after, shown = done(strokes, merged.strokes), done(result, merged.result)
    assert set(np.unique(after)) == {0, 3}
    assert ndimage.label(after)[1] == 1
    assert set(np.unique(shown)) == {0, 5}
    assert ndimage.label(shown)[1] == 1
    assert (after[30, 48:53] == 3).all()
    assert not after[30, :15].any()
    assert not after[30, 85:].any()


def test_one_object_is_not_merged() -> None:
    with pytest.raises(AnnotationError, match="to the other"):
        merge(scene(dumbbell()), np.array([[30.0, 20.0], [30.0, 60.0]]), 3.0)


def test_areas_of_the_first_class_are_joined() -> None:
    areas = np.ones((20, 60), np.uint8)
    areas[:, 5:15], areas[:, 25:35], areas[:, 45:55] = 2, 3, 2
    merged = merge(scene(areas, task="classes"), np.array([[10.0, 10.0], [10.0, 50.0]]), 1.0)
    assert done(areas, merged.result)[10, 5:55].tolist() == [2] * 50
    assert merged.text == "2 areas merged"


# ---- fill and erase


def test_an_outline_is_filled_with_an_object_background_or_a_class(discs: np.ndarray) -> None:
    outline, (y, x) = circle(100, 120, 30), np.mgrid[:200, :240]
    away = np.hypot(y - 100, x - 120)
    for task, label, value, shown in (("objects", 2, 3, 1), ("objects", 1, 1, 0), ("classes", 4, 4, 4)):
        filled = fill(scene(discs, task=task), outline, label)
        strokes, result = done(np.zeros_like(discs), filled.strokes), done(discs, filled.result)
        assert (strokes[away < 29] == value).all()
        assert not strokes[away > 31].any()
        assert (result[away < 29] == shown).all()


@pytest.mark.parametrize("tool", [lambda s, path: fill(s, path, 2), erase])
def test_an_outline_must_enclose_something(tool: Callable[[Scene, np.ndarray], Correction], discs: np.ndarray) -> None:
    with pytest.raises(AnnotationError):
        tool(scene(discs), np.array([[5.0, 5.0], [6.0, 5.0]]))


def test_an_outline_beyond_the_image_is_filled_as_far_as_that_goes(discs: np.ndarray) -> None:
    strokes = done(np.zeros_like(discs), fill(scene(discs), circle(0, 0, 20), 2).strokes)
    y, x = np.mgrid[:200, :240]
    assert (strokes[np.hypot(y, x) < 18.5] == 3).all()
    assert not strokes[np.hypot(y, x) > 21.5].any()


@pytest.mark.parametrize(("left", "far"), [(-9.0, 400.0), (120.0, 400.0), (120.0, 239.0)])
def test_an_outline_that_leaves_the_image_takes_all_that_it_encloses(
    discs: np.ndarray, left: float, far: float
) -> None:
    top, bottom = (-30.0, 300.0) if far > 239 else (0.0, 199.0)
    outline = np.array([[top, left], [top, far], [bottom, far], [bottom, left]])
    inside = np.zeros(discs.shape, bool)
    inside[:, max(0, int(left)) :] = True
    wanted = {int(label) for label in np.unique(discs) if label and inside[discs == label].all()}
    partly = {int(label) for label in np.unique(discs) if label and inside[discs == label].any()}
    shown = done(discs, reject(scene(discs), outline).result)
    gone = set(np.unique(discs).tolist()) - set(np.unique(shown).tolist())
    assert wanted <= gone <= partly
    assert len(wanted) > 5
    strokes = np.ones_like(discs)
    assert not done(strokes, erase(scene(discs, strokes), outline).strokes)[inside].any()


def test_strokes_are_erased_one_by_one_or_all_in_an_outline(discs: np.ndarray) -> None:
    strokes = np.zeros_like(discs)
    strokes[10:14, 10:50], strokes[10:14, 50:70], strokes[100:104, 100:150] = 1, 4, 1
    once = done(strokes, erase(scene(discs, strokes), np.array([[12.0, 20.0]])).strokes)
    assert (once != strokes).sum() == 160
    assert not once[10:14, 10:50].any()
    area = np.array([[0.0, 40.0], [0.0, 60.0], [50.0, 60.0], [50.0, 40.0]])
    several = done(strokes, erase(scene(discs, strokes), area).strokes)
    assert not several[10:14, 40:61].any()
    assert (several[10:14, 10:40] == 1).all()
    with pytest.raises(AnnotationError, match="no strokes"):
        erase(scene(discs, strokes), np.array([[60.0, 60.0]]))


# ---- arrays of all kinds


def test_labels_that_do_not_fit_are_said(discs: np.ndarray) -> None:
    full = Scene(np.zeros(discs.shape, np.uint8), discs, FLAT, FLAT, "objects", 256)
    with pytest.raises(AnnotationError, match="more labels"):
        accept(full, middle_of(discs == 20))


def test_an_array_in_blocks_gives_the_same(discs: np.ndarray) -> None:
    stored = zarr.create_array(store={}, shape=(3, *discs.shape), chunks=(1, 64, 64), dtype=discs.dtype)
    stored[1] = discs
    at = middle_of(discs == 20)
    wanted = accept(scene(discs), at).strokes
    found = accept(scene(stored, np.zeros(stored.shape, np.uint16), plane=(1, None, None)), at).strokes
    np.testing.assert_array_equal(np.stack(found.indices[1:]), np.stack(wanted.indices))
    assert np.unique(found.indices[0]).tolist() == [1]
    np.testing.assert_array_equal(found.values, wanted.values)


def test_a_click_may_tremble() -> None:
    assert is_click(np.array([[4.0, 4.0], [5.0, 6.0]]))
    assert not is_click(np.array([[4.0, 4.0], [5.0, 9.0]]))
