"""How a prediction is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

from napari_unet.errors import InputError
from napari_unet.settings import setting, validate_settings

__all__ = ["PredictConfig"]


@dataclass(frozen=True)
class PredictConfig:
    """Settings of `napari_unet.predict`.

    Attributes
    ----------
    tile : int or tuple of int or None
        Side of the part that one tile writes, in pixels, for all or each of the spatial axes; it is rounded up to
        what the network needs. None: chosen from network and device. The result does not depend on it, except a
        little where the network looks at a whole tile at once: with instance or group normalisation, and with a
        transformer. Such tiles overlap and are blended; the larger, the better.
    averaging : {"none", "flips", "rotations"}
        Whether the image is also predicted mirrored or turned in the YX plane, and the mean taken; see
        `napari_unet.predict.averaging`.
    """

    tile: int | tuple[int, ...] | None = setting(
        None, "Tile (px)", "Side of the piece that is predicted at once; the result does not depend on it, or hardly.",
        advanced=True,
    )  # fmt: skip
    device: str = setting("auto", "Device", "'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'.")
    precision: Literal["auto", "float32"] = setting(
        "auto", "Precision", "'auto' uses 16-bit numbers where the hardware is faster with them.",
        choices=("auto", "float32"), advanced=True,
    )  # fmt: skip

    averaging: Literal["none", "flips", "rotations"] = setting(
        "none", "Average", "Predict the image in several positions, too, and take the mean: slower, a little better.",
        choices={
            "none": "The image as it is.",
            "flips": "Eight positions: mirrored and by quarter turns, without loss of sharpness; ten times slower.",
            "rotations": "Seven rotations, as in the U-Net paper; fifteen times slower.",
        },
        advanced=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        validate_settings(self)
        if self.tile is None:
            return
        sides: tuple[Any, ...] = tuple(self.tile) if isinstance(self.tile, Sequence) else (self.tile,)
        if not sides or not all(isinstance(side, Integral) and int(side) >= 1 for side in sides):
            raise InputError(f"Expected `tile` to be whole pixels, at least 1 on each side, but got {self.tile!r}.")
        plain = tuple(int(side) for side in sides)
        object.__setattr__(self, "tile", plain if isinstance(self.tile, Sequence) else plain[0])
