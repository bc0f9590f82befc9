"""The next place to paint: features and probabilities of an image gone through, and the best place chosen."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import ImageLayout
from napari_unet.data.sample import Sample
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.models.adapt import Adapter
from napari_unet.models.uncertainty import ImageUncertainty, UncertainPart
from napari_unet.predict.experience import Experience
from napari_unet.predict.features import FeatureMaps
from napari_unet.predict.tiled import image_layout
from napari_unet.predict.uncertainty import Measure
from napari_unet.predict.where_to_paint import Candidates, choose, join, make_candidates

if TYPE_CHECKING:
    from napari_unet.predict.tile_store import TileStore

__all__ = ["Spot", "SpotEvent", "UncertainPart", "find_spot"]

_VISITED_REACH = 16  # pixels around a visited place that are not offered again
_MOST_PIXELS: dict[Measure, int] = {
    "entropy": 4_000_000,
    "disagreement": 1_000_000,
}  # each of which is seen eight times

Position = tuple[int, ...]
Tiles = list[tuple[Position, list[int]]]  # numbers of tiles by the frame that they are in


@dataclass(frozen=True)
class Spot:
    """A place to paint.

    Attributes
    ----------
    place : tuple of int
        The pixel, along the image's axes but the channels.
    uncertainty : float
        0 to 1.
    why : str
        What makes it worth painting, in a few words.
    """

    place: tuple[int, ...]
    uncertainty: float
    why: str


SpotEvent = UncertainPart | Spot


def find_spot(
    adapter: Adapter,
    samples: Sequence[Sample],
    *,
    task: Literal["objects", "classes"] | None = None,
    focus: Sequence[float] | None = None,
    visited: Sequence[tuple[int, ...]] = (),
    measure: Measure = "entropy",
    most_pixels: int | None = None,
    stored: TileStore | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[SpotEvent]:
    """Find where one more stroke on the first of some images would teach a model most.

    Parameters
    ----------
    adapter : Adapter
        Has the model and remembers features. The model's head is used as it is: `Adapter.adapt` solves it anew.
    samples : sequence of Sample
        The image that is painted on, and others that are painted as well.
    task : {"objects", "classes"} or None
        What the strokes mean; None: as the model's.
    focus : sequence of float or None
        A pixel of the first image: where it is too large to be looked at as a whole, what is near comes first.
    visited : sequence of tuple of int
        Places that are not to be offered again, nor what is around them.
    measure : {"entropy", "disagreement"}
        What counts as uncertain: that the model's probabilities are mixed, or that they differ when the image is
        turned; see `napari_unet.models.uncertainty.uncertainty`.
    most_pixels : int or None
        How much of the image is looked at: in a stack half of it around the focus, the other half all over the stack.
        None: four million, or where the image is turned one million.
    stored : TileStore or None
        A stored prediction of the first image, with probabilities: what is looked at is then, wherever it lies, what
        that one is most uncertain of by its entropy, and for the other half less and less uncertain parts.
    should_stop : callable or None
        Is asked before each operation of the network; the search then ends without a spot.

    Yields
    ------
    UncertainPart or Spot
        One `UncertainPart` for each part that is looked at, then the spot, unless everything is painted or visited.

    Raises
    ------
    UNetError
        If nothing or one class only is painted, or the image does not fit the model or the stored prediction.

    Examples
    --------
    >>> import napari_unet as nu
    >>> image = np.random.default_rng(0).random((32, 48)); image[8:20, 8:20] += 2
    >>> strokes = np.zeros((32, 48), np.uint8); strokes[2:5, 2:30] = 1; strokes[10:18, 10:18] = 2
    >>> sample, adapter = Sample(image, strokes), Adapter(nu.Model.create(), "cpu")
    >>> adapter.adapt([sample])
    >>> *parts, spot = find_spot(adapter, [sample])
    >>> len(spot.place), bool(strokes[spot.place] == 0)
    (2, True)
    """
    model, sample = adapter.model, samples[0]
    strokes = adapter.painted(samples, task=task)
    form = model.closed_form or ClosedForm()
    experience = Experience(
        strokes.features.float().cpu().numpy(), strokes.classes, strokes.weights,
        ridge=form.ridge, scale=form.scale, offset=form.offset,
    )  # fmt: skip
    layout = image_layout(model, sample.image, sample.axes)
    seen = ImageUncertainty(adapter, sample.image, layout, measure, should_stop)
    most = max(1, (_MOST_PIXELS[measure] if most_pixels is None else most_pixels) // seen.tile_pixels)
    tiles: Tiles = []
    if stored is not None:
        from napari_unet.predict.stored_uncertainty import uncertainty_by_tile

        by_tile = uncertainty_by_tile(stored, layout, seen.maps.side, seed=len(visited), should_stop=should_stop)
        tiles = _choose_uncertain(by_tile, layout, most)
    gathered = yield from _look_at(tiles or _choose_tiles(seen.maps, layout, focus, most), seen, sample, should_stop)
    if gathered is None:
        return
    cells, places = gathered
    closed = _near_visited(places, visited, layout)
    found = choose(experience, cells, closed, measure, seed=len(strokes.classes) + len(visited))
    if found is not None:
        yield Spot(tuple(places[found.number].tolist()), found.uncertainty, found.why)


def _look_at(
    tiles: Tiles, seen: ImageUncertainty, sample: Sample, should_stop: Callable[[], bool] | None
) -> Generator[UncertainPart, None, tuple[Candidates, npt.NDArray[np.intp]] | None]:
    """Gather candidates and the place of each, along the image's axes; returns None if it was stopped."""
    layout = seen.layout
    parts: list[Candidates] = []
    positions = []
    total = sum(len(numbers) for _, numbers in tiles)
    for position, numbers in tiles:
        for tile in seen.look(position, numbers):
            yield seen.part(position, tile, (len(parts) + 1) / total)
            painted = layout.read_labels(sample.annotation, position, tile.inner) > 0
            doubt = tile.uncertainty if seen.measure == "disagreement" else None
            parts.append(make_candidates(tile.features, tile.probabilities, painted, tile.inner, doubt))
            positions.append(np.tile(np.array(position, np.intp), (len(parts[-1].places), 1)))
        if should_stop is not None and should_stop():
            return None
    cells = join(parts)
    places = np.concatenate([np.concatenate(positions), cells.places], axis=1)
    order = [(layout.stack_letters + layout.space_letters).index(letter) for letter in layout.label_axes]
    return cells, places[:, order]


def _near_visited(
    places: npt.NDArray[np.intp], visited: Sequence[tuple[int, ...]], layout: ImageLayout
) -> npt.NDArray[np.bool_]:
    near = np.zeros(len(places), bool)
    for place in visited:
        near |= (np.abs(places - np.array(place)) <= _VISITED_REACH).all(axis=1) & _same_frame(places, place, layout)
    return near


def _same_frame(places: npt.NDArray[np.intp], place: tuple[int, ...], layout: ImageLayout) -> npt.NDArray[np.bool_]:
    axes = [layout.label_axes.index(letter) for letter in layout.stack_letters]
    same: npt.NDArray[np.bool_] = (places[:, axes] == np.array(place)[axes]).all(axis=1)
    return same


def _choose_tiles(maps: FeatureMaps, layout: ImageLayout, focus: Sequence[float] | None, most: int) -> Tiles:
    """Choose what is looked at: tiles of the frame in focus, the nearest first, and tiles all over the stack."""
    tiles = maps.tiles
    middle = [size / 2 for size in layout.label_shape] if focus is None else list(focus)
    at = dict(zip(layout.label_axes, middle, strict=True))
    here = tuple(int(at[letter]) for letter in layout.stack_letters)
    inside = [at[letter] for letter in layout.space_letters]
    away = [
        sum(max(part.start - m, m - part.stop, 0) ** 2 for part, m in zip(tile.inner, inside, strict=True))
        for tile in tiles
    ]
    frames = int(np.prod(layout.stack_shape, dtype=np.int64))
    near = np.argsort(away, kind="stable")[: most if frames == 1 else max(1, most // 2)]
    first = int(np.ravel_multi_index(here, layout.stack_shape)) * len(tiles) if here else 0
    rest = most - len(near)
    spread = np.linspace(0, frames * len(tiles) - 1, rest if frames > 1 else 0)
    return _by_frame([*(first + near), *spread], layout, len(tiles))


def _choose_uncertain(doubt: npt.NDArray[np.float32], layout: ImageLayout, most: int) -> Tiles:
    """Choose the tiles that are most uncertain, and as many of the others that are not certain."""
    order = [layout.label_axes.index(letter) for letter in layout.stack_letters + layout.space_letters]
    values = doubt.transpose(order).ravel()
    ranked = np.argsort(-values, kind="stable")[: np.count_nonzero(values)]
    if len(ranked) > most:
        rest = np.linspace(most // 2, len(ranked) - 1, most - most // 2).astype(np.intp)
        ranked = ranked[[*range(most // 2), *rest]]
    return _by_frame(ranked.tolist(), layout, values.size // int(np.prod(layout.stack_shape, dtype=np.int64)))


def _by_frame(places: Sequence[float], layout: ImageLayout, per_frame: int) -> Tiles:
    """Sort tiles, which are numbered through all frames, by the frame that they are in."""
    chosen: dict[Position, set[int]] = {}
    for place in places:
        frame, number = divmod(int(place), per_frame)
        position = tuple(int(n) for n in np.unravel_index(frame, layout.stack_shape)) if layout.stack_shape else ()
        chosen.setdefault(position, set()).add(number)
    return [(position, sorted(numbers)) for position, numbers in chosen.items()]
