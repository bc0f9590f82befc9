"""The dock's live loop: answers at every stroke, a training that takes up strokes, and what the dock says of both."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_unet.data.axes import Box
from napari_unet.errors import UNetError
from napari_unet.widgets.live.feed import StrokesFeed, key_of
from napari_unet.widgets.live.gaze import Gaze
from napari_unet.widgets.live.hand import Hand
from napari_unet.widgets.live.report import LiveReport
from napari_unet.widgets.live.shown import ShownAnswer
from napari_unet.widgets.live.target import LiveTargets
from napari_unet.widgets.live.work import LearnerReady, LiveMail, ModelNow, RestPiece, ViewWritten, learn
from napari_unet.widgets.parts.worker import Job
from napari_unet.widgets.results.one_shown import show_answer
from napari_unet.widgets.results.predict_job import PieceReady, PredictSummary
from napari_unet.widgets.results.uncertainty_job import UncertaintyReady
from napari_unet.widgets.training.train_job import TrainRequest
from napari_unet.widgets.training.warm_up import is_warm

if TYPE_CHECKING:
    from napari_unet.live.learner import LiveLearner
    from napari_unet.widgets.segment.dock import SegmentDock

__all__ = ["LiveDesk"]

_LOOK_MS = 100
_FEED_TURNS = 10  # looks between two searches for layers that came or went
_PLOT_SECONDS = 0.5


class LiveDesk(QObject):
    """Keeps the live worker, tells it what the person does, and shows what it finds.

    Parameters
    ----------
    dock : SegmentDock
        Has layers, fields and the runner, which holds the model.

    Attributes
    ----------
    refreshed : Signal
        Emitted with a `ShownAnswer` when the result of what is in view was drawn anew.
    told : Signal
        Emitted with each event of the learner; see `napari_unet.live.events`.
    training : bool
        Whether it trains.
    report : LiveReport
        How things stand: the answer that is shown, what is missing, why nothing goes on.
    """

    refreshed = Signal(object)
    told = Signal(object)

    def __init__(self, dock: SegmentDock) -> None:
        super().__init__()
        self.dock, self.runner, self.panel = dock, dock.runner, dock.panel
        self.training = False
        self._job: Job | None = None
        self._hand = Hand(dock.viewer)
        self._mail = LiveMail()
        self._learner: LiveLearner | None = None
        self._feed: StrokesFeed | None = None
        self._targets = LiveTargets(dock, self._mail)
        self._gaze = Gaze(self._targets, self._touch)
        self.report = LiveReport(self.runner)
        self._note = ""  # of the model, said when it is used
        self._made_for: tuple[Any, ...] = ()
        self._turn = 0
        self._failed_with: tuple[Any, ...] | None = None  # what it was made for when it failed
        self._closed = False
        self._timer = QTimer()
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._on_turn)
        self.runner.on_train = self.on_train
        self.runner.on_model = self.restart
        self.runner.on_warm = self.begin
        self.panel.window_form.changed.connect(self._on_settings)

    @property
    def _answers_wanted(self) -> bool:
        return bool(self.panel.window_form.values()["answers"])

    @property
    def is_running(self) -> bool:
        """Whether there is a worker that answers strokes."""
        return self._job is not None

    # ---- what the person does

    def on_train(self) -> bool:
        """Start or stop the training; returns False where a single one is wanted or something else ends first."""
        if self.training:
            self._set_training(False)
            return True
        if self.panel.seconds.value() > 0:
            if not self.runner.kind:
                self.end()
            return False
        if self.runner.kind:
            return False
        self._failed_with = None
        self.dock.message.clear_message()
        with self.dock.message.reporting("Learning"):
            if self._job is not None and self._made_for != self._wish():
                self.end()
            if self._job is None:
                self._start()
            if self._job is not None:
                self._set_training(True)
        return True

    def begin(self) -> None:
        """Answer from now on, if that is wanted: once PyTorch is loaded, at the latest when something is painted."""
        painted = bool(self.dock.desk.painted)
        if self._job is not None or self._closed or self.runner.kind or not (painted or is_warm()):
            return
        if self.dock.image is not None and self._answers_wanted:
            self._start(telling=painted)

    def look(self) -> None:
        """Look at once whether another image, class or task is chosen."""
        if self._job is None:
            self.begin()
        else:
            self._turn = 0
            self._on_turn()
            self._show()

    def restart(self) -> None:
        """Begin anew, after the model was replaced or put away."""
        self._failed_with = None
        if self._job is not None:
            self.end()
        self.begin()

    def _on_settings(self) -> None:
        """Begin or end where the person has chosen whether there is an answer before Train is pressed."""
        if self._answers_wanted:
            self.begin()
        elif self._job is not None and not self.training:
            self.end()

    def end(self) -> None:
        """End the worker; the model that was handed over last stays."""
        if self._job is not None:
            self._job.abort()
        self._put_away()

    def close(self) -> None:
        """End, and follow the window no more."""
        self.runner.on_train = self.runner.on_model = self.runner.on_warm = None
        self._closed = True
        self.training = False
        if self._job is not None:
            self._job.abort()
        self._let_go()
        self._hand.close()

    # ---- the worker

    def _wish(self) -> tuple[Any, ...]:
        """Return all that a learner can't be told later."""
        dock, panel = self.dock, self.panel
        image = dock.image
        layout = None if image is None else dock.read_image(image).layout
        window = panel.window_form.values()
        kind = None if layout is None else (layout.ndim, layout.channels)
        fields = (panel.model_form.values(), panel.train_form.values())
        return dock.task, kind, window["device"], window["threads"], window["start"], fields

    def _start(self, *, telling: bool = True) -> None:
        with self.dock.message.reporting("Learning") if telling else suppress(UNetError):
            wish = self._wish()
            if wish == self._failed_with:
                return
            request: TrainRequest = self.dock.train_request(self.runner.model)
            request = replace(request, config=replace(request.config, max_seconds=None, max_steps=None))
            self._made_for = wish
            self._mail = LiveMail(
                touched=time.monotonic(), hand_moves=self._hand.moves, predicts=lambda: self.runner.kind == "predict"
            )
            self._targets = LiveTargets(self.dock, self._mail)
            self._gaze = Gaze(self._targets, self._touch)
            self.report.begin()
            self._job = Job(
                partial(learn, request, self._mail),
                on_event=self._on_event,
                on_error=self._on_error,
                on_finished=self._put_away,
            )
            self._timer.start()
            self.runner.pauses.hold("live")

    def _set_training(self, training: bool) -> None:
        self.training = training
        if training:
            self.report.begin_training()
        if self._learner is not None:
            (self._learner.start_training if training else self._learner.stop_training)()
        self._mail.model_wanted = not training
        self.runner.set_live(training)
        self.dock.update_hint()
        self._show()

    def _on_error(self, error: Exception) -> None:
        self._failed_with = self._made_for
        self.dock.message.failure(error, "Learning")

    def _put_away(self) -> None:
        self._let_go()
        self.training = False
        self.runner.set_live(False)
        self._show()

    def _let_go(self) -> None:
        self._timer.stop()
        if self._feed is not None:
            self._feed.close()
        self._targets.close()
        self.runner.pauses.release("live")
        self._job = self._learner = self._feed = None

    # ---- a look at the window now and then

    def _on_turn(self) -> None:
        volume = self.panel.dims.isVisibleTo(self.panel) and self.panel.dims.value == "3"
        rests, learner = not self._hand.moves(), self._learner
        if rests and self.report.waiting.look(learner, is_painted=len(self.dock.desk.painted) > 1, is_volume=volume):
            self._show()
        if self._learner is None or self._feed is None:
            return
        with self.dock.message.reporting("Learning", otherwise=self.end):
            image = self.dock.image
            if image is None and self.training:
                self._set_training(False)
                self.dock.message.note("The image was removed, so the training was stopped. The model is kept.")
            if image is None or image not in self.dock.viewer.layers:
                return
            if self._turn == 0:
                if self._made_for != self._wish():
                    self._begin_anew()
                    return
                self._mail.rest = bool(self.panel.window_form.values()["predict_after"])
                self._feed.update(image, self.dock.read_image(image))
                self._targets.forget_images()
            self._turn = (self._turn + 1) % _FEED_TURNS
            if self._learner.is_solved or self.dock.desk.painted:
                self._gaze.follow(image, self._learner)
            elif self.runner.kind != "predict":  # which has the cores to itself
                self._gaze.look_ahead(image, self._learner)
            if self._note and (self.training or self.dock.desk.painted):
                self.dock.message.note(self._note)
                self._note = ""
        if self.training and rests and self.report.age > _PLOT_SECONDS:
            self._show()

    def _begin_anew(self) -> None:
        """Go on with another learner, since task, kind of image or settings are others."""
        training = self.training
        self.end()
        self._start(telling=training or bool(self.dock.desk.painted))
        if training and self._job is not None:
            self._set_training(True)

    def _touch(self) -> None:
        self._mail.touched = time.monotonic()
        self.runner.pauses.touch()

    def _on_strokes(self, box: Box | None) -> None:
        self._touch()
        self._mail.strokes += 1
        self._gaze.focus = None if box is None else tuple((span.start + span.stop) / 2 for span in box)
        if self.training:
            self.report.mark_stroke()

    # ---- what the worker tells

    def _on_event(self, event: Any) -> None:
        if isinstance(event, LearnerReady):
            self._take_learner(event)
        elif isinstance(event, ViewWritten):
            self._draw(event)
        elif isinstance(event, RestPiece):
            self._draw_rest(event)
        elif isinstance(event, ModelNow):
            self.report.problems.go_well("model")
            if self.runner.model is not None and "start" in self.runner.model.history:
                event.model.history.setdefault("start", self.runner.model.history["start"])
            self.runner.model, self.runner.model_name = event.model, ""
            self.runner.show_state()
            self.dock.update_hint()
            self._on_settings()
        elif isinstance(event, PredictSummary):
            self.report.tell_found(event.text)
        else:
            if self.report.take(event):
                self._show()
            self.told.emit(event)

    def _take_learner(self, event: LearnerReady) -> None:
        image = self.dock.image
        if image is None:
            self.end()
            return
        self._learner = event.learner
        self._feed = StrokesFeed(self.dock, event.learner, self._on_strokes)
        self.runner.status.device = event.device
        self._note = event.note
        self.look()
        if self.training:
            event.learner.start_training()

    def _draw(self, event: ViewWritten) -> None:
        target = self._targets.get(event.key, event.box)
        if target is None:
            return
        position, _ = target.source.layout.split_box(event.box)
        target.layers.note(PieceReady(event.box, position, 1.0, None))
        target.layers.draw()
        self.report.problems.go_well("strokes", "answer")
        if self.report.answer is None or self.report.answer.change != event.change:
            self.report.resting = ""  # a change wakes the training
            show_answer(self.dock.viewer.layers, target.image)
        answer = ShownAnswer(str(event.key), event.source, event.change, event.step, time.perf_counter())
        self.report.answer = answer
        self._show()
        self.report.tell_found("")
        self.refreshed.emit(answer)

    def _draw_rest(self, event: RestPiece) -> None:
        self.report.problems.go_well("uncertainty" if isinstance(event.piece, UncertaintyReady) else "rest")
        target = self._targets.get(event.key, None if event.piece is None else event.piece.box)
        if target is None:
            return
        if event.piece is None:
            target.layers.update_thumbnails()
        else:
            target.layers.note(event.piece)
            target.layers.draw()

    def _show(self) -> None:
        image = self.dock.image
        shown = None if image is None or self._job is None else key_of(image)
        self.report.show(shown, training=self.training)
