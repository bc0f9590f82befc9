"""The last layer of a network: solved from strokes, and given to it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from napari_unet.data.crops import AnnotatedFrame
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.painted_boxes import PaintedBox
from napari_unet.learn.painted_pixels import PaintedPixels, SeenPixels, enough_strokes
from napari_unet.learn.place_choice import PlaceWeight, SolvedHead, Task, solve_with_place
from napari_unet.learn.second_opinion import ask_others
from napari_unet.learn.stroke_pixels import is_small, pixels_around, strokes_of_pixels
from napari_unet.nets.blocks import center_crop
from napari_unet.nets.device import Device
from napari_unet.nets.grey_features import tree_features

if TYPE_CHECKING:
    from napari_unet.nets.base import SegmentationNetwork

__all__ = ["get_head", "set_head", "solve_from_boxes"]

_MOST_PIXELS = 2_000  # of one class in one box


def get_head(network: nn.Module) -> SolvedHead:
    """Return a copy of the last layer of a network."""
    head, whole = cast("nn.Conv2d", network.head), cast("SegmentationNetwork", network)
    return SolvedHead(
        head.weight.detach().flatten(1).clone(),
        cast("torch.Tensor", head.bias).detach().clone(),
        None if whole.place is None else whole.place.clone(),
        trees=None if whole.trees is None else whole.trees.copy(),
    )


def set_head(network: nn.Module, solved: SolvedHead) -> None:
    """Give a network a last layer."""
    head, whole = cast("nn.Conv2d", network.head), cast("SegmentationNetwork", network)
    with torch.no_grad():
        head.weight.copy_(solved.weight.reshape(head.weight.shape))
        cast("torch.Tensor", head.bias).copy_(solved.bias)
    whole.set_place(solved.place)
    whole.set_trees(solved.trees)


def solve_from_boxes(
    network: nn.Module, boxes: Sequence[PaintedBox], form: ClosedForm, device: Device, *, place_may_count: bool = False,
    place: PlaceWeight | None = None, task: Task = "classes",
) -> Generator[None, None, PlaceWeight]:  # fmt: skip
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
    place : PlaceWeight or None
        How much it counts; None: that is chosen.
    task : {"objects", "classes"}
        What the strokes mean.

    Returns
    -------
    PlaceWeight
        How much it counted.
    """
    whole, head = cast("SegmentationNetwork", network), cast("nn.Conv2d", network.head)
    count, exactness = head.out_channels, head.weight.dtype
    features, classes, weights, greys = [], [], [], _Greys(device)
    painted = _PaintedPlaces()
    place_may_count = place_may_count and whole.takes_place
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
            greys.add(image, tuple(known.shape), chosen)
            if place_may_count:
                painted.add(box, chosen.numpy(), tuple(known.shape))
        if place_may_count:
            painted.look_around(box, rows, tuple(known.shape))
        yield
    rows, kinds = torch.cat(features), torch.cat(classes).to(device.torch_device)
    counts = torch.cat(weights).to(device.torch_device)
    if place_may_count:
        places, seen = painted.known(kinds, enclosed=place is not None and place.enclosure > 0)
        pixels = PaintedPixels(
            rows, kinds, count, np.concatenate(painted.strokes), places, seen, painted.images(), counts
        )
        solved = solve_with_place(pixels, chosen=place, task=task, form=form)
        solved = ask_others(
            solved, pixels, enclosed=painted.enclosed, greys=greys.gather if whole.takes_trees else None, chosen=place
        )
    else:
        solved = SolvedHead(*form.solve_and_follow(rows, kinds, count, weights=counts))
    set_head(network, solved)
    return solved.counted


Numbers = npt.NDArray[np.int64]


class _Greys:
    """What trees may ask for in painted pixels of boxes, computed only if it is wanted."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._parts: list[tuple[torch.Tensor, tuple[int, ...], torch.Tensor]] = []

    def add(self, image: torch.Tensor, shape: tuple[int, ...], chosen: torch.Tensor) -> None:
        """Take in pixels: numbers in the flattened part (\\*shape) in the middle of an image (1, C, \\*space)."""
        self._parts.append((image, shape, chosen))

    def gather(self) -> torch.Tensor:
        """Return (n, F)."""
        with torch.inference_mode():
            return torch.cat(
                [
                    center_crop(tree_features(image), shape)[0].flatten(1).T[chosen.to(image.device)]
                    for image, shape, chosen in self._parts
                ]
            )


def _places(parts: Sequence[tuple[AnnotatedFrame, Numbers]], *, enclosed: bool) -> torch.Tensor:
    """Return where pixels of frames lie, see `napari_unet.data.intensity.FrameReader.places`."""
    return torch.cat(
        [torch.from_numpy(frame.reader.places(frame.position, pixels, enclosed=enclosed)) for frame, pixels in parts]
    )


@dataclass
class _PaintedPlaces:
    """Where the pixels lie that boxes show, painted or around what is painted, and which strokes they belong to."""

    strokes: list[Numbers] = field(default_factory=list)
    _painted: list[tuple[AnnotatedFrame, Numbers]] = field(default_factory=list)
    _around: list[tuple[AnnotatedFrame, Numbers]] = field(default_factory=list)
    _features: list[torch.Tensor] = field(default_factory=list)
    _taken: dict[tuple[Any, ...], Numbers] = field(default_factory=dict)  # pixels around that are known already
    _frames: dict[int, tuple[AnnotatedFrame, Numbers, Numbers, Numbers]] = field(default_factory=dict)
    _count: int = 0

    def add(self, box: PaintedBox, chosen: Numbers, shape: tuple[int, ...]) -> None:
        """Take in painted pixels of a box: numbers in the flattened part (\\*shape) in its middle."""
        corner = self._corner(box, shape)
        places = tuple(axis + a for axis, a in zip(np.unravel_index(chosen, shape), corner, strict=True))
        pixels = np.ravel_multi_index(places, box.frame.reader.layout.frame_shape)
        painted, strokes, _ = self._known_of(box.frame)
        self._painted.append((box.frame, np.asarray(pixels, np.int64)))
        self.strokes.append(strokes[np.searchsorted(painted, pixels)])

    def look_around(self, box: PaintedBox, rows: torch.Tensor, shape: tuple[int, ...]) -> None:
        """Take in the features (pixels, D) of the part (\\*shape) in the middle of a box, around the strokes."""
        *_, around = self._known_of(box.frame)
        frame = id(box.frame.reader), box.frame.position
        taken = self._taken.get(frame, around[:0])
        places = np.unravel_index(around, box.frame.reader.layout.frame_shape)
        local = np.stack([axis - a for axis, a in zip(places, self._corner(box, shape), strict=True)])
        inside = ((local >= 0) & (local < np.array(shape)[:, None])).all(axis=0)
        inside &= ~np.isin(around, taken)  # boxes go into each other
        self._taken[frame] = np.concatenate([taken, around[inside]])
        numbers = np.ravel_multi_index(tuple(local[:, inside]), shape)
        self._around.append((box.frame, around[inside]))
        self._features.append(rows[torch.from_numpy(numbers).to(rows.device)].float())

    def known(self, kinds: torch.Tensor, *, enclosed: bool) -> tuple[torch.Tensor, SeenPixels]:
        """Return the places (n, B) of the painted pixels, whose classes are given (n,), and the pixels around."""
        enclosed = enclosed or enough_strokes(kinds.cpu().numpy(), np.concatenate(self.strokes))
        around = _places(self._around, enclosed=enclosed)
        return _places(self._painted, enclosed=enclosed), SeenPixels(torch.cat(self._features), around)

    def enclosed(self) -> torch.Tensor:
        """Return how far the painted pixels are enclosed (n, E)."""
        parts = [frame.reader.enclosures(frame.position, pixels) for frame, pixels in self._painted]
        return torch.from_numpy(np.concatenate(parts))

    def images(self) -> Numbers:
        """Return which image each painted pixel is of (n,)."""
        readers = list({id(frame.reader): None for frame, _ in self._painted})
        return np.repeat(
            [readers.index(id(frame.reader)) for frame, _ in self._painted],
            [len(pixels) for _, pixels in self._painted],
        )

    @staticmethod
    def _corner(box: PaintedBox, shape: tuple[int, ...]) -> list[int]:
        """Return where in the frame the part (\\*shape) in the middle of a box begins."""
        sides = zip(box.start, box.classes.shape[1:], shape, strict=True)
        return [a + (side - inner) // 2 for a, side, inner in sides]

    def _known_of(self, frame: AnnotatedFrame) -> tuple[Numbers, Numbers, Numbers]:
        """Return the painted pixels of a frame, sorted, the number of the stroke of each, and pixels around them."""
        if id(frame) not in self._frames:
            shape = frame.reader.layout.frame_shape
            pixels, kinds = frame.painted
            strokes = self._count + strokes_of_pixels(pixels, kinds, shape)
            self._count = int(strokes.max(initial=self._count - 1)) + 1
            self._frames[id(frame)] = frame, pixels, strokes, pixels_around(pixels, shape, shape, whole=is_small(shape))
        return self._frames[id(frame)][1:]
