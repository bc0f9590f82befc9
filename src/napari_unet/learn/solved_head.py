"""The last layer of a network: solved from strokes, and given to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_unet.data.crops import AnnotatedFrame
from napari_unet.data.place import CENTRES, place_basis
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.painted_boxes import PaintedBox
from napari_unet.learn.place_choice import SolvedHead, solve_with_place
from napari_unet.learn.stroke_pixels import painted_pixels, strokes_of_pixels
from napari_unet.nets.blocks import center_crop
from napari_unet.nets.device import Device

if TYPE_CHECKING:
    from napari_unet.nets.base import SegmentationNetwork

__all__ = ["get_head", "set_head", "solve_from_boxes"]

_MOST_PIXELS = 2_000  # of one class in one box


def get_head(network: nn.Module) -> SolvedHead:
    """Return a copy of the last layer of a network."""
    head, place = cast("nn.Conv2d", network.head), cast("SegmentationNetwork", network).place
    return SolvedHead(
        head.weight.detach().flatten(1).clone(),
        cast("torch.Tensor", head.bias).detach().clone(),
        None if place is None else place.clone(),
    )


def set_head(network: nn.Module, solved: SolvedHead) -> None:
    """Give a network a last layer."""
    head, whole = cast("nn.Conv2d", network.head), cast("SegmentationNetwork", network)
    with torch.no_grad():
        head.weight.copy_(solved.weight.reshape(head.weight.shape))
        cast("torch.Tensor", head.bias).copy_(solved.bias)
    whole.set_place(solved.place)


def solve_from_boxes(
    network: nn.Module, boxes: Sequence[PaintedBox], form: ClosedForm, device: Device, *, place_may_count: bool = False
) -> Iterator[None]:
    """Solve the head of a network from what is painted in boxes, in place; pauses after each box.

    The same as `napari_unet.adapt`, but for what a training needs: a part of the strokes may be held out, and boxes
    are as large as those that are scored. Of many pixels every n-th is taken.

    Parameters
    ----------
    network : torch.nn.Module
        On the device, in evaluation mode.
    boxes : sequence of PaintedBox
        What is painted.
    form : ClosedForm
        How to solve.
    device : Device
        Where the network runs.
    place_may_count : bool
        Whether the head may look at the place in the image, see `solve_with_place`.
    """
    whole, head = cast("SegmentationNetwork", network), cast("nn.Conv2d", network.head)
    count, exactness = head.out_channels, head.weight.dtype
    features, classes, weights = [], [], []
    painted = _PaintedPlaces()
    for box in boxes:
        with torch.inference_mode(), device.autocast():
            image = device.tensor(box.image[:, : whole.config.in_channels]).to(exactness)
            maps = whole.features(image)
        known = center_crop(box.classes, maps.shape[2:])[0]
        rows = maps[0].flatten(1).T
        for kind in range(count):
            own = torch.nonzero(known.flatten() == kind)[:, 0]
            step = max(1, -(-len(own) // _MOST_PIXELS))
            chosen = own[::step]
            features.append(rows[chosen.to(rows.device)].float())
            classes.append(torch.full((len(chosen),), kind))
            weights.append(torch.full((len(chosen),), float(step)))
            if place_may_count:
                painted.add(box, chosen.numpy(), tuple(known.shape))
        yield
    rows, kinds = torch.cat(features), torch.cat(classes).to(device.torch_device)
    counts = torch.cat(weights).to(device.torch_device)
    if place_may_count and whole.takes_place:
        solved = solve_with_place(rows, *painted.known(), kinds, count, weights=counts, form=form)
    else:
        solved = SolvedHead(*form.solve(rows, kinds, count, weights=counts))
    set_head(network, solved)


@dataclass
class _PaintedPlaces:
    """Where painted pixels lie, and which strokes they belong to."""

    places: list[npt.NDArray[np.float32]] = field(default_factory=list)
    strokes: list[npt.NDArray[np.int64]] = field(default_factory=list)
    _frames: dict[int, tuple[AnnotatedFrame, npt.NDArray[np.int64], npt.NDArray[np.int64]]] = field(
        default_factory=dict
    )
    _count: int = 0

    def add(self, box: PaintedBox, chosen: npt.NDArray[np.int64], shape: tuple[int, ...]) -> None:
        """Take in pixels of a box: numbers in the flattened part (\\*shape) in its middle."""
        frame_shape = box.frame.reader.layout.frame_shape
        margin = [(side - inner) // 2 for side, inner in zip(box.classes.shape[1:], shape, strict=True)]
        local = np.unravel_index(chosen, shape)
        places = tuple(axis + a + m for axis, a, m in zip(local, box.start, margin, strict=True))
        pixels = np.ravel_multi_index(places, frame_shape)
        painted, strokes = self._strokes(box.frame)
        self.places.append(place_basis(pixels, frame_shape, CENTRES[len(shape)]))
        self.strokes.append(strokes[np.searchsorted(painted, pixels)])

    def known(self) -> tuple[torch.Tensor, npt.NDArray[np.int64]]:
        """Return the functions of the place (n, B) and the strokes (n,) of all pixels."""
        return torch.from_numpy(np.concatenate(self.places)), np.concatenate(self.strokes)

    def _strokes(self, frame: AnnotatedFrame) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the painted pixels of a frame, sorted, and the number of the stroke of each."""
        if id(frame) not in self._frames:
            pixels, kinds = painted_pixels(frame)
            strokes = self._count + strokes_of_pixels(pixels, kinds, frame.reader.layout.frame_shape)
            self._count = int(strokes.max(initial=self._count - 1)) + 1
            self._frames[id(frame)] = frame, pixels, strokes
        return self._frames[id(frame)][1:]
