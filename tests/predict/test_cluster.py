"""Workers of dask.distributed write, byte by byte, what one program writes, also when one of them is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.predict.cluster import open_cluster
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictFinished, TileStored
from napari_unet.predict.store import predict_to_store

pytest.importorskip("distributed")
CONFIG = PredictConfig(tile=32, device="cpu", precision="float32")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with open_cluster(workers=2) as client:
        yield client


def tiles(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_two_workers_write_what_one_program_writes_also_when_one_is_killed(
    client: Any, make_model: Callable[..., Model], rng: np.random.Generator, tmp_path: Path
) -> None:
    model, image = make_model(depth=1), rng.random((2, 250, 200), dtype=np.float32)
    zarr.create_array(tmp_path / "image.zarr", data=image, chunks=(1, 100, 100), dimension_names=["z", "y", "x"])
    settings: dict[str, Any] = {"config": CONFIG, "content": "probabilities"}
    for _ in predict_to_store(model, tmp_path / "image.zarr", tmp_path / "local.zarr", **settings):
        pass
    expected = tiles(tmp_path / "local.zarr")
    assert len(client.nthreads()) == 2
    processes = sorted(client.run(os.getpid).values())
    assert os.getpid() not in processes
    killed = False
    total = 0
    for event in predict_to_store(model, tmp_path / "image.zarr", tmp_path / "a.zarr", client=client, **settings):
        if isinstance(event, TileStored):
            total += 1
            if event.done > event.total / 2 and not killed:
                os.kill(processes[0], signal.SIGKILL)
                killed = True
    assert isinstance(event, PredictFinished)
    assert not event.stopped
    assert killed
    assert total == event.total == 2 * 8 * 7
    assert tiles(tmp_path / "a.zarr") == expected


def test_tiles_that_overlap_are_blended_to_the_same_bytes(
    client: Any, make_model: Callable[..., Model], rng: np.random.Generator, tmp_path: Path
) -> None:
    model, image = make_model(norm="group", depth=1), rng.random((211, 163), dtype=np.float32)
    np.save(tmp_path / "image.npy", image)
    for name, given in (("local.zarr", None), ("cluster.zarr", client)):
        settings: dict[str, Any] = {"config": CONFIG, "content": "probabilities", "client": given}
        events = list(predict_to_store(model, tmp_path / "image.npy", tmp_path / name, **settings))
        assert sum(isinstance(event, TileStored) for event in events) == 4 * 3
        assert events[-1].done == events[-1].total
    assert tiles(tmp_path / "cluster.zarr") == tiles(tmp_path / "local.zarr")


def test_a_stopped_cluster_leaves_a_store_that_one_program_completes(
    client: Any, make_model: Callable[..., Model], rng: np.random.Generator, tmp_path: Path
) -> None:
    model, image = make_model(depth=1), rng.random((200, 200), dtype=np.float32)
    np.save(tmp_path / "image.npy", image)
    done = 0
    events = predict_to_store(
        model, tmp_path / "image.npy", tmp_path / "a.zarr", config=CONFIG, task="objects", client=client,
        should_stop=lambda: done >= 10,
    )  # fmt: skip
    for event in events:
        done = event.done
    assert isinstance(event, PredictFinished)
    assert event.stopped
    assert 10 <= event.done < event.total
    first, *_ = predict_to_store(model, image, tmp_path / "a.zarr", config=CONFIG, task="objects")
    assert first.done == done
    list(predict_to_store(model, image, tmp_path / "b.zarr", config=CONFIG, task="objects"))
    assert tiles(tmp_path / "a.zarr") == tiles(tmp_path / "b.zarr")


def test_what_workers_cannot_do_is_told_in_one_sentence(
    client: Any, make_model: Callable[..., Model], rng: np.random.Generator, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model, image = make_model(depth=1), rng.random((60, 50), dtype=np.float32)
    with pytest.raises(InputError, match="give its path"):
        list(predict_to_store(model, image, tmp_path / "a.zarr", config=CONFIG, client=client))
    np.save(tmp_path / "image.npy", image)
    events = predict_to_store(model, tmp_path / "image.npy", tmp_path / "a.zarr", config=CONFIG, client=client)
    next(events)
    np.save(tmp_path / "image.npy", image[:30])  # the workers see another one
    with pytest.raises(InputError, match="A worker finds another image"):
        list(events)
    monkeypatch.setattr("napari_unet.predict.cluster._CONNECT_SECONDS", 1.0)
    with (
        pytest.raises(InputError, match=r"No scheduler .* answers at tcp://127.0.0.1:1"),
        open_cluster("tcp://127.0.0.1:1"),
    ):
        pass
