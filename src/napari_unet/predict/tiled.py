"""Overlap-tile prediction: any image through any network, seamlessly, piece by piece."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_unet.data.axes import Box, ImageLayout, guess_axes
from napari_unet.data.intensity import FrameReader, IntensityRange
from napari_unet.errors import InputError, MemoryLimitError
from napari_unet.nets.architectures import ARCHITECTURES
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import Device, choose_device, is_out_of_memory
from napari_unet.nets.registry import SegmentationModel
from napari_unet.predict.averaging import TurnedFrames, list_turns, tile_growth
from napari_unet.predict.blend import Blender
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictEvent, PredictFinished, PredictRecovered, PredictStarted, TilePredicted
from napari_unet.predict.pending import Focus, PendingTiles, Piece, Skip
from napari_unet.predict.tiles import Tile, TileGeometry, choose_tile

__all__ = ["image_layout", "pixel_budget", "predict", "predict_tiles", "tile_geometry"]

_BUDGET_CPU = 24_000_000  # outer pixels of a tile times features of the network
_BUDGET_GPU = 8 * _BUDGET_CPU
_OVERLAP = {2: 32, 3: 16}  # pixels, by dimensions, where tiles are blended


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
            f"The probabilities of {_in_words(shape)} values do not fit into the memory of this computer; "
            "give `out`, for example a zarr array on the disk."
        ) from error


def predict_tiles(
    model: SegmentationModel,
    image: Any,
    axes: str | None = None,
    config: PredictConfig | None = None,
    *,
    region: Box | None = None,
    focus: Focus = None,
    skip: Skip = None,
    intensity: IntensityRange | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[PredictEvent]:
    """Predict tile by tile; see `predict`.

    Parameters
    ----------
    model, image, axes, config
        As in `predict`.
    region : tuple of slice or None
        Predict only the tiles that touch this part of the space; None: all.
    focus : sequence of float, callable or None
        A point in the space: the nearest tiles come first. A function is asked before each tile and returns a point,
        or None for no change, so that a person who looks elsewhere gets that part next.
    skip : callable or None
        Given the box of a tile in the space, says whether it is done already and left out, to go on with a prediction
        that was stopped. Give the tile of that prediction as ``config.tile``.
    intensity : IntensityRange or None
        The grey values that become 0 and 1, where they were measured before; None: they are measured now.
    should_stop : callable or None
        Asked before each run of the network; True ends the prediction.

    Yields
    ------
    PredictEvent
        `PredictStarted`, then `TilePredicted` and sometimes `PredictRecovered`, and `PredictFinished`.
    """
    began = time.monotonic()
    config = config or PredictConfig()
    layout = image_layout(model, image, axes)
    device = choose_device(config.device, precision=config.precision)
    job = _Job(model, layout, device, config, image, intensity)
    left = job.plan(region, focus, skip)
    total, done = len(left), 0
    shape = (len(model.config.classes), *layout.label_shape)

    def seconds() -> float:
        return time.monotonic() - began

    yield PredictStarted(0, total, seconds(), shape, device.description, layout.label_tile(left.tile))
    while done < total:
        if should_stop is not None and should_stop():
            break
        piece = left.take()
        assert piece is not None  # as not all are done
        message = None
        try:
            block = job.run(piece, should_stop)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            smaller = job.shrink(left.tile, error)
            message = f"The memory was not enough; the prediction goes on with tiles of {_in_words(smaller)} pixels."
        if message is not None:  # only now has the failed run let go of its memory
            job.release_memory()
            left.give_back([piece])
            left.cut(smaller)
            total = done + len(left)
            yield PredictRecovered(done, total, seconds(), message)
            continue
        if block is None:
            break
        block = job.blend(piece, block, left)
        if not piece.context:
            done += 1
            yield TilePredicted(done, total, seconds(), left.box(piece), layout.to_label_order(block))
    yield PredictFinished(done, total, seconds(), stopped=done < total)


def _in_words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


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


def tile_geometry(network: nn.Module, config: ModelConfig) -> TileGeometry:
    """Return what the tiles of a network must look like; they overlap where the network's result depends on them."""
    divisor = cast("int", network.divisor)
    halo = cast("tuple[int, int]", network.halo)
    exact = getattr(network, "exact_tiling", True)
    overlap = 0 if exact else -(-_OVERLAP[config.ndim] // divisor) * divisor
    return TileGeometry(divisor, halo, divisor if config.padding == "same" else None, overlap)


def pixel_budget(config: ModelConfig, device: Device, growth: float = 1.0) -> int:
    """Return how many outer pixels a tile may have, which grows by a factor before the network sees it."""
    budget = _BUDGET_CPU if device.torch_device.type == "cpu" else _BUDGET_GPU
    return int(budget / (growth * config.features * ARCHITECTURES[config.architecture].memory))


@dataclass
class _Job:
    """What stays the same from tile to tile."""

    model: SegmentationModel
    layout: ImageLayout
    device: Device
    config: PredictConfig
    image: Any
    intensity: IntensityRange | None

    def plan(self, region: Box | None, focus: Focus, skip: Skip) -> PendingTiles:
        """Choose the tile size, measure the grey values, and list all tiles."""
        made = self.model.config
        self.geometry = tile_geometry(self.model.network, made)
        turns = list_turns(self.config.averaging)
        left = PendingTiles(
            self.layout, self.geometry, self._choose_tile(tile_growth(turns)), region=region, focus=focus, skip=skip
        )
        if self.intensity is None:
            self.reader = FrameReader.open(self.image, self.layout, made.low_percentile, made.high_percentile)
        else:
            self.reader = FrameReader(self.image, self.layout, self.intensity)
        self.blender = Blender(self.geometry.overlap) if self.geometry.overlap else None
        self.network = self._place()
        self.turned = [TurnedFrames(self.reader, turn) for turn in turns]
        return left

    def _choose_tile(self, growth: float) -> tuple[int, ...]:
        """Return the sides that were asked for, or those that suit network and device."""
        made, asked = self.model.config, self.config.tile
        if asked is None:
            return choose_tile(self.layout.frame_shape, self.geometry, pixel_budget(made, self.device, growth))
        sides = (asked,) * made.ndim if isinstance(asked, int) else tuple(asked)
        if len(sides) != made.ndim:
            raise InputError(f"Expected `tile` to have {made.ndim} sides, but got {sides}.")
        return tuple(self._round_up(min(side, n)) for side, n in zip(sides, self.layout.frame_shape, strict=True))

    def _place(self) -> nn.Module:
        try:
            return self.device.place(self.model.network).eval()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryLimitError(
                f"The network does not fit into the memory of {self.device.description}; close other programs or "
                "choose another device."
            ) from error

    def _round_up(self, side: int) -> int:
        return -(-side // self.geometry.divisor) * self.geometry.divisor

    def run(self, piece: Piece, should_stop: Callable[[], bool] | None) -> npt.NDArray[np.float32] | None:
        """Return the probabilities (class, \\*inner) of one tile, averaged as asked for; None if stopped before."""
        position, tile = piece.position, piece.tile
        total = self._infer(self.reader, position, tile)
        for frames in self.turned:
            if should_stop is not None and should_stop():
                return None
            turned = frames.plan(tile.inner, self.geometry)
            total += frames.turn_back(self._infer(frames, position, turned), turned.inner, tile.inner)
        total /= 1 + len(self.turned)
        return total

    @torch.inference_mode()
    def _infer(
        self, reader: FrameReader | TurnedFrames, position: tuple[int, ...], tile: Tile
    ) -> npt.NDArray[np.float32]:
        block = reader.read(position, tile.start, tile.stop)
        with self.device.autocast():
            logits = self.network(self.device.tensor(block[None]))
        logits = logits[(0, slice(None), *tile.crop)]
        probabilities: npt.NDArray[np.float32] = logits.float().softmax(dim=0).cpu().numpy()
        return probabilities

    def blend(self, piece: Piece, block: npt.NDArray[np.float32], left: PendingTiles) -> npt.NDArray[np.float32]:
        """Blend a tile with those before it, where the network's result depends on the tile; `left` are to come."""
        if self.blender is None:
            return block
        blended = self.blender.add(piece.position, piece.tile.inner, block)
        self.blender.forget((later.position, later.tile.inner) for later in left)
        return blended

    def shrink(self, tile: tuple[int, ...], error: BaseException) -> tuple[int, ...]:
        """Halve the tile after the memory was not enough."""
        smaller = tuple(self._round_up(side // 2) for side in tile)
        if smaller == tile:
            raise MemoryLimitError(
                f"Even a tile of {_in_words(tile)} pixels does not fit into the memory of {self.device.description}; "
                "close other programs or use a narrower network."
            ) from error
        return smaller

    def release_memory(self) -> None:
        """Give the device's memory back that is kept for reuse."""
        if self.device.torch_device.type == "cuda":
            torch.cuda.empty_cache()
