"""Overlap-tile prediction: any image through any network, seamlessly, piece by piece."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout, guess_axes
from napari_unet.data.intensity import IntensityRange
from napari_unet.errors import InputError, MemoryLimitError
from napari_unet.nets.allocator import keep_freed_memory
from napari_unet.nets.device import choose_device
from napari_unet.nets.interrupt import AskedBeforeOperations
from napari_unet.nets.registry import SegmentationModel
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictEvent, PredictFinished, PredictRecovered, PredictStarted, TilePredicted
from napari_unet.predict.pending import Focus, PendingTiles, Skip
from napari_unet.predict.pipeline import OutOfMemory, Pipeline, Stopped
from napari_unet.predict.runner import Batch, Blocks, Fetch, TileRunner

__all__ = ["image_layout", "predict", "predict_tiles"]


def predict(
    model: SegmentationModel,
    image: Any,
    axes: str | None = None,
    config: PredictConfig | None = None,
    out: Any | None = None,
) -> Any:
    """Predict the probability of each class for each pixel.

    Parameters
    ----------
    model : Model
        A trained model.
    image : array-like
        Any real dtype; numpy, memory-mapped, dask or zarr.
    axes : str or None
        One letter for each axis of `image`; None: see `napari_unet.data.axes.guess_axes`.
    config : PredictConfig or None
        Settings; None: the defaults.
    out : array-like or None
        Where to write, (class, \\*space): anything that takes ``out[box] = block``. None: a new array.

    Returns
    -------
    array-like
        (class, \\*space) float32 in 0..1, or `out`. `space` are the image's axes without the channel axis, in its
        order; a 2D model goes through the planes of a stack.

    Raises
    ------
    UNetError
        If the image does not fit the model, or the memory is too small for the smallest tile.

    Examples
    --------
    >>> import napari_unet as nu
    >>> model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    >>> nu.predict(model, np.random.default_rng(0).random((17, 23))).shape
    (2, 17, 23)
    """
    for event in predict_tiles(model, image, axes, config):
        if isinstance(event, PredictStarted):
            if out is None:
                out = _allocate(event.shape)
            elif tuple(out.shape) != event.shape:
                raise InputError(f"Expected `out` to have the shape {event.shape}, but got {tuple(out.shape)}.")
        elif isinstance(event, TilePredicted):
            assert out is not None  # the first event made it
            out[(slice(None), *event.box)] = event.probabilities
    return out


def _allocate(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    try:
        return np.empty(shape, np.float32)
    except MemoryError as error:
        raise MemoryLimitError(
            f"The probabilities of {' x '.join(map(str, shape))} values do not fit into the memory of this computer; "
            "give `out`, for example a zarr array on the disk."
        ) from error


def predict_tiles(
    model: SegmentationModel,
    image: Any,
    axes: str | None = None,
    config: PredictConfig | None = None,
    *,
    region: Box | None = None,
    from_region: bool = False,
    focus: Focus = None,
    skip: Skip = None,
    intensity: IntensityRange | None = None,
    blended: bool = True,
    should_stop: Callable[[], bool] | None = None,
    may_go_on: Callable[[], bool] | None = None,
) -> Iterator[PredictEvent]:
    """Predict tile by tile; see `predict`.

    Parameters
    ----------
    model, image, axes, config
        As in `predict`.
    region : tuple of slice or None
        Predict only the tiles that touch this part of the space; None: all.
    from_region : bool
        Whether the tiles begin at the corner of the region, instead of that of the frame, so that less is computed for
        a small region. Tiles that are blended never do.
    focus : sequence of float, callable or None
        A point in the space: the nearest tiles come first. A function is asked before each tile and returns a point,
        or None for no change, so that a person who looks elsewhere gets that part next.
    skip : callable or None
        Given the box of a tile in the space, says whether it is done already and left out, to go on with a prediction
        that was stopped. Give the tile of that prediction as ``config.tile``.
    intensity : IntensityRange or None
        The grey values that become 0 and 1, where they were measured before; None: they are measured now.
    blended : bool
        Whether tiles that overlap are blended with those before them; False: each comes as the network makes it.
    should_stop : callable or None
        Asked before each tile and ten times a second while one is waited for. True ends the prediction: in the main
        thread, or on a GPU, as soon as the network has done the tile that it is at; else within that tile.
    may_go_on : callable or None
        Asked before each operation of the network, on a GPU before each batch, in the thread that computes: it may wait
        there, to leave the cores to others, and False ends the prediction on the way.

    Yields
    ------
    PredictEvent
        `PredictStarted`, then `TilePredicted` and sometimes `PredictRecovered`, and `PredictFinished`.

    Notes
    -----
    The next tiles are read, and outside of the main thread or on a GPU also computed, while the listener is busy with
    one: up to four tiles are held in memory, or batches of small ones. All functions but `may_go_on` are called in the
    thread of the listener. The model must stay as it is until the end.
    """
    layout = image_layout(model, image, axes)
    config = config or PredictConfig()
    device = choose_device(config.device, precision=config.precision)
    began = time.monotonic()
    runner = TileRunner(model, layout, device, config, image, intensity, blended=blended)
    left = PendingTiles(
        layout, runner.geometry, runner.tile,
        region=region, from_region=from_region, focus=focus, skip=skip, blended=blended,
    )  # fmt: skip
    shape = (len(model.config.classes), *layout.label_shape)
    yield PredictStarted(
        0, len(left), time.monotonic() - began, shape, device.description, layout.label_tile(left.tile)
    )
    on_cpu = device.torch_device.type == "cpu"
    with keep_freed_memory() if on_cpu else nullcontext():
        inline = on_cpu and _in_main_thread()
        yield from _go_through(left, runner, began, should_stop or _go_on, may_go_on, inline=inline)


def _go_through(
    left: PendingTiles, runner: TileRunner, began: float, should_stop: Callable[[], bool],
    may_go_on: Callable[[], bool] | None, *, inline: bool,
) -> Iterator[PredictEvent]:  # fmt: skip
    """Predict all that is left, a few tiles ahead of the listener."""
    done, total = 0, len(left)

    def progress() -> tuple[int, int, float]:
        return done, total, time.monotonic() - began

    def compute(blocks: Blocks) -> list[Fetch]:
        with nullcontext() if waits_for_tile else AskedBeforeOperations(pipeline.check):
            return runner.compute(blocks, pipeline.check)

    waits_for_tile = inline or runner.device.torch_device.type != "cpu"
    pipeline = Pipeline(runner.read, compute, should_stop=should_stop, inline=inline, may_go_on=may_go_on)
    with pipeline, suppress(Stopped):
        while done < total and not should_stop():
            _fill(pipeline, left, runner)
            try:
                batch, results = pipeline.get()
            except OutOfMemory:
                batches = pipeline.take_back()
                smaller, words = runner.shrink(batches[0], left.tile)
                left.give_back([piece for batch in batches for piece in batch])
                if smaller != left.tile:
                    left.cut(smaller)
                total = done + len(left)
                message = f"The memory was not enough; the prediction goes on with {words}."
                yield PredictRecovered(*progress(), message, left.layout.label_tile(left.tile))
                continue
            if left.overtakes(piece for batch in pipeline.works for piece in batch):
                left.give_back([piece for batch in pipeline.take_back() for piece in batch])
            _fill(pipeline, left, runner)  # so that the network is busy while the listener is
            for number, (piece, result) in enumerate(zip(batch, results, strict=True)):
                later = chain(batch[number + 1 :], *pipeline.works, left)
                block = runner.blend(piece, result(), later)
                if not piece.context:
                    done += 1
                    yield TilePredicted(*progress(), left.box(piece), left.layout.to_label_order(block))
    yield PredictFinished(*progress(), stopped=done < total)


def _fill(pipeline: Pipeline[Batch, Blocks, list[Fetch]], left: PendingTiles, runner: TileRunner) -> None:
    while len(left) and pipeline.has_room:
        pipeline.put(tuple(left.take(runner.batch_pixels)))


def _go_on() -> bool:
    return False


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def image_layout(model: SegmentationModel, image: Any, axes: str | None) -> ImageLayout:
    """Check that an image fits a model, and return how the model sees it.

    Raises
    ------
    InputError
        If the axes or the channels do not fit.
    """
    shape = tuple(image.shape)
    layout = ImageLayout(axes or guess_axes(shape), shape, model.config.ndim)
    if layout.channels != model.config.in_channels:
        raise InputError(
            f"The model reads {model.config.in_channels} channel{'s' * (model.config.in_channels > 1)}, "
            f"but the image has {layout.channels}; choose another image or train a new model."
        )
    return layout
