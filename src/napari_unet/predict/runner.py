"""What a prediction does with its tiles: they are read, go through the network, and are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.data.intensity import FrameReader, IntensityRange, measure_range
from napari_unet.errors import InputError, MemoryLimitError, is_out_of_memory
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.device import Device
from napari_unet.nets.registry import SegmentationModel
from napari_unet.predict.averaging import TurnedFrames, list_turns, tile_growth
from napari_unet.predict.blend import Blender
from napari_unet.predict.budget import batch_pixels, pixel_budget
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.pending import Piece
from napari_unet.predict.tiles import TileGeometry, choose_tile

__all__ = ["Batch", "TileRunner", "tile_geometry"]

_OVERLAP = {2: 32, 3: 16}  # pixels, by dimensions, where tiles are blended

FloatArray = npt.NDArray[np.float32]
Batch = tuple[Piece, ...]  # tiles whose outer boxes have one shape
Blocks = tuple[Batch, list[FloatArray]]  # with what was read: (N, C, \*outer box), of the image and its turned versions
Fetch = Callable[[], FloatArray]  # waits for a tile's probabilities (class, \*inner box)


def tile_geometry(network: nn.Module, config: ModelConfig) -> TileGeometry:
    """Return what the tiles of a network must look like; they overlap where the network's result depends on them."""
    divisor = cast("int", network.divisor)
    halo = cast("tuple[int, int]", getattr(network, "whole_halo", network.halo))
    exact = getattr(network, "exact_tiling", True)
    overlap = 0 if exact else -(-_OVERLAP[config.ndim] // divisor) * divisor
    return TileGeometry(divisor, halo, divisor if config.padding == "same" else None, overlap)


class TileRunner:
    """Predicts the tiles of one image.

    Parameters
    ----------
    model : Model
        Its network is brought to the device.
    layout : ImageLayout
        The axes of the image, as the model sees it.
    device : Device
        Where to run.
    config : PredictConfig
        How to run.
    image : array-like
        The image.
    intensity : IntensityRange or None
        The grey values that become 0 and 1; None: they are measured at once.
    blended : bool
        Whether tiles that overlap are blended.

    Attributes
    ----------
    geometry : TileGeometry
        What the tiles of the network must look like.
    tile : tuple of int
        Size of the inner boxes that was asked for, or that suits network, device and free memory.
    batch_pixels : int
        How many pixels the outer boxes of a batch may have together.

    Raises
    ------
    InputError
        If the tile has the wrong number of sides, or the image can't be normalised.
    MemoryLimitError
        If the network does not fit on the device.
    """

    def __init__(
        self,
        model: SegmentationModel,
        layout: ImageLayout,
        device: Device,
        config: PredictConfig,
        image: Any,
        intensity: IntensityRange | None = None,
        *,
        blended: bool = True,
    ) -> None:
        made = model.config
        self.device = device
        self.geometry = tile_geometry(model.network, made)
        turns = list_turns(config.averaging)
        budget = pixel_budget(made, device, tile_growth(turns))
        self.batch_pixels = 0 if turns else batch_pixels(device, budget)
        self.tile = self._choose_tile(config.tile, layout.frame_shape, budget)
        if intensity is None:
            intensity = measure_range(
                image, layout, low_percentile=made.low_percentile, high_percentile=made.high_percentile
            )
        self._reader = FrameReader(image, layout, intensity, getattr(model.network, "surroundings", 0))
        self._turned = [TurnedFrames(self._reader, turn) for turn in turns]
        self._blender = Blender(self.geometry.overlap) if self.geometry.overlap and blended else None
        self._network = _place(device, model.network)

    def _choose_tile(self, asked: int | tuple[int, ...] | None, shape: tuple[int, ...], budget: int) -> tuple[int, ...]:
        if asked is None:
            return choose_tile(shape, self.geometry, budget)
        sides = (asked,) * len(shape) if isinstance(asked, int) else tuple(asked)
        if len(sides) != len(shape):
            raise InputError(f"Expected `tile` to have {len(shape)} sides, but got {sides}.")
        return tuple(self._round_up(min(side, size)) for side, size in zip(sides, shape, strict=True))

    def _round_up(self, side: int) -> int:
        return -(-side // self.geometry.divisor) * self.geometry.divisor

    def read(self, batch: Batch) -> Blocks:
        """Read the outer boxes of a batch, normalised; and of the turned versions of the image."""
        blocks = [self._reader.read(piece.position, piece.tile.start, piece.tile.stop) for piece in batch]
        found = [blocks[0][None] if len(blocks) == 1 else np.stack(blocks)]
        for frames in self._turned:
            (piece,) = batch
            turned = frames.plan(piece.tile.inner, self.geometry)
            found.append(frames.read(piece.position, turned.start, turned.stop)[None])
        return batch, found

    def compute(self, blocks: Blocks, check: Callable[[], None]) -> list[Fetch]:
        """Run the network on a batch, averaged as asked for; `check` is called between two runs."""
        batch, (straight, *others) = blocks
        results = self._infer(straight, [piece.tile.crop for piece in batch])
        if not self._turned:
            return results
        inner = batch[0].tile.inner
        total = results[0]()
        for frames, block in zip(self._turned, others, strict=True):
            check()
            turned = frames.plan(inner, self.geometry)
            (result,) = self._infer(block, [turned.crop])
            total += frames.turn_back(result(), turned.inner, inner)
        total /= 1 + len(self._turned)
        return [lambda: total]

    @torch.inference_mode()
    def _infer(self, block: FloatArray, crops: list[Box]) -> list[Fetch]:
        with self.device.autocast():
            logits = self._network(self.device.tensor(block))
        return [
            self.device.fetch(logits[(number, slice(None), *crop)].float().softmax(dim=0))
            for number, crop in enumerate(crops)
        ]

    def blend(self, piece: Piece, block: FloatArray, left: Iterator[Piece]) -> FloatArray:
        """Blend a tile with those before it, where the network's result depends on the tile; `left` are to come."""
        if self._blender is None:
            return block
        blended = self._blender.add(piece.position, piece.tile.inner, block)
        self._blender.forget((later.position, later.tile.inner) for later in left)
        return blended

    def shrink(self, batch: Batch, tile: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
        """Halve the batch, or else the tile, after the memory was not enough; returns the tile, and what was done.

        Raises
        ------
        MemoryLimitError
            If the tile is the smallest already, or must stay as it is because the result depends on it.
        """
        if self.device.torch_device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch) > 1:
            self.batch_pixels = len(batch) * int(np.prod(batch[0].tile.outer_shape)) // 2
            return tile, f"{len(batch) // 2} tile{'s' * (len(batch) > 3)} at once"
        if self.geometry.overlap and self._blender is None:
            raise MemoryLimitError(
                f"A tile of {_in_words(tile)} pixels does not fit into the memory of {self.device.description}; close "
                "other programs, or begin anew with a smaller tile, on which the result of this network depends."
            )
        smaller = tuple(self._round_up(side // 2) for side in tile)
        if smaller == tile:
            raise MemoryLimitError(
                f"Even a tile of {_in_words(tile)} pixels does not fit into the memory of {self.device.description}; "
                "close other programs or use a narrower network."
            )
        return smaller, f"tiles of {_in_words(smaller)} pixels"


def _place(device: Device, network: nn.Module) -> nn.Module:
    try:
        return device.place(network).eval()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryLimitError(
            f"The network does not fit into the memory of {device.description}; close other programs or choose "
            "another device."
        ) from error


def _in_words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
