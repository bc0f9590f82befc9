"""An endless series of episodes, in which each is a function of the seed and its number alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_unet.data.episodes.episode import Episode, draw_episode
from napari_unet.data.episodes.group import ImageGroup, draw_group
from napari_unet.errors import InputError, UNetError

__all__ = ["LANES", "EpisodeStream"]

LANES = 24  # episodes of different lanes share no synthetic scenes, so that processes can share out the lanes

_TRIES = 200


@dataclass(frozen=True, eq=False)
class EpisodeStream:
    """Draws episodes by their number.

    Scenes take longer to draw than episodes, so those of one kind are kept and used for several. Whatever is drawn
    again, in another process or after an interruption, is the same.

    Attributes
    ----------
    shape : tuple of int
        Pixels of support and query along each of 2 or 3 axes.
    scene_shape : tuple of int
        Pixels of the scenes that these are cut from.
    seed : int
        Start of the random numbers.
    reuse : int
        Episodes that are drawn, on average, from each group of synthetic scenes.
    kept : int
        Groups of each lane that are kept.
    real : tuple of ImageGroup
        Real images.
    real_share : float
        Share of the episodes that are drawn from these.
    tasks : int
        Tasks of each episode, see `draw_episode`.
    exposed : float
        Share of the images that differ from others of their kind in contrast and light, as those of two patients do.

    Raises
    ------
    InputError
        If a number is out of range, or a real image has other axes.

    Examples
    --------
    >>> stream = EpisodeStream((32, 32), (40, 40), seed=1)
    >>> episode = stream.episode(7)
    >>> episode.images.shape, episode.tasks[0].classes.shape
    ((2, 3, 32, 32), (2, 32, 32))
    """

    shape: tuple[int, ...]
    scene_shape: tuple[int, ...]
    seed: int = 0
    reuse: int = 8
    kept: int = 8
    real: tuple[ImageGroup, ...] = ()
    real_share: float = 0.0
    tasks: int = 1
    exposed: float = 0.0
    _groups: dict[int, ImageGroup] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or len(self.scene_shape) != len(self.shape):
            raise InputError(f"Expected 2 or 3 sides of episodes and scenes, but got {self.shape}, {self.scene_shape}.")
        if min(self.reuse, self.kept, self.tasks) < 1:
            raise InputError("Expected `reuse`, `kept` and `tasks` to be at least 1.")
        if not (0 <= self.real_share <= 1 and 0 <= self.exposed <= 1):
            raise InputError("Expected `real_share` and `exposed` to be 0 to 1.")
        if self.real_share > 0 and not self.real:
            raise InputError("A share of real images was asked for, but there are none; name some sets.")
        if any(regions.ndim != len(self.shape) for group in self.real for regions in group.regions):
            raise InputError(f"The real images have not {len(self.shape)} axes.")

    def episode(self, number: int) -> Episode:
        """Draw the episode of a number, 0, 1, ...

        Raises
        ------
        UNetError
            If the real images show nothing that could be told apart.
        """
        rng = np.random.default_rng([self.seed, 0, number])
        for _ in range(_TRIES):
            episode = draw_episode(rng, self._choose(rng, number), self.shape, self.tasks, self.exposed)
            if episode is not None:
                return episode
        raise UNetError("No two things could be told apart in the images; choose others, or larger ones.")

    def episodes(self, lanes: Sequence[int] = range(LANES), first: int = 0) -> Iterator[Episode]:
        """Draw all episodes from number `first` on that are in some of the lanes, in order, without an end."""
        while True:
            if first % LANES in lanes:
                yield self.episode(first)
            first += 1

    def describe(self) -> dict[str, Any]:
        """Say in JSON values what the episodes are made of."""
        settings = {name: getattr(self, name) for name in ("seed", "reuse", "kept", "real_share", "tasks", "exposed")}
        sides = {"shape": list(self.shape), "scene_shape": list(self.scene_shape)}
        return {**sides, **settings, "real": {group.name: len(group.images) for group in self.real}}

    def _choose(self, rng: np.random.Generator, number: int) -> ImageGroup:
        """Choose real images, or one of the latest groups of the episode's lane."""
        if rng.random() < self.real_share:
            return self.real[rng.integers(len(self.real))]
        turn, lane = divmod(number, LANES)
        newest = turn // self.reuse
        oldest = max(0, newest - self.kept + 1)
        for other in [other for other in self._groups if other % LANES == lane and other // LANES < oldest]:
            del self._groups[other]
        chosen = lane + LANES * int(rng.integers(oldest, newest + 1))
        if chosen not in self._groups:
            self._groups[chosen] = draw_group(np.random.default_rng([self.seed, 1, chosen]), self.scene_shape)
        return self._groups[chosen]
