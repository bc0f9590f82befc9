"""Live learning as the dock runs it: one worker that answers strokes, trains, and predicts the rest in pauses.

PyTorch is loaded only inside, since that takes a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from napari_unet.data.axes import Box
from napari_unet.errors import InputError
from napari_unet.widgets.annotate.annotation import interpret
from napari_unet.widgets.live.right_of_way import RightOfWay
from napari_unet.widgets.live.view_uncertainty import ViewUncertainty
from napari_unet.widgets.parts.torch_loading import load_torch
from napari_unet.widgets.parts.worker import StopCheck
from napari_unet.widgets.results.frame_labels import FrameLabeller
from napari_unet.widgets.results.predict_job import PieceReady, PredictRequest, PredictSummary, predict
from napari_unet.widgets.results.record import PredictionRecord
from napari_unet.widgets.training.train_job import TrainRequest, model_for, torch_threads

if TYPE_CHECKING:
    from napari_unet.live.events import LiveEvent, Part, RegionAnswered
    from napari_unet.live.learner import LiveLearner
    from napari_unet.models.model import Model

__all__ = ["LearnerReady", "LiveMail", "ModelNow", "RestPiece", "ViewWritten", "learn", "lies_in"]

_PAUSE_SECONDS = 2.0  # without strokes and moves after which the rest is predicted
_BETWEEN_TIDIES = 15.0  # seconds after which freed memory is given back
_BETWEEN_RESTS = 10.0  # seconds, where only the network has become better
_REST_TILE = 320  # pixels: so small that a stroke need not wait long for one
_WAIT_SECONDS = 0.1

_Result = TypeVar("_Result")


@dataclass(eq=False)
class LiveMail:
    """What the window leaves for the work to find.

    Attributes
    ----------
    targets : dict
        For each image where its result goes; the model in it is not used.
    touched : float
        When the person painted or moved the view last, on the monotonic clock.
    rest : bool
        Whether what is not in view is to be predicted in pauses.
    model_wanted : bool
        Whether the model is to be handed over now.
    strokes : int
        How often something was painted so far.
    hand_moves : callable
        Tells whether the person paints or moves the view at this moment.
    predicts : callable
        Tells whether a prediction runs that the person asked for; the rest is left to it.
    """

    targets: dict[Hashable, PredictRequest] = field(default_factory=dict)
    touched: float = 0.0
    rest: bool = True
    model_wanted: bool = False
    strokes: int = 0
    hand_moves: Callable[[], bool] = lambda: False
    predicts: Callable[[], bool] = lambda: False


@dataclass(frozen=True, eq=False)
class LearnerReady:
    """The learner takes calls from now on.

    Attributes
    ----------
    learner : LiveLearner
        Its calls may be made from the window's thread.
    device : str
        Where it computes, in words.
    note : str
        What was kept of the model before, where it no longer fits.
    """

    learner: LiveLearner
    device: str
    note: str


@dataclass(frozen=True, eq=False)
class ViewWritten:
    """The result of what is in view was written.

    Attributes
    ----------
    key : hashable
        The image.
    box : tuple of slice
        Where, in the labels' space.
    source : {"closed form", "network"}
        Whose result it is.
    change : int
        How many changes of strokes, classes and images it has taken in.
    step : int
        Training steps until then.
    """

    key: Hashable
    box: Box
    source: str
    change: int
    step: int


@dataclass(frozen=True, eq=False)
class RestPiece:
    """Something beside an answer was written, or the rest is done: then `piece` is None."""

    key: Hashable
    piece: PieceReady | None


@dataclass(frozen=True, eq=False)
class ModelNow:
    """A copy of the model whose result is shown."""

    model: Model


def lies_in(box: Box, shape: Sequence[int]) -> bool:
    """Whether a box is part of an image: it may be of what the image showed before it was given other data.

    Examples
    --------
    >>> lies_in((slice(0, 60), slice(0, 80)), (60, 80)), lies_in((slice(0, 60), slice(0, 80)), (5, 60, 80))
    (True, False)
    """
    return len(box) == len(shape) and all(span.stop <= size for span, size in zip(box, shape, strict=True))


def learn(request: TrainRequest, mail: LiveMail, should_stop: StopCheck) -> Generator[Any, None, None]:
    """Learn live; call it in a worker.

    Yields
    ------
    LearnerReady, ViewWritten, RestPiece, ModelNow, PredictSummary or LiveEvent
        First `LearnerReady`; of the learner's events all but `RegionAnswered`, which becomes `ViewWritten`.

    Raises
    ------
    UNetError
        If there can be no such model, or no such device.
    """
    load_torch()
    yield None
    from napari_unet.live.learner import LiveLearner
    from napari_unet.nets.allocator import keep_freed_memory
    from napari_unet.nets.device import choose_device

    with torch_threads(request.threads):
        made = model_for(request)
        device = choose_device(request.device)
        read = partial(interpret, meaning="strokes", task=request.config.task)
        way = RightOfWay(mail.hand_moves, should_stop)
        learner = LiveLearner(
            made.model, request.config, device=request.device, read_strokes=read, gives_way=way.is_wanted
        )
        yield LearnerReady(learner, device.description, made.note)
        with keep_freed_memory() if device.torch_device.type == "cpu" else nullcontext():
            yield from _Work(learner, mail, way, should_stop).run()


class _Work:
    """Steps the learner, writes what it sees, and goes on with the rest where there is time."""

    def __init__(self, learner: LiveLearner, mail: LiveMail, way: RightOfWay, should_stop: StopCheck) -> None:
        self.learner, self.mail, self.should_stop = learner, mail, should_stop
        self._way, self._rest_way = way, RightOfWay(mail.hand_moves, should_stop)
        self._uncertainty = ViewUncertainty(learner, self._is_called)
        self._labellers: dict[Hashable, tuple[PredictRequest, FrameLabeller]] = {}
        self._seen: Hashable = None  # the image that is looked at
        self._frame: Hashable = None  # and its frame
        self._target: PredictRequest | None = None  # where its result goes
        self._version = self._done = (0, 0)
        self._rest: Iterator[Any] | None = None
        self._rest_version, self._rest_strokes = (0, 0), 0
        self._rested_at = 0.0
        self._tidied_at = time.monotonic()

    def run(self) -> Iterator[Any]:
        """Go on until it should stop."""
        while not self.should_stop():
            self._way.give(lambda: self.learner.is_behind)
            self._follow_target()
            for event in self.learner.step():
                yield from self._trying("answer", self._take(event))
            if self.mail.model_wanted and not self.learner.is_behind:
                self.mail.model_wanted = False
                yield from self._trying("model", self._hand_over())
            self._tidy()
            busy = yield from self._trying("uncertainty", self._measure())
            busy = busy or (yield from self._trying("rest", self._go_on_with_rest()))
            if self.learner.idle and not busy:
                self.learner.wait(_WAIT_SECONDS)
        yield from self._trying("model", self._hand_over())

    def _trying(self, during: Part, work: Generator[Any, None, _Result]) -> Generator[Any, None, _Result | None]:
        """Do something; what goes wrong is told, and ends neither the learning nor the answers."""
        from napari_unet.live.problems import problem_of

        try:
            return (yield from work)
        except Exception as error:
            if during == "rest":
                self._rest, self._done = None, self._version
            elif during == "uncertainty":
                self._uncertainty.forget()
            yield problem_of(error, during, *self.learner.now)
            return None

    def _follow_target(self) -> None:
        """Give up what is under way for a result that goes elsewhere now, since the image or its layers are others."""
        target = self.mail.targets.get(self._seen)
        if target is not self._target:
            self._target, self._rest = target, None
            self._uncertainty.forget()

    def _measure(self) -> Generator[Any, None, bool]:
        """Measure another piece of the uncertainty in view; returns whether there was one."""
        measured = self._uncertainty.step()
        if measured is not None:
            yield RestPiece(self._seen, measured)
        return measured is not None

    def _is_called(self) -> bool:
        """Whether something is to be done that can't wait."""
        return self.should_stop() or self.learner.wait(0) or self.mail.hand_moves()

    def _tidy(self) -> None:
        """Give freed memory back now and then, while the person's hand rests."""
        from napari_unet.nets.allocator import give_back_freed_memory

        now = time.monotonic()
        if now - self._tidied_at > _BETWEEN_TIDIES and now - self.mail.touched > _PAUSE_SECONDS:
            self._tidied_at = now
            give_back_freed_memory()

    def _take(self, event: LiveEvent) -> Generator[Any, None, None]:
        from napari_unet.live.events import BetterNetwork, RegionAnswered, SourceChanged, StrokesMissing

        if isinstance(event, RegionAnswered):
            yield from self._write(event)
            return
        if isinstance(event, SourceChanged | BetterNetwork):
            self._outdate()
        elif isinstance(event, StrokesMissing) and event.for_answer:
            self._rest, self._done = None, self._version
            self._uncertainty.forget()
        yield event

    def _write(self, event: RegionAnswered) -> Iterator[ViewWritten]:
        request = self.mail.targets.get(event.key)
        if request is None or not lies_in(event.region, request.source.layout.label_shape):
            return
        frame = event.key, request.source.layout.split_box(event.region)[0]
        if event.change != self._version[0] or frame != self._frame:
            self._version, self._seen, self._frame = (event.change, self._version[1] + 1), event.key, frame
            self._rest = None
        self._target = request
        if self._labeller(event.key, request).take(event.region, event.probabilities):
            request.record.key = None  # what it noted is no longer there
            if request.uncertainty is not None:
                request.uncertainty.outdate()
            self._uncertainty.ask(event.key, event.region, request, event.change)
            yield ViewWritten(event.key, event.region, event.source, event.change, event.step)

    def _labeller(self, key: Hashable, request: PredictRequest) -> FrameLabeller:
        known = self._labellers.get(key)
        if known is None or known[0] is not request:
            record = PredictionRecord(new_ids=request.record.new_ids)
            record.begin("live", request.source.layout, 1)
            known = request, FrameLabeller(replace(request, record=record))
            self._labellers[key] = known
        return known[1]

    def _outdate(self) -> None:
        self._version = self._version[0], self._version[1] + 1

    def _hand_over(self) -> Generator[ModelNow, None, None]:
        try:
            yield ModelNow(self.learner.current_model())
        except InputError:
            return  # too little is painted

    def _go_on_with_rest(self) -> Generator[Any, None, bool]:
        """Predict another piece of what is not in view, if the person pauses; returns whether there was one."""
        if self.mail.predicts():
            self._rest, self._done = None, self._version
            return False
        if self._rest is None and not self._rest_is_due():
            return False
        if self._rest is None:
            self._rest = self._begin_rest()
        event = next(self._rest, self)
        if self._rest_is_outdated:
            self._rest = None
            return True
        if event is self:
            self._rest, self._done, self._rested_at = None, self._rest_version, time.monotonic()
            yield RestPiece(self._seen, None)
            return False
        if isinstance(event, PieceReady):
            yield RestPiece(self._seen, event)
        elif isinstance(event, ModelNow | PredictSummary):
            yield event
        return True

    def _rest_is_due(self) -> bool:
        if self._version == self._done or self._seen is None:
            return False
        now = time.monotonic()
        new_strokes = self._version[0] != self._done[0]
        return now - self.mail.touched > _PAUSE_SECONDS and (new_strokes or now - self._rested_at > _BETWEEN_RESTS)

    def _begin_rest(self) -> Iterator[Any]:
        request = self._target
        self._rest_version, self._rest_strokes = self._version, self.mail.strokes
        for handed in self._hand_over():
            yield handed
            if request is None or not self.mail.rest:
                return
            request.record.key = None  # what the person asks for later does not go on from there
            record = PredictionRecord(new_ids=request.record.new_ids)
            tile = request.config.tile or (_REST_TILE if request.source.layout.ndim == 2 else None)
            config = replace(request.config, tile=tile)
            may_go_on = self._rest_may_go_on
            request = replace(request, model=handed.model, record=record, config=config, may_go_on=may_go_on)
            yield from predict(request, self._rest_should_stop)

    @property
    def _rest_is_outdated(self) -> bool:
        """Whether something was painted since the prediction of the rest began, so that it has to begin anew."""
        return self.mail.strokes != self._rest_strokes

    def _rest_should_stop(self) -> bool:
        return self.should_stop() or self._rest_is_outdated

    def _rest_may_go_on(self) -> bool:
        self._rest_way.give()
        return not self._rest_should_stop()
