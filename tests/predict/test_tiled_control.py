"""A prediction can be watched, aimed, stopped, written elsewhere, and goes on when the memory runs short."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import zarr
from torch import nn

from napari_unet.errors import InputError, MemoryLimitError
from napari_unet.models.model import Model
from napari_unet.nets.device import Device
from napari_unet.predict import tiled
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictEvent, PredictFinished, PredictRecovered, PredictStarted, TilePredicted
from napari_unet.predict.tiled import predict, predict_tiles

FloatArray = npt.NDArray[np.float32]
MakeModel = Callable[..., Model]

PLAIN = PredictConfig(tile=16, device="cpu", precision="float32")


def collect(events: Iterable[PredictEvent]) -> tuple[FloatArray, npt.NDArray[np.int64], list[PredictEvent]]:
    """Put the tiles together; returns probabilities (NaN where none is), tiles at each pixel, and the events."""
    listed = list(events)
    assert isinstance(listed[0], PredictStarted)
    assert isinstance(listed[-1], PredictFinished)
    result = np.full(listed[0].shape, np.nan, np.float32)
    count = np.zeros(listed[0].shape[1:], np.int64)
    for event in listed:
        if isinstance(event, TilePredicted):
            assert event.probabilities.shape[1:] == count[event.box].shape
            result[(slice(None), *event.box)] = event.probabilities
            count[event.box] += 1
    return result, count, listed


@pytest.fixture(params=["main thread", "own thread"])
def anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the network in the thread of the test, as a program does, and in one of its own, as the window does."""
    monkeypatch.setattr(tiled, "_in_main_thread", lambda: request.param == "main thread")


def test_events_tell_how_far_it_is(make_model: MakeModel, rng: np.random.Generator, anywhere: None) -> None:
    image = rng.random((3, 41, 37))
    _, count, events = collect(predict_tiles(make_model(), image, "TYX", PLAIN))
    assert (count == 1).all()
    assert {event.total for event in events} == {3 * 3 * 3}
    assert [event.done for event in events] == [0, *range(1, 28), 27]
    assert sorted(event.seconds for event in events) == [event.seconds for event in events]
    first, last = events[0], events[-1]
    assert isinstance(first, PredictStarted)
    assert first.shape == (2, 3, 41, 37)
    assert "CPU" in first.device
    assert isinstance(last, PredictFinished)
    assert not last.stopped


@pytest.mark.parametrize(
    "region",
    [
        (slice(1, 2), slice(10, 30), slice(20, 22)),
        (slice(None), slice(33, None), slice(None)),
        (slice(0, 2), slice(-5, None), slice(0, 1)),
    ],
)
def test_a_region_gives_that_part_of_the_whole_result_and_only_tiles_that_touch_it(
    make_model: MakeModel, rng: np.random.Generator, region: tuple[slice, ...]
) -> None:
    image = rng.random((3, 41, 37))
    model = make_model()
    expected = predict(model, image, "TYX", PLAIN)
    result, count, events = collect(predict_tiles(model, image, "TYX", PLAIN, region=region))
    part = (slice(None), *region)
    np.testing.assert_array_equal(result[part], expected[part])
    assert count.max() == 1
    inside = np.zeros(count.shape, bool)
    inside[region] = True
    assert all(inside[event.box].any() for event in events if isinstance(event, TilePredicted))
    assert events[-1].done == events[-1].total


def test_a_region_follows_the_order_of_the_axes(make_model: MakeModel, rng: np.random.Generator) -> None:
    image = rng.random((37, 3, 2, 60))
    model = make_model(in_channels=2)
    region = (slice(0, 8), slice(2, 3), slice(50, 60))
    expected = predict(model, image, "XTCY", PLAIN)
    result, count, _ = collect(predict_tiles(model, image, "XTCY", PLAIN, region=region))
    np.testing.assert_array_equal(result[(slice(None), *region)], expected[(slice(None), *region)])
    assert count.sum() == 16 * 1 * 12


def test_an_empty_region_is_done_at_once(make_model: MakeModel, rng: np.random.Generator) -> None:
    region = (slice(5, 5), slice(0, 10))
    _, count, events = collect(predict_tiles(make_model(), rng.random((41, 37)), "YX", PLAIN, region=region))
    assert count.sum() == 0
    assert len(events) == 2


def test_tiles_near_the_focus_come_first(make_model: MakeModel, rng: np.random.Generator) -> None:
    image = rng.random((3, 70, 50))
    focus = (2.0, 35.0, 4.0)
    _, count, events = collect(predict_tiles(make_model(), image, "TYX", PLAIN, focus=focus))
    boxes = [event.box for event in events if isinstance(event, TilePredicted)]
    assert (count == 1).all()
    assert boxes[0] == (slice(2, 3), slice(32, 48), slice(0, 16))
    assert [box[0].start for box in boxes] == sorted((box[0].start for box in boxes), reverse=True)
    plane = [box[1:] for box in boxes if box[0].start == 2]
    distances = [np.hypot(y.start / 2 + y.stop / 2 - focus[1], x.start / 2 + x.stop / 2 - focus[2]) for y, x in plane]
    assert distances == sorted(distances)


@pytest.mark.parametrize("after", [0, 1, 4])
def test_stopping_ends_it_before_the_next_tile(
    make_model: MakeModel, rng: np.random.Generator, anywhere: None, after: int
) -> None:
    listed: list[PredictEvent] = []
    for event in predict_tiles(
        make_model(), rng.random((41, 37)), "YX", PLAIN, should_stop=lambda: len(listed) == 1 + after
    ):
        listed.append(event)
    last = listed[-1]
    assert isinstance(last, PredictFinished)
    assert last.stopped
    assert (last.done, last.total) == (after, 9)
    assert sum(isinstance(event, TilePredicted) for event in listed) == after


def test_what_computes_is_asked_whether_it_may_go_on(
    make_model: MakeModel, rng: np.random.Generator, anywhere: None
) -> None:
    listed: list[PredictEvent] = []
    asked: set[str] = set()

    def may_go_on() -> bool:
        asked.add(threading.current_thread().name)
        return len(listed) < 4

    for event in predict_tiles(make_model(), rng.random((64, 64)), "YX", PLAIN, may_go_on=may_go_on):
        listed.append(event)
    last = listed[-1]
    assert isinstance(last, PredictFinished)
    assert last.stopped
    assert 3 <= last.done < last.total == 16
    assert len(asked) == 1


def test_a_listener_may_leave_at_any_time_and_begin_anew(
    make_model: MakeModel, rng: np.random.Generator, anywhere: None
) -> None:
    model, image = make_model(), rng.random((41, 37))
    expected = predict(model, image, "YX", PLAIN)
    events: Any = predict_tiles(model, image, "YX", PLAIN)
    for _ in range(3):
        next(events)
    events.close()
    np.testing.assert_array_equal(predict(model, image, "YX", PLAIN), expected)


@pytest.mark.parametrize("kind", ["float32", "float16", "fortran", "zarr"])
def test_the_result_is_written_where_one_says(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path, kind: str
) -> None:
    model, image = make_model(), rng.random((2, 41, 37))
    expected = predict(model, image, "TYX", PLAIN)
    out: Any
    if kind == "zarr":
        out = zarr.create_array(tmp_path / "out.zarr", shape=expected.shape, dtype="f4", chunks=(1, 1, 20, 20))
    else:
        out = np.full(expected.shape, -1, np.float16 if kind == "float16" else np.float32)
        out = np.asfortranarray(out) if kind == "fortran" else out
    assert predict(model, image, "TYX", PLAIN, out=out) is out
    np.testing.assert_allclose(np.asarray(out[:]), expected, rtol=0, atol=1e-3 if kind == "float16" else 0)


@pytest.mark.parametrize("shape", [(41, 37), (2, 37, 41), (3, 41, 37), (2, 41, 37, 1)])
def test_a_place_of_the_wrong_shape_is_refused_and_left_alone(
    make_model: MakeModel, rng: np.random.Generator, shape: tuple[int, ...]
) -> None:
    out = np.full(shape, -1.0)
    with pytest.raises(InputError, match="`out`"):
        predict(make_model(), rng.random((41, 37)), "YX", PLAIN, out=out)
    assert (out == -1).all()


class Limited(nn.Module):
    """A network that runs out of memory for inputs of more than so many pixels, or in its first runs."""

    def __init__(self, network: nn.Module, error: Exception, *, most: float = float("inf"), failures: int = 0) -> None:
        super().__init__()
        self.network, self.error, self.most, self.failures = network, error, most, failures
        self.halo, self.divisor = network.halo, network.divisor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.failures > 0 or x[0, 0].numel() > self.most:
            self.failures -= 1
            raise self.error
        result: torch.Tensor = self.network(x)
        return result


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried to allocate"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_halves_the_tile_says_so_and_goes_on(
    make_model: MakeModel, rng: np.random.Generator, error: Exception, anywhere: None
) -> None:
    model, image = make_model(), rng.random((2, 150, 130))
    expected = predict(model, image, "TYX", PredictConfig(tile=64, device="cpu", precision="float32"))
    model.network = Limited(model.network, error, most=5000)
    config = PredictConfig(tile=64, device="cpu", precision="float32")
    result, count, events = collect(predict_tiles(model, image, "TYX", config))
    messages = [event.message for event in events if isinstance(event, PredictRecovered)]
    assert [message.split("tiles of ")[1] for message in messages] == ["32 x 32 pixels.", "16 x 16 pixels."]
    assert (count == 1).all()
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)
    assert events[-1].done == events[-1].total == sum(isinstance(event, TilePredicted) for event in events)


def test_tiles_that_are_done_are_not_done_again_when_memory_runs_out_later(
    make_model: MakeModel, rng: np.random.Generator
) -> None:
    model, image = make_model(), rng.random((150, 130))
    expected = predict(model, image, "YX", PLAIN)
    limited = Limited(model.network, OUT_OF_MEMORY[0])
    model.network = limited
    config = PredictConfig(tile=64, device="cpu", precision="float32")
    events = predict_tiles(model, image, "YX", config, focus=(149, 0))
    seen: list[PredictEvent] = []
    for event in events:
        seen.append(event)
        limited.failures = 1 if len(seen) == 4 else limited.failures
    result, count, _ = collect(seen)
    assert sum(isinstance(event, PredictRecovered) for event in seen) == 1
    assert (count == 1).all()
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)
    assert [event.done for event in seen if isinstance(event, TilePredicted)] == list(range(1, seen[-1].total + 1))


def test_a_region_stays_a_region_when_the_tile_is_halved(make_model: MakeModel, rng: np.random.Generator) -> None:
    model, image = make_model(), rng.random((150, 130))
    region = (slice(60, 70), slice(0, 10))
    expected = predict(model, image, "YX", PLAIN)
    model.network = Limited(model.network, OUT_OF_MEMORY[0], failures=2)
    config = PredictConfig(tile=64, device="cpu", precision="float32")
    result, count, _ = collect(predict_tiles(model, image, "YX", config, region=region, focus=(65, 5)))
    np.testing.assert_allclose(result[:, 60:70, :10], expected[:, 60:70, :10], rtol=0, atol=1e-5)
    assert count.sum() == 2 * 16 * 16


def test_a_tile_larger_than_the_image_is_halved_from_the_size_of_the_image(
    make_model: MakeModel, rng: np.random.Generator
) -> None:
    model = make_model()
    model.network = Limited(model.network, OUT_OF_MEMORY[0], failures=1)
    config = PredictConfig(tile=4096, device="cpu", precision="float32")
    _, count, events = collect(predict_tiles(model, rng.random((41, 63)), "YX", config))
    assert [event.message.split("tiles of ")[1] for event in events if isinstance(event, PredictRecovered)] == [
        "24 x 32 pixels."
    ]
    assert (count == 1).all()


def test_memory_that_is_never_enough_ends_with_one_sentence(
    make_model: MakeModel, rng: np.random.Generator, anywhere: None
) -> None:
    model = make_model()
    model.network = Limited(model.network, OUT_OF_MEMORY[0], most=10)
    seen: list[PredictEvent] = []
    with pytest.raises(MemoryLimitError, match=r"Even a tile of 4 x 4 pixels .* CPU") as caught:
        seen.extend(predict_tiles(model, rng.random((70, 70)), "YX", PredictConfig(tile=33, device="cpu")))
    assert "\n" not in str(caught.value)
    model.network = model.network.network
    assert np.isfinite(predict(model, rng.random((70, 70)), "YX", PLAIN)).all()


def test_other_errors_of_a_network_are_not_taken_for_a_lack_of_memory(
    make_model: MakeModel, rng: np.random.Generator, anywhere: None
) -> None:
    model = make_model()
    model.network = Limited(model.network, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), most=10)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        predict(model, rng.random((70, 70)), "YX", PLAIN)


def test_a_network_that_does_not_fit_on_the_device_is_said_so(
    make_model: MakeModel, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> nn.Module:
        raise OUT_OF_MEMORY[0]

    monkeypatch.setattr(Device, "place", refuse)
    with pytest.raises(MemoryLimitError, match=r"network does not fit .* CPU"):
        predict(make_model(), rng.random((20, 20)), "YX", PLAIN)


def test_a_result_that_does_not_fit_into_memory_is_said_so(
    make_model: MakeModel, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> FloatArray:
        raise MemoryError("Unable to allocate 7.28 TiB")

    monkeypatch.setattr(tiled, "np", SimpleNamespace(empty=refuse, float32=np.float32))
    with pytest.raises(MemoryLimitError, match=r"2 x 20 x 20 .*`out`"):
        predict(make_model(), rng.random((20, 20)), "YX", PLAIN)
