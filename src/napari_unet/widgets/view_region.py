"""Which part of an image the window shows, in the image's own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_unet.data.axes import Box
from napari_unet.errors import InputError
from napari_unet.widgets.source import ImageSource

__all__ = ["Extent", "choose_region", "extents_for", "shown_point"]


@dataclass(frozen=True)
class Extent:
    """One choice of how much is predicted.

    Attributes
    ----------
    key : {"frame", "view", "all"}
        The frame that is shown, the part of it that is in view, or all frames.
    title : str
        What the person reads.
    """

    key: str
    title: str


def extents_for(source: ImageSource) -> tuple[Extent, ...]:
    """List the choices for an image, the usual one first.

    A frame is what the network reads at once: an image, a slice of a stack, or a volume.
    """
    layout = source.layout
    view = Extent("view", "current view")
    if not layout.stack_letters:
        return Extent("frame", "whole volume" if layout.ndim == 3 else "this image"), view
    one = "this volume" if layout.ndim == 3 else "this slice" if "Z" in layout.stack_letters else "this time point"
    every = "all volumes" if layout.ndim == 3 else "all slices" if "Z" in layout.stack_letters else "all time points"
    return Extent("frame", one), view, Extent("all", every)


def shown_point(viewer: ViewerModel, layer: Image, source: ImageSource) -> tuple[int, ...]:
    """Return the pixel at the window's sliders, along the axes of the labels."""
    world = np.asarray(viewer.dims.point, dtype=float)
    inside = np.zeros(layer.ndim)
    inside[-len(world) :] = world[-layer.ndim :]
    pixel = np.round(np.asarray(layer.world_to_data(inside))).astype(int)
    return tuple(
        int(np.clip(pixel[dim], 0, size - 1))
        for dim, size in zip(source.label_dims, source.layout.label_shape, strict=True)
    )


def choose_region(
    viewer: ViewerModel, layer: Image, source: ImageSource, extent: str
) -> tuple[Box | None, tuple[float, ...]]:
    """Return the part of the labels' space to predict, and the point whose surroundings come first.

    Parameters
    ----------
    viewer : ViewerModel
        Says what is shown.
    layer : napari.layers.Image
        The image.
    source : ImageSource
        What was read off it.
    extent : {"frame", "view", "all"}
        See `Extent`.

    Returns
    -------
    region : tuple of slice or None
        None: all.
    focus : tuple of float
        The middle of the view.

    Raises
    ------
    InputError
        If the image is not in view at all.
    """
    view = _view_box(viewer, layer, source)
    focus = tuple((span.start + span.stop - 1) / 2 for span in view)
    if extent == "all":
        return None, focus
    if extent == "view":
        if any(span.stop <= span.start for span in view):
            raise InputError(f"The image '{source.name}' is not in view; move the view to it, or choose more of it.")
        return view, focus
    stack = source.layout.stack_letters
    return tuple(
        span if letter in stack else slice(0, size)
        for span, letter, size in zip(view, source.layout.label_axes, source.layout.label_shape, strict=True)
    ), focus


def _view_box(viewer: ViewerModel, layer: Image, source: ImageSource) -> Box:
    """Return the visible part: what the camera shows along the displayed axes, one pixel along stack axes."""
    layout = source.layout
    point = shown_point(viewer, layer, source)
    corners = np.asarray(layer.corner_pixels, dtype=float)
    if layer.multiscale:
        corners = corners * np.asarray(layer.downsample_factors[layer.data_level])
    hidden = viewer.dims.ndim - layer.ndim
    displayed = {axis - hidden for axis in viewer.dims.displayed}
    known = viewer.dims.ndisplay == 2 and bool(np.any(corners[1] > corners[0]))
    box = []
    for dim, letter, size, at in zip(source.label_dims, layout.label_axes, layout.label_shape, point, strict=True):
        if letter not in layout.space_letters:
            box.append(slice(at, at + 1))
        elif known and dim in displayed:
            start, stop = int(np.floor(corners[0, dim])), int(np.ceil(corners[1, dim])) + 1
            box.append(slice(max(0, start), min(size, stop)))
        else:
            box.append(slice(0, size))
    return tuple(box)
