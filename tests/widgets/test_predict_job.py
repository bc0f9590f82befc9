"""The prediction of the dock, with the network replaced by known probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from scipy import ndimage

from napari_unet.errors import InputError
from napari_unet.predict.events import PredictFinished, PredictRecovered, PredictStarted, TilePredicted
from napari_unet.widgets.predict_job import PieceReady, PredictNote, PredictRequest, PredictSummary, predict
from napari_unet.widgets.source import read_source

MODEL: Any = SimpleNamespace(config=SimpleNamespace(ndim=2))


def predict_known(truth: np.ndarray, tile: int) -> Any:
    """Return what stands for `predict_tiles`: tiles of a known mask, frame after frame."""

    def tiles(
        model: Any, image: Any, axes: str, config: Any, *, region: Any, focus: Any, should_stop: Any
    ) -> Iterator[Any]:
        region = region or tuple(slice(0, n) for n in truth.shape)
        stack = [range(*span.indices(n)) for span, n in zip(region[:-2], truth.shape[:-2], strict=True)]
        corners = [range(span.start // tile * tile, span.stop, tile) for span in region[-2:]]
        plan = [(*place, y, x) for place in product(*stack) for y in corners[0] for x in corners[1]]
        yield PredictStarted(0, len(plan), 0.0, (2, *truth.shape), "CPU")
        for done, (*place, y, x) in enumerate(plan, start=1):
            if should_stop():
                break
            box = (*(slice(i, i + 1) for i in place), slice(y, min(y + tile, truth.shape[-2])))
            box = (*box, slice(x, min(x + tile, truth.shape[-1])))
            foreground = np.where(truth[box] > 0, 0.9, 0.1).astype(np.float32)
            yield TilePredicted(done, len(plan), 0.0, box, np.stack([1 - foreground, foreground]))
        yield PredictFinished(len(plan), len(plan), 0.0, stopped=False)

    return tiles


@pytest.fixture
def discs() -> np.ndarray:
    y, x = np.mgrid[:80, :96]
    truth = np.zeros((80, 96), np.uint8)
    for cy, cx in ((20, 20), (40, 48), (60, 80), (16, 70)):
        truth[(y - cy) ** 2 + (x - cx) ** 2 < 100] = 1
    return truth


def put_together(events: list[Any], result: np.ndarray) -> list[Any]:
    """Write the pieces as the window does; return the other events."""
    for event in events:
        if isinstance(event, PieceReady):
            result[event.box] = event.labels
    return [event for event in events if event is not None and not isinstance(event, PieceReady)]


def run(request: PredictRequest) -> list[Any]:
    return list(predict(request, lambda: False))


def test_objects_are_whole_although_tiles_cut_them(discs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet.predict.tiled.predict_tiles", predict_known(discs, 16))
    result = np.zeros(discs.shape, np.uint16)
    events = run(PredictRequest(read_source(Image(discs)), MODEL, "objects"))
    rest = put_together(events, result)

    expected, count = ndimage.label(discs)
    assert rest == [PredictSummary(f"{count} objects")]
    assert sorted(np.unique(result)) == [0, 1, 2, 3, 4]
    for number in range(1, count + 1):
        assert len(np.unique(result[expected == number])) == 1
    np.testing.assert_array_equal(result > 0, discs > 0)
    first = next(event for event in events if isinstance(event, PieceReady))
    assert first.labels.shape == (16, 16)
    assert (first.done, first.total) == (1, 30)


def test_classes_are_in_the_encoding_of_strokes(discs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet.predict.tiled.predict_tiles", predict_known(discs, 32))
    result = np.zeros(discs.shape, np.uint8)
    put_together(run(PredictRequest(read_source(Image(discs)), MODEL, "classes")), result)
    np.testing.assert_array_equal(result, discs + 1)


def test_objects_of_a_stack_share_no_id_also_with_frames_done_before(
    discs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = np.stack([discs, discs[::-1], discs[:, ::-1]])
    monkeypatch.setattr("napari_unet.predict.tiled.predict_tiles", predict_known(truth, 48))
    source = read_source(Image(truth))
    result = np.zeros(truth.shape, np.uint16)
    one = (slice(1, 2), slice(0, 80), slice(0, 96))
    put_together(run(PredictRequest(source, MODEL, "objects", region=one)), result)
    assert set(np.unique(result)) == {0, 1, 2, 3, 4}
    assert not result[[0, 2]].any()

    again = PredictRequest(source, MODEL, "objects", result=result, filled=frozenset({(1,)}))
    put_together(run(again), result)
    ids = [set(np.unique(frame)) - {0} for frame in result]
    assert [len(found) for found in ids] == [4, 4, 4]
    assert len(set.union(*ids)) == 12
    assert max(set.union(*ids)) == 12  # ids that became free are used again


def test_ids_outside_of_the_view_are_not_given_again(discs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet.predict.tiled.predict_tiles", predict_known(discs, 16))
    result = np.zeros(discs.shape, np.uint16)
    result[70:, :10] = 1
    request = PredictRequest(
        read_source(Image(discs)),
        MODEL,
        "objects",
        region=(slice(0, 32), slice(0, 96)),
        result=result,
        filled=frozenset({()}),
    )
    put_together(run(request), result)
    assert (result[70:, :10] == 1).all()
    assert 1 not in result[:32]
    assert not result[32:60].any()


def test_too_many_objects_are_told_and_still_shown(monkeypatch: pytest.MonkeyPatch, discs: np.ndarray) -> None:
    monkeypatch.setattr("napari_unet.predict.tiled.predict_tiles", predict_known(discs, 96))
    monkeypatch.setattr("napari_unet.widgets.predict_job._MOST_IDS", 3)
    result = np.zeros(discs.shape, np.uint16)
    rest = put_together(run(PredictRequest(read_source(Image(discs)), MODEL, "objects")), result)
    assert isinstance(rest[0], PredictNote)
    assert "more objects than" in rest[0].text
    np.testing.assert_array_equal(result > 0, discs > 0)


def test_no_piece_keeps_the_window_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = np.zeros((3000, 2500), np.uint8)
    truth[10:40, 10:40] = 1
    monkeypatch.setattr("napari_unet.predict.tiled.predict_tiles", predict_known(truth, 3000))
    events = run(PredictRequest(read_source(Image(truth)), MODEL, "objects"))
    final = [event for event in events if isinstance(event, PieceReady)][1:]
    assert max(piece.labels.size for piece in final) <= 2_000_000
    assert sum(piece.labels.size for piece in final) == truth.size


def test_the_foreground_probabilities_come_along(discs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet.predict.tiled.predict_tiles", predict_known(discs, 96))
    events = run(PredictRequest(read_source(Image(discs)), MODEL, "objects", probabilities=True))
    assert events[1].probabilities.shape == (1, 80, 96)
    np.testing.assert_allclose(events[1].probabilities[0], np.where(discs, 0.9, 0.1), atol=1e-6)


def test_errors_name_the_image_and_problems_solved_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def recovering(*args: Any, **kwargs: Any) -> Iterator[Any]:
        yield PredictRecovered(0, 1, 0.0, "The memory was not enough; smaller tiles are used.")
        raise InputError("The image has no contrast.")

    monkeypatch.setattr("napari_unet.predict.tiled.predict_tiles", recovering)
    events = predict(PredictRequest(read_source(Image(np.zeros((8, 9)), name="grey")), MODEL, "objects"), lambda: False)
    assert [event for _, event in zip(range(2), events, strict=False)][1] == PredictNote(
        "The memory was not enough; smaller tiles are used."
    )
    with pytest.raises(InputError, match="Image 'grey': The image has no contrast"):
        next(events)
