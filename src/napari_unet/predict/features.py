"""The last feature map of a network, piece by piece, and remembered.

A classifier that is solved on this map from the strokes needs it again and again, at the painted pixels for every new
stroke and everywhere for every new result, while the network that makes it stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_unet.data.axes import Box
from napari_unet.data.intensity import FrameReader
from napari_unet.errors import MemoryLimitError, is_out_of_memory
from napari_unet.nets.device import Device
from napari_unet.nets.grey_features import GREY_REACH, tree_features
from napari_unet.nets.registry import SegmentationModel
from napari_unet.predict.budget import pixel_budget
from napari_unet.predict.feature_cache import FeatureCache, Place
from napari_unet.predict.runner import tile_geometry
from napari_unet.predict.tiles import Tile, TileGeometry, choose_tile, plan_tile, plan_tiles
from napari_unet.predict.turns import Turn

__all__ = ["FeatureMaps"]

_SIDE = {2: 256, 3: 64}  # pixels of a remembered tile, by dimensions
_OVER_ONE_TILE = 1.5  # how much larger than for a single tile the box that the network is given may always be
_FEW_TILES = 4  # of a frame whose map is always made at once,
_HARDLY_LONGER = 2  # or where this takes no more times as long as the tiles that are wanted

Cells = npt.NDArray[np.intp]


@dataclass(frozen=True)
class _Run:
    """What the network is given at once: the plan of a box and the tiles in it."""

    outer: Tile
    tiles: tuple[int, ...]


class FeatureMaps:
    r"""The last feature map of the network of a model for all frames of an image.

    It is computed in boxes as large as the device takes at once, and remembered in tiles of a fixed grid. Where the
    network's result does not depend on the tile, neither does this. Where it does (see
    `SegmentationNetwork.exact_tiling`), the tiles are those of `napari_unet.predict` and overlap.

    Parameters
    ----------
    model : Model
        Whose network makes the map; it must be on the device and in evaluation mode.
    reader : FrameReader
        Reads the image.
    device : Device
        Where the network runs.
    cache : FeatureCache
        Remembers the map.
    turn : Turn or None
        The position in which the network sees the frame; its map is turned back. None: as it lies.

    Attributes
    ----------
    tiles : tuple of Tile
        The tiles of a frame.
    overlap : int
        Pixels by which tiles go into each other.
    margin : int
        Pixels around a tile that are known, too, for logits that are smoothed.
    """

    def __init__(
        self, model: SegmentationModel, reader: FrameReader, device: Device, cache: FeatureCache,
        turn: Turn | None = None,
    ) -> None:  # fmt: skip
        self.network, self.reader, self.device, self.cache, self.turn = model.network, reader, device, cache, turn
        config, shape = model.config, reader.layout.frame_shape
        self.shape = shape
        self.geometry = tile_geometry(model.network, config)
        self.overlap, self.margin = self.geometry.overlap, int(config.smooth_logits)
        budget = pixel_budget(config, device) // 2  # a person waits for the first of them
        side = choose_tile(shape, self.geometry, budget) if self.overlap else (_SIDE[config.ndim],) * config.ndim
        self.side = tuple(-(-part // self.geometry.divisor) * self.geometry.divisor for part in side)
        if turn is not None and self.geometry.margin is not None:  # what is before a box may come to lie behind it
            self.geometry = replace(self.geometry, halo=(max(self.geometry.halo),) * 2)
        self.tiles, self._low, self._high, largest = _lay_tiles(shape, self.side, self.geometry)
        self.grid = tuple(-(-size // part) for size, part in zip(shape, self.side, strict=True))
        self.most = max(budget, int(_OVER_ONE_TILE * largest))
        self.depth = int(cast("nn.Conv2d", model.network.head).in_channels)

    def touching(self, region: Box | None = None) -> list[int]:
        """List the numbers of the tiles that touch a box of the frame; None: all."""
        if region is None:
            return list(range(len(self.tiles)))
        spans = [slice(*part.indices(size)) for part, size in zip(region, self.shape, strict=True)]
        begin, end = (np.array([getattr(span, name) for span in spans]) for name in ("start", "stop"))
        touches = (np.maximum(self._low, begin) < np.minimum(self._high, end)).all(axis=1)
        numbers: list[int] = np.flatnonzero(touches).tolist()
        return numbers

    def unknown(self, position: Place, region: Box | None = None) -> list[int]:
        """List the numbers of the tiles of a frame that touch a box and are not remembered."""
        return [number for number in self.touching(region) if self._key(position, number) not in self.cache]

    def tiles_around(self, point: Sequence[float]) -> Box:
        """Return the box of the tiles nearest to a point of the frame, at most two along each axis.

        Examples
        --------
        >>> from napari_unet import Model
        >>> from napari_unet.nets.device import choose_device
        >>> from napari_unet.predict.tiled import image_layout
        >>> model, image = Model.create(), np.random.default_rng(0).random((1000, 700))
        >>> cache = FeatureCache()
        >>> reader = cache.reader(image, image_layout(model, image, "YX"), model.config)
        >>> FeatureMaps(model, reader, choose_device("cpu"), cache).tiles_around((450, 10))
        (slice(256, 768, None), slice(0, 512, None))
        """
        box = []
        for at, side, cells, size in zip(point, self.side, self.grid, self.shape, strict=True):
            first = max(0, min(round(at / side) - 1, cells - 2))
            box.append(slice(first * side, min((first + 2) * side, size)))
        return tuple(box)

    def nearest_first(self, numbers: Sequence[int], point: Sequence[float]) -> list[int]:
        """Put numbers of tiles in the order of how far their middles are from a point of the frame."""
        chosen = np.asarray(numbers, np.intp)
        away = (self._low[chosen] + self._high[chosen]) / 2 - np.asarray(point)
        order: list[int] = chosen[np.argsort((away**2).sum(axis=1), kind="stable")].tolist()
        return order

    def read(self, position: Place, numbers: Sequence[int]) -> Iterator[tuple[int, torch.Tensor]]:
        r"""Go through some tiles of a frame, in any order.

        Parameters
        ----------
        position : tuple of int
            Position of the frame in the stack.
        numbers : sequence of int
            Places in `tiles`.

        Yields
        ------
        number : int
            Place of the tile in `tiles`.
        features : torch.Tensor
            (D, \*box) on the device, float16 or bfloat16, the channels of a pixel side by side in memory; see `box`.

        Raises
        ------
        MemoryLimitError
            If the memory is too small for a single tile.
        """
        missing = set()
        for number in numbers:
            found = self.cache.get(self._key(position, number))
            if found is None:
                missing.add(number)
            else:
                yield number, found
        for run in self._plan_runs(missing):
            for number, features in self._compute(position, run):
                self.cache.put(self._key(position, number), features)
                if number in missing:
                    yield number, features

    def box(self, number: int) -> Box:
        """Return where a tile's map lies: its `inner` box and the `margin` around it, beyond the frame at its edges."""
        return self._grown(self.tiles[number].inner)

    def without_margin(self, number: int, values: Any) -> Any:
        r"""Return the part (..., \*inner) of what is known in the `box` of a tile (..., \*box), array or tensor."""
        inner = self.tiles[number].inner
        return values[(..., *(slice(self.margin, self.margin + part.stop - part.start) for part in inner))]

    def gather(self, position: Place, pixels: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return the features of some pixels of a frame.

        Parameters
        ----------
        position : tuple of int
            Position of the frame in the stack.
        pixels : numpy.ndarray
            (n,) numbers of the pixels in the flattened frame, sorted and different.

        Returns
        -------
        torch.Tensor
            (n, D) on the device, float16 or bfloat16.
        """
        dtype = self.device.low_precision or torch.float16
        features = torch.empty((len(pixels), self.depth), dtype=dtype, device=self.device.torch_device)
        unknown = np.ones(len(pixels), bool)
        known = self.cache.get_painted(self.reader, position)
        if known is not None:
            _, here, there = np.intersect1d(pixels, known[0], assume_unique=True, return_indices=True)
            features[torch.from_numpy(here)] = known[1][torch.from_numpy(there)]
            unknown[here] = False
        wanted = np.flatnonzero(unknown)
        places, numbers = self._find(pixels[wanted])
        for number, block in self.read(position, np.unique(numbers).tolist()):
            here = np.flatnonzero(numbers == number)
            features[torch.from_numpy(wanted[here])] = _pick(block, self.box(number), places[:, here])
        self.cache.put_painted(self.reader, position, pixels, features)
        return features

    @torch.inference_mode()
    def greys(self, position: Place, number: int) -> torch.Tensor:
        r"""Return what trees may ask for in a tile, see `napari_unet.nets.grey_features`; it is remembered, too.

        Returns
        -------
        torch.Tensor
            (F, \*inner) float16 on the device.
        """
        inner = self.tiles[number].inner
        key = self.reader, position, tuple((part.start, part.stop) for part in inner), "grey"
        found = self.cache.get(key)
        if found is None:
            reach = -(-GREY_REACH // self.geometry.divisor) * self.geometry.divisor
            tile = plan_tile(self.shape, inner, replace(self.geometry, halo=(reach, reach)))
            block = self.device.tensor(self.reader.read(position, tile.start, tile.stop)[None])
            found = tree_features(block)[0][(slice(None), *tile.crop)].contiguous()
            self.cache.put(key, found)
        return found

    def gather_greys(self, position: Place, pixels: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return what trees may ask for in some pixels of a frame, see `gather`: (n, F) float16 on the device."""
        places, numbers = self._find(pixels)
        found = torch.empty(0)
        for number in np.unique(numbers).tolist():
            here, block = np.flatnonzero(numbers == number), self.greys(position, number)
            if not len(found):
                found = block.new_empty((len(pixels), len(block)))
            found[torch.from_numpy(here)] = _pick(block, self.tiles[number].inner, places[:, here])
        return found

    def _find(self, pixels: npt.NDArray[np.int64]) -> tuple[Cells, Cells]:
        """Return the places (axis, n) of pixels of the flattened frame, and the numbers of their tiles (n,)."""
        places = np.stack(np.unravel_index(pixels, self.shape))
        cells = places // np.array(self.side)[:, None]
        return places, np.ravel_multi_index(tuple(cells), self.grid)

    def _grown(self, inner: Box) -> Box:
        """Return a box with the margin around it, which may lie outside of the frame: the image is mirrored there."""
        return tuple(slice(part.start - self.margin, part.stop + self.margin) for part in inner)

    def _key(self, position: Place, number: int) -> Any:
        tile = self.tiles[number]
        return self.reader, position, tuple((part.start, part.stop) for part in tile.inner), self.turn

    def _plan_runs(self, missing: set[int]) -> list[_Run]:
        if not missing:
            return []
        if self.overlap:
            return [_Run(self.tiles[number], (number,)) for number in sorted(missing)]
        cells = np.stack(np.unravel_index(sorted(missing), self.grid), axis=1)

        def cost(low: Place, high: Place) -> int:
            return _outer_pixels(self._plan_run(low, high).outer)

        runs = [self._plan_run(low, high) for low, high in _cover(cells, cost, self.most)]
        whole = self._plan_run((0,) * len(self.grid), self.grid)
        pixels = _outer_pixels(whole.outer)
        small = len(self.tiles) <= _FEW_TILES or pixels <= _HARDLY_LONGER * sum(
            _outer_pixels(run.outer) for run in runs
        )
        fits = pixels <= self.most and 4 * math.prod(self.shape) * self.depth * 2 <= self.cache.max_bytes
        return [whole] if small and fits else runs

    def _plan_run(self, low: Place, high: Place) -> _Run:
        """Plan the box of the tiles from `low` to `high` in the grid."""
        inner: Box = tuple(
            slice(a * side, min(b * side, size))
            for a, b, side, size in zip(low, high, self.side, self.shape, strict=True)
        )
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        numbers: Cells = np.arange(len(self.tiles)).reshape(self.grid)[box]
        return _Run(plan_tile(self.shape, inner, self.geometry), tuple(numbers.ravel().tolist()))

    def _compute(self, position: Place, run: _Run) -> Iterator[tuple[int, torch.Tensor]]:
        """Run the network on a box, or, where the memory is not enough, on its parts."""
        problem = None
        try:
            features = self._infer(position, run.outer)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            problem = error.with_traceback(None)  # whose frames hold the tensors that were too many
        if problem is not None:
            if len(run.tiles) == 1:
                raise MemoryLimitError(
                    f"The features of a single tile do not fit into the memory of {self.device.description}; close "
                    "other programs or use a narrower network."
                ) from problem
            for number in run.tiles:
                yield from self._compute(position, _Run(self.tiles[number], (number,)))
            return
        corner = [part.start for part in self._grown(run.outer.inner)]
        for number in run.tiles:
            box: Box = tuple(slice(p.start - a, p.stop - a) for p, a in zip(self.box(number), corner, strict=True))
            rows = features[(slice(None), *box)].movedim(0, -1).clone(memory_format=torch.contiguous_format)
            yield number, rows.movedim(-1, 0)

    @torch.inference_mode()
    def _infer(self, position: Place, tile: Tile) -> torch.Tensor:
        """Return the map (D, \\*grown) of a box and the margin around it."""
        block = self.reader.read(position, tile.start, tile.stop)
        if self.turn is not None:
            block = self.turn.apply(block)
        with self.device.autocast():
            maps: Any = self.network.features(self.device.tensor(block[None]))  # type: ignore[operator]
        whole: torch.Tensor = maps[0] if self.turn is None else self.turn.undo(maps[0])
        features = whole[(slice(None), *(slice(p.start - self.margin, p.stop + self.margin) for p in tile.crop))]
        dtype = self.device.low_precision or torch.float16
        if features.dtype != dtype:
            largest = torch.finfo(dtype).max
            features = features.clamp(-largest, largest).to(dtype)
        return features


@lru_cache(maxsize=8)
def _lay_tiles(
    shape: tuple[int, ...], side: tuple[int, ...], geometry: TileGeometry
) -> tuple[tuple[Tile, ...], Cells, Cells, int]:
    """Plan the tiles of a frame, of which a large one has thousands; also where they begin and end, and the largest."""
    tiles = tuple(plan_tiles(shape, side, geometry))
    low, high = (np.array([[getattr(part, name) for part in t.inner] for t in tiles]) for name in ("start", "stop"))
    return tiles, low, high, max(_outer_pixels(tile) for tile in tiles)


def _pick(block: torch.Tensor, box: Box, places: Cells) -> torch.Tensor:
    """Return the rows (n, D) of what is known of a box (D, \\*box) at places (axis, n) of the frame."""
    corner = np.array([part.start for part in box])[:, None]
    local = np.ravel_multi_index(tuple(places - corner), tuple(block.shape[1:]))
    rows = block.movedim(0, -1).reshape(-1, len(block))
    return rows[torch.from_numpy(local).to(rows.device)]


def _outer_pixels(tile: Tile) -> int:
    return math.prod(b - a for a, b in zip(tile.start, tile.stop, strict=True))


def _cover(cells: Cells, cost: Callable[[Place, Place], int], most: int) -> list[tuple[Place, Place]]:
    """Cover cells of a grid with boxes, cut where that is cheaper, and at most as large as `most` where possible.

    Parameters
    ----------
    cells : numpy.ndarray
        (n, axes) places in the grid.
    cost : callable
        Says what a box from its lowest to behind its highest place costs.
    most : int
        The highest cost of a box of more than one cell.

    Returns
    -------
    list of (tuple, tuple)
        The lowest place of each box and that behind its highest.

    Examples
    --------
    >>> area = lambda low, high: (high[0] - low[0] + 2) * (high[1] - low[1] + 2)  # with a margin of one
    >>> _cover(np.array([[0, 0], [0, 1], [9, 9]]), area, most=1000)
    [((0, 0), (1, 2)), ((9, 9), (10, 10))]
    """
    low, high = cells.min(axis=0), cells.max(axis=0) + 1
    box = tuple(low.tolist()), tuple(high.tolist())
    if (high - low).max() == 1:
        return [box]
    whole = cost(*box)
    if whole > most:
        axis = int((high - low).argmax())
        first = cells[:, axis] < (low[axis] + high[axis]) // 2
        return _cover(cells[first], cost, most) + _cover(cells[~first], cost, most)
    cuts = [cells[:, axis] < cut for axis in range(cells.shape[1]) for cut in range(low[axis] + 1, high[axis])]
    parts = [(cells[first], cells[~first]) for first in cuts if first.any() and not first.all()]

    def joint_cost(halves: tuple[Cells, Cells]) -> int:
        return sum(cost(tuple(half.min(0).tolist()), tuple((half.max(0) + 1).tolist())) for half in halves)

    best = min(parts, key=joint_cost)
    if joint_cost(best) >= whole:
        return [box]
    return _cover(best[0], cost, most) + _cover(best[1], cost, most)
