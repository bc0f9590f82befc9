"""The copy of what is painted, and which strokes are held out while it changes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_unet.data import painted_area
from napari_unet.data.axes import Box, ImageLayout
from napari_unet.data.sample import Sample
from napari_unet.errors import AnnotationError, InputError
from napari_unet.live.images import PaintedImage
from napari_unet.live.painted import HELD, LEARNT, PaintedPart, put_into
from napari_unet.live.stable_holdout import divide_strokes


class Painted:
    """What is painted on one frame, and arrays of the whole frame that its parts hold."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.parts: list[PaintedPart] = []

    def put(self, box: Box, block: np.ndarray, change: int) -> bool:
        self.parts, different = put_into(self.parts, self.shape, box, block, change)
        return different

    def whole(self, name: str = "labels") -> np.ndarray:
        """Return one of the arrays of the parts in the whole frame."""
        frame = np.zeros(self.shape, int)
        for part in self.parts:
            frame[part.box] = getattr(part, name)
        return frame

    def divide(self, truth: np.ndarray, change: int, rng: np.random.Generator) -> dict[int, int]:
        """Take what is painted on all of the frame, and hold strokes out."""
        self.put(tuple(slice(0, n) for n in self.shape), truth, change)
        for part in self.parts:
            part.decode("classes", 3)
        return divide_strokes(self.parts, 0.2, rng)

    def learn(self) -> None:
        """Train on all that is not held out."""
        for part in self.parts:
            part.fate[(part.kinds > 0) & (part.fate != HELD)] = LEARNT


@pytest.mark.parametrize("shape", [(40, 50), (6, 20, 24)])
def test_a_part_follows_any_change_and_remembers_when_a_pixel_was_painted(
    shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    truth, born = np.zeros(shape, np.uint8), np.zeros(shape, int)
    painted = Painted(shape)
    for change in range(1, 60):
        low = [int(rng.integers(0, n - 1)) for n in shape]
        box = tuple(slice(a, min(n, a + int(rng.integers(1, n)))) for a, n in zip(low, shape, strict=True))
        before = truth.copy()
        truth[box] = 0 if change % 3 == 0 else rng.integers(0, 4, truth[box].shape) * (rng.random() < 0.5)
        given = box if change % 5 else tuple(slice(0, n) for n in shape)
        assert painted.put(given, truth[given], change) == bool((before != truth).any())
        born[before != truth] = change
        np.testing.assert_array_equal(painted.whole(), truth)
        np.testing.assert_array_equal(painted.whole("born")[truth > 0], born[truth > 0])
        assert len(painted.parts) == truth.any()
        for part in painted.parts:
            found = np.argwhere(truth)
            assert part.origin == tuple(found.min(0))
            assert part.labels.shape == tuple(found.max(0) - found.min(0) + 1)


@pytest.mark.parametrize("shape", [(130, 160), (20, 40, 90)])
@pytest.mark.parametrize("seed", range(4))
def test_parts_far_apart_are_joined_and_divided_and_every_pixel_keeps_what_it_was(
    shape: tuple[int, ...], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painted_area, "GAPS", {2: (16, 16), 3: (8, 8, 16)})
    monkeypatch.setattr(painted_area, "_ONE_BOX", 300)
    rng = np.random.default_rng(seed)
    truth, born, fate = np.zeros(shape, np.uint8), np.zeros(shape, int), np.zeros(shape, int)
    painted = Painted(shape)
    numbers = set()
    for change in range(1, 80):
        low = [int(rng.integers(0, n - 1)) for n in shape]
        sides = [int(rng.integers(1, n if change % 9 == 0 else 8)) for n in shape]
        box = tuple(slice(a, min(n, a + side)) for a, side, n in zip(low, sides, shape, strict=True))
        before, known = truth.copy(), {id(part): part.labels.copy() for part in painted.parts}
        parts = list(painted.parts)
        truth[box] = 0 if change % 9 == 0 else int(rng.integers(0, 4))
        given = box if change % 5 else tuple(slice(0, n) for n in shape)
        assert painted.put(given, truth[given], change) == bool((before != truth).any())
        np.testing.assert_array_equal(painted.whole(), truth)
        assert [part.box for part in painted.parts] == painted_area.boxes_apart(truth)
        born[before != truth] = change
        np.testing.assert_array_equal(painted.whole("born")[truth > 0], born[truth > 0])
        for part in parts:  # one in which nothing changed is not decoded anew
            if any(part is other for other in painted.parts) and np.array_equal(known[id(part)], part.labels):
                assert part.targets is not None
        for part in painted.parts:
            part.decode("classes", 3)
        fate[before != truth] = 0
        np.testing.assert_array_equal(painted.whole("kinds"), truth)
        np.testing.assert_array_equal(painted.whole("fate"), fate)
        for part in painted.parts:
            part.fate[:] = np.where(part.kinds > 0, rng.integers(0, 3, part.fate.shape), 0)
        fate = painted.whole("fate")
        numbers.add(len(painted.parts))
    assert len(numbers) > 2


def test_only_the_changed_box_of_a_stack_is_read_and_unpainted_frames_cost_nothing() -> None:
    class Counting:
        def __init__(self, data: np.ndarray) -> None:
            self.data, self.shape, self.dtype, self.read = data, data.shape, data.dtype, 0

        def __getitem__(self, index: object) -> np.ndarray:
            found = self.data[index]  # type: ignore[index]
            self.read += found.size
            return found

    strokes = np.zeros((50, 30, 40), np.uint16)
    counting = Counting(strokes)
    layout = ImageLayout("TYX", strokes.shape)
    image = PaintedImage(Sample(strokes, counting, "TYX"), layout)
    strokes[7, 10:12, 5:9] = 700
    assert image.put((slice(7, 8), slice(8, 14), slice(0, 20)), 1)
    assert counting.read == 6 * 20
    assert list(image.parts) == [(7,)]
    (part,) = image.parts[7,]
    assert part.labels.tolist() == [[700] * 4] * 2
    strokes[:] = 0
    assert image.put(None, 2)
    assert not image.parts
    assert not image.put((slice(7, 8), slice(4, 4), slice(0, 20)), 3)
    with pytest.raises(InputError, match="one slice for each"):
        image.put((slice(7, 8),), 3)
    with pytest.raises(AnnotationError, match="have the shape"):
        PaintedImage(Sample(strokes, strokes[0], "TYX"), layout).put(None, 1)


def test_a_stroke_that_is_held_out_stays_so_and_one_that_was_learnt_never_is(rng: np.random.Generator) -> None:
    truth = np.zeros((100, 100), np.uint8)
    painted = Painted(truth.shape)
    held_before = np.zeros(truth.shape, bool)
    learnt = np.zeros(truth.shape, bool)
    for change in range(1, 25):
        row = 4 * change - 2
        truth[row : row + 2, 2:30] = 1
        truth[row : row + 2, 50 : 70 + change] = 2
        if change % 6 == 0:
            truth[4 * (change - 3) - 2 :][:3] = 0  # erased
        lacking = painted.divide(truth, change, rng)
        fate = painted.whole("fate")
        held = fate == HELD
        assert (held[held_before & (truth > 0)]).all()
        assert not (held & learnt).any()
        assert lacking == ({1: 1, 2: 1} if change == 1 else {1: 0, 2: 0})
        for label in (1, 2):
            assert ((truth == label) & ~held).any()
        painted.learn()
        learnt = (learnt | ((truth > 0) & ~held)) & (truth > 0)
        held_before = held
    assert 0.1 < held_before.sum() / (truth > 0).sum() < 0.4


def test_whole_strokes_are_held_out_and_what_is_added_to_them_too(rng: np.random.Generator) -> None:
    truth = np.zeros((60, 60), np.uint8)
    for row in range(2, 58, 8):
        truth[row, 2:20], truth[row, 30:50] = 1, 2
    painted = Painted(truth.shape)
    painted.divide(truth, 1, rng)
    row = int(np.argwhere(painted.whole("fate") == HELD)[0, 0])
    held = painted.whole("fate")[row] == HELD
    label = int(truth[row][held][0])
    assert held.sum() in ((truth[row] == 1).sum(), (truth[row] == 2).sum())
    truth[row + 1 : row + 3, 10 if label == 1 else 40] = label
    painted.divide(truth, 2, rng)
    assert (painted.whole("fate")[row + 1 : row + 3, 10 if label == 1 else 40] == HELD).all()
    painted.learn()
    truth[:, 12 if label == 1 else 42] = label  # joins all strokes of the class
    painted.divide(truth, 3, rng)
    assert not (painted.whole("fate")[truth == label] == HELD).any()


def test_the_last_stroke_of_a_class_is_learnt(rng: np.random.Generator) -> None:
    truth = np.zeros((60, 60), np.uint8)
    truth[[5, 15], 5:20] = 1
    truth[[25, 35], 5:20] = 2
    painted = Painted(truth.shape)
    assert painted.divide(truth, 1, rng) == {1: 0, 2: 0}
    truth[(painted.whole("fate") != HELD) & (truth == 1)] = 0
    assert painted.divide(truth, 2, rng) == {1: 1, 2: 0}
    assert not (painted.whole("fate")[truth == 1] == HELD).any()


def test_an_annotation_of_the_whole_frame_is_held_out_in_regions_that_stay(rng: np.random.Generator) -> None:
    truth = np.ones((120, 120), np.uint8)
    truth[20:90, 20:90] = 2
    painted = Painted(truth.shape)
    truth[:8] = 0
    assert painted.divide(truth, 1, rng) == {1: 0, 2: 0}
    held = painted.whole("fate") == HELD
    assert 0.1 < held[truth > 0].mean() < 0.5
    painted.learn()
    truth[:8] = 1  # the painted part grows; the regions stay
    painted.divide(truth, 2, rng)
    assert (painted.whole("fate") == HELD)[held].all()
