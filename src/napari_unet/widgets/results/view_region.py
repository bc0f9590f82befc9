"""Which part of an image the window shows, in the image's own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_unet.data.axes import Box
from napari_unet.errors import InputError
from napari_unet.widgets.parts.source import ImageSource

__all__ = ["Extent", "Look", "choose_region", "extents_for", "shown_point", "visible_box"]


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


def choose_region(view: Box, source: ImageSource, extent: str) -> Box | None:
    """Return the part of the labels' space to predict.

    Parameters
    ----------
    view : tuple of slice
        What is in view.
    source : ImageSource
        The image.
    extent : {"frame", "view", "all"}
        See `Extent`.

    Returns
    -------
    tuple of slice or None
        None: all.

    Raises
    ------
    InputError
        If the image is not in view at all.
    """
    if extent == "all":
        return None
    if extent == "view":
        if any(span.stop <= span.start for span in view):
            raise InputError(f"The image '{source.name}' is not in view; move the view to it, or choose more of it.")
        return view
    stack = source.layout.stack_letters
    return tuple(
        span if letter in stack else slice(0, size)
        for span, letter, size in zip(view, source.layout.label_axes, source.layout.label_shape, strict=True)
    )


def visible_box(viewer: ViewerModel, layer: Image, source: ImageSource) -> Box:
    """Return the part of the labels' space that is in view: along stack axes one pixel, along others what is shown.

    It is read off the camera, since what napari notes of a layer with several levels may be much more.
    """
    point = shown_point(viewer, layer, source)
    corners = _camera_corners(viewer, layer)
    box = []
    for dim, letter, size, at in zip(
        source.label_dims, source.layout.label_axes, source.layout.label_shape, point, strict=True
    ):
        if letter not in source.layout.space_letters:
            box.append(slice(at, at + 1))
        elif dim in corners:
            start, stop = corners[dim]
            box.append(slice(max(0, start), min(size, stop)))
        else:
            box.append(slice(0, size))
    return tuple(box)


def _camera_corners(viewer: ViewerModel, layer: Image) -> dict[int, tuple[int, int]]:
    """Return first and last pixel in view along the axes of a layer that are displayed; nothing in 3D."""
    if viewer.dims.ndisplay != 2:
        return {}
    hidden = viewer.dims.ndim - layer.ndim
    displayed = viewer.dims.displayed
    middle = np.asarray(viewer.scene.camera.center, dtype=float)[-2:]
    half = np.asarray(viewer.canvas.viewbox_size(viewer.layers), dtype=float) / 2 / viewer.scene.camera.zoom
    places = []
    for signs in product((-1, 1), repeat=2):
        world = np.array(viewer.dims.point, dtype=float)
        world[list(displayed)] = middle + half * signs
        inside = np.zeros(layer.ndim)
        inside[-len(world) :] = world[-layer.ndim :]
        places.append(np.asarray(layer.world_to_data(inside)))
    first, last = np.floor(np.min(places, axis=0)), np.ceil(np.max(places, axis=0))
    return {axis - hidden: (int(first[axis - hidden]), int(last[axis - hidden]) + 1) for axis in displayed}


class Look:
    """What a person looks at: told by the window now and then, read by a prediction in another thread.

    Parameters
    ----------
    viewer : ViewerModel
        Says what is shown.
    layer : napari.layers.Image
        The image that is predicted.
    source : ImageSource
        What was read off it.

    Attributes
    ----------
    view : tuple of slice
        The part of the labels' space that was in view at the last `update`.
    """

    def __init__(self, viewer: ViewerModel, layer: Image, source: ImageSource) -> None:
        self._viewer, self._layer, self._source = viewer, layer, source
        self.view = visible_box(viewer, layer, source)

    def update(self) -> None:
        """Look again; call it in the window's thread. An image that was taken out is seen as it was last."""
        if self._layer in self._viewer.layers:
            self.view = visible_box(self._viewer, self._layer, self._source)

    def focus(self) -> tuple[float, ...]:
        """Return the middle of the view; call it in any thread."""
        return tuple((span.start + span.stop - 1) / 2 for span in self.view)
