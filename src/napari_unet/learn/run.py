"""One training from its first look at the strokes to the weights that are kept: what `napari_unet.fit` runs."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import nn

from napari_unet.data.sample import Sample
from napari_unet.errors import InputError, is_out_of_memory
from napari_unet.learn.anchor import halfway, mostly_unpainted
from napari_unet.learn.checkpoint import Progress, load_checkpoint, save_checkpoint
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.crop_plan import plan_crops, plan_looks, plan_with_less
from napari_unet.learn.distributed import Processes, fingerprint, step_fits
from napari_unet.learn.events import FitEvent, FitFinished, FitProgress, FitRecovered, FitScored, FitStarted
from napari_unet.learn.holdout import hold_out
from napari_unet.learn.painted_boxes import PaintedBox
from napari_unet.learn.place_choice import PlaceWeight
from napari_unet.learn.prepare import prepare_frames
from napari_unet.learn.scoring import Scorer
from napari_unet.learn.solved_head import solve_from_boxes
from napari_unet.learn.trainer import Trainer
from napari_unet.learn.training_strokes import TrainingStrokes
from napari_unet.nets.device import Device
from napari_unet.nets.free_memory import free_memory
from napari_unet.nets.registry import SegmentationModel

if TYPE_CHECKING:
    from napari_unet.nets.base import SegmentationNetwork

__all__ = ["Run"]

_CHECKPOINT_EVERY_SECONDS = 10.0
_STATISTICS_AT_STOP = 2  # batches: few, for the person waits


@dataclass
class Run:
    """The state of one call of `napari_unet.fit`, see there for the parameters."""

    model: SegmentationModel
    config: TrainConfig
    device: Device
    should_stop: Callable[[], bool]
    checkpoint: str | os.PathLike[str] | None
    processes: Processes
    began: float
    progress: Progress = field(default_factory=Progress)
    stopped: bool = False
    painted: list[PaintedBox] = field(default_factory=list)
    used: float | None = None

    def load(self, samples: Sequence[Sample]) -> None:
        """Prepare the data, the trainer and the scorer, and go to the checkpoint if there is one."""
        start = self.model.history.get("start") or {}
        begun = start.get("encoder_kept") or self.model.history.get("steps")
        if self.config.freeze_encoder and not begun:
            raise InputError(
                "The contracting path of this model has learnt nothing that could be kept: start from a trained model, "
                "or switch 'Keep encoder' (freeze_encoder) off."
            )
        self.start = cast("SegmentationNetwork", copy.deepcopy(self.model.network))
        if not self.config.place_may_count:
            self.start.set_place(None)
        frames = prepare_frames(samples, self.model.config, self.config)
        classes, told = self.model.config.classes, self.start.surroundings
        split = hold_out(frames, self.config.holdout, classes, self.config.seed)
        self.strokes = TrainingStrokes(
            split, len(classes), self.config.seed, self.device, self.processes, crops_tell=told, boxes_tell=told
        )
        shapes = [frame.reader.layout.frame_shape for frame in frames]
        self.largest = largest = tuple(max(sides) for sides in zip(*shapes, strict=True))
        free = self.processes.least_memory(free_memory(self.device.torch_device), self.device)
        self.sparse = mostly_unpainted(frames)
        held = self.model.closed_form if self.sparse and self.config.hold_on > 0 else None
        self.plan = plan_crops(self.config, self.start, largest, self.device, free, wide=held is not None)
        if self.processes.size > 1:
            self.processes.check_same(fingerprint(frames), "The processes do not see the same images and strokes.")
        sampler = self.strokes.sampler(self.plan)
        self.trainer = Trainer(self.start, sampler, self.config, self.plan.batch, self.device, self.processes, held)
        self.scorer = self.strokes.scorer(self.plan)
        if self.checkpoint is not None and Path(self.checkpoint).exists():
            self.progress = load_checkpoint(self.checkpoint, self.trainer, self.model.config)
            self.began -= self.progress.seconds
        self._follow_place()
        self.processes.check_same(self.trainer.steps, "Some processes do not see the checkpoint; put it where all do.")
        self.saved = time.monotonic() if self.processes.size == 1 else -math.inf  # a lost process costs all the others

    def _follow_place(self) -> None:
        """Let crops tell where in the image they are from if that counts for the network in training."""
        strokes, told = self.strokes, self.trainer.surroundings
        if strokes.crops_tell != told:
            strokes.crops_tell, strokes.boxes_tell = told, max(strokes.boxes_tell, told)
            self.trainer.draw_from(strokes.sampler(self.plan), self.plan.batch)
            self.scorer = strokes.scorer(self.plan)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, in all runs."""
        return time.monotonic() - self.began

    @property
    def fraction(self) -> float | None:
        """The used share of the budget, or None without one."""
        shares = []
        if self.config.max_seconds is not None:
            shares.append(self.seconds / max(self.config.max_seconds, 1e-9))
        if self.config.max_steps is not None:
            shares.append(self.trainer.steps / self.config.max_steps if self.config.max_steps else 1.0)
        return min(1.0, max(shares)) if shares else None

    def go(self) -> Iterator[FitEvent]:
        """Step and score until the budget is used or the caller wants to stop."""
        held_out = self.scorer is not None
        yield FitStarted(self.trainer.steps, self.seconds, self.device.description, held_out, self.strokes.split.note)
        if self.processes.size > 1:
            yield from self._try_memory()
        if self.model.closed_form is not None:
            yield from self._begin()
        while not self._done():
            problem = None
            try:
                yield from self._step()
                if not self.stopped and self.trainer.steps % self.config.validate_every == 0:
                    yield from self._score()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.processes.size > 1:  # the others wait in the middle of a step
                    raise
                problem = error.with_traceback(None)  # whose frames hold the tensors that were too many
            if problem is not None:
                yield self._shrink(problem)
        if not self.stopped and self.trainer.steps % self.config.validate_every:
            yield from self._score()
        yield from self._settle(at_once=True)
        self.keep_last()
        self._save(at_once=True)
        yield FitFinished(self.trainer.steps, self.seconds, self.progress.best_score, self.stopped)

    def _begin(self) -> Iterator[FitEvent]:
        """Begin at the solved last layer, or at a model that was trained before as it is, whichever scores better.

        Where there is so much to learn from that nothing of the starting weights need be kept, they are trained freely.
        The solved layer is then the score to reach.
        """
        start = self.device.place(copy.deepcopy(self.start)).eval()
        new, trained = self.trainer.steps == 0, "steps" in self.model.history
        freely = not (trained or self.sparse or self.config.freeze_encoder or self.scorer is None)
        if trained and self.scorer is None:
            self._begin_at(start)
            return
        looks = plan_looks(self.plan, self.start.divisor, self.largest)
        self.painted = self.strokes.boxes(looks, with_held=True)
        if self.config.place_may_count:
            self.painted += self.strokes.boxes_around(looks)
        whole, solved = copy.deepcopy(start), copy.deepcopy(start)
        counted = _what_counts(self.trainer.network)
        may = self.config.place_may_count and (new or any(counted))
        place = yield from self._solve(whole, self.painted, may)  # which those that are left can't tell
        if place is None or (yield from self._solve(solved, self.strokes.boxes(self.plan), may, place)) is None:
            return
        told = cast("SegmentationNetwork", solved).surroundings
        self.strokes.boxes_tell = max(self.strokes.boxes_tell, told)
        self.scorer = self.strokes.scorer(self.plan)
        if trained and new and self.scorer is not None:
            yield from self._compare(start, self.scorer)
        before = self.progress.best_score
        if new and self.scorer is not None:
            yield from self._compare(solved, self.scorer)
        other = not new and counted != _what_counts(solved)
        if self.stopped or other or (before is not None and new and self.progress.best_score == before):
            self.painted = []
            self._begin_at(start)
            return
        self._begin_at(solved, freely=freely)
        if new and self.scorer is not None:  # if nothing better is found, all strokes count
            self._keep(whole)
            score = -math.inf if self.progress.best_score is None else self.progress.best_score
            self.progress.bar = score if self.trainer.anchor is None else self.scorer.bar(score)

    def _solve(
        self, network: nn.Module, boxes: Sequence[PaintedBox], place_may_count: bool, place: PlaceWeight | None = None
    ) -> Generator[FitEvent, None, PlaceWeight | None]:
        """Solve the last layer of a network from boxes, see `solve_from_boxes`.

        Returns how much the place counts; None if the caller stopped it.
        """
        form = cast("ClosedForm", self.model.closed_form)
        steps = solve_from_boxes(
            network, boxes, form, self.device, place_may_count=place_may_count, place=place, task=self.config.task
        )
        while not self.stopped:
            try:
                next(steps)
            except StopIteration as end:
                return cast("PlaceWeight", end.value)
            yield self._report()
            self.stopped = self._asked_to_stop()
        return None

    def _begin_at(self, network: nn.Module, *, freely: bool = False) -> None:
        self.trainer.begin_at(network, freely=freely)
        self._follow_place()

    def _done(self) -> bool:
        self.stopped = self.stopped or self._asked_to_stop()
        self.used = self.processes.lead(self.fraction)
        return self.stopped or (self.used is not None and self.used >= 1)

    def _asked_to_stop(self) -> bool:
        return self.processes.any(self.should_stop())

    def _try_memory(self) -> Iterator[FitEvent]:
        """Halve the batch until a step fits into the memory of every process, before the first that they share."""
        while True:
            shape = (self.plan.batch, self.start.input_channels, *self.plan.crop)
            fits = step_fits(self.start, shape, self.device)
            if not self.processes.any(not fits):
                return
            yield self._shrink(MemoryError())

    def _step(self) -> Iterator[FitEvent]:
        for _ in self.trainer.step(self.used):
            yield self._report()
            if self._asked_to_stop():
                self.stopped = True
                return
        due = bool(self.processes.lead(self._save_is_due))
        yield from self._settle(at_once=due)
        self._save(at_once=due)

    def _settle(self, *, at_once: bool) -> Iterator[FitEvent]:
        message = self.trainer.settle(at_once=at_once)
        if message:
            yield FitRecovered(self.trainer.steps, self.seconds, message)

    def _report(self) -> FitProgress:
        fraction, seconds = self.fraction, self.seconds
        left = seconds / fraction - seconds if fraction else None
        if self.config.max_seconds is not None and left is not None:
            left = min(left, max(0.0, self.config.max_seconds - seconds))
        return FitProgress(self.trainer.steps, seconds, self.trainer.loss, fraction, left)

    def _score(self) -> Iterator[FitEvent]:
        """Score the averaged network and keep it if it is the best."""
        yield from self._settle(at_once=True)
        self.trainer.mark_good()
        for _ in self.trainer.measure_statistics():
            yield self._report()
            if self._asked_to_stop():
                self.stopped = True
                return
        network = self.trainer.result
        if self.scorer is None:
            self._keep(network)
        else:
            yield from self._compare(network, self.scorer)
        self._save()

    def _compare(self, network: nn.Module, scorer: Scorer) -> Iterator[FitEvent]:
        """Keep a network if it scores best."""
        for score in scorer.run(network):
            if score is None:
                yield self._report()
                if self._asked_to_stop():
                    self.stopped = True
                    return
                continue
            free = self.trainer.steps > 0 and self.trainer.anchor is None
            improved = self.progress.takes(score, scorer.least_gain if free else 0.0)
            if improved:
                self.progress.best_score = score
                self._keep(network)
                yield from self._solve_kept(network)
            shown = score if self.progress.best_score is None else self.progress.best_score
            yield FitScored(self.trainer.steps, self.seconds, score, shown, improved)

    def _solve_kept(self, network: nn.Module) -> Iterator[FitEvent]:
        """Let the strokes that were held out count for the last layer that is kept, if it began as a solved one."""
        if not self.trainer.steps or self.trainer.anchor is None or not self.painted:
            return
        counted, solved = _what_counts(self.trainer.network), copy.deepcopy(network).eval()
        if (yield from self._solve(solved, self.painted, any(counted))) is None:
            return
        if _what_counts(solved) == counted:
            self._keep(solved)

    def _keep(self, network: nn.Module) -> None:
        self.progress.best_state = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}

    def keep_last(self) -> None:
        """Where no score tells which weights are best, keep those of the last good step."""
        if self.trainer.steps > 0 and (self.scorer is None or self.progress.best_state is None):
            self.trainer.settle(at_once=True)
            for _ in self.trainer.measure_statistics(_STATISTICS_AT_STOP):
                pass
            network, anchor = self.trainer.averaged_network, self.trainer.anchor
            self._keep(network if anchor is None else halfway(anchor.network, network))

    @property
    def _save_is_due(self) -> bool:
        return self.checkpoint is not None and time.monotonic() - self.saved > _CHECKPOINT_EVERY_SECONDS

    def _save(self, *, at_once: bool = False) -> None:
        if self.checkpoint is None or not self.processes.leads or not (at_once or self._save_is_due):
            return
        self.progress.seconds = self.seconds
        save_checkpoint(self.checkpoint, self.trainer, self.progress, self.model.config)
        self.saved = time.monotonic()

    def _shrink(self, error: BaseException) -> FitEvent:
        """Halve the batch, then the crop, after the memory was not enough."""
        self.plan, message = plan_with_less(self.plan, self.start.divisor, self.device, error)
        self.trainer.draw_from(self.strokes.sampler(self.plan), self.plan.batch)
        self.scorer = self.strokes.scorer(self.plan)
        return FitRecovered(self.trainer.steps, self.seconds, message)

    def hand_over(self, samples: Sequence[Sample]) -> None:
        """Give the model the best weights; without any it keeps its own."""
        if self.progress.best_state is None or self.trainer.steps == 0:
            return
        self.model.network.load_state_dict(self.progress.best_state)
        self.model.network.eval()
        self.model.task = self.config.task
        self.model.spacing = samples[0].spacing
        self.model.history = {
            **self.model.history,
            "steps": self.trainer.steps,
            "seconds": round(self.seconds, 2),
            "best_score": self.progress.best_score,
            "images": [sample.name for sample in samples],
            "device": self.device.description,
        }


def _what_counts(network: nn.Module) -> tuple[int, bool]:
    """Return what is told of the place, see `SegmentationNetwork.surroundings`, and whether trees are asked."""
    whole = cast("SegmentationNetwork", network)
    return whole.surroundings, whole.trees is not None
