"""Loading what a training needs while the person still paints, so that Train starts at once and disturbs nothing.

PyTorch loads a good part of itself only at the first step of an optimiser, so one step is made, on a few made-up
pixels.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator

import numpy as np

from napari_unet.data.sample import Sample
from napari_unet.learn.config import TrainConfig
from napari_unet.nets.config import ModelConfig
from napari_unet.widgets.parts.torch_loading import load_torch
from napari_unet.widgets.parts.worker import StopCheck, let_window_go_first

__all__ = ["WarmUp", "is_warm", "warm_up"]

_LOG = logging.getLogger(__name__)

_STATE = {"warm": False}


def is_warm() -> bool:
    """Whether everything is loaded already."""
    return _STATE["warm"]


def warm_up(should_stop: StopCheck) -> Generator[None, None, None]:
    """Load PyTorch and the parts of this package that use it; call it in a worker."""
    load_torch()
    yield None
    if should_stop():
        return
    from napari_unet.learn.fit import fit
    from napari_unet.models.model import Model
    from napari_unet.widgets.training.train_job import torch_threads

    yield None
    import napari_unet.live.learner
    import napari_unet.predict.instances
    import napari_unet.predict.tiled  # noqa: F401

    yield None
    strokes = np.zeros((32, 32), np.uint8)
    strokes[:8], strokes[20:] = 1, 2
    sample = Sample(np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32), strokes)
    model = Model.create(ModelConfig(features=4, depth=1))
    config = TrainConfig(max_steps=1, crop=16, batch_size=1)
    with torch_threads(1):
        for _ in fit(model, [sample], config, device="cpu", should_stop=should_stop):
            yield None
    _STATE["warm"] = True


class WarmUp(threading.Thread):
    """Goes through `warm_up` in a plain thread: there is nothing to show, and a training may start beside it."""

    def __init__(self) -> None:
        # no daemon: Python waits for it at its end, since a thread that is cut off inside PyTorch aborts the program
        super().__init__(daemon=False, name="napari-unet warm-up")
        self._stop_event = threading.Event()

    def stop(self) -> None:
        """End it at the next turn."""
        self._stop_event.set()

    def run(self) -> None:
        """Load everything; what fails is only logged, since a training will say it when the person asks for one."""
        let_window_go_first()
        try:
            for _ in warm_up(self._stop_event.is_set):
                if self._stop_event.is_set():
                    break
        except Exception as error:
            _LOG.info("Loading what a training needs has failed.", exc_info=error)
