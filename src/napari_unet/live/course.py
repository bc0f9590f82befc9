"""The training that goes on while strokes come and go."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from napari_unet.data.place import PlaceLogits
from napari_unet.errors import MemoryLimitError
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.crop_plan import CropPlan, plan_crops, smaller_plan
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

_SPARSE = 0.5  # painted share of the frames below which starting weights know more of the rest than the strokes do


class Course:
    """One network in training: it goes on from its present weights whenever the strokes change.

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
        painted = sum(int((frame.weights > 0).sum()) for frame in frames.train)
        sparse = painted < _SPARSE * sum(math.prod(shape) for shape in shapes)
        form = model.closed_form if sparse and config.hold_on > 0 else None
        free = free_memory(device.torch_device)
        self.plan: CropPlan = plan_crops(config, model.network, largest, device, free, wide=form is not None)
        self._frames = frames
        self.trainer = Trainer(model.network, self._sampler(), config, self.plan.batch, device, form=form)
        if model.closed_form is not None:
            self.trainer.begin_at(device.place(copy.deepcopy(start)).eval())
        self.scorer = self._scorer()

    def _sampler(self) -> RecentSampler:
        frames, plan = self._frames, self.plan
        return RecentSampler(frames.train, plan.crop, plan.reach, self.config.seed, frames.recent)

    def _scorer(self, place: PlaceLogits | None = None) -> Scorer | None:
        if not self._frames.score:
            return None
        frames = self._frames.score if place is None else [frame.with_place(place) for frame in self._frames.score]
        return Scorer(frames, self.plan.crop, self.plan.reach, self._classes, self.device)

    def score(self, network: nn.Module) -> Iterator[float | None]:
        """Score a network on the strokes that are held out; see `Scorer.run`."""
        place = cast("SegmentationNetwork", network).place_logits
        scorer = self.scorer if place is None else self._scorer(place)
        assert scorer is not None
        return scorer.run(network)

    def take(self, frames: TrainingFrames, start: nn.Module) -> None:
        """Go on with other strokes; where it holds on to something, then to the answer that they gave."""
        self._frames = frames
        self.trainer.draw_from(self._sampler(), self.plan.batch)
        self.scorer = self._scorer()
        if self.trainer.anchor is not None:
            self.trainer.anchor.network.load_state_dict(start.state_dict())

    def network_to_score(self) -> Iterator[None]:
        """Bring the averaged network into the state in which it is scored, with pauses."""
        self.trainer.settle(at_once=True)
        self.trainer.mark_good()
        yield from self.trainer.measure_statistics()

    def best_weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of the averaged weights."""
        state = self.trainer.averaged_network.state_dict()
        return {key: value.detach().float().cpu().clone() if value.is_floating_point() else value.cpu().clone()
                for key, value in state.items()}  # fmt: skip

    def shrink(self, error: BaseException) -> str:
        """Halve the batch, then the crop, after the memory was not enough; returns what was done, in words.

        Raises
        ------
        MemoryLimitError
            If neither can be halved.
        """
        smaller = smaller_plan(self.plan, self._divisor)
        if smaller is None:
            raise MemoryLimitError(
                f"The network does not fit into the memory of {self.device.description}; "
                "choose a smaller width or depth."
            ) from error
        self.plan = smaller
        self.trainer.draw_from(self._sampler(), smaller.batch)
        self.scorer = self._scorer()
        if self.device.torch_device.type == "cuda":
            torch.cuda.empty_cache()
        crops = f"{smaller.batch} crop{'s' * (smaller.batch > 1)} of {' x '.join(map(str, smaller.reach))} pixels"
        return f"The memory was not enough; training goes on with {crops} a step."
