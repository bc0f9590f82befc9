"""A program that predicts an image to a store and is killed at random moments; run by `test_store_killed.py`.

``killed_predictions.py FOLDER SEED KILLS``: in the folder lie ``model.unet.safetensors`` and ``image.npy``. For each
tile that a prediction computes, a line with a number that stands for the tile is put into ``computed.txt``.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from napari_unet.models.model import Model
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.store import predict_to_store


def predict(folder: Path) -> None:
    model = Model.load(folder / "model.unet.safetensors")
    log = os.open(folder / "computed.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(network: Any, inputs: Any) -> None:
        for tile in inputs[0]:
            os.write(log, b"%d\n" % zlib.crc32(tile.numpy().tobytes()))

    model.network.register_forward_pre_hook(note)
    image = np.load(folder / "image.npy", mmap_mode="r")
    config = PredictConfig(tile=32, device="cpu", precision="float32")
    for _ in predict_to_store(model, image, folder / "killed.zarr", config=config, content="probabilities"):
        pass


def main(folder: Path, seed: int, kills: int) -> None:
    chance = random.Random(seed)
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            predict(folder)
            os._exit(0)
        before = (folder / "computed.txt").stat().st_size if (folder / "computed.txt").exists() else 0
        while not (folder / "computed.txt").exists() or (folder / "computed.txt").stat().st_size == before:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.4))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
