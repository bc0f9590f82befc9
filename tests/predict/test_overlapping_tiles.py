"""Stores of networks whose result depends on the tile: blended as in memory, and the same after any interruption."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet.errors import MemoryLimitError
from napari_unet.models.model import Model
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import TileStored
from napari_unet.predict.overlapping_tiles import OVERLAPPING
from napari_unet.predict.store import predict_to_store
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.tiled import predict

MakeModel = Callable[..., Model]
CONFIG = PredictConfig(tile=32, device="cpu", precision="float32")


def files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def run(model: Model, image: Any, path: Path, **settings: Any) -> list[Any]:
    return list(predict_to_store(model, image, path, config=CONFIG, **{"content": "probabilities", **settings}))


@pytest.mark.parametrize(
    ("settings", "shape", "axes"),
    [
        ({"norm": "group"}, (203, 157), "YX"),
        ({"norm": "instance", "padding": "valid"}, (139, 70), "YX"),
        ({"architecture": "transunet"}, (69, 201), "YX"),
        ({"norm": "group", "depth": 1, "in_channels": 2}, (2, 3, 75, 131), "CTYX"),
        ({"norm": "group", "depth": 1}, (131, 75, 2), "XYZ"),
        ({"norm": "group", "ndim": 3, "depth": 1}, (37, 75, 41), "ZYX"),
    ],
    ids=str,
)
def test_a_store_holds_what_is_blended_in_memory(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path, settings: dict[str, Any], shape: Any, axes: str
) -> None:
    model = make_model(**settings)
    image = rng.random(shape) + np.linspace(0, 2, shape[-1])
    events = run(model, image, tmp_path / "a.zarr", axes=axes)
    store = TileStore.open(tmp_path / "a.zarr")
    tile = store.record.tile
    expected = predict(model, image, axes, PredictConfig(tile=tile, device="cpu", precision="float32"))
    assert max(store.grid) > 1
    stored = [event.box for event in events if isinstance(event, TileStored)]
    assert len({str(box) for box in stored}) == len(stored) == np.prod(store.grid) == events[-1].total
    np.testing.assert_allclose(store.levels()[0].compute(), expected, atol=1e-6)
    assert not (tmp_path / "a.zarr" / OVERLAPPING).exists()


def test_about_a_row_of_tiles_waits_on_the_disk(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path
) -> None:
    path, most = tmp_path / "a.zarr", 0
    for _ in predict_to_store(make_model(norm="group"), rng.random((700, 330)), path, config=CONFIG):
        most = max(most, sum(file.is_file() for file in (path / OVERLAPPING).rglob("c/*/*/*")))
    assert TileStore.open(path).grid == (11, 5)
    assert 5 < most <= 2 * 5 + 4


@pytest.mark.parametrize("content", ["probabilities", "labels"])
def test_what_was_stopped_is_completed_to_the_same_bytes(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path, content: str
) -> None:
    model, image = make_model(norm="group"), rng.random((211, 300))
    run(model, image, tmp_path / "whole.zarr", content=content, task="objects")
    computed: list[int] = []
    model.network.register_forward_hook(lambda *_: computed.append(1))
    for stop in (3, 1, 6):
        seen: list[Any] = []
        for event in predict_to_store(
            model, image, tmp_path / "stopped.zarr", config=CONFIG, content=content, task="objects",  # type: ignore[arg-type]
            focus=(100, 280), should_stop=lambda stop=stop, seen=seen: len(seen) >= stop,
        ):  # fmt: skip
            seen += [event] * isinstance(event, TileStored)
    events = run(model, image, tmp_path / "stopped.zarr", content=content, task="objects")
    assert events[0].done > 0
    assert files(tmp_path / "stopped.zarr") == files(tmp_path / "whole.zarr")
    assert len(computed) <= 4 * 5 + 3 * 4  # all tiles once, and those under way when it was stopped


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test needs a system that can fork")
def test_killed_and_completed(make_model: MakeModel, rng: np.random.Generator, tmp_path: Path) -> None:
    model, image = make_model(norm="group", depth=1), rng.random((800, 700), dtype=np.float32)
    model.save(tmp_path / "model.unet.safetensors")
    np.save(tmp_path / "image.npy", image)
    script = Path(__file__).with_name("killed_predictions.py")
    program = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "3", "3"],
        env=os.environ
        | {"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert program.stdout.split() == ["9"] * 3, program.stderr
    run(model, image, tmp_path / "killed.zarr")
    run(model, image, tmp_path / "whole.zarr")
    assert files(tmp_path / "killed.zarr") == files(tmp_path / "whole.zarr")


def test_a_chunk_whose_tiles_were_all_there_is_written_without_the_network(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = make_model(norm="group"), rng.random((100, 130))
    run(model, image, tmp_path / "whole.zarr")
    with monkeypatch.context() as patched:
        patched.setattr(TileStore, "keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(model, image, tmp_path / "a.zarr")
    computed: list[int] = []
    model.network.register_forward_hook(lambda *_: computed.append(1))
    run(model, image, tmp_path / "a.zarr")
    assert len(computed) <= 2
    assert files(tmp_path / "a.zarr") == files(tmp_path / "whole.zarr")


def test_a_tile_that_does_not_fit_into_memory_is_not_cut(
    make_model: MakeModel, rng: np.random.Generator, tmp_path: Path
) -> None:
    model = make_model(norm="group")

    def fail(*_: Any) -> None:
        raise MemoryError

    hook = model.network.register_forward_hook(fail)
    with pytest.raises(MemoryLimitError, match="begin anew with a smaller tile"):
        run(model, rng.random((100, 100)), tmp_path / "a.zarr")
    hook.remove()
    run(model, rng.random((100, 100)), tmp_path / "b.zarr")
