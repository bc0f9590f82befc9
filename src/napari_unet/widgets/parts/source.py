"""What the dock reads off an image layer: its array, its axes, its pixel size, and how these are said to a person.

Nothing here reads a pixel, so that it costs the window nothing however large the image is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from napari.layers import Image

from napari_unet.data.axes import ImageLayout
from napari_unet.errors import InputError
from napari_unet.widgets.parts.layer_file import facts_of

__all__ = ["ImageSource", "describe_source", "guess_layer_axes", "may_be_channels", "read_source"]

_GUESSES = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TCZYX"}
_FEW_SLICES = 5
_SHORT_UNITS = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "centimeter": "cm", "meter": "m"}


@dataclass(frozen=True, eq=False)
class ImageSource:
    """An image as the core takes it.

    Attributes
    ----------
    array : array-like
        The image at full resolution: numpy, dask, zarr or the like.
    layout : ImageLayout
        Its axes, seen by a network of 2 or 3 dimensions.
    spacing : tuple of float or None
        Distance of pixels along the network's axes; None if neither the layer nor its file says it.
    unit : str
        Unit of the spacing, as a person writes it; empty where it is not known.
    name : str
        Name of the layer when it was read.
    """

    array: Any
    layout: ImageLayout
    spacing: tuple[float, ...] | None
    unit: str
    name: str

    @property
    def axes(self) -> str:
        """One letter for each axis of `array`."""
        return self.layout.axes

    @property
    def label_dims(self) -> tuple[int, ...]:
        """The layer's axes that strokes and results have: all but the channel axis."""
        return tuple(i for i, letter in enumerate(self.axes) if letter not in "CS")


def guess_layer_axes(layer: Image) -> str:
    """Say what the axes of a layer most likely are; names that its reader gave them, and then its file, are believed.

    Raises
    ------
    InputError
        If the layer has too few or too many axes.
    """
    end = "S" if layer.rgb else ""
    named = "".join(str(label)[:1].upper() for label in layer.axis_labels)
    if len(set(named)) == layer.ndim and set(named) <= set("TCZYX") and {"Y", "X"} <= set(named):
        return named + end
    facts = facts_of(layer)
    if facts is not None:
        return facts.axes
    plain = "TZYX"[-layer.ndim :] if layer.rgb and layer.ndim <= 4 else _GUESSES.get(layer.ndim, "")
    if not plain:
        raise InputError(
            f"The image '{layer.name}' has {layer.ndim} axes; choose one with 2 to 5, or take it apart with "
            "Layers > Data > Split Stack."
        )
    return plain + end


def read_source(layer: Image, *, ndim: int = 2, axes: str = "") -> ImageSource:
    """Describe the image of a layer without reading it.

    Parameters
    ----------
    layer : napari.layers.Image
        Any image layer: grey or RGB(A), a stack, multiscale, lazy.
    ndim : int
        Spatial axes of the network, 2 or 3.
    axes : str
        What the axes are, where the person said so.

    Raises
    ------
    InputError
        If the image can't be used; the message names the layer and what to do.
    """
    array = layer.data[0] if layer.multiscale else layer.data
    letters = axes.upper() or guess_layer_axes(layer)
    if axes and layer.rgb and not letters.endswith("S"):
        letters += "S"
    try:
        layout = ImageLayout(letters, tuple(array.shape), ndim)
    except InputError as error:
        raise InputError(f"The image '{layer.name}' can't be used: {error}") from error
    if "C" in letters and letters.index("C") != 0:
        raise InputError(
            f"The channels of '{layer.name}' are not its first axis; choose '{layer.name}, channels first', or put C "
            "first under Advanced > Axes."
        )
    kind = getattr(array.dtype, "kind", "")
    if kind not in "buif":
        raise InputError(
            f"The image '{layer.name}' holds values of type {array.dtype}; convert it to grey values first."
        )
    scale = [float(layer.scale[letters.index(letter)]) for letter in layout.space_letters]
    unit = str(layer.units[letters.index("X")])
    spacing: tuple[float, ...] | None = tuple(scale)
    short = _SHORT_UNITS.get(unit, "" if unit == "pixel" else unit)
    if unit == "pixel" and all(step == 1 for step in scale):
        facts = facts_of(layer)
        spacing = None if facts is None else facts.spacing(layout.space_letters)
        short = "" if spacing is None else "µm"
    return ImageSource(array=array, layout=layout, spacing=spacing, unit=short, name=str(layer.name))


def may_be_channels(layer: Image, source: ImageSource) -> bool:
    """Whether what is read as a stack of a few slices is as likely an image of some channels: nothing tells which.

    Parameters
    ----------
    layer : napari.layers.Image
        The layer.
    source : ImageSource
        What was read off it, with guessed axes.
    """
    sizes = dict(zip(source.axes, source.layout.shape, strict=True))
    named = any("Z" in str(label).upper() for label in layer.axis_labels)
    told = named or any(step != 1 for step in layer.scale) or facts_of(layer) is not None
    return source.axes == "ZYX" and sizes["Z"] <= _FEW_SLICES and not told


def describe_source(source: ImageSource) -> str:
    """Say in a few words what an image is: ``"2D, 1 channel, 0.65 µm"``."""
    layout = source.layout
    sizes = dict(zip(layout.axes, layout.shape, strict=True))
    words = []
    if "Z" in sizes:
        words.append(f"{sizes['Z']} slices")
    if "T" in sizes:
        words.append(f"{sizes['T']} time points")
    dims = "3D" if "Z" in sizes else "2D"
    words.insert(0, f"{dims} {layout.frame_shape[-1]} × {layout.frame_shape[-2]}")
    colour = "S" in layout.axes
    words.append("RGB" if colour else f"{layout.channels} channel{'s' if layout.channels > 1 else ''}")
    if source.spacing is not None:
        steps = [f"{step:.3g}" for step in source.spacing]
        alike = math.isclose(min(source.spacing), max(source.spacing), rel_tol=1e-3)
        words.append((steps[-1] if alike else " × ".join(steps)) + (f" {source.unit}" if source.unit else " units"))
    return ", ".join(words)
