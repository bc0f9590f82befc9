"""What is left to predict comes in the order in which it is wanted, and what is done is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictStarted, TilePredicted
from napari_unet.predict.pending import PendingTiles
from napari_unet.predict.tiled import predict, predict_tiles
from napari_unet.predict.tiles import TileGeometry

MakeModel = Callable[..., Model]

EXACT = TileGeometry(4, (8, 8), 4)
PLAIN = PredictConfig(tile=16, device="cpu", precision="float32")


def take_all(left: PendingTiles) -> list[Box]:
    return [left.box(piece) for [piece] in iter(left.take, [])]


def coverage(shape: tuple[int, ...], boxes: list[Box]) -> npt.NDArray[np.int64]:
    count = np.zeros(shape, np.int64)
    for box in boxes:
        count[box] += 1
    return count


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 5),
    st.lists(st.tuples(*[st.floats(-5, 45)] * 3), min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_every_pixel_comes_exactly_once_wherever_the_focus_goes(
    shape: tuple[int, ...], side: int, path: list[tuple[float, ...]]
) -> None:
    points = iter(path)
    left = PendingTiles(ImageLayout("TYX", shape), EXACT, (4 * side, 4 * side), focus=lambda: next(points, None))
    count = len(left)
    boxes = take_all(left)
    assert len(boxes) == count
    assert (coverage(shape, boxes) == 1).all()


def test_the_focus_may_move_while_tiles_are_taken() -> None:
    where = [0.0, 0.0]
    left = PendingTiles(ImageLayout("YX", (64, 64)), EXACT, (16, 16), focus=lambda: where)
    assert left.box(*left.take()) == (slice(0, 16), slice(0, 16))
    where[:] = [60.0, 60.0]
    rest = take_all(left)
    assert rest[0] == (slice(48, 64), slice(48, 64))
    assert rest[-1] in [(slice(0, 16), slice(16, 32)), (slice(16, 32), slice(0, 16))]


def test_tiles_that_were_taken_are_overtaken_when_the_focus_moves_to_others() -> None:
    where = [0.0, 0.0]
    left = PendingTiles(ImageLayout("YX", (64, 64)), EXACT, (16, 16), focus=lambda: where)
    taken = left.take() + left.take()
    assert not left.overtakes(taken)
    assert not left.overtakes([])
    where[:] = [8.0, 9.0]
    assert not left.overtakes(taken[:1])
    where[:] = [60.0, 60.0]
    assert left.overtakes(taken)
    left.give_back(taken)
    assert left.box(*left.take()) == (slice(48, 64), slice(48, 64))
    assert not PendingTiles(ImageLayout("YX", (64, 64)), EXACT, (16, 16)).overtakes(taken)


def test_a_focus_that_says_nothing_leaves_the_order_as_it_is() -> None:
    layout = ImageLayout("ZYX", (2, 40, 24))
    plain = take_all(PendingTiles(layout, EXACT, (16, 8)))
    assert take_all(PendingTiles(layout, EXACT, (16, 8), focus=lambda: None)) == plain
    points = iter([(1.0, 39.0, 23.0), (1.0, 39.0, 23.0)])
    aimed = take_all(PendingTiles(layout, EXACT, (16, 8), focus=lambda: next(points, None)))
    assert aimed == take_all(PendingTiles(layout, EXACT, (16, 8), focus=(1, 39, 23)))


def test_tiles_that_are_given_back_or_cut_come_again() -> None:
    left = PendingTiles(ImageLayout("YX", (40, 40)), EXACT, (16, 16))
    done = left.take()
    failed = left.take() + left.take()
    assert len(left) == 6
    left.give_back(failed)
    assert len(left) == 8
    assert left.take() == failed[:1]
    left.give_back(failed[:1])
    left.cut((8, 8))
    boxes = [left.box(*done), *take_all(left)]
    assert (coverage((40, 40), boxes) == 1).all()
    assert boxes[1] == (slice(0, 8), slice(16, 24))


def test_tiles_of_one_size_are_taken_together_as_far_as_they_come_one_after_the_other() -> None:
    left = PendingTiles(ImageLayout("TYX", (3, 16, 40)), EXACT, (16, 16))  # outer boxes 24 x 28, 32 and 24 pixels
    assert [len(batch) for batch in iter(lambda: left.take(10**6), [])] == [1, 1, 1] * 3
    left = PendingTiles(ImageLayout("TYX", (7, 16, 16)), EXACT, (16, 16))
    batches = list(iter(lambda: left.take(3 * 24 * 24 + 100), []))
    assert [[piece.position for piece in batch] for batch in batches] == [
        [(0,), (1,), (2,)], [(3,), (4,), (5,)], [(6,)],
    ]  # fmt: skip
    assert len(left) == 0


def test_what_is_done_is_left_out_also_after_tiles_were_cut() -> None:
    done = np.zeros((40, 40), bool)
    done[:16, :24] = True
    left = PendingTiles(ImageLayout("YX", (40, 40)), EXACT, (16, 16), skip=lambda box: bool(done[box].all()))
    assert len(left) == 8
    left.cut((8, 8))
    boxes = take_all(left)
    assert coverage((40, 40), boxes).max() == 1
    np.testing.assert_array_equal(coverage((40, 40), boxes) == 1, ~done)


@pytest.mark.parametrize("name", ["focus", "region"])
def test_a_point_or_region_with_the_wrong_number_of_axes_is_refused(name: str) -> None:
    given: dict[str, Any] = {"focus": lambda: (1.0, 2.0), "region": (slice(0, 3),)}
    with pytest.raises(InputError, match=f"Expected `{name}` to have one entry for each of the axes TYX"):
        PendingTiles(ImageLayout("TYX", (2, 20, 20)), EXACT, (16, 16), **{name: given[name]})


def test_the_prediction_follows_a_focus_that_moves(make_model: MakeModel, rng: np.random.Generator) -> None:
    boxes: list[Box] = []

    def look() -> tuple[float, float]:
        return (0.0, 0.0) if len(boxes) < 2 else (79.0, 79.0)

    for event in predict_tiles(make_model(), rng.random((80, 80)), "YX", PLAIN, focus=look):
        if isinstance(event, TilePredicted):
            boxes.append(event.box)
    assert boxes[0] == (slice(0, 16), slice(0, 16))
    assert boxes[3] == (slice(64, 80), slice(64, 80))  # only the tile under way came before
    assert (coverage((80, 80), boxes) == 1).all()


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("after", [1, 7, 11])
def test_a_prediction_that_was_stopped_is_completed_to_the_same_result(
    make_model: MakeModel, rng: np.random.Generator, norm: str, after: int
) -> None:
    model, image = make_model(norm=norm), rng.random((2, 100, 70))
    config = PredictConfig(tile=32, device="cpu", precision="float32")
    expected = predict(model, image, "TYX", config)
    result, done = np.full(expected.shape, np.nan, np.float32), np.zeros(expected.shape[1:], bool)
    whole: set[str] = set()

    def write(event: Any, most: int) -> int:
        if isinstance(event, TilePredicted):
            result[(slice(None), *event.box)] = event.probabilities
            whole.add(str(event.box))
            done[event.box] = True
            return most - 1
        return most

    most = after
    for event in predict_tiles(model, image, "TYX", config):
        most = write(event, most)
        if most == 0:
            break
    finished = set(whole)
    events = list(predict_tiles(model, image, "TYX", config, skip=lambda box: str(box) in finished))
    assert isinstance(events[0], PredictStarted)
    assert events[0].total == events[-1].done == 2 * 4 * 3 - after
    assert not finished & {str(event.box) for event in events if isinstance(event, TilePredicted)}
    for event in events:
        write(event, 0)
    np.testing.assert_array_equal(result, expected)


def test_the_start_tells_the_tile(make_model: MakeModel, rng: np.random.Generator) -> None:
    event = next(iter(predict_tiles(make_model(), rng.random((40, 3, 50)), "YTX", PLAIN)))
    assert isinstance(event, PredictStarted)
    assert event.tile == (16, 1, 16)


def test_tiles_may_begin_at_the_region() -> None:
    layout, geometry = ImageLayout("YX", (100, 100)), TileGeometry(8, (8, 8), 8)
    region = (slice(21, 47), slice(-30, None))
    left = PendingTiles(layout, geometry, (16, 16), region=region, from_region=True)
    boxes = [piece.tile.inner for piece in left]
    assert min(box[0].start for box in boxes) == 16
    assert max(box[0].stop for box in boxes) == 47
    assert min(box[1].start for box in boxes) == 64
    covered = np.zeros((100, 100), int)
    for box in boxes:
        covered[box] += 1
    assert (covered[region] == 1).all()
    assert covered.max() == 1
