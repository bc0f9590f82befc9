"""What a prediction tells its listener while it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["PredictEvent", "PredictFinished", "PredictRecovered", "PredictStarted", "TilePredicted", "TileStored"]


@dataclass(frozen=True)
class PredictEvent:
    """Base of all prediction events.

    Attributes
    ----------
    done, total : int
        Tiles done so far and in all.
    seconds : float
        Seconds since the prediction began.
    """

    done: int
    total: int
    seconds: float


@dataclass(frozen=True)
class PredictStarted(PredictEvent):
    """The plan is made and the first tile follows.

    Attributes
    ----------
    shape : tuple of int
        Shape of the probabilities, (class, \\*space).
    device : str
        The device in words.
    tile : tuple of int
        Shape of the boxes of the tiles; those at the end of an axis are smaller. Where tiles are blended, boxes are
        larger by the overlap.
    """

    shape: tuple[int, ...]
    device: str
    tile: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class TilePredicted(PredictEvent):
    """One tile is finished.

    Where tiles are blended, a tile goes a little way into those before it and holds what they become there.

    Attributes
    ----------
    box : tuple of slice
        Where the tile lies in the image without its channel axis.
    probabilities : numpy.ndarray
        (class, \\*box) float32 in 0..1.
    """

    box: tuple[slice, ...]
    probabilities: npt.NDArray[np.float32]


@dataclass(frozen=True)
class TileStored(PredictEvent):
    """One tile of a store is written, whole.

    Attributes
    ----------
    box : tuple of slice
        Where the tile lies in the image without its channel axis.
    labelled : bool
        Whether the tile's result is there. Where objects are sought, all tiles are predicted before the first is
        labelled.
    """

    box: tuple[slice, ...]
    labelled: bool = True


@dataclass(frozen=True)
class PredictRecovered(PredictEvent):
    """The prediction met a problem, solved it and goes on.

    Attributes
    ----------
    message : str
        What happened and what was done, in words for the person.
    tile : tuple of int
        Shape of the boxes of the tiles from now on, as in `PredictStarted`.
    """

    message: str
    tile: tuple[int, ...] = ()


@dataclass(frozen=True)
class PredictFinished(PredictEvent):
    """The last tile is done, or the caller stopped it.

    Attributes
    ----------
    stopped : bool
        Whether the caller stopped it before the last tile.
    """

    stopped: bool
