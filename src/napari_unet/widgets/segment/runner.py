"""Runs the dock's jobs one at a time: training, prediction, reading and writing model files.

It holds the model and shows how far things are. What a job needs is asked from the dock when it starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qtpy.QtCore import QTimer

from napari_unet.learn.events import FitEvent
from napari_unet.widgets.parts.memory_pauses import MemoryPauses
from napari_unet.widgets.parts.messages import MessageLine
from napari_unet.widgets.parts.torch_loading import load_torch
from napari_unet.widgets.parts.worker import Job, StopCheck, Work
from napari_unet.widgets.results.predict_job import PredictNote, PredictSummary
from napari_unet.widgets.segment.panel import SegmentPanel
from napari_unet.widgets.segment.prediction_run import Prediction, PredictionRun
from napari_unet.widgets.training.status import TrainingStatus, describe_model, describe_training
from napari_unet.widgets.training.train_job import ModelMade, TrainRequest, train
from napari_unet.widgets.training.warm_up import WarmUp, is_warm

if TYPE_CHECKING:
    from napari_unet.models.model import Model

__all__ = ["SegmentRunner", "Supplier"]

_DRAW_MS = 100
_LOOK_MS = 250
_DRAW_MS_MOST = 2000  # even after the window stood still for long
_DRAW_SHARE = 0.15  # most of the window's time that drawing results may take


class Supplier(Protocol):
    """What the runner asks the dock for; all of it raises a `UNetError` that says what is missing."""

    def train_request(self, model: Model | None) -> TrainRequest:
        """Return what a training needs."""

    def prediction(self, model: Model, *, after_training: bool) -> Prediction:
        """Return what a prediction needs, and where its result goes."""

    def take_model(self, model: Model) -> None:
        """Show the classes and the task of a model that was opened."""

    def update_hint(self) -> None:
        """Say what to do next."""


class SegmentRunner:
    """Runs jobs and shows them in the panel.

    Parameters
    ----------
    panel : SegmentPanel
        Has the buttons and what is shown.
    supplier : Supplier
        Is asked what to run on.

    Attributes
    ----------
    model : Model or None
        The model that predicts and that a training goes on with.
    kind : {"", "train", "predict", "file"}
        What runs now.
    predicted_all : bool
        Whether a prediction that the person asked for went through more than the view.
    live : bool
        Whether the training goes on in a worker of its own, beside which `model` does not change.
    summary : str
        What the last prediction found, in words.
    on_train, on_model, on_warm : callable or None
        Asked first when Train or Stop is pressed, whether that is dealt with; called when another model is taken;
        called when what a training needs is loaded.
    """

    def __init__(self, panel: SegmentPanel, supplier: Supplier) -> None:
        self.panel = panel
        self.message: MessageLine = panel.message
        self.supplier = supplier
        self.model: Model | None = None
        self.model_name = ""
        self.status = TrainingStatus()
        self.kind = ""
        self.predicted_all = False
        self.live = False
        self.on_train: Callable[[], bool] | None = None
        self.on_model: Callable[[], None] | None = None
        self.on_warm: Callable[[], None] | None = None
        self._job: Job | None = None
        self._prediction: PredictionRun | None = None
        self._closed = self._failed = False
        self._warming: WarmUp | None = None
        self._then: Callable[[], None] | None = None
        self._in_training: Model | None = None
        self.summary = ""
        self.pauses = MemoryPauses()
        self._timer = QTimer()
        self._timer.setInterval(_DRAW_MS)
        self._timer.timeout.connect(self._draw)
        self.show_state()

    def prepare(self) -> None:
        """Load in the background what the first training needs."""
        if self._warming is not None or self._closed:
            return
        if not is_warm():
            self.pauses.hold("warm-up")
            self._warming = WarmUp()
            self._warming.start()
        QTimer.singleShot(_LOOK_MS, self._look_whether_warm)

    def _look_whether_warm(self) -> None:
        if self._warming is not None and self._warming.is_alive():
            QTimer.singleShot(_LOOK_MS, self._look_whether_warm)
            return
        self._warming = None
        self.pauses.release("warm-up")
        if self.on_warm is not None:
            self.on_warm()

    # ---- training

    @property
    def model_changes(self) -> bool:
        """Whether a training changes the model at the moment."""
        return self.kind == "train" and not self.live

    def set_live(self, live: bool) -> None:
        """Show that a training goes on which is not one of these jobs, or that it is over."""
        if live != self.live:
            self.live, self.kind = live, "train" if live else ""
            self.show_state()

    def toggle_training(self) -> None:
        """Start a training, or bring the one that runs to a good end; what else runs is ended before."""
        if self.on_train is not None and self.on_train():
            return
        if self.kind == "train" and self._job is not None:
            self._job.stop()
            self.panel.train.setEnabled(False)
            self.panel.train.setText("Stopping…")
        elif self.kind:
            self._then = self.toggle_training  # which is asked anew: what is chosen then counts
            self._stop()
            what = "prediction has stopped" if self.kind == "predict" else "model file is done"
            self.message.note(f"The training begins once the {what}.")
        else:
            self._start_training()

    def _stop(self) -> None:
        if self._prediction is not None:
            self._prediction.whole = False
        if self._job is not None:
            self._job.stop()

    def _start_training(self) -> None:
        with self.message.reporting("The training"):
            request = self.supplier.train_request(self.model)
            self.message.clear_message()
            self.status = TrainingStatus()
            self._in_training = None
            self._start("train", partial(train, request), self._on_train_event, self._on_train_finished)

    def _on_train_event(self, event: Any) -> None:
        if isinstance(event, ModelMade):
            self._in_training = event.model
            if event.note:
                self.message.note(event.note)
        elif isinstance(event, FitEvent):
            self.status.take(event)

    def _on_train_finished(self) -> None:
        trained = self._in_training if self.status.steps > 0 else None
        self._in_training = None
        if trained is not None:
            if trained is not self.model:
                self.model_name = ""
            self.model = trained
        follow = trained is not None and not self._failed and self.panel.window_form.values()["predict_after"]
        self._end()
        if trained is None and not self._failed:
            self.message.note("The training was stopped before its first step; the model is as it was.")
        if follow and not self.kind:
            self._start_prediction(after_training=True)

    # ---- prediction

    def toggle_prediction(self) -> None:
        """Start a prediction, or stop the one that runs."""
        if self.kind == "predict" and self._job is not None:
            if self._then is not None:
                self._then = None  # a training that waits for the end is called off with it
                self.message.clear_message()
            self._stop()
        elif not self.kind:
            self._start_prediction()

    def _start_prediction(self, *, after_training: bool = False) -> None:
        if self.model is None:
            self.message.problem("There is no model yet: paint a few strokes and press Train, or open a saved model.")
            return
        with self.message.reporting("The prediction"):
            prediction = self.supplier.prediction(self.model, after_training=after_training)
            if not after_training:
                self.message.clear_message()
            whole = not after_training and self.panel.extent.currentData() != "view"
            run = self._prediction = PredictionRun(prediction, whole=whole)
            self.summary = ""
            self._start("predict", run.work, self._on_predict_event, self._on_predict_finished)

    def _on_predict_event(self, event: Any) -> None:
        if isinstance(event, PredictSummary):
            self.summary = event.text
        elif isinstance(event, PredictNote):
            self.message.note(event.text)
        elif self._prediction is not None:
            self._prediction.take(event)

    def _on_predict_finished(self) -> None:
        run, self._prediction = self._prediction, None
        if run is not None:
            self._give_up_if_lost(run)
            run.finish()
            self.predicted_all |= run.whole and not self._failed
        self._end()

    def _give_up_if_lost(self, run: PredictionRun) -> None:
        """Stop the prediction where its result is gone or has become the person's."""
        if self._job is not None and run.lost:
            run.whole = False
            self._job.stop()
            self.message.note(run.lost)

    # ---- model files

    def save_model(self, path: str | Path) -> None:
        """Write the model to a file, in a worker."""
        model = self.model
        if model is None:
            self.message.problem("There is no model to save yet: train one first.")
            return
        target = Path(path)

        def work(should_stop: StopCheck) -> Generator[Any, None, None]:
            model.save(target)
            yield target.name

        def done(name: str) -> None:
            self.model_name = name
            self.message.note(f"The model is saved as {name}.")

        self._start_file(work, done)

    def open_model(self, path: str | Path) -> None:
        """Read a model from a file, in a worker, and go on with it."""
        source = Path(path)

        def work(should_stop: StopCheck) -> Generator[Any, None, None]:
            load_torch()
            from napari_unet.models.model import Model

            yield Model.load(source)

        def done(model: Model) -> None:
            self.adopt(model, source.name)
            self.supplier.take_model(model)
            self.message.note(f"The model {source.name} is open: press Predict, or Train to go on with it.")

        self._start_file(work, done)

    def adopt(self, model: Model, name: str) -> None:
        """Go on with a model that is there already."""
        self._use(model, name)

    def start_over(self) -> None:
        """Put the model away."""
        if self.kind == "train":
            return
        self.message.note("The next training begins with a new model.")
        self._use(None, "")

    def _use(self, model: Model | None, name: str) -> None:
        self.model, self.model_name = model, name
        self.status = TrainingStatus()
        self.show_state()
        if self.on_model is not None:
            self.on_model()

    def _start_file(self, work: Work, done: Callable[[Any], None]) -> None:
        if self.kind:
            self.message.problem("Something is still running; wait until it is done, or stop it.")
            return
        self._start("file", work, done, self._end)

    # ---- all jobs

    @property
    def is_running(self) -> bool:
        """Whether a job runs."""
        return bool(self.kind)

    def close(self) -> None:
        """End what runs, within a second, and show nothing any more."""
        self._timer.stop()
        self.pauses.close()
        self._then = None
        self._closed = True
        if self._job is not None:
            self._job.abort()
        if self._warming is not None:
            self._warming.stop()
        self._job, self._warming, self.kind, self._prediction = None, None, "", None

    def _start(self, kind: str, work: Work, on_event: Callable[[Any], None], on_finished: Callable[[], None]) -> None:
        self.kind = kind
        self._failed = False
        doing = {"train": "The training", "predict": "The prediction", "file": "The model file"}[kind]

        def on_error(error: Exception) -> None:
            self._failed = True
            self.message.failure(error, doing)

        self.pauses.hold("job")
        self._job = Job(work, on_event=on_event, on_error=on_error, on_finished=on_finished)
        self._timer.setInterval(_DRAW_MS)
        self._timer.start()
        self.show_state()

    def _end(self) -> None:
        self._timer.stop()
        self.pauses.release("job")
        self._job, self.kind = None, ""
        self.show_state()
        self.supplier.update_hint()
        following, self._then = self._then, None
        if following is not None:
            following()

    def _draw(self) -> None:
        began = time.perf_counter()
        if self._prediction is not None:
            self._give_up_if_lost(self._prediction)
            self._prediction.draw()
        self.show_progress()
        used = time.perf_counter() - began
        self._timer.setInterval(min(max(_DRAW_MS, int(1000 * used / _DRAW_SHARE)), _DRAW_MS_MOST))

    def show_state(self) -> None:
        """Show what runs and which model there is."""
        self.panel.train.setEnabled(True)
        self.panel.show_running(training=self.kind == "train", predicting=self.kind == "predict")
        self.panel.model_text.setText(describe_model(self.model, self.model_name))
        self.show_progress()

    def show_progress(self) -> None:
        """Show how far the running job is."""
        panel = self.panel
        if self.kind == "predict" and self._prediction is not None:
            panel.show_share(self._prediction.share)
            panel.status.setText(self._prediction.words)
            return
        status = self.status
        if self.kind == "train":
            panel.show_share(status.fraction or None)
            panel.status.setText(status.headline)
            panel.device.setText(" · ".join(part for part in (status.device, status.note) if part))
        else:
            panel.show_share(None)
            words = [describe_training(status, self.model), self.summary]
            panel.status.setText("\n".join(filter(None, words)))
        panel.plot.show_status(status)
