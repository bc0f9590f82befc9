"""Drawing training crops: each holds painted pixels, classes and images come up equally often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from napari_unet.data.intensity import FrameReader
from napari_unet.errors import AnnotationError

__all__ = ["AnnotatedFrame", "Batch", "CropSampler", "keep_in_frames", "same_frames", "tell_place"]

_MOST_PLACES = 100_000  # painted pixels of one class in one frame that crops are centred on

Places = dict[int, list[tuple[int, npt.NDArray[np.int64]]]]  # by class: number of the frame, pixels in its part


@dataclass(frozen=True, eq=False)
class AnnotatedFrame:
    """A painted part of one frame: what to learn there and how much each pixel counts.

    Where what is painted lies far apart, a frame has several parts, with the same reader and position.

    Attributes
    ----------
    reader : FrameReader
        Gives the image.
    position : tuple of int
        Position of the frame in the stack.
    origin : tuple of int
        Corner of the painted part in the frame.
    classes : numpy.ndarray
        (\\*part) uint8, index of the class of each pixel.
    weights : numpy.ndarray
        (\\*part) float32, weight of each pixel; 0 = not painted or held out.
    """

    reader: FrameReader
    position: tuple[int, ...]
    origin: tuple[int, ...]
    classes: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float32]

    @cached_property
    def painted(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """The pixels that count: their numbers in the flattened frame (n,), sorted, and their classes (n,)."""
        local = np.unravel_index(np.flatnonzero(self.weights != 0), self.weights.shape)
        places = tuple(axis + begin for axis, begin in zip(local, self.origin, strict=True))
        pixels = np.ravel_multi_index(places, self.reader.layout.frame_shape)
        return np.asarray(pixels, np.int64), self.classes[local]

    def keep(self, mask: npt.NDArray[np.bool_]) -> AnnotatedFrame:
        """Return the frame with the weights outside of `mask` (\\*part) set to 0."""
        return replace(self, weights=np.where(mask, self.weights, np.float32(0)))

    def read(
        self, start: tuple[int, ...], stop: tuple[int, ...]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Read image (C, \\*box), classes (\\*box) and weights (\\*box) of a box in the frame's coordinates.

        The image is mirrored outside of the frame; the weights there are 0.
        """
        box = tuple(b - a for a, b in zip(start, stop, strict=True))
        classes = np.zeros(box, np.int64)
        weights = np.zeros(box, np.float32)
        inside, part = [], []
        for a, b, o, n in zip(start, stop, self.origin, self.classes.shape, strict=True):
            low, high = max(a, o), max(max(a, o), min(b, o + n))
            inside.append(slice(low - a, high - a))
            part.append(slice(low - o, high - o))
        classes[tuple(inside)] = self.classes[tuple(part)]
        weights[tuple(inside)] = self.weights[tuple(part)]
        return self.reader.read(self.position, start, stop), classes, weights


def same_frames(frames: Sequence[AnnotatedFrame]) -> list[list[int]]:
    """Return the numbers of those that are parts of the same frame of an image, frame by frame."""
    known: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for number, frame in enumerate(frames):
        known.setdefault((id(frame.reader), frame.position), []).append(number)
    return list(known.values())


def keep_in_frames(
    frames: Sequence[AnnotatedFrame], masks: Sequence[npt.NDArray[np.bool_]]
) -> tuple[AnnotatedFrame, ...]:
    """Return frames with the weights outside of masks (\\*part) set to 0, without those of which nothing is left.

    Of a frame with several parts all stay if anything is left in one: how large a stroke is depends on all of them.
    """
    kept = {i for group in same_frames(frames) if any(masks[i].any() for i in group) for i in group}
    return tuple(frames[i].keep(masks[i]) for i in sorted(kept))


def tell_place(frames: Sequence[AnnotatedFrame], surroundings: int) -> tuple[AnnotatedFrame, ...]:
    """Return frames read with further channels that tell where each pixel lies, see `FrameReader`."""
    readers = {id(frame.reader): replace(frame.reader, surroundings=surroundings) for frame in frames}
    return tuple(replace(frame, reader=readers[id(frame.reader)]) for frame in frames)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some crops of one size.

    Attributes
    ----------
    image : numpy.ndarray
        (N, C, \\*crop) float32.
    classes : numpy.ndarray
        (N, \\*crop) int64.
    weights : numpy.ndarray
        (N, \\*crop) float32, 0 = ignored.
    """

    image: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


class CropSampler:
    """Draws batches of crops around painted pixels.

    For each crop a class is drawn, then a frame that has it, then a pixel of that class; the crop lies at random around
    the pixel, but so that the pixel stays within `reach` of the centre however the crop is turned.

    Parameters
    ----------
    frames : sequence of AnnotatedFrame
        The painted frames.
    crop : tuple of int
        Size of a crop in pixels.
    reach : tuple of int
        Size of the part in the middle of the crop in which the painted pixel must lie: what the network writes.
    seed : int
        Start of the random numbers.

    Raises
    ------
    AnnotationError
        If no pixel is painted.
    """

    def __init__(
        self, frames: Sequence[AnnotatedFrame], crop: tuple[int, ...], reach: tuple[int, ...], seed: int = 0
    ) -> None:
        self.crop = crop
        self.rng = np.random.default_rng(seed)
        self._frames = tuple(frames)
        self._readers = list({id(frame.reader): frame.reader for frame in self._frames}.values())
        self._frame_of = {i: number for number, group in enumerate(same_frames(self._frames)) for i in group}
        narrow = min(reach[-2:])  # crops are turned in the YX plane
        self._jitter = tuple(int(0.35 * side) for side in (*reach[:-2], narrow, narrow))
        self._places = self._find_places([frame.weights > 0 for frame in self._frames])
        if not self._places:
            raise AnnotationError("Nothing is painted: paint a few strokes of background and of each class.")

    def _find_places(self, masks: Sequence[npt.NDArray[np.bool_]]) -> Places:
        """List the pixels of each class that masks (\\*part) of the frames show."""
        places: Places = {}
        for number, (frame, mask) in enumerate(zip(self._frames, masks, strict=True)):
            for index in np.unique(frame.classes[mask]):
                flat = np.flatnonzero(mask & (frame.classes == index))
                if flat.size > _MOST_PLACES:
                    flat = np.sort(self.rng.choice(flat, _MOST_PLACES, replace=False))
                places.setdefault(int(index), []).append((number, flat))
        return places

    def draw(self, count: int, part: slice = slice(None)) -> Batch:
        """Draw `count` crops, and read those that `part` says: the rest is read in other processes."""
        places = [self._draw_place() for _ in range(count)]
        crops = [frame.read(start, stop) for frame, start, stop in places[part]]
        images, classes, weights = zip(*crops, strict=True)
        return Batch(np.stack(images), np.stack(classes), np.stack(weights))

    def draw_anywhere(self, count: int, part: slice = slice(None)) -> npt.NDArray[np.float32]:
        """Draw `count` crops (N, C, \\*crop) from anywhere in the images, whatever is painted there.

        Images come up equally often, and so do their frames, painted or not; a crop stays inside of a frame that is
        large enough for it. As in `draw`, only `part` of them is read.
        """
        places = [self._draw_unpainted() for _ in range(count)]
        return np.stack([reader.read(position, start, stop) for reader, position, start, stop in places[part]])

    def _draw_place(self) -> tuple[AnnotatedFrame, tuple[int, ...], tuple[int, ...]]:
        """Draw a frame and the start and stop of a crop in it."""
        places = self._choose_places()
        choices = places[int(self.rng.choice(sorted(places)))]
        share = self._shares(choices)
        number, flat = choices[int(self.rng.choice(len(choices), p=share / share.sum()))]
        frame = self._frames[number]
        pixel = np.unravel_index(int(self.rng.choice(flat)), frame.classes.shape)
        start = []
        for at, origin, side, jitter in zip(pixel, frame.origin, self.crop, self._jitter, strict=True):
            centre = origin + int(at) + int(self.rng.integers(-jitter, jitter + 1))
            start.append(centre - side // 2)
        stop = tuple(a + side for a, side in zip(start, self.crop, strict=True))
        return frame, tuple(start), stop

    def _shares(self, choices: Sequence[tuple[int, npt.NDArray[np.int64]]]) -> npt.NDArray[np.float64]:
        """Return how often each part is drawn: a frame by the root of its pixels, whatever the number of its parts."""
        sizes = np.array([flat.size for _, flat in choices])
        whole = np.bincount([self._frame_of[number] for number, _ in choices], sizes)
        whole = whole[[self._frame_of[number] for number, _ in choices]]
        return np.asarray(np.sqrt(whole) * (sizes / whole))

    def _choose_places(self) -> Places:
        """Return what the next crop is drawn from."""
        return self._places

    def _draw_unpainted(self) -> tuple[FrameReader, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Draw an image, a position in its stack, and the start and stop of a crop there."""
        reader = self._readers[int(self.rng.integers(len(self._readers)))]
        layout = reader.layout
        position = tuple(int(self.rng.integers(n)) for n in layout.stack_shape)
        start = []
        for frame_side, side in zip(layout.frame_shape, self.crop, strict=True):
            lowest, highest = sorted((0, frame_side - side))
            start.append(int(self.rng.integers(lowest, highest + 1)))
        return reader, position, tuple(start), tuple(a + side for a, side in zip(start, self.crop, strict=True))
