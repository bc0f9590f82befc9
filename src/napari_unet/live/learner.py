"""The learning core behind the window: plain calls say what was painted, and each step does a little and tells."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from napari_unet.data.axes import Box
from napari_unet.data.sample import Sample
from napari_unet.errors import InputError
from napari_unet.learn.config import TrainConfig
from napari_unet.live.answers import Answers
from napari_unet.live.calls import Calls
from napari_unet.live.curves import Curves
from napari_unet.live.events import (
    Idle,
    LiveEvent,
    Part,
    RegionAnswered,
    Source,
    SourceChanged,
    StrokesMissing,
)
from napari_unet.live.images import AnnotatedImages, PaintedImage
from napari_unet.live.missing import Missing, find_missing
from napari_unet.live.painted import ReadStrokes
from napari_unet.live.problems import problem_of
from napari_unet.live.schooling import Schooling
from napari_unet.live.view import View
from napari_unet.models.adapt import Adapter
from napari_unet.models.model import Model
from napari_unet.models.transfer import transfer
from napari_unet.nets.allocator import keep_freed_memory
from napari_unet.predict.tiled import image_layout

__all__ = ["LiveLearner"]

_FEATURE_BYTES = 256 * 2**20  # of each of the two networks whose features are known while one follows the other


class LiveLearner:
    """Learns from strokes while they are painted, and answers at once.

    Every change is answered by the closed form for the visible region; the training goes on meanwhile from the
    present weights, and takes over where it is better on the strokes that are held out. Nothing depends on the time:
    the same calls before the same steps give the same events.

    `set_annotation`, `remove_image`, `set_classes`, `look_at`, `start_training`, `stop_training` and `wait` may be
    called from any thread and return at once; all else belongs to the one thread that steps.

    Parameters
    ----------
    model : Model
        What to begin with; it is not changed.
    config : TrainConfig or None
        What strokes mean and how to train. `max_steps` and `max_seconds` are not used: it idles when the score stops
        rising.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    feature_bytes : int
        Memory for remembered features; twice as much while a better network's replace them.
    read_strokes : callable or None
        Is given the labels painted on a frame and returns them in the annotation encoding; None: they have it.
    gives_way : callable or None
        Asked while a training step is computed on a CPU: True gives it up, to be taken anew later.

    Attributes
    ----------
    curves : Curves
        Loss and scores, for a plot.
    shown : {"closed form", "network"}
        Whose result is shown.
    idle : bool
        Whether there is nothing to do before the next call.

    Examples
    --------
    >>> import numpy as np, napari_unet as nu
    >>> image = np.random.default_rng(0).random((48, 48)); image[8:20, 8:40] += 2
    >>> strokes = np.zeros((48, 48), np.uint8); strokes[2:5, 2:30] = 1; strokes[10:18, 10:18] = 2
    >>> learner = LiveLearner(nu.Model.create(nu.ModelConfig(features=4, depth=1)), device="cpu")
    >>> learner.set_annotation("cells", nu.Sample(image, strokes))
    >>> learner.look_at("cells", (slice(0, 24), slice(0, 48)))
    >>> for event in learner.step():
    ...     print(type(event).__name__, getattr(event, "text", ""))
    RegionAnswered
    StrokesMissing For a score, paint 1 more stroke of background and 1 more stroke of foreground.
    """

    def __init__(
        self, model: Model, config: TrainConfig | None = None, *, device: str = "auto",
        feature_bytes: int = _FEATURE_BYTES, read_strokes: ReadStrokes | None = None,
        gives_way: Callable[[], bool] | None = None,
    ) -> None:  # fmt: skip
        self.config = config or TrainConfig()
        self.curves = Curves()
        self.shown: Source = "closed form"
        self.idle = True
        self.change = 0
        self._calls = Calls()
        self._out: list[LiveEvent] = []
        self._images = AnnotatedImages(self.config, read_strokes)
        self._view = View()
        self._unsolved = self._answer_failed = self._wanted = False
        self._missing = Missing()
        self._answers = Answers(model, device, feature_bytes, place_may_count=self.config.place_may_count)
        self._answers.model.task = self.config.task
        self._behind = False  # whether the closed form scored clearly less than the network when both were scored last
        steps = int(model.history.get("steps") or 0)
        self._schooling = Schooling(self.config, self.curves, steps_before=steps, gives_way=gives_way)
        self._work: Generator[None, None, None] | None = None
        self._completing: Generator[None, None, None] | None = None  # the work that is part of an answer

    # ---- calls, from any thread

    def set_annotation(self, key: Hashable, sample: Sample, changed: Box | None = None) -> None:
        """Say that an image is there, or that something was painted, erased or undone on it.

        Parameters
        ----------
        key : hashable
            Names the image from now on.
        sample : Sample
            The image and its annotation, which may be painted on while it is read: the call after that is read again.
        changed : tuple of slice or None
            The part of the annotation that changed; None: all of it is compared.
        """
        self._calls.put(partial(self._put, key, sample, changed))

    def remove_image(self, key: Hashable) -> None:
        """Let go of an image and its strokes."""
        self._calls.put(partial(self._remove, key))

    def set_classes(self, names: tuple[str, ...]) -> None:
        """Rename, add or remove classes, background first; give annotations whose labels mean others now, too."""
        self._calls.put(partial(self._set_classes, tuple(names)))

    def look_at(self, key: Hashable, region: Box | None = None) -> None:
        """Say which part of which image is visible, one slice for each of its axes but the channels; None: all."""
        self._calls.put(partial(self._look_at, key, region))

    def start_training(self) -> None:
        """Train from now on, whenever there is something to learn."""
        self._calls.put(partial(self._want, True))

    def stop_training(self) -> None:
        """Train no more; what was learnt stays."""
        self._calls.put(partial(self._want, False))

    def wait(self, seconds: float) -> bool:
        """Wait for the next call, at most so long; returns whether there is one."""
        return self._calls.wait(seconds)

    # ---- what the stepping thread does

    def run(self, should_stop: Callable[[], bool]) -> Iterator[LiveEvent]:
        """Step until `should_stop`, which is asked after each step and five times a second while idle."""
        on_cpu = self._answers.adapter.device.torch_device.type == "cpu"
        with keep_freed_memory() if on_cpu else nullcontext():
            while not should_stop():
                yield from self.step()
                if self.idle:
                    self.wait(0.2)

    def step(self) -> tuple[LiveEvent, ...]:
        """Do what is most urgent, in a bounded part; returns what came of it.

        Changes come first and are answered together; then what is in view, the features of a better network, scores,
        and a part of a training step. Errors become `Problem` events.
        """
        self.idle = False
        for call in self._calls.take():
            self._trying("strokes", call)
        if self._unsolved:
            self._unsolved = False
            self._trying("answer", self._answer)
        elif self._view.due:
            self._trying("answer", self._show)
        else:
            completes = self._work is not None and self._work is self._completing
            looks_ahead = not self._answers.is_solved
            self._trying("answer" if completes or looks_ahead else "training", self._learn)
        self._calls.unanswered = self._unsolved or self._view.due
        out, self._out = tuple(self._out), []
        return out

    @property
    def is_behind(self) -> bool:
        """Whether calls have come that are not answered yet; may be asked from any thread."""
        return self._calls.is_behind

    @property
    def is_solved(self) -> bool:
        """Whether enough is painted for an answer; may be asked from any thread."""
        return self._answers.is_solved

    def current_model(self) -> Model:
        """Return a copy of the model whose result is shown, to predict the rest, or to save.

        Raises
        ------
        InputError
            If too little is painted.
        """
        if self.shown == "closed form" and not self._answers.is_solved:
            raise InputError("There is no result yet: paint a stroke of background and one of another class.")
        model = self._answers.copy_model(self.shown)
        samples = [image.sample for image in self._images.images.values()]
        model.task = self.config.task
        if samples:
            model.spacing = samples[0].spacing
        kept = {key: value for key, value in model.history.items() if key != "best_score"}
        score = self._answers.scores.get(self.shown)
        model.history = kept | {"images": [sample.name for sample in samples]}
        if score is not None:
            model.history["best_score"] = score
        return model

    def shown_model(self, key: Hashable) -> tuple[Adapter, Sample] | None:
        """Return what makes the result that is shown of an image, until a step changes it; None: there is none."""
        image = self._images.images.get(key)
        if image is None or not self._answers.is_solved:
            return None
        return self._answers.adapter_of(self.shown), image.sample

    def _trying(self, during: Part, work: Callable[[], None]) -> None:
        """Do something; what goes wrong is told, and leaves this usable."""
        try:
            work()
        except Exception as error:
            self._work = None
            if during == "training":
                self._schooling.fail()
            self._answer_failed |= during == "answer"
            self._out.append(problem_of(error, during, *self.now))

    @property
    def now(self) -> tuple[int, int]:
        """Training steps, and changes of strokes, classes and images, so far."""
        return self._schooling.steps, self.change

    # ---- changes

    def _put(self, key: Hashable, sample: Sample, changed: Box | None) -> None:
        known = self._images.images.get(key)
        layout = image_layout(self._answers.model, sample.image, sample.axes)
        if known is not None and (known.sample.image is not sample.image or known.layout != layout):
            self._remove(key)
            known = None
        image = known or PaintedImage(sample, layout)
        image.sample = sample
        different = image.put(changed if known else None, self.change + 1)
        self._images.images[key] = image
        if different:
            self._changed(changed if key == self._view.key else None)
        elif known is None:
            self._view.ask()

    def _remove(self, key: Hashable) -> None:
        image = self._images.images.pop(key, None)
        if image is None:
            return
        self._answers.adapter.forget(image.sample.image)
        self._schooling.forget_renewal()
        if image.parts:
            self._changed()

    def _set_classes(self, names: tuple[str, ...]) -> None:
        before = self._answers.model.config
        if names == before.classes:
            return
        config = replace(before, classes=names)
        if len(names) == len(before.classes):
            self._answers.model.config = config
        else:
            moved = transfer(self._answers.copy_model("network"), config, seed=self.config.seed).model
            self._answers = self._answers.with_model(moved)
            self._schooling.begin_anew()
            self._images.decode_anew()
        self._changed()

    def _look_at(self, key: Hashable, region: Box | None) -> None:
        self._view.look_at(key, region)
        if not self._answers.is_solved:
            self._work = None  # to look ahead elsewhere
        self._unsolved |= self._answer_failed

    def _want(self, training: bool) -> None:
        self._wanted = training
        self._work = None
        self._schooling.wake()

    def _changed(self, where: Box | None = None) -> None:
        self._view.ask(where)
        self.change += 1
        self.curves.mark(self._schooling.steps)
        self._unsolved = True

    # ---- answers

    def _answer(self) -> None:
        """Solve anew and show it."""
        self._work = None
        self._answer_failed = False
        self._schooling.strokes_changed()
        self._schooling.ready = False
        answers = self._answers
        answers.forget_strokes()
        names = answers.model.config.classes
        self._images.divide(len(names))
        missing = find_missing(self._images.lacking, names, for_score=self.config.holdout > 0)
        if not missing.for_answer:
            answers.solve(self._images)
            self._schooling.ready = True
            keeps = self.shown == "network" and self._behind and self._schooling.own_head_counts
            self._change_source("network" if keeps else "closed form")
            self._show()
        if missing != self._missing:
            self._missing = missing
            self._out.append(StrokesMissing(*self.now, missing.text, missing.counts, missing.for_answer))

    def _show(self) -> None:
        """Answer what is in view; where its features are not known yet, a part of it first."""
        self._view.due = False
        found = self._view.find(self._images.images)
        if found is None or not self._answers.is_solved:
            return
        part = self._view.part_at_once(self._answers, *found)
        if part is not None:
            self._work = self._completing = self._view.complete(self._answers, *found)
        image, whole = found
        region = whole if part is None else part
        probabilities = self._answers.probabilities(image, region, self.shown)
        self._out.append(RegionAnswered(*self.now, self._view.key, region, probabilities, self.shown))

    def _change_source(self, source: Source) -> None:
        if source != self.shown:
            self.shown = source
            self._view.due = True
            scores = self._answers.scores
            pair = scores.get("closed form"), scores.get("network")
            self._out.append(SourceChanged(*self.now, source, pair))

    # ---- training

    def _learn(self) -> None:
        """Do one part of what is to be learnt."""
        school = self._schooling
        if self._work is None and not self._answers.is_solved:
            self._work = self._view.look_ahead(self._answers, self._images.images)
        if self._work is None:
            self._work = school.next_work(self._answers, self._images, training=self._wanted)
        if self._work is None:
            if not school.told_idle:
                school.told_idle = True
                self._out.append(Idle(*self.now, school.reason(training=self._wanted)))
            self.idle = True
            return
        if next(self._work, school) is school:  # it is done
            self._work = None
        for make in school.take_news():
            self._out.append(make(*self.now))
        self._follow()

    def _follow(self) -> None:
        """Bring a better network's features into view, and show what scores best."""
        if self._schooling.renewal is None and self._schooling.found is not None and self._work is None:
            self._schooling.begin_renewal(self._answers, self._view.find(self._images.images))
        renewed = self._schooling.take_renewed()
        if renewed is not None:
            self._answers = renewed
            self._trying("answer", partial(renewed.solve, self._images))
            self._view.due = True
        scores = self._answers.scores
        if len(scores) == 2:
            self._behind = scores["network"] > scores["closed form"] + self._schooling.least_gain
            self._change_source("network" if self._behind else "closed form")
