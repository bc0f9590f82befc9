"""Reading, computing and handing on overlap, and only the time depends on it."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import choose_device
from napari_unet.predict import runner, tiled
from napari_unet.predict.budget import batch_pixels, pixel_budget
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictEvent, PredictFinished, PredictRecovered, TilePredicted
from napari_unet.predict.pipeline import OutOfMemory, Pipeline, Stopped
from napari_unet.predict.tiled import predict, predict_tiles

MakeModel = Callable[..., Model]

PLAIN = PredictConfig(tile=16, device="cpu", precision="float32")
WAIT = 60.0  # seconds after which a test fails that waits for another thread


def never() -> bool:
    return False


def test_reading_computing_and_handing_on_go_on_at_the_same_time() -> None:
    meet = threading.Barrier(3, timeout=WAIT)

    def read(work: int) -> int:
        if work == 2:
            meet.wait()
        return work

    def compute(block: int) -> int:
        if block == 1:
            meet.wait()
        return 10 * block

    with Pipeline(read, compute, should_stop=never, inline=False) as pipeline:
        pipeline.put(0)
        pipeline.put(1)
        assert pipeline.get() == (0, 0)
        pipeline.put(2)
        meet.wait()  # 2 is being read, 1 is being computed, and 0 is here
        assert [pipeline.get(), pipeline.get()] == [(1, 10), (2, 20)]


@pytest.mark.parametrize("inline", [True, False])
def test_only_a_few_pieces_are_under_way_and_results_come_in_order(inline: bool) -> None:
    chance = np.random.default_rng(0)
    begun: list[int] = []

    def read(work: int) -> int:
        begun.append(work)
        time.sleep(chance.uniform(0, 0.004))
        return work

    def compute(block: int) -> int:
        time.sleep(chance.uniform(0, 0.004))
        return -block

    found, waiting = [], list(range(30))
    with Pipeline(read, compute, should_stop=never, inline=inline, depth=2) as pipeline:
        while waiting or pipeline.works:
            while waiting and pipeline.has_room:
                pipeline.put(waiting.pop(0))
            found.append(pipeline.get())
            assert len(begun) <= len(found) + 1
    assert found == [(i, -i) for i in range(30)]


@pytest.mark.parametrize("inline", [True, False])
def test_a_stop_is_heard_while_one_waits_and_what_is_under_way_is_given_up(inline: bool) -> None:
    stop, reading = threading.Event(), threading.Event()
    computed: list[int] = []

    def read(work: int) -> int:
        reading.set()
        assert stop.wait(WAIT)
        return work

    with Pipeline(read, computed.append, should_stop=lambda: reading.is_set(), inline=inline) as pipeline:
        pipeline.put(1)
        pipeline.put(2)
        with pytest.raises(Stopped):
            pipeline.get()
        threading.Timer(0.05, stop.set).start()
    assert computed == []
    assert not [thread for thread in threading.enumerate() if "tiles" in thread.name]


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("where", ["read", "compute"])
def test_a_lack_of_memory_lets_go_of_what_was_held_and_of_what_comes_next(where: str, inline: bool) -> None:
    held: list[weakref.ref[Any]] = []

    def fail(work: int) -> int:
        block = np.zeros(1000).view(type("Block", (np.ndarray,), {}))
        held.append(weakref.ref(block))
        if work < 10:
            raise MemoryError(f"{block.size}")
        return work

    steps: dict[str, Callable[[int], int]] = {"read": int, "compute": int, where: fail}
    with Pipeline(steps["read"], steps["compute"], should_stop=never, inline=inline) as pipeline:
        pipeline.put(1)
        pipeline.put(2)
        with pytest.raises(OutOfMemory):
            pipeline.get()
        assert pipeline.take_back() == [1, 2]
        gc.collect()
        assert not any(reference() is not None for reference in held)
        pipeline.put(11)
        assert pipeline.get() == (11, 11)


@pytest.mark.parametrize("inline", [True, False])
def test_other_errors_come_through_as_they_are(inline: bool) -> None:
    with Pipeline({}.__getitem__, int, should_stop=never, inline=inline) as pipeline:
        pipeline.put("key")
        with pytest.raises(KeyError, match="key"):
            pipeline.get()


class Slow(nn.Module):
    """Takes a while that differs from run to run."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.halo, self.divisor = network, network.halo, network.divisor
        self.threads: set[str] = set()
        self.batches: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.threads.add(threading.current_thread().name)
        self.batches.append(len(x))
        time.sleep(0.005 * (len(self.batches) % 3))
        result: torch.Tensor = self.network(x)
        return result


def test_a_tile_is_given_up_within_the_network(
    make_model: MakeModel, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, made = make_model(), []
    layers = [module for module in model.network.modules() if isinstance(module, nn.Conv2d)]
    reached: list[nn.Module] = []

    def note(layer: nn.Module, given: Any) -> None:
        reached.append(layer)
        with suppress(Stopped):
            for _ in range(int(100 * WAIT) if layer is layers[1] else 0):
                time.sleep(0.01)
                made[0].check()

    class Noted(Pipeline[Any, Any, Any]):
        def __init__(self, *given: Any, **others: Any) -> None:
            super().__init__(*given, **others)
            made.append(self)

    for layer in layers:
        layer.register_forward_pre_hook(note)
    monkeypatch.setattr(tiled, "_in_main_thread", never)
    monkeypatch.setattr(tiled, "Pipeline", Noted)
    events = predict_tiles(model, rng.random((16, 16)), "YX", PLAIN, should_stop=lambda: layers[1] in reached)
    last = list(events)[-1]
    assert isinstance(last, PredictFinished)
    assert last.stopped
    assert reached == layers[:2]
    assert len(layers) > 2


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_result_does_not_depend_on_threads_and_timing(
    make_model: MakeModel, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, norm: str
) -> None:
    model, image = make_model(norm=norm), rng.random((2, 60, 50))
    expected = predict(model, image, "TYX", PLAIN)
    slow = model.network = Slow(model.network)
    slow.exact_tiling = norm == "batch"  # type: ignore[assignment]
    monkeypatch.setattr(tiled, "_in_main_thread", never)
    np.testing.assert_array_equal(predict(model, image, "TYX", PLAIN), expected)
    assert all(name.startswith("compute tiles") for name in slow.threads)


def test_an_image_that_can_not_be_read_ends_it_with_its_own_error(
    make_model: MakeModel, rng: np.random.Generator
) -> None:
    class Broken:
        shape, dtype = (2, 60, 50), np.dtype(float)
        reads = 0

        def __getitem__(self, index: Any) -> npt.NDArray[Any]:
            self.reads += 1
            if self.reads > 12:
                raise OSError("the disk is gone")
            return np.asarray(rng.random(self.shape)[index])

    with pytest.raises(OSError, match="the disk is gone"):
        predict(make_model(), Broken(), "TYX", PLAIN)
    assert not [thread for thread in threading.enumerate() if "tiles" in thread.name]


def join_four(*_: Any) -> int:
    return 4 * 32 * 32


def test_small_tiles_of_a_stack_go_through_the_network_together(
    make_model: MakeModel, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = make_model(), rng.random((9, 21, 24))
    expected = predict(model, image, "TYX", PLAIN)
    slow = model.network = Slow(model.network)
    monkeypatch.setattr(runner, "batch_pixels", join_four)
    whole = PredictConfig(tile=64, device="cpu", precision="float32")
    np.testing.assert_allclose(predict(model, image, "TYX", whole), expected, rtol=0, atol=1e-5)
    assert slow.batches == [4, 4, 1]


def test_a_lack_of_memory_halves_the_batch_first_and_says_so_once(
    make_model: MakeModel, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = make_model(), rng.random((9, 21, 24))
    expected = predict(model, image, "TYX", PLAIN)

    class Narrow(Slow):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x)

    narrow = model.network = Narrow(model.network)
    monkeypatch.setattr(runner, "batch_pixels", join_four)
    whole = PredictConfig(tile=64, device="cpu", precision="float32")
    events: list[PredictEvent] = list(predict_tiles(model, image, "TYX", whole))
    messages = [event.message for event in events if isinstance(event, PredictRecovered)]
    assert messages == ["The memory was not enough; the prediction goes on with 2 tiles at once."]
    assert narrow.batches == [2, 2, 2, 2, 1]
    assert [event.done for event in events if isinstance(event, TilePredicted)] == list(range(1, 10))
    for event in events:
        if isinstance(event, TilePredicted):
            np.testing.assert_allclose(event.probabilities, expected[(slice(None), *event.box)], rtol=0, atol=1e-5)


def test_the_tile_grows_with_the_free_memory_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    device = choose_device("cpu", precision="float32")

    def budget(free: int | None, **settings: Any) -> int:
        monkeypatch.setattr("napari_unet.predict.budget.free_memory", lambda _: free)
        return pixel_budget(ModelConfig(**settings), device)

    assert budget(10**9, features=16) == pytest.approx(0.25 * 10**9 / (16 * 4 * 11), rel=0.01)
    assert budget(10**9, features=32) == pytest.approx(budget(10**9, features=16) / 2, rel=0.01)
    assert budget(10**9, features=16, architecture="unet++") < budget(10**9, features=16)
    assert budget(10**12, features=16) == budget(10**13, features=16)
    assert budget(0, features=16) == 1
    assert budget(10**6, features=16) < budget(None, features=16) < budget(10**12, features=16)
    assert batch_pixels(device, 10**6) == 0


def test_what_knows_the_pipeline_is_freed_with_it_at_once() -> None:
    class Network:
        def run(self, block: str) -> int:
            return len(block)

    def use(network: Network) -> int:
        def compute(block: str) -> int:
            pipeline.check()
            return network.run(block)

        pipeline = Pipeline(str, compute, should_stop=lambda: False, inline=False)
        with pipeline:
            pipeline.put(222)
            pipeline.put(1)
            return pipeline.get()[1]

    network = Network()
    alive = weakref.ref(network)
    gc.disable()
    try:
        assert use(network) == 3
        del network
        assert alive() is None
    finally:
        gc.enable()
