"""Predict an image that is larger than the memory to a store: memory, and three kills on the way.

    python -m benchmarks.large_images [--size 16384] [--folder FOLDER]

A zarr of 4096 x 4096 pixels and one of 16384 x 16384 are made in a folder that needs about 6 GB, and predicted by a
small network, each in a process of its own. Then the large one is predicted again by a process that is killed at a
random moment, three times, and completed. Peak memory is over what the process had before it began to predict.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import zarr

from benchmarks.reporting import arguments, report
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.store import predict_to_store
from napari_unet.predict.tile_store import TileStore

CHUNK = 1024


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--size", type=int, default=16384, help="side of the large image")
    parser.add_argument("--folder", type=Path, help="where images and results are put; a temporary one")
    parser.add_argument("--tile", type=int, help="side of a tile; chosen by the program")
    parser.add_argument("--predict", type=Path, nargs=3, help=argparse.SUPPRESS)  # what the processes do
    options = parser.parse_args(argv)
    if options.predict:
        predict(*options.predict, options)
        return
    size = 512 if options.quick else options.size
    tile = 64 if options.quick else options.tile
    kills = 1 if options.quick else 3
    given = ["--device", options.device, "--threads", str(options.threads), *(["--tile", str(tile)] if tile else [])]
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        Model.create(ModelConfig(features=2 if options.quick else 4, depth=2)).save(folder / "m.unet.safetensors")
        sizes = [size // 4, size]
        for side in sizes:
            make_image(folder / f"{side}.zarr", side)
        rows = [run(folder, side, f"whole_{side}", given) for side in sizes]
        rows.append(run_killed(folder, size, given, kills))
        rows[-1]["identical"] = same_files(folder / f"whole_{size}.result.zarr", folder / "killed.result.zarr")
    report("large_images", "Prediction to a store, with kills", rows, options.out, chunk=CHUNK, kills=kills)


def make_image(path: Path, side: int) -> None:
    """Write noise with bright spots, chunk by chunk."""
    rng = np.random.default_rng(side)
    image = zarr.create_array(path, shape=(side, side), chunks=(min(CHUNK, side),) * 2, dtype="uint16")
    for y in range(0, side, CHUNK):
        for x in range(0, side, CHUNK):
            shape = tuple(min(CHUNK, side - at) for at in (y, x))
            image[y : y + CHUNK, x : x + CHUNK] = rng.poisson(100 + 900 * (rng.random(shape) > 0.98))


def predict(image: Path, result: Path, log: Path, options: argparse.Namespace) -> None:
    """Predict one image in this process; a line in the log for each tile that is computed, then one of figures."""
    torch.set_num_threads(options.threads)
    model = Model.load(image.parent / "m.unet.safetensors")
    stream = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    model.network.register_forward_hook(lambda _, inputs, __: os.write(stream, b"tile\n" * len(inputs[0])) and None)
    began, before = time.perf_counter(), psutil.Process().memory_info().rss
    config = PredictConfig(device=options.device, tile=options.tile)
    for _ in predict_to_store(model, image, result, config=config, content="probabilities"):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    os.write(stream, f"seconds {time.perf_counter() - began}\npeak {peak - before}\n".encode())


def start(folder: Path, side: int, name: str, given: list[str]) -> subprocess.Popen[bytes]:
    paths = [folder / f"{side}.zarr", folder / f"{name}.result.zarr", folder / f"{name}.log"]
    command = [sys.executable, "-m", "benchmarks.large_images", *given, "--predict", *map(str, paths)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[1])


def run(folder: Path, side: int, name: str, given: list[str]) -> dict[str, Any]:
    """Predict an image in a process of its own."""
    if start(folder, side, name, given).wait():
        raise SystemExit("the process that predicts has failed")
    lines = (folder / f"{name}.log").read_text().split("\n")
    figures = {line.split()[0]: float(line.split()[1]) for line in lines if " " in line}
    store = TileStore.open(folder / f"{name}.result.zarr")
    return {
        "image": f"{side} x {side}", "tile": " x ".join(map(str, store.record.tile)),
        "tiles": int(np.prod(store.grid)), "computed": lines.count("tile"), "kills": 0,
        "peak MB": figures["peak"] / 1e6, "seconds": figures["seconds"],
        "Mpixel/s": side**2 / figures["seconds"] / 1e6, "identical": None,
    }  # fmt: skip


def run_killed(folder: Path, side: int, given: list[str], kills: int) -> dict[str, Any]:
    """Predict an image in processes that are killed, and complete it."""
    chance = random.Random(0)
    log = folder / "killed.log"
    total = int(np.prod(TileStore.open(folder / f"whole_{side}.result.zarr").grid))
    log.touch()
    for _ in range(kills):
        goal = log.read_text().count("tile") + chance.randint(1, max(1, total // (kills + 2)))
        process = start(folder, side, "killed", given)
        while log.read_text().count("tile") < goal:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise SystemExit("the process had ended before it was killed; take a larger image")
    return {**run(folder, side, "killed", given), "kills": kills}


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, byte by byte."""
    names = [{file.relative_to(folder) for file in folder.rglob("*") if file.is_file()} for folder in (one, other)]
    return names[0] == names[1] and all(filecmp.cmp(one / name, other / name, shallow=False) for name in names[0])


if __name__ == "__main__":
    main()
