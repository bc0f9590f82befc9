"""What a layer of uncertainty is called and looks like, wherever its values are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.colormaps import Colormap

if TYPE_CHECKING:
    from napari_unet.predict.uncertainty import Measure

__all__ = ["uncertainty_image", "uncertainty_role"]

_LOOKS: dict[Measure, tuple[str, float]] = {"entropy": ("uncertainty", 1.0), "disagreement": ("disagreement", 0.1)}

# From nothing over purple to yellow: seen on dark images and on bright ones.
_SHADES = Colormap(
    [(0.7, 0.1, 0.6, 0), (0.9, 0.2, 0.5, 0.75), (1, 0.85, 0.15, 1)], controls=[0, 0.3, 1], name="uncertainty"
)


def uncertainty_role(measure: Measure) -> str:
    """Name what such a layer is for, see `napari_unet.widgets.parts.layer_tools.mark_layer`."""
    return f"uncertainty {measure}"


def uncertainty_image(data: Any, measure: Measure, of: str, **settings: Any) -> Image:
    """Make a layer of values from 0 to 1, named for what it is of; `settings` are napari's."""
    name, brightest = _LOOKS[measure]
    layer = Image(
        data,
        name=f"{name}{of}",
        contrast_limits=(0, 1),
        colormap=_SHADES,
        blending="translucent",
        opacity=0.8,
        **settings,
    )
    layer.contrast_limits = (0, brightest)  # within the range that the slider keeps
    return layer
