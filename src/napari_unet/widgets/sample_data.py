"""The sample images under File > Open Sample: a real one, and cells made on the spot in 2D, 3D and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet.data.synthetic import SyntheticImage, cells

if TYPE_CHECKING:
    from napari.types import LayerData

__all__ = ["cells_2d", "cells_3d", "cells_over_time", "stained_tissue"]

_PIXEL_UM = 0.5  # size of a pixel of the synthetic cells, so that a cell measures 12 um


def stained_tissue() -> list[LayerData]:
    """Open a colour image of stained and unstained tissue, which comes with scikit-image."""
    from skimage.data import immunohistochemistry

    return [(immunohistochemistry(), {"name": "stained tissue", "rgb": True}, "image")]


def cells_2d() -> list[LayerData]:
    """Make an image of cells."""
    return [_layer(cells((512, 512), "YX", seed=1), "cells")]


def cells_3d() -> list[LayerData]:
    """Make a volume of cells whose slices are twice as far apart as its pixels."""
    return [_layer(cells((40, 192, 192), "ZYX", spacing=(2, 1, 1), seed=2), "cells 3D")]


def cells_over_time() -> list[LayerData]:
    """Make a time series of moving cells."""
    return [_layer(cells((24, 256, 256), "TYX", seed=3), "cells over time")]


def _layer(made: SyntheticImage, name: str) -> LayerData:
    """Make an image layer that knows its axes and its size in micrometres; a frame counts as one pixel of time."""
    scale = [_PIXEL_UM * step for step in made.spacing]
    units = ["um"] * len(scale)
    if "T" in made.axes:
        scale, units = [1.0, *scale], ["pixel", *units]
    details: dict[str, Any] = {
        "name": name,
        "scale": scale,
        "units": units,
        "axis_labels": list(made.axes.lower()),
        "colormap": "gray",
        "contrast_limits": (0, int(made.image.max())),
    }
    return (made.image, details, "image")
