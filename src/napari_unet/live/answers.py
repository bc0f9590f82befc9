"""What one network says at once: its last layer solved from the strokes, on features that are remembered."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
from torch import nn

from napari_unet.data.axes import Box
from napari_unet.data.crops import same_frames
from napari_unet.data.intensity import FrameReader
from napari_unet.learn.place_choice import SolvedHead
from napari_unet.learn.solved_head import get_head, set_head
from napari_unet.live.events import Source
from napari_unet.live.images import AnnotatedImages, PaintedImage
from napari_unet.models.adapt import Adapter
from napari_unet.models.model import Model
from napari_unet.predict.feature_cache import FeatureCache

if TYPE_CHECKING:
    from napari_unet.nets.base import SegmentationNetwork

__all__ = ["Answers"]

_TILES_AT_ONCE = 4
_TILES_AHEAD = 2  # while a stroke may come that wants an answer


class Answers:
    """A network that stays as it is, and its two heads: its own, and the one that is solved from the strokes.

    Parameters
    ----------
    model : Model
        Is copied.
    device : str
        Where the network runs.
    max_bytes : int
        Memory for the features.
    place_may_count : bool
        See `napari_unet.adapt`.

    Attributes
    ----------
    trained : bool
        Whether the network's own head has learnt anything, so that it can be shown.
    scores : dict
        Source -> held-out score, where it was measured on the present strokes.
    """

    def __init__(self, model: Model, device: str, max_bytes: int, *, place_may_count: bool = True) -> None:
        network = copy.deepcopy(model.network)
        if not place_may_count:
            cast("SegmentationNetwork", network).set_place(None)
        self.model = Model(model.config, network, model.task, model.spacing, dict(model.history), model.closed_form)
        self.adapter = Adapter(self.model, device, cache=FeatureCache(max_bytes), place_may_count=place_may_count)
        self.trained = bool(model.history.get("steps"))
        self.scores: dict[Source, float] = {}
        self._device = device
        self._own = get_head(network)
        self._solved: SolvedHead | None = None
        self._solve_without_held: Callable[[], SolvedHead] | None = None

    def with_model(self, model: Model) -> Answers:
        """Return the same for another model; what is known of the images' grey values is shared."""
        adapter = self.adapter
        other = Answers(model, self._device, adapter.cache.max_bytes, place_may_count=adapter.place_may_count)
        other.adapter.cache.share_images(adapter.cache)
        return other

    @property
    def is_solved(self) -> bool:
        """Whether there is an answer of the closed form."""
        return self._solved is not None

    def read(self, image: PaintedImage) -> FrameReader:
        """Return what reads an image."""
        return self.adapter.cache.reader(image.sample.image, image.layout, self.model.config)

    def solve(self, images: AnnotatedImages) -> None:
        """Solve the head from all strokes; without those held out it is only solved when that is asked for."""
        strokes = self.adapter.gather(images.painted_frames(self.read), most_unknown=_TILES_AT_ONCE)
        held = images.held_pixels(strokes.pixels)
        solved = self._solved = self.adapter.solve(strokes)
        place = solved.counted  # which few strokes that are left can't tell
        self._solve_without_held = cache(lambda: self.adapter.solve(strokes, ~held, place) if held.any() else solved)
        self.scores = {}

    def forget_strokes(self) -> None:
        """Let go of the solution, where too little is painted for one."""
        self._solved = self._solve_without_held = None
        self.scores = {}

    @property
    def _without_held(self) -> SolvedHead | None:
        return None if self._solve_without_held is None else self._solve_without_held()

    def probabilities(self, image: PaintedImage, region: Box | None, source: Source) -> npt.NDArray[np.float32]:
        """Return (class, \\*region) float32 of one of the sources."""
        self._use(source)
        return self.adapter.probabilities(image.sample.image, image.layout.axes, region)

    def part_at_once(self, image: PaintedImage, region: Box, focus: Sequence[float]) -> Box | None:
        """Return the part of a region, around a place in it, that is worth to be answered first; None: all of it.

        That is so where the features of most of the region are still to be computed.
        """
        maps = self.adapter.maps(image.sample.image, image.layout)
        places, space = image.layout.frames_in(region)
        if len(places) > 1 or maps.overlap or len(maps.unknown(places[0], space)) <= _TILES_AT_ONCE:
            return None
        order, part = image.layout.space_axes, list(region)
        for axis, near in zip(order, maps.tiles_around([focus[axis] for axis in order]), strict=True):
            part[axis] = slice(max(region[axis].start, near.start), min(region[axis].stop, near.stop))
        return tuple(part)

    def adapter_of(self, source: Source) -> Adapter:
        """Return what makes the result of a source, until another one is asked for."""
        self._use(source)
        return self.adapter

    def prepare(
        self, image: PaintedImage, region: Box | None, *, near: Sequence[float] | None = None
    ) -> Iterator[None]:
        """Compute the features of a region, a few tiles at a time, or fewer, those near to a place in it first."""
        maps = self.adapter.maps(image.sample.image, image.layout)
        places, space = image.layout.frames_in(region)
        numbers, at_once = maps.touching(space), _TILES_AT_ONCE
        if near is not None:
            point = [near[axis] for axis in image.layout.space_axes]
            numbers, at_once = maps.nearest_first(numbers, point), _TILES_AHEAD
        for position in places:
            for first in range(0, len(numbers), at_once):
                for _ in maps.read(position, numbers[first : first + at_once]):
                    pass
                yield

    def gather_parts(self, images: AnnotatedImages) -> Iterator[None]:
        """Compute the features of all strokes, frame by frame."""
        frames = images.painted_frames(self.read)
        for group in same_frames(frames):
            self.adapter.gather([frames[i] for i in group], most_unknown=_TILES_AT_ONCE)
            yield

    def network_for_score(self, source: Source) -> nn.Module:
        """Return a copy of the network as it is scored: a closed form does not know the held-out strokes."""
        return self._copy(self._own if source == "network" else self._without_held)

    def network_to_train(self) -> nn.Module:
        """Return a copy of the network that a training begins with.

        Its own head, if that was trained; but what is solved from the strokes if only there the place, or
        how far a pixel is enclosed, counts, or trees are asked.
        """
        solved, own = self._without_held, self._own
        has_more = solved is not None and (
            solved.place_columns > own.place_columns or (solved.trees is not None and own.trees is None)
        )
        return self._copy(own if self.trained and not has_more else solved)

    def copy_model(self, source: Source) -> Model:
        """Return a model that predicts what is shown, and that nothing changes any more."""
        model = self.model
        return Model(
            model.config, self._copy(self._own if source == "network" else self._solved), model.task, model.spacing,
            dict(model.history), model.closed_form,
        )  # fmt: skip

    def _copy(self, head: SolvedHead | None) -> nn.Module:
        network = copy.deepcopy(self.model.network).eval()
        if head is not None:
            set_head(network, head)
        return network

    def _use(self, source: Source) -> None:
        head = self._own if source == "network" else self._solved
        assert head is not None  # nothing is shown before it is solved
        set_head(self.model.network, head)
