"""Opening napari with the dock and an example in it, from the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import napari
import numpy as np
import numpy.typing as npt

from napari_unet.widgets.segment.dock import SegmentDock

__all__ = ["open_demo", "show_demo"]

_TITLE = "U-Net: Segment"


def show_demo(
    viewer: napari.Viewer, image: npt.NDArray[Any], annotation: npt.NDArray[Any], class_names: Sequence[str]
) -> SegmentDock:
    """Put an image, its strokes and the dock into a window.

    Parameters
    ----------
    viewer : napari.Viewer
        The window.
    image : numpy.ndarray
        (Y, X) grey values or (Y, X, 3) RGB.
    annotation : numpy.ndarray
        (Y, X) unsigned integers: 0 unlabelled, 1 background, 2, 3, ... classes.
    class_names : sequence of str
        Names of the classes, background first.
    """
    viewer.add_image(image, name="example")
    dock = SegmentDock(viewer)
    viewer.window.add_dock_widget(dock, name=_TITLE, area="right")
    dock.classes.table.replace_all(tuple(class_names))
    dock.choose_task("classes")
    if dock.strokes is not None:
        strokes = dock.strokes
        strokes.data = np.asarray(annotation, dtype=strokes.dtype)
    return dock


def open_demo(image: npt.NDArray[Any], annotation: npt.NDArray[Any], class_names: Sequence[str]) -> None:
    """Open napari with an example, ready for the Train button, and wait until the window is closed; see `show_demo`."""
    viewer = napari.Viewer(title="napari-unet")
    show_demo(viewer, image, annotation, class_names)
    napari.run()
