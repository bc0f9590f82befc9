"""Where the answers for an image go, and which part of it is answered."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, cast

from napari.layers import Image

from napari_unet.data.axes import Box
from napari_unet.widgets.live.feed import key_of
from napari_unet.widgets.live.work import LiveMail, lies_in
from napari_unet.widgets.parts.source import ImageSource
from napari_unet.widgets.results.layers import ResultLayers, ensure_result_layer
from napari_unet.widgets.results.predict_job import PredictRequest
from napari_unet.widgets.results.view_region import Look, choose_region
from napari_unet.widgets.segment.requests import predict_request

if TYPE_CHECKING:
    from napari_unet.widgets.segment.dock import SegmentDock

__all__ = ["LiveTarget", "LiveTargets", "answered_part"]

_MOST_PIXELS = 1_100_000  # that are answered at every stroke: a view of 1024 x 1024


def answered_part(view: Box, layout_letters: str, space_letters: Sequence[str], focus: Sequence[float]) -> Box:
    """Return the part of a view that is answered at once: all of it, or if that is too large what is around a focus.

    Parameters
    ----------
    view : tuple of slice
        What is in view.
    layout_letters, space_letters : str
        Letters of the axes of the view, and of those that the network reads.
    focus : sequence of float
        A pixel in it, along all axes.

    Examples
    --------
    >>> answered_part((slice(3, 4), slice(0, 4000), slice(0, 600)), "TYX", "YX", (3, 100, 300))
    (slice(3, 4, None), slice(0, 1833, None), slice(0, 600, None))
    """
    sides = [span.stop - span.start for span in view]
    wide = [axis for axis, letter in enumerate(layout_letters) if letter in space_letters]
    left = float(_MOST_PIXELS)
    for number, axis in enumerate(sorted(wide, key=lambda axis: sides[axis])):
        most = left ** (1 / (len(wide) - number))
        sides[axis] = min(sides[axis], max(1, int(most)))
        left = max(1.0, left / sides[axis])
    box = []
    for span, side, at in zip(view, sides, focus, strict=True):
        start = min(max(span.start, math.floor(at) - side // 2), span.stop - side)
        box.append(slice(start, start + side))
    return tuple(box)


def _part_of(look: Look, source: ImageSource, focus: Sequence[float] | None) -> Box | None:
    view = look.view
    if any(span.stop <= span.start for span in view):
        return None
    layout = source.layout
    inside = focus is not None and all(s.start <= at < s.stop for s, at in zip(view, focus, strict=True))
    middle = focus if inside and focus is not None else look.focus()
    return answered_part(view, layout.label_axes, layout.space_letters, middle)


class LiveTarget:
    """The layers that the answers for an image go to, and what of the image is in view.

    Parameters
    ----------
    dock : SegmentDock
        Makes the layers.
    image : napari.layers.Image
        The image.
    source : ImageSource
        What was read off it.
    """

    def __init__(self, dock: SegmentDock, image: Image, source: ImageSource) -> None:
        self.dock, self.image, self.source = dock, image, source
        self.look = Look(dock.viewer, image, source)
        self.renew()

    def renew(self) -> None:
        """Find the layers, or make those that are missing."""
        dock, source = self.dock, self.source
        labels = ensure_result_layer(
            dock.viewer, self.image, source, task=dock.task, colours=dock.classes.table.colours
        )
        self.wanted = self._wanted()
        probabilities = dock.probability_layers(self.image, source, dock.class_names())
        uncertainty = dock.tools.uncertainty_layer(self.image, source, dock.panel.spot.shown_measure)
        self.layers = ResultLayers(dock.viewer, labels, probabilities, uncertainty)
        region = choose_region(self.look.view, source, "frame")
        model = cast("Any", None)  # the one that is shown then takes its place
        held = dock.tools.corrections.held_in(self.image)
        self.request: PredictRequest = predict_request(
            dock.panel, source, model, self.look, region, self.layers, held=held
        )

    def _wanted(self) -> tuple[Any, ...]:
        frame = tuple(
            span.start
            for span, letter in zip(self.look.view, self.source.layout.label_axes, strict=True)
            if letter in self.source.layout.stack_letters
        )
        panel = self.dock.panel
        return panel.probabilities.isChecked(), panel.spot.shown_measure, self.dock.class_names(), frame

    @property
    def is_current(self) -> bool:
        """Whether the layers are there, are the dock's, and are those that are wanted."""
        return not self.layers.lost and self.wanted == self._wanted()

    def part_in_view(self, focus: Sequence[float] | None) -> Box | None:
        """Look again, and return what is answered; None where the image is not in view."""
        self.look.update()
        return _part_of(self.look, self.source, focus)

    def close(self) -> None:
        """Leave the layers alone."""
        self.layers.finish()


class LiveTargets:
    """One target for each image that was looked at, of which the worker finds what it needs in its mail.

    Parameters
    ----------
    dock : SegmentDock
        Has the images.
    mail : LiveMail
        What the worker reads.
    """

    def __init__(self, dock: SegmentDock, mail: LiveMail) -> None:
        self.dock, self.mail = dock, mail
        self._targets: dict[Hashable, LiveTarget] = {}

    def get(self, key: Hashable, box: Box | None = None) -> LiveTarget | None:
        """Return the target of an image by its key, as long as its layers take results, there where they were written.

        An image that was given data of another shape has other layers.
        """
        target = self._targets.get(key)
        if target is None or target.layers.lost:
            return None
        return target if box is None or lies_in(box, target.source.layout.label_shape) else None

    def of(self, image: Image) -> LiveTarget:
        """Return the target of an image; make it if there is none that fits."""
        key, source = key_of(image), self.dock.read_image(image)
        known = self._targets.get(key)
        if known is None or known.source.layout != source.layout or known.source.array is not source.array:
            if known is not None:
                known.close()
            known = self._targets[key] = LiveTarget(self.dock, image, source)
            self.mail.targets[key] = known.request
        return known

    def part_ahead(self, image: Image) -> Box | None:
        """Return what of an image will be answered, while nothing is painted and no layers are made for it."""
        source = self.dock.read_image(image)
        return _part_of(Look(self.dock.viewer, image, source), source, None)

    def keep_current(self, target: LiveTarget) -> None:
        """Let a target have other layers where its own are gone, or others are wanted."""
        if not target.is_current:
            target.close()
            target.renew()
            self.mail.targets[key_of(target.image)] = target.request

    def forget_images(self) -> None:
        """Let go of images that were taken out of the window."""
        for key in [key for key, target in self._targets.items() if target.image not in self.dock.viewer.layers]:
            self._targets.pop(key).close()
            self.mail.targets.pop(key, None)

    def close(self) -> None:
        """Leave all layers alone."""
        for target in self._targets.values():
            target.close()
        self._targets.clear()
