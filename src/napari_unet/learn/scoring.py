"""The score of a network on strokes that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from napari_unet.data.crops import AnnotatedFrame
from napari_unet.learn.distributed import ALONE, Processes
from napari_unet.nets.blocks import center_crop
from napari_unet.nets.device import Device

__all__ = ["Scorer"]

_MOST_BOXES = 24


class Scorer:
    """Measures Dice on held-out strokes, in boxes that are read once; the frames give a box in turn.

    Parameters
    ----------
    frames : sequence of AnnotatedFrame
        Frames whose weights are positive on the held-out pixels only.
    box, reach : tuple of int
        Size of a box, and of the part in its middle that the network writes.
    classes : int
        Number of classes.
    device : Device
        Where the network runs.
    processes : Processes
        Who shares the work.
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
        self._boxes: list[tuple[torch.Tensor, torch.Tensor]] = []
        rng = np.random.default_rng(0)
        waiting = [(frames[i], frames[i].weights > 0) for i in rng.permutation(len(frames))]
        waiting.sort(key=lambda pair: not pair[0].classes[pair[1]].any())  # those with a foreground class first
        while waiting and len(self._boxes) < _MOST_BOXES:
            frame, left = waiting.pop(0)
            if not left.any():
                continue
            index = rng.choice(np.unique(frame.classes[left]))  # a rare class is as likely as a common one
            places = np.argwhere(left & (frame.classes == index))
            pixel = places[int(rng.integers(len(places)))]
            centre = [int(p) + o for p, o in zip(pixel, frame.origin, strict=True)]
            start = tuple(c - side // 2 for c, side in zip(centre, box, strict=True))
            self._add(frame.keep(left), start, box)
            part = []
            for c, o, side in zip(centre, frame.origin, reach, strict=True):
                part.append(slice(max(0, c - side // 2 - o), max(0, c - side // 2 + side - o)))
            left[tuple(part)] = False
            waiting.append((frame, left))

    def _add(self, frame: AnnotatedFrame, start: tuple[int, ...], box: tuple[int, ...]) -> None:
        image, classes, weights = frame.read(start, tuple(a + side for a, side in zip(start, box, strict=True)))
        target = np.where(weights > 0, classes, -1)
        self._boxes.append((torch.from_numpy(image[None]), torch.from_numpy(target[None])))

    def run(self, network: nn.Module) -> Iterator[float | None]:
        """Score a network in evaluation mode; yields None after each box and the score at the end.

        The score is the mean Dice over the classes but background that were held out, 0 to 1.
        """
        counts = torch.zeros(self._classes, self._classes, dtype=torch.int64)
        for first in range(0, len(self._boxes), self._processes.size):  # a box for each process
            for image, target in self._boxes[first:][self._processes.share(1)[1]]:
                predicted = self._predict(network, image)
                truth = center_crop(target, predicted.shape[1:])
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
            logits = network(self._device.tensor(image))
        predicted: torch.Tensor = logits.argmax(dim=1)
        return predicted.cpu()
