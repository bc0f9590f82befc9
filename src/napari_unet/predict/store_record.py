"""What a stored prediction was made from, and the tiles that suit it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from napari_unet.data.axes import ImageLayout
from napari_unet.data.intensity import IntensityRange
from napari_unet.data.zarr_writer import label_folder

__all__ = ["StoreRecord", "round_tile"]

_VERSION = 1
_OVERVIEW = 1024  # the smallest version is no larger than this, if the tiles allow
_MOST_HALVINGS = 5


@dataclass(frozen=True)
class StoreRecord:
    """What a stored prediction was made from, and how.

    Attributes
    ----------
    content : {"probabilities", "labels"}
        What is stored.
    task : {"objects", "classes"}
        What the labels are.
    axes : str
        Axes of the image.
    shape : tuple of int
        Shape of the image.
    ndim : int
        2 or 3: spatial axes of the network.
    classes : tuple of str
        Background first.
    image, model : str
        Checksums; see `napari_unet.predict.fingerprint`.
    averaging, precision : str
        As in `PredictConfig`.
    spacing : tuple of float or None
        Distance of the image's pixels along its spatial axes in micrometres, which parts objects; None: equal.
    tile : tuple of int
        Sides of a tile along the axes that the network reads.
    intensity : IntensityRange
        The grey values that become 0 and 1.
    overlap : int
        Pixels by which a tile goes beyond its own part on each side, where tiles are blended.
    """

    content: str
    task: str
    axes: str
    shape: tuple[int, ...]
    ndim: int
    classes: tuple[str, ...]
    image: str
    model: str
    averaging: str
    precision: str
    spacing: tuple[float, ...] | None
    tile: tuple[int, ...]
    intensity: IntensityRange
    overlap: int = 0

    @cached_property
    def layout(self) -> ImageLayout:
        """How the network sees the image."""
        return ImageLayout(self.axes, self.shape, self.ndim)

    @property
    def result(self) -> str:
        """What is stored, in words."""
        return self.content if self.content == "probabilities" else f"labels of {self.task}"

    @property
    def seeks_objects(self) -> bool:
        """Whether objects are labelled."""
        return self.content == "labels" and self.task == "objects"

    @property
    def result_axes(self) -> str:
        """Axes of the result: those of the image without channels; for probabilities C, the class, before them."""
        return "C" * (self.content == "probabilities") + self.layout.label_axes

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape along `result_axes`."""
        return (len(self.classes),) * (self.content == "probabilities") + self.layout.label_shape

    @property
    def folder(self) -> str:
        """Where the arrays are in the store: labels lie where viewers look for them."""
        return "" if self.content == "probabilities" else label_folder()

    @cached_property
    def levels(self) -> list[str]:
        """Names of the arrays: the result, and versions half as large in Y and X as often as the tiles allow."""
        wanted = _count_halvings(self.layout.frame_shape)
        halvings = next(n for n in range(wanted, -1, -1) if all(side % 2**n == 0 for side in self.tile[-2:]))
        return [str(level) for level in range(1 + halvings)]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the result."""
        if self.content == "probabilities":
            return np.dtype(np.float32)
        if self.task == "objects":
            return np.dtype(np.uint32)
        return np.dtype(np.uint8 if len(self.classes) <= np.iinfo(np.uint8).max else np.uint16)

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {"kind": "prediction", "version": _VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StoreRecord:
        """Read what `as_json` returned.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing or makes no sense.
        """
        if values["kind"] != "prediction" or values["version"] != _VERSION:
            raise ValueError("it is of another kind")
        plain = {field.name: values[field.name] for field in fields(cls) if field.name != "overlap"}
        plain["overlap"] = values.get("overlap", 0)  # older stores have none
        for name in ("shape", "classes", "tile", "spacing"):
            plain[name] = None if plain[name] is None else tuple(plain[name])
        intensity = plain["intensity"]
        plain["intensity"] = IntensityRange(tuple(intensity["low"]), tuple(intensity["high"]))
        return cls(**plain)


def _count_halvings(frame_shape: Sequence[int]) -> int:
    """Count how often a frame is halved in Y and X for an overview."""
    return min(_MOST_HALVINGS, max(0, math.ceil(math.log2(max(frame_shape[-2:]) / _OVERVIEW))))


def round_tile(tile: Sequence[int], frame_shape: Sequence[int], divisor: int) -> tuple[int, ...]:
    """Round the sides of a tile up, so that tiles suit the network and can be halved for the smaller versions.

    Parameters
    ----------
    tile : sequence of int
        Sides along the axes that the network reads; none needs to be longer than the frame.
    frame_shape : sequence of int
        Shape of the frames.
    divisor : int
        Tiles begin at multiples of this many pixels.

    Examples
    --------
    >>> round_tile((1000, 9000), (40_000, 8_000), divisor=16)
    (1024, 8000)
    """
    flat = math.lcm(divisor, 2 ** _count_halvings(frame_shape))
    steps = [divisor] * (len(tile) - 2) + [flat] * 2
    return tuple(-(-min(side, n) // step) * step for side, n, step in zip(tile, frame_shape, steps, strict=True))
