"""Averaging the predictions of an image and its turned or mirrored versions, which evens out what a network misses.

A turned version is never made as a whole: every tile reads just what it needs of it, as of the image itself, so that
images of any size are averaged piece by piece and the result does not depend on the tiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from napari_unet.data.axes import Box
from napari_unet.data.intensity import FrameReader
from napari_unet.predict.tiles import Tile, TileGeometry, plan_tile

__all__ = ["TurnedFrames", "list_turns", "tile_growth"]

Matrix = npt.NDArray[np.float64]
FloatArray = npt.NDArray[np.float32]

_ROTATIONS = 7
_NEIGHBOURS = 2  # pixels around a place that bicubic interpolation looks at


def list_turns(averaging: str) -> list[Matrix]:
    """List the turned versions of an image that are predicted beside itself.

    Parameters
    ----------
    averaging : {"none", "flips", "rotations"}
        Flips: the eight ways to mirror a square onto itself, quarter turns among them. Rotations: seven evenly spread
        over the full circle, as many as Ronneberger et al. 2015 averaged (section 4; their angles are not given).

    Returns
    -------
    list of numpy.ndarray
        Orthogonal matrices (2, 2) that turn a (y, x) offset from the middle; without that of the image itself.

    Examples
    --------
    >>> len(list_turns("none")), len(list_turns("flips")), len(list_turns("rotations"))
    (0, 7, 6)
    """
    if averaging == "none":
        return []
    if averaging == "rotations":
        return [_rotation(2 * math.pi * k / _ROTATIONS) for k in range(1, _ROTATIONS)]
    mirrored = np.diag([1.0, -1.0])
    quarters = [np.round(_rotation(math.pi / 2 * k)) for k in range(4)]
    return [*quarters[1:], *(quarter @ mirrored for quarter in quarters)]


def _rotation(angle: float) -> Matrix:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def tile_growth(turns: list[Matrix]) -> float:
    """How many times as many pixels as a square tile the box around it has in the turned version where most.

    Examples
    --------
    >>> tile_growth(list_turns("flips")), round(tile_growth(list_turns("rotations")), 2)
    (1.0, 1.97)
    """
    return max((float(np.abs(turn).sum(axis=1).prod()) for turn in turns), default=1.0)


@dataclass(frozen=True, eq=False)
class TurnedFrames:
    """The frames of an image, turned in the plane, as a tiled prediction sees them.

    A turned frame is as large as the box around what was turned. Its corners, which the image does not fill, show the
    image mirrored.

    Attributes
    ----------
    reader : FrameReader
        Reads the frames as they are.
    turn : numpy.ndarray
        (2, 2) orthogonal; see `list_turns`.
    """

    reader: FrameReader
    turn: Matrix

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of a turned frame."""
        *others, height, width = self.reader.layout.frame_shape
        sides = np.ceil(self._extent(height, width) - 1e-6).astype(int) + 1
        return (*others, *map(int, sides))

    def _extent(self, height: int, width: int) -> Matrix:
        """Largest (y, x) of a turned frame, whose smallest is 0."""
        return np.asarray(np.abs(self.turn) @ [height - 1.0, width - 1.0])

    def _offset(self) -> Matrix:
        """Where the pixel at 0 of the frame lies in the turned one."""
        height, width = self.reader.layout.frame_shape[-2:]
        return np.asarray(self._extent(height, width) / 2 - self.turn @ [(height - 1) / 2, (width - 1) / 2])

    def plan(self, inner: Box, geometry: TileGeometry) -> Tile:
        """Plan the tile of a turned frame that covers a box of the frame."""
        box = list(inner)
        places = self._turned_places(inner)
        for axis, size in zip((-2, -1), self.shape[-2:], strict=True):
            values = places[..., axis]
            box[axis] = slice(max(0, math.floor(values.min())), min(size, math.ceil(values.max()) + 1))
        return plan_tile(self.shape, tuple(box), replace(geometry, overlap=0))

    def read(self, position: tuple[int, ...], start: tuple[int, ...], stop: tuple[int, ...]) -> FloatArray:
        """Read a box (C, \\*box) of a turned frame, interpolated bicubically; see `FrameReader.read`."""
        places = (_grid(start[-2:], stop[-2:]) - self._offset()) @ self.turn  # the inverse is the transpose
        low = np.floor(places.min(axis=(0, 1))).astype(int) - _NEIGHBOURS
        high = np.ceil(places.max(axis=(0, 1))).astype(int) + _NEIGHBOURS + 1
        block = self.reader.read(position, (*start[:-2], *low.tolist()), (*stop[:-2], *high.tolist()))
        return _sample(block, places - low, "bicubic")

    def turn_back(self, block: FloatArray, turned: Box, inner: Box) -> FloatArray:
        """Interpolate the values (K, \\*inner) of a box of the frame from those (K, \\*turned) of a turned frame."""
        return _sample(block, self._turned_places(inner) - [part.start for part in turned[-2:]], "bilinear")

    def _turned_places(self, inner: Box) -> Matrix:
        plane = inner[-2:]
        grid = _grid([part.start for part in plane], [part.stop for part in plane])
        return np.asarray(grid @ self.turn.T + self._offset())


def _grid(start: tuple[int, ...] | list[int], stop: tuple[int, ...] | list[int]) -> Matrix:
    """Return the places (y, x) of the pixels of a box, (\\*box, 2)."""
    axes = [np.arange(a, b, dtype=np.float64) for a, b in zip(start, stop, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def _sample(block: FloatArray, places: Matrix, mode: str) -> FloatArray:
    """Interpolate planes (..., y, x) at places (\\*box, 2); returns (..., \\*box)."""
    planes = torch.from_numpy(np.ascontiguousarray(block)).reshape(1, -1, *block.shape[-2:])
    last = np.maximum(np.array(block.shape[-2:]) - 1, 1)
    grid = torch.from_numpy((2 * places / last - 1)[None, ..., ::-1].astype(np.float32))
    values = functional.grid_sample(planes, grid, mode=mode, padding_mode="border", align_corners=True)
    result: FloatArray = values.reshape(*block.shape[:-2], *places.shape[:2]).numpy()
    return result
