"""The score of a network on strokes that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from napari_unet.data.crops import AnnotatedFrame
from napari_unet.learn.distributed import ALONE, Processes
from napari_unet.learn.holdout import count_strokes
from napari_unet.learn.painted_boxes import cover_with_boxes
from napari_unet.nets.blocks import center_crop
from napari_unet.nets.device import Device

if TYPE_CHECKING:
    from napari_unet.nets.base import SegmentationNetwork

__all__ = ["Scorer"]

_NEARLY_ALL = 0.95  # a score from which on there is little to gain
_ENOUGH = 4  # held-out strokes of a class that are needed to know that
_DOUBT = 0.1  # by which the Dice of one stroke and that of the image differ without any reason


class Scorer:
    """Measures Dice on held-out strokes, in boxes that are read once; the frames give a box in turn.

    Parameters
    ----------
    frames : sequence of AnnotatedFrame
        Frames whose weights are positive on the held-out pixels only. If they tell the place, networks for which it
        does not count can be scored, too.
    box, reach : tuple of int
        Size of a box, and of the part in its middle that the network writes.
    classes : int
        Number of classes.
    device : Device
        Where the network runs.
    processes : Processes
        Who shares the work.

    Attributes
    ----------
    least_gain : float
        By how much a trained network must score better than what is solved from the strokes, to be taken for better:
        it falls with the root of the number of held-out strokes, as the error of a mean does.
    """

    def __init__(
        self,
        frames: Sequence[AnnotatedFrame],
        box: tuple[int, ...],
        reach: tuple[int, ...],
        classes: int,
        device: Device,
        processes: Processes = ALONE,
    ) -> None:
        self._classes = classes
        self._device = device
        self._processes = processes
        self._boxes = cover_with_boxes(frames, box, reach)
        strokes = max(1, count_strokes(frames))
        self.least_gain = _DOUBT / math.sqrt(strokes)
        self._nearly_all = _NEARLY_ALL if strokes >= _ENOUGH and len(box) == 2 else math.inf

    def bar(self, score: float) -> float:
        """Return the score that a trained network needs to be taken instead of what was solved and has this score.

        Where that is nearly perfect, as good is enough, if there are strokes enough to know: Dice does not see what
        else is learnt, such as the gaps between objects. Two perfect strokes say nothing of the rest, and those of a
        volume, which lie in few of its slices, nothing of the other slices.
        """
        return min(score + self.least_gain, max(score, self._nearly_all))

    def run(self, network: nn.Module) -> Iterator[float | None]:
        """Score a network in evaluation mode; yields None after each box and the score at the end.

        The score is the mean Dice over the classes but background that were held out, 0 to 1.
        """
        counts = torch.zeros(self._classes, self._classes, dtype=torch.int64)
        for first in range(0, len(self._boxes), self._processes.size):  # a box for each process
            for box in self._boxes[first:][self._processes.share(1)[1]]:
                predicted = self._predict(network, box.image)
                truth = center_crop(box.classes, predicted.shape[1:])
                known = truth >= 0
                pairs = truth[known] * self._classes + predicted[known]
                counts += torch.bincount(pairs, minlength=self._classes**2).reshape(counts.shape)
            yield None
        counts = self._processes.sum(counts)
        both = counts.diagonal()
        size = counts.sum(0) + counts.sum(1)
        present = counts.sum(1)[1:] > 0
        dice = 2 * both[1:] / size[1:].clamp(min=1)
        yield float(dice[present].mean()) if present.any() else float("nan")

    @torch.inference_mode()
    def _predict(self, network: nn.Module, image: torch.Tensor) -> torch.Tensor:
        with self._device.autocast():
            channels = cast("SegmentationNetwork", network).input_channels
            logits = network(self._device.tensor(image[:, :channels]))
        predicted: torch.Tensor = logits.argmax(dim=1)
        return predicted.cpu()
