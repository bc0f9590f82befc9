"""The training that goes on while strokes come and go."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from torch import nn

from napari_unet.data.crops import tell_place
from napari_unet.data.enclosure import ENCLOSURES
from napari_unet.learn.anchor import mostly_unpainted
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.crop_plan import CropPlan, plan_crops, plan_with_less
from napari_unet.learn.scoring import Scorer
from napari_unet.learn.trainer import Trainer
from napari_unet.live.images import TrainingFrames
from napari_unet.live.sampler import RecentSampler
from napari_unet.models.model import Model
from napari_unet.nets.device import Device
from napari_unet.nets.free_memory import free_memory

if TYPE_CHECKING:
    from napari_unet.nets.base import SegmentationNetwork

__all__ = ["Course"]


class Course:
    """One network in training: it goes on from its present weights whenever the strokes change.

    Where most is painted, starting weights are trained freely, as in `napari_unet.fit`: what was solved from the
    strokes is then only the score to reach.

    Parameters
    ----------
    model : Model
        Whose network is trained; it is copied.
    start : torch.nn.Module
        The same network with the best last layer so far: where starting weights begin, and what they hold on to.
    frames : TrainingFrames
        The strokes.
    config : TrainConfig
        How to train; what it says about the end is not used.
    device : Device
        Where to train.

    Attributes
    ----------
    trainer : Trainer
        Takes the steps.
    scorer : Scorer or None
        Scores on what is held out; None: nothing is.
    """

    def __init__(
        self, model: Model, start: nn.Module, frames: TrainingFrames, config: TrainConfig, device: Device
    ) -> None:
        self.config, self.device = config, device
        self._classes = len(model.config.classes)
        self._divisor = int(model.network.divisor)  # type: ignore[arg-type]
        shapes = [frame.reader.layout.frame_shape for frame in frames.train]
        largest = tuple(max(sides) for sides in zip(*shapes, strict=True))
        sparse = mostly_unpainted(frames.train)
        form = model.closed_form if sparse and config.hold_on > 0 else None
        free = free_memory(device.torch_device)
        self.plan: CropPlan = plan_crops(config, model.network, largest, device, free, wide=form is not None)
        can_do = model.closed_form is not None  # something already, without training
        freely = not (sparse or model.history.get("steps") or config.freeze_encoder) and bool(frames.score)
        self._begins_solved = can_do
        first = start if can_do else model.network
        self._frames = frames
        network = cast("SegmentationNetwork", model.network)
        self._place_may_count = config.place_may_count and network.takes_place  # in what is solved after any change
        self._told = _network(first).surroundings
        self.trainer = Trainer(model.network, self._sampler(), config, self.plan.batch, device, form=form)
        if can_do:
            self.trainer.begin_at(device.place(copy.deepcopy(first)).eval(), freely=freely)
        self.scorer = self._scorer()

    def _sampler(self) -> RecentSampler:
        frames, plan = self._frames, self.plan
        train = tell_place(frames.train, self._told)
        return RecentSampler(train, plan.crop, plan.reach, self.config.seed, frames.recent)

    def _scorer(self) -> Scorer | None:
        if not self._frames.score:
            return None
        told = self._told
        if self._place_may_count:  # what is solved after any change may look at all that can be chosen
            large = all(frame.reader.is_large for frame in self._frames.score)
            told = max(told, len(self.plan.crop) + (0 if large else ENCLOSURES))
        frames = tell_place(self._frames.score, told)
        return Scorer(frames, self.plan.crop, self.plan.reach, self._classes, self.device)

    def can_take(self, frames: TrainingFrames, start: nn.Module) -> bool:
        """Whether the training can go on from its weights.

        It can't if the place, or trees, begin or cease to count, or if so much is painted now that there is nothing
        left of what it held on to.
        """
        if not self._begins_solved:
            return True
        held = self.trainer.anchor is None or mostly_unpainted(frames.train)
        own, other = _network(self.trainer.network), _network(start)
        return held and self._told == other.surroundings and (own.trees is None) == (other.trees is None)

    def take(self, frames: TrainingFrames, start: nn.Module) -> None:
        """Go on with other strokes; where it holds on to something, then to the answer that they gave."""
        self._frames = frames
        if self._begins_solved:
            for network in map(_network, (self.trainer.network, self.trainer.average.module)):
                network.set_place(_network(start).place)
                network.set_trees(_network(start).trees)
        self.trainer.draw_from(self._sampler(), self.plan.batch)
        self.scorer = self._scorer()
        if self.trainer.anchor is not None:
            self.trainer.anchor.network.load_state_dict(start.state_dict())

    def network_to_score(self) -> Iterator[None]:
        """Bring the averaged network into the state in which it is scored, with pauses."""
        self.trainer.settle(at_once=True)
        self.trainer.mark_good()
        yield from self.trainer.measure_statistics()

    def shrink(self, error: BaseException) -> str:
        """Halve the batch, then the crop, after the memory was not enough; returns what was done, in words.

        Raises
        ------
        MemoryLimitError
            If neither can be halved.
        """
        self.plan, message = plan_with_less(self.plan, self._divisor, self.device, error)
        self.trainer.draw_from(self._sampler(), self.plan.batch)
        self.scorer = self._scorer()
        return message


def _network(network: nn.Module) -> SegmentationNetwork:
    return cast("SegmentationNetwork", network)
