"""What a network is made of and what it reads, as plain data that a model file can carry."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from napari_unet.errors import InputError
from napari_unet.nets.architectures import ARCHITECTURES, OPTIONS
from napari_unet.settings import setting, validate_settings

__all__ = ["ModelConfig"]

Norm = Literal["batch", "instance", "group"]


@dataclass(frozen=True)
class ModelConfig:
    """Architecture, input and classes of a model.

    ``padding="valid"`` with ``norm=None`` and ``features=64`` is the network of Ronneberger et al. 2015,
    layer for layer. `napari_unet.nets.architectures` says which networks there are and which settings each of them
    understands; what a network fixes by itself (the sliding window its width, depth and lack of padding) is entered
    whatever was asked for.

    Raises
    ------
    InputError
        If a value is outside its bounds, or the network does not understand it.

    Examples
    --------
    >>> config = ModelConfig(features=16, classes=("background", "nucleus", "membrane"))
    >>> config.axes, len(config.classes)
    ('YX', 3)
    >>> ModelConfig(architecture="sliding-window").padding
    'valid'
    """

    architecture: str = setting(
        "unet", "Network", "The kind of network; each has its own strength.",
        choices={name: kind.use for name, kind in ARCHITECTURES.items()}, advanced=True,
    )  # fmt: skip
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
    bottom: Literal["plain", "dilated", "pyramid"] = setting(
        "plain", "Bottom", "What the deepest level of the plain U-Net looks at.",
        choices={
            "plain": "Two plain convolutions, as in the paper.",
            "dilated": "Convolutions with holes: a wider view for the same number of weights.",
            "pyramid": "Spatial pyramid pooling: the strongest signal in windows of several sizes, too.",
        },
        advanced=True,
    )  # fmt: skip
    convolution: Literal["full", "separable"] = setting(
        "full", "Convolution", "How the plain U-Net convolves.",
        choices={
            "full": "Every output channel looks at every input channel, as in the paper.",
            "separable": "Each channel by itself, then across channels: five times fewer weights, in 3D ten times.",
        },
        advanced=True,
    )  # fmt: skip
    pooling: Literal["max", "average"] = setting(
        "max", "Pooling", "How the plain U-Net halves the image.",
        choices={
            "max": "The strongest of the neighbours, as in the paper.",
            "average": "Their mean: smoother, for noisy images.",
        },
        advanced=True,
    )  # fmt: skip
    upsampling: Literal["transposed", "interpolate"] = setting(
        "transposed", "Upsampling", "How the plain U-Net doubles the image.",
        choices={
            "transposed": "A learnt up-convolution, as in the paper.",
            "interpolate": "Linear interpolation and a convolution: no chequerboard patterns.",
        },
        advanced=True,
    )  # fmt: skip
    last_features: int | None = setting(
        None, "Last width", "Channels of the plain U-Net's last feature map, which the classes are told from; empty: "
        "as many as the width.", minimum=1, maximum=1024, advanced=True,
    )  # fmt: skip
    smooth_logits: bool = setting(
        False, "Smooth", "Whether the plain U-Net averages what it says of a pixel with what it says of the neighbours "
        "(1-2-1 along each axis): no chequerboard patterns at outlines.", advanced=True,
    )  # fmt: skip
    deep_supervision: bool = setting(
        False, "Deep supervision", "Also train the inner results of a U-Net++ or U-Net 3+.", advanced=True
    )
    low_percentile: float = setting(
        1.0, "Black at", "Percentile of the grey values of an image that becomes 0.",
        minimum=0.0, maximum=50.0, advanced=True,
    )  # fmt: skip
    high_percentile: float = setting(
        99.8, "White at", "Percentile of the grey values of an image that becomes 1.",
        minimum=50.0, maximum=100.0, advanced=True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise InputError(
                f"There is no network called {self.architecture!r}; there are: {known}. Choose one as `architecture`."
            )
        validate_settings(self)
        object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        if len(self.classes) < 2:
            raise InputError(f"Expected `classes` to name background and at least one more, but got {self.classes!r}.")
        if len(set(self.classes)) != len(self.classes):
            raise InputError(f"Expected `classes` to differ from each other, but got {self.classes!r}.")
        self._fit_architecture()

    def _fit_architecture(self) -> None:
        """Enter what the network fixes, and refuse what it does not understand."""
        kind = ARCHITECTURES[self.architecture]
        for name, value in kind.fixed.items():
            object.__setattr__(self, name, value)
        if self.ndim not in kind.ndims:
            reads, has = ("volumes", "images") if self.ndim == 2 else ("images and slices", "volumes")
            raise InputError(
                f"The network {self.architecture!r} reads {reads}, not {has}; choose another network, "
                f"or `ndim={kind.ndims[0]}`."
            )
        defaults = {entry.name: entry.default for entry in fields(self)}
        for name in OPTIONS:
            value = getattr(self, name)
            if value != defaults[name] and name not in kind.options and name not in kind.fixed:
                able = " or ".join(repr(other) for other, info in ARCHITECTURES.items() if name in info.options)
                raise InputError(
                    f"The network {self.architecture!r} does not know `{name}={value!r}`; "
                    f"leave it at {defaults[name]!r} or choose the network {able}."
                )
        own = (self.bottom, self.upsampling, self.smooth_logits)
        if self.padding == "valid" and own != ("plain", "transposed", False):
            raise InputError(
                "The network without padding knows no other bottom and upsampling than the paper's, and smooths "
                "nothing; choose `padding='same'`, or `bottom='plain'`, `upsampling='transposed'` and "
                "`smooth_logits=False`."
            )

    @property
    def last_width(self) -> int:
        """Channels of the last feature map of a plain U-Net."""
        return self.features if self.last_features is None else self.last_features

    @property
    def axes(self) -> str:
        """Spatial axes of the network's input: ``"YX"`` or ``"ZYX"``."""
        return "ZYX"[-self.ndim :]
