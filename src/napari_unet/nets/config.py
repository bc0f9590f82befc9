"""What a network is made of and what it reads, as plain data that a model file can carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_unet.errors import InputError
from napari_unet.settings import setting, validate_settings

__all__ = ["ModelConfig"]

Norm = Literal["batch", "instance", "group"]


@dataclass(frozen=True)
class ModelConfig:
    """Architecture, input and classes of a model.

    ``padding="valid"`` with ``norm=None`` and ``features=64`` is the network of Ronneberger et al. 2015,
    layer for layer.

    Raises
    ------
    InputError
        If a value is outside its bounds.

    Examples
    --------
    >>> config = ModelConfig(features=16, classes=("background", "nucleus", "membrane"))
    >>> config.axes, len(config.classes)
    ('YX', 3)
    """

    architecture: str = setting("unet", "Network", "The kind of network.", advanced=True)
    ndim: int = setting(2, "Dimensions", "2 for images and slices, 3 for volumes.", choices=(2, 3))
    in_channels: int = setting(1, "Channels", "Number of image channels.", minimum=1, maximum=1024)
    classes: tuple[str, ...] = ("background", "foreground")
    features: int = setting(
        32, "Width", "Channels after the first convolution; more learns more and runs slower.",
        minimum=1, maximum=1024, advanced=True,
    )  # fmt: skip
    depth: int = setting(
        4, "Depth", "How often the image is halved; each level doubles what the network sees around a pixel.",
        minimum=1, maximum=8, advanced=True,
    )  # fmt: skip
    padding: Literal["same", "valid"] = setting(
        "same", "Padding", "'valid' is the paper's network without padding; 'same' keeps the size.",
        choices=("same", "valid"), advanced=True,
    )  # fmt: skip
    norm: Norm | None = setting(
        "batch", "Normalisation", "Normalisation after each convolution; none in the paper's network.",
        choices=("batch", "instance", "group", None), advanced=True,
    )  # fmt: skip
    dropout: float = setting(
        0.0, "Dropout", "Share of features dropped at the end of the contracting path while training.",
        minimum=0.0, maximum=0.9, advanced=True,
    )  # fmt: skip
    low_percentile: float = setting(
        1.0, "Black at", "Percentile of the grey values of an image that becomes 0.",
        minimum=0.0, maximum=50.0, advanced=True,
    )  # fmt: skip
    high_percentile: float = setting(
        99.8, "White at", "Percentile of the grey values of an image that becomes 1.",
        minimum=50.0, maximum=100.0, advanced=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        validate_settings(self)
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        if len(self.classes) < 2:
            raise InputError(f"Expected `classes` to name background and at least one more, but got {self.classes!r}.")
        if len(set(self.classes)) != len(self.classes):
            raise InputError(f"Expected `classes` to differ from each other, but got {self.classes!r}.")

    @property
    def axes(self) -> str:
        """Spatial axes of the network's input: ``"YX"`` or ``"ZYX"``."""
        return "ZYX"[-self.ndim :]
