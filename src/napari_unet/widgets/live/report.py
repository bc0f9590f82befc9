"""What the dock says of the learning: whose answer is shown, what is missing, how the training goes, what failed."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from napari_unet.widgets.live.problems import Problems
from napari_unet.widgets.live.shown import ShownAnswer, describe_answer
from napari_unet.widgets.live.waiting import Waiting
from napari_unet.widgets.training.status import TrainingStatus

if TYPE_CHECKING:
    from napari_unet.widgets.segment.runner import SegmentRunner

__all__ = ["LiveReport"]


class LiveReport:
    """Reads off the learner's events how things stand, and says so in the panel.

    Parameters
    ----------
    runner : SegmentRunner
        Has the panel, and the status of the training that it shows.

    Attributes
    ----------
    answer : ShownAnswer or None
        The one that is in view.
    missing : str
        What is still to be painted, in words.
    resting : str
        Why nothing goes on at the moment; empty while something does.
    waiting : Waiting
        Notices that an answer is late.
    problems : Problems
        Says what fails.
    """

    def __init__(self, runner: SegmentRunner) -> None:
        self._runner = runner
        self.problems = Problems(runner.message)
        self.missing = ""
        self._began = self._shown_at = 0.0
        self.begin()

    def begin(self) -> None:
        """Begin with another learner."""
        self.answer: ShownAnswer | None = None
        self.resting = ""
        self.waiting = Waiting()
        self._scores: dict[str, float] = {}

    def begin_training(self) -> None:
        """Begin the curves anew."""
        self._began = time.monotonic()
        self._runner.status = TrainingStatus()
        self.resting = ""

    def mark_stroke(self) -> None:
        """Mark in the curves that something was painted."""
        self._runner.status.marks.append(time.monotonic() - self._began)

    def take(self, event: Any) -> bool:
        """Learn from one of the learner's events, see `napari_unet.live.events`; returns whether to show it at once."""
        from napari_unet.live import events

        status, seconds = self._runner.status, time.monotonic() - self._began
        status.waits = False
        if isinstance(event, events.StepTaken):
            self.resting = ""
            self.problems.go_well("training")
            status.steps, status.seconds = event.step, seconds
            status.loss.add(seconds, event.loss)
        elif isinstance(event, events.Scored):
            self._scores[event.source] = event.score
            curve = status.score if event.source == "network" else status.closed_form
            curve.add(seconds, event.score)
            status.last_score, status.best_score = event.score, event.best
        elif isinstance(event, events.StrokesMissing):
            self.missing = event.text
            self._scores = {} if event.text else self._scores  # none of before holds
        elif isinstance(event, events.Idle):
            self.resting, status.waits = event.reason, True
        elif isinstance(event, events.Recovered):
            self._runner.message.note(event.message)
        elif isinstance(event, events.Problem):
            self.problems.tell(event)
        return not isinstance(event, events.StepTaken)

    def tell_found(self, summary: str) -> None:
        """Say how many objects there are; nothing while the answer is of the view alone."""
        if summary != self._runner.summary and self._runner.kind != "predict":
            self._runner.summary = summary
            self._runner.show_progress()

    def show(self, image: Hashable, *, training: bool) -> None:
        """Show how things stand.

        Parameters
        ----------
        image : hashable
            What the learner knows the chosen image by; None where there is no image or no learner: nothing is said.
        training : bool
            Whether it trains.
        """
        self._shown_at = time.monotonic()
        panel, resting = self._runner.panel, self.resting if training else ""
        words = [self.waiting.words, describe_answer(self.answer, self._scores, image), self.missing, resting]
        panel.shown.setText("" if image is None else "\n".join(filter(None, words)))
        panel.shown.setVisible(panel.shown.text() != "")
        if training:
            self._runner.show_progress()

    @property
    def age(self) -> float:
        """Seconds since it was shown."""
        return time.monotonic() - self._shown_at
