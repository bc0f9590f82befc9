"""Images whose channels lie behind another axis, as in TCYX, are shown once more with their channels first.

Strokes and results have no channel axis. napari puts layers with fewer axes on the last ones of the others, so that
they fit an image only if its channels come first.

napari makes its sliders as long as the longest layer, hidden ones too. The image itself, with its axes in another
order, would give them positions at which nothing is shown, so it is left out of them as long as it is hidden.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_unet.widgets.parts.layer_file import hand_on_facts
from napari_unet.widgets.parts.layer_tools import alignment_of

__all__ = ["bring_channels_first", "tell_of"]

_KEY = "channels first of"


def bring_channels_first(viewer: ViewerModel, image: Image, axes: str) -> Image | None:
    """Add a layer with the same pixels and the channels first, or find it, and hide the image.

    Parameters
    ----------
    viewer : ViewerModel
        Has the image.
    image : napari.layers.Image
        The image; it stays as it is.
    axes : str
        One letter for each axis of it.

    Returns
    -------
    napari.layers.Image or None
        The layer to use instead; None where the image is right as it is.
    """
    place = axes.find("C")
    if place < 1 or len(axes) != image.ndim:
        return None
    own = str(image.unique_id)
    made = next((layer for layer in viewer.layers if layer.metadata.get(_KEY) == own), None)
    if not isinstance(made, Image):
        order = [place, *(axis for axis in range(image.ndim) if axis != place)]
        levels = [_transposed(level, order) for level in (image.data if image.multiscale else [image.data])]
        alignment = alignment_of(image, order) | {"axis_labels": tuple(axes[axis].lower() for axis in order)}
        made = Image(
            levels if image.multiscale else levels[0],
            multiscale=image.multiscale,
            name=f"{image.name}, channels first",
            colormap=image.colormap,
            contrast_limits=image.contrast_limits,
            metadata={_KEY: own},
            **alignment,
        )
        hand_on_facts(image, made, order)
        viewer.add_layer(made)
        _fit_sliders(viewer, image, made)
        hidden = viewer.dims.ndim - image.ndim
        point = [viewer.dims.point[hidden + axis] for axis in order]
        viewer.dims.set_point(range(hidden, viewer.dims.ndim), point)  # the same channel and time as before
    made.visible, image.visible = True, False
    return made


def tell_of(made: Image, image: Image) -> str:
    """Say why there is another layer."""
    return (
        f"'{made.name}' shows the pixels of '{image.name}' as strokes and results need them; '{image.name}' is hidden, "
        "and may be removed."
    )


def _fit_sliders(viewer: ViewerModel, image: Image, made: Image) -> None:
    """Leave a layer out of the lengths of the sliders from now on while it is hidden and `made` shows its pixels."""
    whose = ref(image), ref(made)
    events = viewer.dims.events.range, image.events.visible

    def fit(event: Any = None) -> None:
        layers = viewer.layers
        if any(layer() not in layers for layer in whose):
            return  # napari has fitted them itself; it does so again when a layer comes back
        replaced = {layer.metadata.get(_KEY) for layer in layers}
        shown = [layer for layer in layers if layer.visible or str(layer.unique_id) not in replaced]
        extent = layers.get_extent(shown)
        ranges = tuple(zip(*extent.world, extent.step, strict=True))
        if len(ranges) == viewer.dims.ndim and ranges != tuple(viewer.dims.range):
            viewer.dims.range = ranges

    for each in events:
        each.connect(fit)


def _transposed(array: Any, order: list[int]) -> Any:
    """Return a view of an array with its axes in another order; nothing is read."""
    if not isinstance(array, np.ndarray) and not hasattr(array, "dask"):
        import dask.array

        array = dask.array.from_array(array, chunks=getattr(array, "chunks", "auto"), asarray=False)
    return array.transpose(order)
