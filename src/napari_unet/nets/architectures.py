"""What networks there are, when to use each, and what each can be asked for.

Kept apart from the networks themselves, so that a form, the terminal and a config know them without loading PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["ARCHITECTURES", "OPTIONS", "Architecture"]

# Settings of ModelConfig that only some networks understand.
OPTIONS = (
    "padding", "bottom", "convolution", "pooling", "upsampling", "last_features", "smooth_logits", "deep_supervision",
)  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """One kind of network.

    Attributes
    ----------
    source : str
        ``"module:class"`` inside of `napari_unet.nets`; the class takes a `ModelConfig`.
    use : str
        One line for a person who chooses: when to use it.
    ndims : tuple of int
        Dimensions it is made for.
    options : frozenset of str
        Which of `OPTIONS` may differ from their defaults.
    fixed : mapping of str to Any
        Settings that belong to the network and are what they are, whatever is asked for.
    memory : float
        Memory for one pixel, compared with the plain U-Net of the same width.
    """

    source: str
    use: str
    ndims: tuple[int, ...] = (2, 3)
    options: frozenset[str] = frozenset()
    fixed: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    memory: float = 1.0


ARCHITECTURES: dict[str, Architecture] = {
    "unet": Architecture(
        "unet:UNet", "The plain U-Net: start with it, it is right for most images.",
        options=frozenset(OPTIONS) - {"deep_supervision"},
    ),
    "residual": Architecture(
        "residual:ResidualUNet", "Residual units at half the resolution: quick, and easy to train when deep or in 3D.",
    ),
    "attention": Architecture(
        "attention:AttentionUNet", "Gates on the skip connections: for small structures in a busy surrounding.",
        memory=1.5,
    ),
    "recurrent": Architecture(
        "recurrent:RecurrentUNet", "Repeated convolutions (R2U-Net): for thin, long structures like vessels; slow.",
        memory=1.5,
    ),
    "unet++": Architecture(
        "unet_plus_plus:UNetPlusPlus", "Nested skip connections: when outlines matter more than time; slow.",
        options=frozenset({"deep_supervision"}), memory=2.5,
    ),
    "unet3+": Architecture(
        "unet_three_plus:UNetThreePlus", "Skip connections between all scales: for objects of very different sizes.",
        options=frozenset({"deep_supervision"}), memory=2.5,
    ),
    "vnet": Architecture(
        "vnet:VNet", "Large residual convolutions for volumes: for organs in CT or MRI; 3D only, slow.",
        ndims=(3,),
    ),
    "transunet": Architecture(
        "transunet:TransUNet", "A transformer sees the whole image at once: for a class that depends on far "
        "surroundings; needs many annotations.",
        memory=1.5,
    ),
    "fcn": Architecture(
        "fcn:FCN", "Coarse and fine scores are summed: a quick baseline to compare with; rounds off outlines.",
    ),
    "sliding-window": Architecture(
        "sliding_window:SlidingWindow", "A classifier of 95 x 95 windows from before the U-Net: a baseline to "
        "compare with; 2D only, slow.",
        ndims=(2,), fixed=MappingProxyType({"padding": "valid", "features": 48, "depth": 4}), memory=1.5,
    ),
}  # fmt: skip
