"""Tells the learner what the person looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from napari_unet.widgets.live.feed import key_of

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_unet.live.learner import LiveLearner
    from napari_unet.widgets.live.target import LiveTargets

__all__ = ["Gaze"]


class Gaze:
    """Follows what is in view, and where in it the last stroke was.

    Parameters
    ----------
    targets : LiveTargets
        Know what of an image is in view.
    on_moved : callable
        Called when something else has come into view.

    Attributes
    ----------
    focus : sequence of float or None
        The middle of the last stroke.
    """

    def __init__(self, targets: LiveTargets, on_moved: Callable[[], None]) -> None:
        self.focus: Sequence[float] | None = None
        self._targets, self._on_moved = targets, on_moved
        self._looked: tuple[Any, ...] = ()  # what the learner knows of
        self._ahead: tuple[Any, ...] = ()

    def follow(self, image: Image, learner: LiveLearner) -> None:
        """Have what is in view of an image answered."""
        target = self._targets.of(image)
        part = target.part_in_view(self.focus)
        self._targets.keep_current(target)
        looked = key_of(image), part, id(target.request)
        if part is not None and looked != self._looked:
            self._looked = looked
            self._on_moved()
            learner.look_at(key_of(image), part)

    def look_ahead(self, image: Image, learner: LiveLearner) -> None:
        """Have what is in view looked at before anything is painted, unless it still moves."""
        part = self._targets.part_ahead(image)
        before, self._ahead = self._ahead, (key_of(image), part)
        if part is not None and before == self._ahead != self._looked:
            self._looked = self._ahead
            learner.look_at(key_of(image), part)
