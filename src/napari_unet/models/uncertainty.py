"""Where a model is uncertain, piece by piece: by its probabilities, or by what it says of the image turned.

The features of the image and of its turned versions are remembered, so that a head that is solved anew costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.errors import InputError
from napari_unet.models.adapt import Adapter
from napari_unet.models.head import apply_head
from napari_unet.models.model import Model
from napari_unet.nets.interrupt import AskedBeforeOperations
from napari_unet.predict.tiled import image_layout
from napari_unet.predict.uncertainty import MEASURES, Disagreement, Measure, entropy

__all__ = ["ImageUncertainty", "SeenTile", "UncertainPart", "uncertainty", "uncertainty_parts"]

_FIRST_PIXELS = 260_000  # so few that something is seen soon
_PIXELS = 1_000_000  # of the tiles that the network is given together in each position

FloatArray = npt.NDArray[np.float32]
Position = tuple[int, ...]
StopCheck = Callable[[], bool]
Focus = Sequence[float] | Callable[[], Sequence[float] | None] | None


@dataclass(frozen=True, eq=False)
class UncertainPart:
    """How uncertain one part of the image is.

    Attributes
    ----------
    box : tuple of slice
        Where, along the image's axes but the channels.
    uncertainty : numpy.ndarray
        (\\*box) float32, 0 to 1; see `napari_unet.predict.uncertainty`.
    share : float
        How much of what was asked for is done, 0 to 1.
    """

    box: Box
    uncertainty: FloatArray
    share: float


def uncertainty(
    model: Model, image: Any, axes: str | None = None, *, measure: Measure = "disagreement", device: str = "auto"
) -> FloatArray:
    """Say for each pixel how uncertain a model is.

    Parameters
    ----------
    model : Model
        A trained or an adapted model.
    image : array-like
        Any real dtype; numpy, memory-mapped, dask or zarr.
    axes : str or None
        One letter for each axis of `image`; None: see `napari_unet.data.axes.guess_axes`.
    measure : {"entropy", "disagreement"}
        Entropy: how mixed the probabilities of the classes are. Disagreement: how far the probabilities differ when the
        image lies in each of the eight positions of `napari_unet.predict.turns.list_positions`; it takes eight times
        as long. See `napari_unet.predict.uncertainty` for both.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Returns
    -------
    numpy.ndarray
        The image's axes without the channels, float32 in 0..1.

    Raises
    ------
    UNetError
        If the image does not fit the model, or the memory is too small.

    Examples
    --------
    >>> import napari_unet as nu
    >>> model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    >>> uncertainty(model, np.random.default_rng(0).random((17, 23)), device="cpu").shape
    (17, 23)
    """
    adapter = Adapter(model, device)
    result = np.empty(image_layout(model, image, axes).label_shape, np.float32)
    for part in uncertainty_parts(adapter, image, axes, measure=measure):
        result[part.box] = part.uncertainty
    return result


def uncertainty_parts(
    adapter: Adapter,
    image: Any,
    axes: str | None = None,
    *,
    measure: Measure = "disagreement",
    region: Box | None = None,
    focus: Focus = None,
    skip: Callable[[Box], bool] | None = None,
    should_stop: StopCheck | None = None,
) -> Iterator[UncertainPart]:
    """Say tile by tile how uncertain the model of an adapter is, as its head is now; see `uncertainty`.

    Parameters
    ----------
    adapter : Adapter
        Has the model and remembers features.
    image, axes, measure
        As in `uncertainty`.
    region : tuple of slice or None
        Only the tiles that touch this part, one slice for each of the image's axes but the channels; None: all.
    focus : sequence of float, callable or None
        A pixel: the nearest tiles come first. A function is asked now and then, and may return None for no change.
    skip : callable or None
        Given the box of a tile, along the image's axes but the channels, says whether it is left out.
    should_stop : callable or None
        Asked before each operation of the network; True ends the search.

    Yields
    ------
    UncertainPart
        Each tile once.
    """
    layout = image_layout(adapter.model, image, axes)
    seen = ImageUncertainty(adapter, image, layout, measure, should_stop)
    left = _TilesLeft(seen, layout, region, skip)
    total, done, pixels = len(left), 0, _FIRST_PIXELS
    while len(left):
        position, numbers = left.take(focus() if callable(focus) else focus, pixels // seen.tile_pixels)
        for tile in seen.look(position, numbers):
            done += 1
            yield seen.part(position, tile, done / total)
        if should_stop is not None and should_stop():
            return
        pixels = _PIXELS


@dataclass(frozen=True, eq=False)
class SeenTile:
    """What is known of one tile of a frame.

    Attributes
    ----------
    inner : tuple of slice
        Where it lies in the frame.
    features : torch.Tensor
        (D, \\*inner) the network's last feature map.
    probabilities : numpy.ndarray
        (class, \\*inner) float32.
    uncertainty : numpy.ndarray
        (\\*inner) float32, 0 to 1.
    """

    inner: Box
    features: torch.Tensor
    probabilities: FloatArray
    uncertainty: FloatArray


class ImageUncertainty:
    """Looks at the tiles of an image.

    Parameters
    ----------
    adapter : Adapter
        Has the model and remembers features.
    image : array-like
        The image.
    layout : ImageLayout
        Its axes.
    measure : {"entropy", "disagreement"}
        What counts as uncertain.
    should_stop : callable or None
        Asked before each operation of the network; True ends what is looked at.

    Attributes
    ----------
    layout, measure
        As given.
    maps : FeatureMaps
        The feature maps of the image as it lies.
    tile_pixels : int
        Pixels of a tile.

    Raises
    ------
    InputError
        If there is no such measure.
    """

    def __init__(
        self, adapter: Adapter, image: Any, layout: ImageLayout, measure: Measure, should_stop: StopCheck | None = None
    ) -> None:
        if measure not in MEASURES:
            raise InputError(f"Expected `measure` to be one of {', '.join(MEASURES)}, but got {measure!r}.")
        self.maps = adapter.maps(image, layout)
        self.layout, self.measure = layout, measure
        self._turned = adapter.turned_maps(image, layout) if measure == "disagreement" else []
        self._should_stop = should_stop
        self.tile_pixels = int(np.prod(self.maps.side))

    def look(self, position: Position, numbers: Sequence[int]) -> Iterator[SeenTile]:
        """Look at tiles of a frame, one after the other; fewer are returned where it should stop."""
        at_once = max(1, _PIXELS // self.tile_pixels)
        for first in range(0, len(numbers), at_once):
            try:
                with AskedBeforeOperations(self._check):
                    seen = self._look_at_once(position, numbers[first : first + at_once])
            except _Stopped:
                return
            yield from seen

    def part(self, position: Position, tile: SeenTile, share: float) -> UncertainPart:
        """Say how uncertain a tile is, along the image's axes; `share` of what was asked for is done with it."""
        values = self.layout.to_label_order(tile.uncertainty[np.newaxis])[0]
        return UncertainPart(self.layout.label_box(position, tile.inner), values, share)

    def _look_at_once(self, position: Position, numbers: Sequence[int]) -> list[SeenTile]:
        straight = dict(self.maps.read(position, numbers))
        probabilities = {number: self._classify(position, number, features) for number, features in straight.items()}
        if self._turned:
            doubts = self._disagreements(position, probabilities)
        else:
            doubts = {number: entropy(block) for number, block in probabilities.items()}
        tiles = self.maps.tiles
        own = {n: self.maps.without_margin(n, straight[n]) for n in numbers}
        return [SeenTile(tiles[n].inner, own[n], probabilities[n], doubts[n]) for n in numbers]

    def _disagreements(self, position: Position, straight: Mapping[int, FloatArray]) -> dict[int, FloatArray]:
        found = {number: Disagreement() for number in straight}
        for number, block in straight.items():
            found[number].add(block)
        for maps in self._turned:
            for number, features in maps.read(position, list(straight)):
                found[number].add(self._classify(position, number, features))
        return {number: block.value for number, block in found.items()}

    def _classify(self, position: Position, number: int, features: torch.Tensor) -> FloatArray:
        return apply_head(self.maps, number, features, position)

    def _check(self) -> None:
        if self._should_stop is not None and self._should_stop():
            raise _Stopped


class _Stopped(Exception):
    """What was looked at is not wanted any more."""


class _TilesLeft:
    """The tiles of a region that are still to come."""

    def __init__(
        self, seen: ImageUncertainty, layout: ImageLayout, region: Box | None, skip: Callable[[Box], bool] | None
    ) -> None:
        self._layout = layout
        self._frames, space = layout.frames_in(region)
        tiles = seen.maps.touching(space)
        middles = np.array([[(s.start + s.stop) / 2 for s in seen.maps.tiles[number].inner] for number in tiles])
        self._middles = middles.reshape(-1, layout.ndim)
        self._tiles = np.array(tiles, np.intp)
        self._left = np.ones((len(self._frames), len(tiles)), bool)
        if skip is not None:
            for frame, place in np.ndindex(*self._left.shape):
                box = layout.label_box(self._frames[frame], seen.maps.tiles[tiles[place]].inner)
                self._left[frame, place] = not skip(box)
        self._focus = [(part.start + part.stop) / 2 for part in layout.bounds(region)]

    def __len__(self) -> int:
        return int(np.count_nonzero(self._left))

    def take(self, focus: Sequence[float] | None, most: int) -> tuple[Position, list[int]]:
        """Take up to `most` tiles of the nearest frame, the nearest to the focus first."""
        self._focus = self._focus if focus is None else list(focus)
        at = dict(zip(self._layout.label_axes, self._focus, strict=True))
        stack = np.array([at[letter] for letter in self._layout.stack_letters])
        frames = np.flatnonzero(self._left.any(axis=1))
        away = [float(((np.array(self._frames[frame]) - stack) ** 2).sum()) for frame in frames]
        frame = int(frames[int(np.argmin(away))])
        inside = np.array([at[letter] for letter in self._layout.space_letters])
        left = np.flatnonzero(self._left[frame])
        order = np.argsort(((self._middles[left] - inside) ** 2).sum(axis=1), kind="stable")
        chosen = left[order[: max(1, most)]]
        self._left[frame, chosen] = False
        return self._frames[frame], self._tiles[chosen].tolist()
