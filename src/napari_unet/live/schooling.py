"""What the network does between two answers: it takes in strokes, trains, is scored, and hands on what is better."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial

import torch
from torch import nn

from napari_unet.data.axes import Box
from napari_unet.errors import is_out_of_memory
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.scoring import Scorer
from napari_unet.live.answers import Answers
from napari_unet.live.course import Course
from napari_unet.live.curves import Curves
from napari_unet.live.events import BetterNetwork, LiveEvent, Recovered, Scored, Source, StepTaken
from napari_unet.live.images import AnnotatedImages, PaintedImage
from napari_unet.nets.device import choose_device

__all__ = ["Schooling"]

_PATIENCE = 8  # scores without a better one after which the training rests
_STEPS_UNSCORED = 200  # after a change, where there is no score

News = Callable[[int, int], LiveEvent]
Work = Generator[None, None, None]


class Schooling:
    """Decides what the training does next.

    Parameters
    ----------
    config : TrainConfig
        How to train.
    curves : Curves
        Gets losses and scores.
    steps_before : int
        Steps that the model was trained for already.
    gives_way : callable or None
        See `napari_unet.live.learner.LiveLearner`.

    Attributes
    ----------
    course : Course or None
        The network in training, once there is one.
    ready : bool
        Whether enough is painted.
    renewal : Answers or None
        A better network whose features are being made.
    found : dict or None
        Weights that scored better than what is shown, and are not yet on their way there.
    own_head_counts : bool
        Whether what the network's own last layer says may be shown: what it learnt here is of the present strokes.
    told_idle : bool
        Whether it was said that there is nothing to do.
    """

    def __init__(
        self, config: TrainConfig, curves: Curves, *, steps_before: int = 0, gives_way: Callable[[], bool] | None = None
    ) -> None:
        self._gives_way = gives_way
        self.config, self.curves = config, curves
        self._steps_before = steps_before
        self.steps = 0
        self.ready = False
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget the network in training."""
        self.course: Course | None = None
        self.own_head_counts = True
        self._learnt_here = False
        self.forget_renewal()
        self.strokes_changed()

    def forget_renewal(self) -> None:
        """Let go of a better network that is not shown yet."""
        self.found: dict[str, torch.Tensor] | None = None
        self.renewal: Answers | None = None
        self._renewed = self._renewal_is_current = False
        self._found_score = 0.0
        self._seen: tuple[PaintedImage, Box] | None = None

    def strokes_changed(self) -> None:
        """Take the strokes in before the next step, and wake up."""
        self._taken = False
        self._renewal_is_current = False
        if self._learnt_here and self._holds_on:
            self.own_head_counts = False
        self._found_score = self._highest = 0.0  # on other strokes
        self._news: list[News] = []
        self.wake()

    def wake(self) -> None:
        """Train again, until the score stops rising."""
        self.told_idle = False
        self._without_better = self._unscored = 0
        self._failed = False
        self._scored_at: int | None = None

    def fail(self) -> None:
        """Stop after an error, until something changes; what is shown stays."""
        self._failed = True
        self.course = None
        self._taken = False
        self.forget_renewal()

    def take_news(self) -> list[News]:
        """Return what happened since it was asked last."""
        news, self._news = self._news, []
        return news

    def next_work(self, answers: Answers, images: AnnotatedImages, *, training: bool) -> Work | None:
        """Choose what to do next, as a generator that pauses; None: nothing."""
        if not training or not self.ready or self._failed:
            return None
        if not self._taken:
            return self._take_in(answers, images)
        if self.renewal is not None and not self._renewed:
            return self._renew(images)
        course = self.course
        if course is None:
            return None
        if course.scorer is not None:
            if not answers.scores:
                return self._judge(answers, course, course.scorer)
            due = course.trainer.steps % self.config.validate_every == 0 and self._scored_at != course.trainer.steps
            if due and course.trainer.steps > 0:
                return self._score(answers, course, course.scorer)
        if self._rests:
            return None
        return self._step(course)

    @property
    def _is_scored(self) -> bool:
        return self.course is not None and self.course.scorer is not None

    @property
    def least_gain(self) -> float:
        """By how much the network must score better than what is shown, to be taken for better."""
        scorer = self.course.scorer if self.course is not None and self._holds_on else None
        return 0.0 if scorer is None else scorer.least_gain

    @property
    def _holds_on(self) -> bool:
        """Whether features are trained with a last layer solved from the strokes, and so are good for solving one."""
        return self.course is not None and self.course.trainer.anchor is not None

    @property
    def _rests(self) -> bool:
        return self._without_better >= _PATIENCE if self._is_scored else self._unscored >= _STEPS_UNSCORED

    def reason(self, *, training: bool) -> str:
        """Say why there is nothing to do."""
        if not self.ready:
            return "The training waits until there is an answer."
        if not training:
            return "The training is off."
        if self._failed:
            return "The training has failed; it begins again at the next change."
        why = (
            "the score no longer rises" if self._is_scored else "there is no score to tell whether it is getting better"
        )
        return f"The training rests until something is painted: {why}."

    def _take_in(self, answers: Answers, images: AnnotatedImages) -> Work:
        """Give the training the strokes as they are now."""
        frames = images.training_frames(answers.read, answers.model.config.classes)
        yield
        start = answers.network_to_train()
        device = choose_device(str(answers.adapter.device.torch_device), precision=self.config.precision)
        if self.course is None or not self.course.can_take(frames, start):
            model = answers.copy_model("network")
            self.course = Course(model, start, frames, self.config, device)
            if self._gives_way is not None and device.torch_device.type == "cpu":
                self.course.trainer.check = partial(_check, self._gives_way)
        else:
            self.course.take(frames, start)
        self._taken = True

    def _judge(self, answers: Answers, course: Course, scorer: Scorer) -> Work:
        """Score both sources of what is shown on the strokes that are held out now."""
        both = answers.trained and self.own_head_counts
        sources: tuple[Source, ...] = ("closed form", "network") if both else ("closed form",)
        scores: dict[Source, float] = {}
        for source in sources:
            network = course.device.place(answers.network_for_score(source)).eval()
            for score in scorer.run(network):
                if score is None:
                    yield
                    continue
                scores[source] = score
                self._tell_score(source, score, score)
        answers.scores = scores

    def _score(self, answers: Answers, course: Course, scorer: Scorer) -> Work:
        """Score the network in training."""
        yield from course.network_to_score()
        network = course.trainer.result
        for score in scorer.run(network):
            if score is None:
                yield
                continue
            self._scored_at = course.trainer.steps
            best = max(*answers.scores.values(), self._found_score)
            self._tell_score("network", score, max(score, best))
            self._without_better = 0 if score > self._highest else self._without_better + 1
            self._highest = max(score, self._highest)
            nearly_perfect = self._rests and self._holds_on and score >= scorer.bar(best)
            if score > best + self.least_gain or nearly_perfect:
                self.found, self._found_score = _copy_weights(network), score
                self._news.append(partial(BetterNetwork, score=score))

    def _tell_score(self, source: Source, score: float, best: float) -> None:
        self.curves.add("network" if source == "network" else "closed_form", self.steps, score)
        self._news.append(partial(Scored, source=source, score=score, best=best))

    def _step(self, course: Course) -> Work:
        """Take one step, unless it gives way; where the memory is not enough, a smaller one next time."""
        problem = None
        try:
            yield from course.trainer.step(None)
            message = course.trainer.settle()
            if message:
                self._news.append(partial(Recovered, message=message))
        except _GaveWay:
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            problem = error.with_traceback(None)  # whose frames hold the tensors that were too many
        if problem is not None:
            words = course.shrink(problem)
            self._news.append(partial(Recovered, message=words))
            return
        self.steps += 1
        self._unscored += 1
        loss = course.trainer.loss
        self.curves.add("loss", self.steps, loss)
        self._news.append(partial(StepTaken, loss=loss))

    # ---- a better network comes into view

    def begin_renewal(self, answers: Answers, view: tuple[PaintedImage, Box] | None) -> None:
        """Let a better network make its features of what is in view and of what is painted."""
        assert self.found is not None
        model = answers.copy_model("network")
        model.network.load_state_dict(self.found)
        model.history["steps"] = self._steps_before + self.steps
        self.found, self._renewed, self._seen = None, False, view
        self._renewal_is_current = True
        self.renewal = answers.with_model(model)

    def _renew(self, images: AnnotatedImages) -> Work:
        renewal = self.renewal
        assert renewal is not None
        if self._seen is not None:
            yield from renewal.prepare(*self._seen)
        yield from renewal.gather_parts(images)
        self._renewed = True

    def take_renewed(self) -> Answers | None:
        """Return the better network when its features are known."""
        if not self._renewed:
            return None
        renewed, self.renewal, self._renewed = self.renewal, None, False
        self.own_head_counts, self._learnt_here = self._renewal_is_current, True
        return renewed


class _GaveWay(Exception):
    """A step was given up, since something else is to have the cores."""


def _check(gives_way: Callable[[], bool]) -> None:
    if gives_way():
        raise _GaveWay


def _copy_weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {
        key: value.detach().float().cpu().clone() if value.is_floating_point() else value.cpu().clone()
        for key, value in network.state_dict().items()
    }
