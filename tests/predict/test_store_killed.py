"""A prediction that is killed outright, and again, ends as one that never was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_unet.models.model import Model
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictStarted
from napari_unet.predict.store import predict_to_store
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.tiled import predict

KILLS = 3
UNDERWAY = 6  # tiles that are computed or wait to be written when the kill comes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test needs a system that can fork")
def test_killed_three_times_and_completed(
    make_model: Callable[..., Model], rng: np.random.Generator, tmp_path: Path
) -> None:
    model, image = make_model(depth=1), rng.random((600, 400), dtype=np.float32)
    model.save(tmp_path / "model.unet.safetensors")
    np.save(tmp_path / "image.npy", image)
    script = Path(__file__).with_name("killed_predictions.py")
    source = str(Path(__file__).parents[2] / "src")
    program = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "7", str(KILLS)],
        env=os.environ | {"PYTHONPATH": source}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert program.stdout.split() == ["9"] * KILLS, program.stderr
    store = TileStore.open(tmp_path / "killed.zarr")
    missing = store.missing()
    whole = predict(model, image, config=PredictConfig(tile=32, device="cpu", precision="float32"))
    for index in set(np.ndindex(*store.grid)) - set(missing):  # no tile is there in part
        box = (slice(None), *store.box(index))
        np.testing.assert_array_equal(store.tiles[box], whole[box])
    computed = (tmp_path / "computed.txt").read_text().split()
    total = len(list(np.ndindex(*store.grid)))
    done = total - len(missing)
    assert 0 < done < total
    assert len(computed) <= done + UNDERWAY * KILLS
    assert max(Counter(computed).values()) <= 1 + KILLS
    runs: list[Any] = []
    model.network.register_forward_hook(lambda *_: runs.append(1))
    config = PredictConfig(tile=32, device="cpu", precision="float32")
    events = list(predict_to_store(model, image, tmp_path / "killed.zarr", config=config, content="probabilities"))
    assert isinstance(events[0], PredictStarted)
    assert events[0].done == done
    assert len(runs) == len(missing)
    np.testing.assert_array_equal(TileStore.open(tmp_path / "killed.zarr").levels()[0], whole)
    assert not [file for file in (tmp_path / "killed.zarr").rglob("*") if file.name.endswith(".part")]
