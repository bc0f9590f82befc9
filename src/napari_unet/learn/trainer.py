"""One network in training: its optimiser, the average of its weights, and a way back when something goes wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from napari_unet.data.augment import AugmentConfig, Augmenter
from napari_unet.data.crops import CropSampler
from napari_unet.errors import UNetError
from napari_unet.learn.anchor import Anchor, halfway
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.consistency import MeanTeacher
from napari_unet.learn.distributed import ALONE, Processes
from napari_unet.learn.losses import segmentation_loss
from napari_unet.learn.moving_average import MovingAverage
from napari_unet.learn.normalisation import freeze_statistics, measure_statistics
from napari_unet.learn.optimizer_state import optimizer_state, optimizer_tensors
from napari_unet.learn.private_random import PrivateRandom
from napari_unet.learn.solved_in_training import SolvedInTraining
from napari_unet.nets.blocks import center_crop
from napari_unet.nets.device import Device
from napari_unet.nets.interrupt import ask_before_gradients, asked_before_operations

__all__ = ["Trainer", "TrainerState"]

_WARMUP_STEPS = 10
_RATE = 2e-3
_RATE_HELD = 1e-3  # where the start is to be kept
_RATE_LEFT = 8e-3  # where so much is painted that it is to be left
_LAST_RATE = 0.02  # of the learning rate, at the end of the budget
_STATISTICS_BATCHES = 4
_MOST_RECOVERIES = 5


@dataclass(frozen=True, eq=False)
class TrainerState:
    """All that a trainer needs to go on: tensors by name, and JSON values."""

    tensors: dict[str, torch.Tensor]
    numbers: dict[str, Any]


class Trainer:
    """Takes steps, averages the weights, and goes back to the last good state when the loss is not a number.

    What is scored and kept is an exponential moving average of the weights whose batch normalisation is measured
    anew on recent crops: the running statistics of the network itself lag behind in the first minute.

    Parameters
    ----------
    network : torch.nn.Module
        The network to start from; it is copied.
    sampler : CropSampler
        Gives the crops.
    config : TrainConfig
        Rates, loss and augmentation.
    batch : int
        Crops in a step; where several processes train together, of each.
    device : Device
        Where to train.
    processes : Processes
        Who shares the steps.
    form : ClosedForm or None
        How the last layer of the network is solved, where it was trained for that and is to hold on to it.
    """

    def __init__(
        self, network: nn.Module, sampler: CropSampler, config: TrainConfig, batch: int, device: Device,
        processes: Processes = ALONE, form: ClosedForm | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.device = device
        self.processes = processes
        self.sampler = sampler
        self.batch = batch
        self.steps = 0
        self.network = device.place(processes.share_batch_norm(copy.deepcopy(network), device))
        if config.freeze_encoder:
            self.network.freeze_encoder()  # type: ignore[operator]
        self.network.train()
        self._holds_on = form is not None
        seen = self.network if form is None else SolvedInTraining(self.network, form)
        self._forward = processes.wrap(seen, device)
        self.average = MovingAverage(self.network, config.ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=_RATE, weight_decay=config.weight_decay,
            fused=device.torch_device.type in ("cpu", "cuda"),
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(device.torch_device.type, enabled=device.low_precision is torch.float16)
        self.augmenter = _make_augmenter(config, len(sampler.crop))
        self.teacher = (
            MeanTeacher(self.average.module, config.consistency, len(sampler.crop), config.seed)
            if config.consistency > 0
            else None
        )
        self.anchor: Anchor | None = None
        self._loss_settings: dict[str, Any] = {
            name: getattr(config, name) for name in ("loss", "dice_weight", "boundary_weight", "focal_gamma")
        }
        self._loss_settings["reduce"] = processes.sum
        self.loss = math.nan
        self.check: Callable[[], None] | None = None  # called before operations of a step; raises to give it up
        self._first_rate = _RATE
        self._rate = 1.0
        self._recoveries = 0
        self._seen: list[torch.Tensor] = []
        self._pending: list[torch.Tensor] = []
        self._random = PrivateRandom(config.seed, device.torch_device, processes.rank)
        self._good = self._snapshot()

    def begin_at(self, start: nn.Module, *, freely: bool = False) -> None:
        """Begin at a network that can do something already, and keep to it where that was asked for, but for `freely`.

        A training that is under way, from a checkpoint, stays where it is.
        """
        if self.config.hold_on > 0 and not freely:
            self._first_rate = _RATE_HELD if self._holds_on else _RATE_LEFT
        if self._holds_on:
            self.anchor = Anchor(self.device.place(start), self.config.hold_on)
            freeze_statistics(self.network)
        if self.steps == 0:
            self.network.load_state_dict(start.state_dict())
            self.average.module.load_state_dict(start.state_dict())
            self.mark_good()

    def step(self, fraction: float | None) -> Iterator[None]:
        """Take one step, in a few parts with a pause after each; `fraction` is the used share of the budget."""
        self._set_rate(fraction)
        whole, part = self.processes.share(self.batch)
        batch = self.sampler.draw(whole, part)
        image, classes, weights = (self.device.tensor(a) for a in (batch.image, batch.classes, batch.weights))
        if self.augmenter is not None:
            image, classes, weights = self.augmenter(
                image, classes, weights, whole=whole, part=part, channels=self._channels
            )
            image = self.device.tensor(image)
        painted = len(image)
        if self.teacher is not None:
            crops, taught = yield from self._ask_teacher(self.teacher)
            image = self.device.tensor(torch.cat([image, crops]))
        self._seen = [*self._seen[1 - _STATISTICS_BATCHES :], image]
        yield
        if self.anchor is None:
            everywhere, loss = self._plain_loss(image, classes, weights)
        else:
            everywhere, loss = yield from self._held_loss(self.anchor, image, classes, weights)
        if self.teacher is not None:
            apart = self.teacher.loss([result[painted:] for result in everywhere], taught, self.steps)
            loss = loss + self.processes.sum(apart) / self.processes.size
        yield
        self.optimizer.zero_grad(set_to_none=True)
        scaled = self.scaler.scale(loss)
        ask_before_gradients(scaled, self.check)
        scaled.backward()
        self.scaler.unscale_(self.optimizer)
        length = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.network)
        self.steps += 1
        # a gradient that is not finite spoils the weights as surely as such a loss; the scaler skips its step by itself
        self._pending.append(loss.detach() if self.scaler.is_enabled() else loss.detach() + 0 * length)
        yield

    def _plain_loss(
        self, image: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return all logits, the inner ones under deep supervision too, and the loss of the painted crops."""
        with self._private_random(), self.device.autocast(), asked_before_operations(self.check):
            deep = self.network.config.deep_supervision  # type: ignore[union-attr]
            everywhere = list(self._forward(image, auxiliary=True)) if deep else [self._forward(image)]
        results = [result[: len(classes)] for result in everywhere]
        size = results[0].shape[2:]
        classes, weights = center_crop(classes, size), center_crop(weights, size)
        losses = [segmentation_loss(result, classes, weights, **self._loss_settings) for result in results]
        return everywhere, torch.stack(losses).mean()

    def _held_loss(
        self, anchor: Anchor, image: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor
    ) -> Generator[None, None, tuple[list[torch.Tensor], torch.Tensor]]:
        """Return the logits and the loss of a training that holds on to its start; a pause before the long part."""
        with self.device.autocast(), asked_before_operations(self.check):
            asked = anchor.ask(image[: len(classes)])
        yield
        with self._private_random(), self.device.autocast(), asked_before_operations(self.check):
            everywhere, solved, known = self._forward(image, classes, weights)
        own, size = everywhere[: len(classes)], solved.shape[2:]
        classes, weights = center_crop(classes, size), center_crop(weights, size)
        pull = (anchor.loss(own, asked, weights) + anchor.loss(solved, asked, weights)) / 2
        painted = [
            segmentation_loss(logits, classes, counted, **self._loss_settings)
            for logits, counted in ((own, weights), (solved, known))
        ]
        return [everywhere], sum(painted) / 2 + self.processes.sum(pull) / self.processes.size

    def _ask_teacher(self, teacher: MeanTeacher) -> Generator[None, None, tuple[torch.Tensor, torch.Tensor]]:
        """Draw half as many crops as are painted; returns them as the student sees them, and the teacher's logits."""
        whole, part = self.processes.share(max(1, self.batch // 2))
        crops = self.device.tensor(self.sampler.draw_anywhere(whole, part))
        if self.augmenter is not None:
            nothing = crops.new_zeros(crops.shape[0], *crops.shape[2:])
            varied = self.augmenter(crops, nothing.long(), nothing, whole=whole, part=part, channels=self._channels)
            crops = self.device.tensor(varied[0])
        yield
        with self._private_random(), self.device.autocast():
            taught = teacher.teach(crops)
        yield
        return teacher.student_view(crops, self.steps, whole=whole, part=part, channels=self._channels), taught

    def settle(self, *, at_once: bool = False) -> str | None:
        """Look at the losses of the last steps; restore the last good state if one is not finite.

        Asking a GPU for a number makes it wait, so there it is done every few steps only.

        Returns
        -------
        str or None
            What happened, in words for the person.

        Raises
        ------
        UNetError
            If it happens again and again.
        """
        if not self._pending or (self.device.torch_device.type != "cpu" and len(self._pending) < 10 and not at_once):
            return None
        losses = torch.stack(self._pending).tolist()
        self._pending.clear()
        if all(math.isfinite(loss) for loss in losses):
            for loss in losses:
                self.loss = loss if math.isnan(self.loss) else 0.9 * self.loss + 0.1 * loss
            return None
        self._recoveries += 1
        if self._recoveries > _MOST_RECOVERIES:
            raise UNetError("The training fails again and again: its loss is not a number. Lower the learning rate.")
        self._restore(self._good)
        self._rate *= 0.5
        return "The loss was not a number; training went back to the last good weights with half the learning rate."

    @property
    def surroundings(self) -> int:
        """How many channels of crops must tell where a pixel lies, for the network."""
        return int(self.network.surroundings)  # type: ignore[arg-type]

    @property
    def _channels(self) -> int:
        """Channels of a crop that are grey values; where the place counts, others tell it."""
        return int(self.network.config.in_channels)  # type: ignore[union-attr, arg-type]

    @property
    def averaged_network(self) -> nn.Module:
        """The averaged network, in evaluation mode; see `measure_statistics`."""
        network: nn.Module = self.average.module
        return network.eval()

    @property
    def result(self) -> nn.Module:
        """What is scored and kept: the averaged network, in evaluation mode.

        It is halfway to it from the start, if the training holds on to that: what went further was seen to be worse on
        other images, with few strokes.
        """
        if self.anchor is None:
            return self.averaged_network
        return halfway(self.anchor.network, self.averaged_network)

    def measure_statistics(self, batches: int = _STATISTICS_BATCHES) -> Iterator[None]:
        """Measure the normalisation of the averaged network on the last batches of crops, with a pause after each."""
        network = self.averaged_network
        if self.anchor is None:
            yield from measure_statistics(network, self._seen[-batches:], self.device)

    def draw_from(self, sampler: CropSampler, batch: int) -> None:
        """Go on with other crops, and let go of what the last step holds."""
        sampler.rng = self.sampler.rng
        self.sampler, self.batch = sampler, batch
        self.optimizer.zero_grad(set_to_none=True)
        self._seen.clear()

    def mark_good(self) -> None:
        """Remember this state as one to come back to."""
        self._good = self._snapshot()

    def state(self) -> TrainerState:
        """Return the whole state, random numbers included."""
        tensors = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        tensors |= {f"average.{key}": value for key, value in self.average.state_dict().items()}
        tensors |= {f"optimizer.{key}": value for key, value in optimizer_tensors(self.optimizer).items()}
        tensors["random.dropout"] = self._random.generator.get_state()
        if self.augmenter is not None:
            tensors["random.augmentation"] = self.augmenter.generator.get_state()
        numbers = {
            "steps": self.steps,
            "loss": None if math.isnan(self.loss) else self.loss,
            "rate": self._rate,
            "scaler": self.scaler.state_dict(),
            "crops": self.sampler.rng.bit_generator.state,
        }
        return TrainerState(tensors, numbers)

    def load_state(self, tensors: dict[str, torch.Tensor], numbers: dict[str, Any]) -> None:
        """Go to a state that `state` returned."""

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        optimizer = optimizer_state(self.optimizer, part("optimizer."))
        self._restore({"network": part("network."), "average": part("average."), "optimizer": optimizer})
        self._random.generator.set_state(tensors["random.dropout"])
        if self.augmenter is not None:
            self.augmenter.generator.set_state(tensors["random.augmentation"])
        self.steps = int(numbers["steps"])
        self.loss = math.nan if numbers["loss"] is None else float(numbers["loss"])
        self._rate = float(numbers["rate"])
        self.scaler.load_state_dict(numbers["scaler"])
        self.sampler.rng.bit_generator.state = numbers["crops"]
        self.mark_good()

    def _snapshot(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))

    def _set_rate(self, fraction: float | None) -> None:
        warm = min(1.0, (self.steps + 1) / _WARMUP_STEPS)
        fall = 1.0 if fraction is None else 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
        first = self.config.learning_rate or self._first_rate
        rate = first * self._rate * warm * (_LAST_RATE + (1 - _LAST_RATE) * fall)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _private_random(self) -> AbstractContextManager[None]:
        """Give dropout random numbers of its own, so that a seed means the same whatever else draws from PyTorch's."""
        dropout = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in self.network.modules())
        return self._random.in_use() if dropout else nullcontext()


def _make_augmenter(config: TrainConfig, ndim: int) -> Augmenter | None:
    strengths = AugmentConfig(**{field.name: getattr(config, field.name) for field in fields(AugmentConfig)})
    return Augmenter(strengths, ndim, config.seed) if strengths.varies else None
