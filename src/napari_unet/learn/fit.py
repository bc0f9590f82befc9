"""Training a model on strokes, as a generator of events."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

from napari_unet.data.sample import Sample
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.distributed import ALONE, Processes
from napari_unet.learn.events import FitEvent
from napari_unet.learn.run import Run
from napari_unet.nets.allocator import keep_freed_memory
from napari_unet.nets.device import choose_device
from napari_unet.nets.registry import SegmentationModel

__all__ = ["fit"]


def fit(
    model: SegmentationModel,
    samples: Sequence[Sample],
    config: TrainConfig | None = None,
    *,
    device: str = "auto",
    should_stop: Callable[[], bool] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    processes: Processes = ALONE,
) -> Iterator[FitEvent]:
    """Train a model on annotated images.

    Starting weights (`Model.pretrained`, and what was made of them) begin with their last layer solved from the
    strokes, as `napari_unet.adapt` does it, and are then trained with care (`TrainConfig.hold_on`): what comes of it
    is taken only where it is better on the held-out strokes by more than chance. Where most of the images is painted,
    they are trained freely, and what was solved from the strokes is the score to reach. Other models are trained on as
    they are. Where the place in the image counts for the last layer, it does so in a training
    that holds on to it, too: what is kept then lies halfway between start and end, its last layer solved once more from
    all strokes.

    The training works on a copy; when it ends, is stopped, is closed or fails, the model gets the best weights so
    far: the last of those that score best on the held-out strokes, or so nearly that the difference may be chance, or
    the last ones where nothing could be held out.

    Parameters
    ----------
    model : Model
        What to start from; changed when the training ends.
    samples : sequence of Sample
        The annotated images; they are not changed.
    config : TrainConfig or None
        Settings; None: the defaults, which go on until stopped.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    should_stop : callable or None
        Asked between the parts of each step; True ends the training.
    checkpoint : path-like or None
        A file to which the training is written every ten seconds and at its end, and from which it goes on if the
        file is there.
    processes : Processes
        Those that train together, each calling this with the same images and settings; see
        `napari_unet.learn.distributed`. Stopping one stops all.

    Yields
    ------
    FitEvent
        `FitStarted`, then `FitProgress` (several for a step), `FitScored` and `FitRecovered`, and `FitFinished`.

    Raises
    ------
    UNetError
        If the samples, the settings or the device can't be used, or memory is too small; see its subclasses.

    Examples
    --------
    >>> import numpy as np, napari_unet as nu
    >>> image = np.random.default_rng(0).random((32, 32)); image[8:20, 8:20] += 2
    >>> strokes = np.zeros((32, 32), np.uint8); strokes[2:5, 2:30] = 1; strokes[10:18, 10:18] = 2
    >>> model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    >>> for event in nu.fit(model, [nu.Sample(image, strokes)], nu.TrainConfig(max_steps=2), device="cpu"):
    ...     pass
    >>> event.step, model.history["steps"]
    (2, 2)
    """
    began = time.monotonic()
    config = config or TrainConfig()
    place = choose_device(device, precision=config.precision)
    if processes.size > 1:
        place = replace(place, description=f"{processes.size} processes, each on {place.description}")
    run = Run(model, config, place, should_stop or (lambda: False), checkpoint, processes, began)
    on_cpu = place.torch_device.type == "cpu"
    with processes.watch(checkpoint), keep_freed_memory() if on_cpu else nullcontext():
        run.load(samples)
        try:
            yield from run.go()
        except GeneratorExit:
            if processes.size == 1:  # else the others would have to help
                run.keep_last()
            raise
        finally:
            run.hand_over(samples)
