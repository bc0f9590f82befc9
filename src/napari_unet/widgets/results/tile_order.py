"""In which order and size the window has its tiles predicted: small ones of what is in view first, then large ones.

A large tile costs less for each of its pixels, but a person would wait for it. So when the view is moved to what is not
done yet, the large tile under way is given up, and small ones of the new view come first again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_unet.data.axes import Box
from napari_unet.widgets.parts.worker import StopCheck

if TYPE_CHECKING:
    from napari_unet.data.intensity import IntensityRange
    from napari_unet.predict.events import PredictEvent
    from napari_unet.predict.tiles import TileGeometry
    from napari_unet.widgets.results.predict_job import PredictRequest

__all__ = ["predict_view_first", "split_part", "view_middle"]

_FIRST_SIDE = 448  # pixels, of the first tiles at most
_FIRST_VIEW = 1344  # of a view that is larger only the middle comes first
_LEAST_SIDE = 256  # of a part that comes first: for less, nearly all that is computed would lie around it
_FIRST_SECONDS = 1.5  # after which larger tiles take over
_TILE_SECONDS = 1.0  # that a later tile may take

Position = tuple[int, ...]


def view_middle(view: Box) -> Box:
    """Return the part of a view that comes first: all of it, unless it is very large.

    Examples
    --------
    >>> view_middle((slice(0, 8192), slice(0, 900)))
    (slice(3424, 4768, None), slice(0, 900, None))
    """
    over = [max(0, span.stop - span.start - _FIRST_VIEW) // 2 for span in view]
    return tuple(slice(span.start + cut, span.stop - cut) for span, cut in zip(view, over, strict=True))


def split_part(part: Box, shape: Sequence[int], divisor: int) -> tuple[Box, tuple[int, ...]]:
    """Choose the tiles for a part of a frame that is wanted soon.

    Parameters
    ----------
    part : tuple of slice
        Part of the frame.
    shape : sequence of int
        Size of the frame.
    divisor : int
        Tiles begin at multiples of this many pixels.

    Returns
    -------
    box : tuple of slice
        The part, grown to the divisor and, where it is very narrow, a little more.
    tile : tuple of int
        Sides of its tiles.

    Examples
    --------
    >>> split_part((slice(4000, 4810), slice(0, 900)), (8192, 8192), divisor=16)
    ((slice(4000, 4816, None), slice(0, 912, None)), (416, 304))
    """
    box, tile = [], []
    for span, size in zip(part, shape, strict=True):
        more = max(0, _LEAST_SIDE - (span.stop - span.start)) // 2
        start = max(0, span.start - more) // divisor * divisor
        stop = -(-min(size, span.stop + more) // divisor) * divisor
        parts = math.ceil((stop - start) / _FIRST_SIDE)
        box.append(slice(start, stop))
        tile.append(-(-(stop - start) // (parts * divisor)) * divisor)
    return tuple(box), tuple(tile)


def predict_view_first(
    request: PredictRequest, intensity: IntensityRange, should_stop: StopCheck
) -> Iterator[PredictEvent]:
    """Predict what is in view, then all that was asked for, the nearest to the view first; leave out what is done.

    Where the view moves to what is not done, that comes first from then on. Where the result depends on the tiles, or
    the settings name their size, all are alike.
    """
    from napari_unet.predict.runner import tile_geometry
    from napari_unet.predict.tiled import predict_tiles

    model, layout, record = request.model, request.source.layout, request.record
    geometry = tile_geometry(model.network, model.config)

    def is_done(box: Box) -> bool:
        return record.has(*layout.split_box(box))

    def run(region: Box | None, tile: Any, stop: StopCheck) -> Iterator[PredictEvent]:
        return predict_tiles(
            model, request.source.array, layout.axes, replace(request.config, tile=tile),
            region=region, from_region=True, focus=request.look.focus, skip=is_done, intensity=intensity,
            should_stop=stop, may_go_on=request.may_go_on,
        )  # fmt: skip

    if request.config.tile is not None or layout.ndim != 2 or geometry.overlap:
        yield from run(request.region, request.config.tile, should_stop)
        return
    views, speed = _Views(request), _Speed(sum(geometry.halo))
    enough = interrupted = False

    def stop_early() -> bool:
        return enough or should_stop()

    def stop_for_view() -> bool:
        nonlocal interrupted
        interrupted = should_stop() or views.have_moved()
        return interrupted

    while not should_stop():
        position, part = views.take()
        if part is not None:
            box, tile = split_part(part, layout.frame_shape, geometry.divisor)
            until, enough = time.monotonic() + _FIRST_SECONDS, False
            for event in run(layout.label_box(position, box), tile, stop_early):
                yield event
                enough = speed.take(event) and (time.monotonic() > until or views.have_moved())
        if views.have_moved():
            continue
        record.tile = record.tile or speed.choose_tile(request, geometry)
        interrupted = False
        for event in run(request.region, record.tile, stop_for_view):
            record.tile = _tile_of(event, request) or record.tile
            yield event
        if not (interrupted or views.have_moved()):  # the view may be where it was before
            return


def _tile_of(event: PredictEvent, request: PredictRequest) -> tuple[int, ...]:
    """Return the sides of the tiles from an event on, if it tells of them."""
    layout = request.source.layout
    sides = getattr(event, "tile", ())
    return tuple(sides[layout.label_axes.index(letter)] for letter in layout.space_letters) if sides else ()


class _Views:
    """What the person looks at, one view after the other, as far as it is asked for and not done."""

    def __init__(self, request: PredictRequest) -> None:
        self._look, self._record = request.look, request.record
        self._layout, self._region = request.source.layout, request.region
        self._known: Box | None = None

    def take(self) -> tuple[Position, Box | None]:
        """Return where the frame in view is, and the part of it that comes first; None if there is none."""
        self._known = self._look.view
        return self._wanted(self._known)

    def have_moved(self) -> bool:
        """Say whether there is a new view, with something in it that is to come first."""
        view = self._look.view
        if view == self._known:
            return False
        if self._wanted(view)[1] is not None:
            return True
        self._known = view
        return False

    def _wanted(self, view: Box) -> tuple[Position, Box | None]:
        if self._region is not None:
            view = _intersect(view, self._region)
        position, spans = self._layout.split_box(view)
        if any(span.stop <= span.start for span in view):
            return position, None
        return position, self._record.missing(position, view_middle(spans))


class _Speed:
    """Measures how fast a prediction is."""

    def __init__(self, halo: int) -> None:
        self._halo = halo
        self._seconds: list[float] = []
        self._pixels: list[int] = []

    def take(self, event: PredictEvent) -> bool:
        """Learn from an event, the start or a tile; returns whether it was a tile."""
        from napari_unet.predict.events import PredictStarted, TilePredicted

        if isinstance(event, TilePredicted):
            sides = [span.stop - span.start for span in event.box if span.stop - span.start > 1]
            self._pixels.append(math.prod(side + self._halo for side in sides))
            self._seconds.append(event.seconds)
        elif isinstance(event, PredictStarted):
            self._pixels, self._seconds = [0], [event.seconds]
        return isinstance(event, TilePredicted)

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
