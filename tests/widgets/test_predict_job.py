"""The prediction of the dock, with the network replaced by known probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.layers import Image
from scipy import ndimage

from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictFinished, PredictRecovered, PredictStarted, TilePredicted
from napari_unet.widgets.parts.source import ImageSource, read_source
from napari_unet.widgets.results.arrays import ResultArray
from napari_unet.widgets.results.held import HeldPixels
from napari_unet.widgets.results.predict_job import PieceReady, PredictNote, PredictRequest, PredictSummary, predict
from napari_unet.widgets.results.record import PredictionRecord

VIEW_FIRST = "napari_unet.widgets.results.predict_job.predict_view_first"
MODEL = Model.create(ModelConfig(features=2, depth=1))


def predict_known(truth: np.ndarray, tile: int) -> Any:
    """Return what stands for `predict_view_first`: tiles of a known mask, frame after frame."""

    def tiles(request: PredictRequest, intensity: Any, should_stop: Any) -> Iterator[Any]:
        region = request.region or tuple(slice(0, n) for n in truth.shape)
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


def request_for(source: ImageSource, result: np.ndarray, task: str = "objects", **others: Any) -> PredictRequest:
    look: Any = SimpleNamespace(view=tuple(slice(0, n) for n in result.shape), focus=lambda: (0.0,) * result.ndim)
    return PredictRequest(source, MODEL, task, ResultArray((result,)), PredictionRecord(), look, **others)


def run(request: PredictRequest) -> list[Any]:
    """Go through a prediction; return what it says."""
    return words_of(predict(request, lambda: False))


def words_of(events: Iterator[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, PredictNote | PredictSummary)]


def test_objects_are_whole_although_tiles_cut_them(discs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VIEW_FIRST, predict_known(discs, 16))
    result = np.zeros(discs.shape, np.uint16)
    events = list(predict(request_for(read_source(Image(discs)), result), lambda: False))

    expected, count = ndimage.label(discs)
    assert events[-1] == PredictSummary(f"{count} objects")
    assert len(np.unique(result)) == 1 + count
    for number in range(1, count + 1):
        assert len(np.unique(result[expected == number])) == 1
    np.testing.assert_array_equal(result > 0, discs > 0)
    pieces = [event for event in events if isinstance(event, PieceReady)]
    assert pieces[0].box == (slice(0, 16), slice(0, 16))
    assert pieces[0].share == pytest.approx(1 / 30)
    assert pieces[-1].share == 1


def test_classes_are_in_the_encoding_of_strokes(discs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VIEW_FIRST, predict_known(discs, 32))
    result = np.zeros(discs.shape, np.uint8)
    run(request_for(read_source(Image(discs)), result, "classes"))
    np.testing.assert_array_equal(result, discs + 1)


def test_objects_of_a_stack_share_no_id_also_with_frames_done_before(
    discs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = np.stack([discs, discs[::-1], discs[:, ::-1]])
    monkeypatch.setattr(VIEW_FIRST, predict_known(truth, 48))
    source = read_source(Image(truth))
    result = np.zeros(truth.shape, np.uint16)
    one = (slice(1, 2), slice(0, 80), slice(0, 96))
    run(request_for(source, result, region=one))
    assert len(np.unique(result)) == 5
    assert not result[[0, 2]].any()
    kept = result[1].copy()

    run(request_for(source, result, filled=frozenset({(1,)})))
    np.testing.assert_array_equal(result[1], kept)
    ids = [set(np.unique(frame)) - {0} for frame in result]
    assert [len(found) for found in ids] == [4, 4, 4]
    assert len(set.union(*ids)) == 12


def test_ids_outside_of_the_view_are_not_given_again(discs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VIEW_FIRST, predict_known(discs, 16))
    result = np.zeros(discs.shape, np.uint16)
    result[70:, :10] = 1
    view = (slice(0, 32), slice(0, 96))
    run(request_for(read_source(Image(discs)), result, region=view, filled=frozenset({()})))
    assert (result[70:, :10] == 1).all()
    assert 1 not in result[:32]
    assert not result[32:60].any()


def test_too_many_objects_are_told_and_still_shown(monkeypatch: pytest.MonkeyPatch, discs: np.ndarray) -> None:
    monkeypatch.setattr(VIEW_FIRST, predict_known(discs, 96))
    monkeypatch.setattr("napari_unet.widgets.results.shown_ids.MOST_FEW", 3)
    result = np.zeros(discs.shape, np.uint16)
    rest = run(request_for(read_source(Image(discs)), result))
    assert isinstance(rest[0], PredictNote)
    assert "more objects than" in rest[0].text
    np.testing.assert_array_equal(result > 0, discs > 0)


def test_ids_of_32_bits_never_run_out(monkeypatch: pytest.MonkeyPatch, discs: np.ndarray) -> None:
    truth = np.stack([discs, discs])
    monkeypatch.setattr(VIEW_FIRST, predict_known(truth, 32))
    monkeypatch.setattr("napari_unet.widgets.results.shown_ids.MOST_FEW", 3)
    result = np.zeros(truth.shape, np.uint32)
    assert run(request_for(read_source(Image(truth)), result)) == [PredictSummary("8 objects in 2 frames")]
    assert len(np.unique(result)) == 1 + 8


def test_the_foreground_probabilities_come_along(discs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VIEW_FIRST, predict_known(discs, 96))
    shown = np.zeros(discs.shape, np.float32)
    result = np.zeros(discs.shape, np.uint16)
    run(request_for(read_source(Image(discs)), result, probabilities=(ResultArray((shown,)),)))
    np.testing.assert_allclose(shown, np.where(discs, 0.9, 0.1), atol=1e-6)


def test_errors_name_the_image_and_problems_solved_are_told(discs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def recovering(*args: Any, **kwargs: Any) -> Iterator[Any]:
        yield PredictRecovered(0, 1, 0.0, "The memory was not enough; smaller tiles are used.")
        raise InputError("The disk was taken out.")

    monkeypatch.setattr(VIEW_FIRST, recovering)
    result = np.zeros(discs.shape, np.uint16)
    events = predict(request_for(read_source(Image(discs, name="grey")), result), lambda: False)
    notes = (event for event in events if event is not None)
    assert next(notes) == PredictNote("The memory was not enough; smaller tiles are used.")
    with pytest.raises(InputError, match="Image 'grey': The disk was taken out"):
        next(notes)


class Stopping:
    """Predicts known tiles, stops after some of them, and counts them."""

    def __init__(self, truth: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
        self.boxes: list[Any] = []
        self.after = 10**9
        tiles = predict_known(truth, 16)

        def counted(request: PredictRequest, intensity: Any, should_stop: Any) -> Iterator[Any]:
            layout = request.source.layout
            for event in tiles(request, intensity, should_stop):
                if isinstance(event, TilePredicted):
                    if request.record.has(*layout.split_box(event.box)):
                        continue
                    self.boxes.append(event.box)
                yield event

        monkeypatch.setattr(VIEW_FIRST, counted)

    def go(self, request: PredictRequest) -> list[Any]:
        self.boxes.clear()
        return words_of(predict(request, lambda: len(self.boxes) >= self.after))


def test_a_stopped_prediction_goes_on_and_ends_like_an_unbroken_one(
    discs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = np.zeros(discs.shape, np.uint16)
    source = read_source(Image(discs))
    known = Stopping(discs, monkeypatch)
    known.go(request_for(source, unbroken))
    assert len(known.boxes) == 30

    result = np.zeros(discs.shape, np.uint16)
    request = request_for(source, result)
    known.after = 12
    assert known.go(request) == [PredictSummary("")]
    known.after = 10**9
    note, summary = known.go(request)
    assert len(known.boxes) == 18
    assert note == PredictNote("The prediction goes on where it was stopped, at 40 %.")
    assert summary == PredictSummary("4 objects")
    np.testing.assert_array_equal(result, unbroken)

    note, _ = known.go(request)
    assert known.boxes == []
    assert "predicted already" in note.text
    np.testing.assert_array_equal(result, unbroken)


def test_a_prediction_stopped_before_its_objects_were_found_only_finds_these(
    discs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Stopping(discs, monkeypatch)
    result = np.zeros(discs.shape, np.uint16)
    request = request_for(read_source(Image(discs)), result)
    with monkeypatch.context() as patched:
        patched.setattr("napari_unet.widgets.results.frame_labels.FrameLabeller.finish", lambda *_: iter(()))
        known.go(request)
    assert len(np.unique(result)) > 5
    assert known.go(request) == [PredictSummary("4 objects")]
    assert known.boxes == []
    assert len(np.unique(result)) == 5


@pytest.mark.parametrize("change", ["model", "image", "settings"])
def test_a_prediction_begins_anew_where_something_changed(
    discs: np.ndarray, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    known = Stopping(discs, monkeypatch)
    result = np.zeros(discs.shape, np.uint16)
    image = discs.astype(np.float32)
    request = request_for(read_source(Image(image)), result, filled=frozenset({()}))
    known.after = 12
    known.go(request)
    known.after = 10**9
    if change == "image":
        image[3, 3] = 7
    elif change == "settings":
        request = replace(request, config=PredictConfig(averaging="flips"))
    else:
        other = Model.create(ModelConfig(features=2, depth=1))
        next(iter(other.network.parameters())).data += 0.1
        request = replace(request, model=other)
    note = known.go(request)[0]
    assert len(known.boxes) == 30
    assert note == PredictNote("Model, image or settings have changed since the last prediction: it begins anew.")


def test_nothing_is_written_into_what_has_become_the_persons(
    discs: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Stopping(discs, monkeypatch)
    result = np.zeros(discs.shape, np.uint16)
    request = request_for(read_source(Image(discs)), result)
    events = predict(request, lambda: False)
    while len(known.boxes) < 6:
        next(events)
    request.result.close()
    kept = result.copy()
    assert words_of(events) == []
    assert len(known.boxes) == 7
    np.testing.assert_array_equal(result, kept)


@pytest.mark.parametrize("block", [16, 1024])
def test_what_corrections_painted_holds_in_later_results(
    discs: np.ndarray, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(VIEW_FIRST, predict_known(discs, 32))
    monkeypatch.setattr("napari_unet.widgets.results.frame_labels._BLOCK", {2: block})
    strokes = SimpleNamespace(data=np.zeros(discs.shape, np.uint16))
    held = HeldPixels()

    def correct(rows: slice, columns: slice, value: int) -> None:
        places = np.nonzero(strokes.data[rows, columns] >= 0)
        held.add(strokes, (places[0] + rows.start, places[1] + columns.start))
        strokes.data[rows, columns] = value

    correct(slice(8, 32), slice(18, 21), 1)  # splits the disc at (20, 20)
    correct(slice(14, 26), slice(12, 14), 4)
    correct(slice(14, 26), slice(26, 28), 5)
    correct(slice(60, 61), slice(70, 71), 1)  # undone below
    strokes.data[60, 70] = 0
    correct(slice(5, 27), slice(59, 81), 1)  # rejects the disc at (16, 70)
    correct(slice(40, 42), slice(46, 50), 6)  # joins the discs at (40, 48) and (60, 80), which do not even touch
    correct(slice(58, 62), slice(78, 82), 6)
    result = np.zeros(discs.shape, np.uint16)
    words = run(request_for(read_source(Image(discs)), result, held=held))

    assert words == [PredictSummary("3 objects")]
    left, right = result[20, 12], result[20, 28]
    assert left > 0 < right
    assert left != right
    assert result[40, 48] == result[60, 80] not in (0, left, right)
    assert not result[5:27, 59:81].any()
    assert not result[8:32, 18:21].any()
    assert sorted(np.unique(result)) == sorted({0, left, right, result[40, 48]})


def test_areas_agree_with_corrections_and_with_nothing_else(discs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VIEW_FIRST, predict_known(discs, 32))
    strokes = SimpleNamespace(data=np.zeros(discs.shape, np.uint8))
    strokes.data[:3] = 2  # painted with the brush
    held = HeldPixels()
    held.add(strokes, (np.array([20, 0, 79]), np.array([20, 95, 0])))
    strokes.data[20, 20] = 1
    strokes.data[79, 0] = 2
    result = np.zeros(discs.shape, np.uint8)
    run(request_for(read_source(Image(discs)), result, "classes", held=held))
    expected = discs + 1
    expected[20, 20], expected[79, 0], expected[0, 95] = 1, 2, 2
    np.testing.assert_array_equal(result, expected)
