"""What the correction tools painted in all images of the window, which later results and the session keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels

from napari_unet.data.axes import Box
from napari_unet.widgets.results.held import HeldPixels

__all__ = ["HeldCorrections"]


class HeldCorrections:
    """Knows the corrected pixels of each image.

    Attributes
    ----------
    on_added : callable or None
        Called with the strokes layer and the box in which a correction painted.
    """

    def __init__(self) -> None:
        self.on_added: Callable[[Labels, Box], None] | None = None
        self._of_images: WeakKeyDictionary[Image, HeldPixels] = WeakKeyDictionary()
        self._without_image = HeldPixels()

    def of(self, image: Image) -> HeldPixels:
        """Return what corrections painted in an image, now and later."""
        return self._of_images.setdefault(image, HeldPixels())

    def add(self, image: Image, strokes: Labels, indices: tuple[npt.NDArray[np.intp], ...]) -> None:
        """Take note of what a correction painted."""
        if not indices[0].size:
            return
        self.of(image).add(strokes, indices)
        if self.on_added is not None:
            self.on_added(strokes, tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in indices))

    def mask_of(self, strokes: Labels) -> Any | None:
        """Return where corrections painted in a strokes layer: 1 there, 0 elsewhere; None where they did not."""
        masks = (held.mask_of(strokes) for held in (*self._of_images.values(), self._without_image))
        return next((mask for mask in masks if mask is not None), None)

    def put(self, strokes: Labels, mask: Any, image: Image | None) -> None:
        """Take the mask of a strokes layer, of which the image may be missing for now."""
        (self._without_image if image is None else self.of(image)).put(strokes, mask)
