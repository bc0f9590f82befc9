"""In which order and size the window has its tiles predicted: small ones of what is in view first, then large ones."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_unet.data.axes import Box
from napari_unet.widgets.parts.worker import StopCheck

if TYPE_CHECKING:
    from napari_unet.data.intensity import IntensityRange
    from napari_unet.predict.events import PredictEvent
    from napari_unet.predict.tiles import TileGeometry
    from napari_unet.widgets.results.predict_job import PredictRequest

__all__ = ["predict_view_first", "split_view"]

_FIRST_SIDE = 448  # pixels, of the first tiles at most
_FIRST_VIEW = 1344  # of a view that is larger only the middle comes first
_FIRST_SECONDS = 1.5  # after which larger tiles take over
_TILE_SECONDS = 1.0  # that a later tile may take: so long it is until the prediction follows a person's look


def split_view(view: Box, divisor: int) -> tuple[Box, tuple[int, ...]]:
    """Choose what comes first of a view, and the tiles for it.

    Parameters
    ----------
    view : tuple of slice
        The part of a frame that is in view.
    divisor : int
        Tiles begin at multiples of this many pixels.

    Returns
    -------
    first : tuple of slice
        The view, or its middle, grown to the divisor.
    tile : tuple of int
        Sides of its tiles.

    Examples
    --------
    >>> split_view((slice(4000, 4810), slice(0, 900)), divisor=16)
    ((slice(4000, 4816, None), slice(0, 912, None)), (416, 304))
    """
    first, tile = [], []
    for span in view:
        over = max(0, span.stop - span.start - _FIRST_VIEW) // 2
        start = (span.start + over) // divisor * divisor
        stop = -(-(span.stop - over) // divisor) * divisor
        parts = math.ceil((stop - start) / _FIRST_SIDE)
        first.append(slice(start, stop))
        tile.append(-(-(stop - start) // (parts * divisor)) * divisor)
    return tuple(first), tuple(tile)


def predict_view_first(
    request: PredictRequest, intensity: IntensityRange, should_stop: StopCheck
) -> Iterator[PredictEvent]:
    """Predict what is in view, then all that was asked for, the nearest to the view first; leave out what is done.

    Where the result depends on the tiles, or the settings name their size, all are alike.
    """
    from napari_unet.predict.runner import tile_geometry
    from napari_unet.predict.tiled import predict_tiles

    model, layout = request.model, request.source.layout
    geometry = tile_geometry(model.network, model.config)

    def is_done(box: Box) -> bool:
        return request.record.has(*layout.split_box(box))

    def run(region: Box | None, tile: Any, stop: StopCheck) -> Iterator[PredictEvent]:
        return predict_tiles(
            model, request.source.array, layout.axes, replace(request.config, tile=tile),
            region=region, from_region=True, focus=request.look.focus, skip=is_done, intensity=intensity,
            should_stop=stop,
        )  # fmt: skip

    tile: Any = request.config.tile
    view = request.look.view if request.region is None else _intersect(request.look.view, request.region)
    if tile is None and layout.ndim == 2 and not geometry.overlap and all(s.stop > s.start for s in view):
        position, spans = layout.split_box(view)
        first, sides = split_view(spans, geometry.divisor)
        speed = _Speed(sum(geometry.halo))
        until = time.monotonic() + _FIRST_SECONDS
        for event in run(layout.label_box(position, first), sides, lambda: should_stop() or time.monotonic() > until):
            speed.take(event)
            yield event
        tile = speed.choose_tile(request, geometry)
    if not should_stop():
        yield from run(request.region, tile, should_stop)


class _Speed:
    """Measures how fast a prediction is."""

    def __init__(self, halo: int) -> None:
        self._halo = halo
        self._seconds: list[float] = []
        self._pixels: list[int] = []

    def take(self, event: PredictEvent) -> None:
        """Learn from an event: tiles, and the start."""
        from napari_unet.predict.events import PredictStarted, TilePredicted

        if isinstance(event, TilePredicted):
            sides = [span.stop - span.start for span in event.box if span.stop - span.start > 1]
            self._pixels.append(math.prod(side + self._halo for side in sides))
            self._seconds.append(event.seconds)
        elif isinstance(event, PredictStarted):
            self._pixels, self._seconds = [0], [event.seconds]

    def choose_tile(self, request: PredictRequest, geometry: TileGeometry) -> tuple[int, ...] | None:
        """Choose tiles that take no longer than they should; None where nothing was measured."""
        from napari_unet.nets.device import choose_device
        from napari_unet.predict.budget import pixel_budget
        from napari_unet.predict.tiles import choose_tile

        first = 1 if len(self._pixels) > 2 else 0  # the first tile also finds the quickest way to compute
        seconds = self._seconds[-1] - self._seconds[first] if self._seconds else 0.0
        if seconds <= 0:
            return None
        device = choose_device(request.config.device, precision=request.config.precision)
        quick = _TILE_SECONDS * sum(self._pixels[first + 1 :]) / seconds
        budget = min(quick, pixel_budget(request.model.config, device))
        return choose_tile(request.source.layout.frame_shape, geometry, int(budget))


def _intersect(first: Box, second: Box) -> Box:
    return tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
