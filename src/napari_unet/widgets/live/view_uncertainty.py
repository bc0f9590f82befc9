"""The uncertainty of what is in view, measured where it does not come with the answer itself, while the hand rests.

Whatever the person does comes first: a run of the network that is under way is given up for it.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from napari_unet.data.axes import Box
from napari_unet.widgets.parts.worker import StopCheck
from napari_unet.widgets.results.predict_job import PredictRequest
from napari_unet.widgets.results.uncertainty_job import UncertaintyReady

if TYPE_CHECKING:
    from napari_unet.live.learner import LiveLearner
    from napari_unet.models.uncertainty import UncertainPart

__all__ = ["ViewUncertainty"]

_REST_SECONDS = 0.3  # without an answer before it begins
_BETWEEN_SECONDS = 10.0  # where only the network has become better since the last time


class ViewUncertainty:
    """Measures how far the learner disagrees with itself about what is in view, piece by piece.

    Parameters
    ----------
    learner : LiveLearner
        Whose answer is in view.
    should_stop : callable
        Asked before each operation of the network; True gives up the piece that is under way.
    """

    def __init__(self, learner: LiveLearner, should_stop: StopCheck) -> None:
        self._learner, self._should_stop = learner, should_stop
        self._seen: tuple[Hashable, Box, PredictRequest] | None = None
        self._parts: Iterator[UncertainPart] | None = None
        self._change = -1
        self._wanted = False
        self._due = self._measured = 0.0

    def ask(self, key: Hashable, region: Box, request: PredictRequest, change: int) -> None:
        """Measure a region that was just answered, after so many changes of the strokes."""
        if request.uncertainty is None or request.uncertainty.comes_with_tiles:
            self.forget()
            return
        same = (key, region, request) == self._seen and change == self._change
        self._due = time.monotonic() + _REST_SECONDS
        if same:
            self._due = max(self._due, self._measured + _BETWEEN_SECONDS)
        self._seen, self._change, self._parts, self._wanted = (key, region, request), change, None, True

    def forget(self) -> None:
        """Measure nothing, until it is asked for again."""
        self._seen = self._parts = None
        self._wanted = False

    def step(self) -> UncertaintyReady | None:
        """Measure another piece and write it; None if there is nothing to do now."""
        if self._seen is None or not self._wanted or time.monotonic() < self._due:
            return None
        key, region, request = self._seen
        if self._parts is None:
            self._parts = self._begin(key, region, request)
        part = next(self._parts, None)
        target = request.uncertainty
        if part is None or target is None:
            self._wanted, self._parts, self._measured = self._should_stop(), None, time.monotonic()
            return None
        target.write(part.box, part.uncertainty)
        target.outdate()
        return UncertaintyReady(part.box, request.source.layout.split_box(part.box)[0], part.share, None)

    def _begin(self, key: Hashable, region: Box, request: PredictRequest) -> Iterator[UncertainPart]:
        from napari_unet.models.uncertainty import uncertainty_parts

        shown = self._learner.shown_model(key)
        if shown is None or request.uncertainty is None:
            return iter(())
        adapter, sample = shown
        return uncertainty_parts(
            adapter, sample.image, sample.axes, measure=request.uncertainty.measure, region=region,
            focus=request.look.focus, should_stop=self._should_stop,
        )  # fmt: skip
