"""All images of a session with what is painted on them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.data.crops import AnnotatedFrame, keep_in_frames
from napari_unet.data.intensity import FrameReader
from napari_unet.data.sample import Sample
from napari_unet.data.strokes import Targets
from napari_unet.errors import AnnotationError
from napari_unet.learn.border_weights import border_weights
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.prepare import balance_classes, fit_shape, relative_spacing
from napari_unet.live.painted import FREE, HELD, LEARNT, PaintedPart, ReadStrokes, put_into
from napari_unet.live.stable_holdout import divide_strokes

__all__ = ["AnnotatedImages", "PaintedImage", "TrainingFrames"]

Place = tuple[int, ...]  # of a frame in the stack
Read = Callable[["PaintedImage"], FrameReader]

_RECENT_CHANGES = 3  # strokes painted by the last of them are recent


@dataclass(eq=False)
class PaintedImage:
    """An image and the painted parts of each of its frames.

    Attributes
    ----------
    sample : Sample
        The image; its annotation is read when it changes.
    layout : ImageLayout
        Its axes.
    parts : dict
        Position in the stack -> what is painted there, in boxes far apart, see `put_into`; none is empty.
    """

    sample: Sample
    layout: ImageLayout
    parts: dict[Place, list[PaintedPart]] = field(default_factory=dict)

    def put(self, changed: Box | None, change: int) -> bool:
        """Read the strokes in a box of the annotation, or all; returns whether anything is different."""
        layout, annotation = self.layout, fit_shape(self.sample.annotation, self.layout)
        places, box = layout.frames_in(changed)
        if any(part.stop <= part.start for part in box):
            return False
        different = False
        for position in places:
            block = layout.read_labels(annotation, position, box)
            parts, other = put_into(self.parts.get(position, ()), layout.frame_shape, box, block, change)
            different |= other
            if parts:
                self.parts[position] = parts
            else:
                self.parts.pop(position, None)
        return different


@dataclass(frozen=True, eq=False)
class TrainingFrames:
    """What a training learns from and is scored on.

    Attributes
    ----------
    train, score : tuple of AnnotatedFrame
        The same frames; `score` only those where something is held out, none where a class lacks a held-out stroke.
    recent : tuple of numpy.ndarray
        For each of `train` (\\*part) bool, what was painted last.
    """

    train: tuple[AnnotatedFrame, ...]
    score: tuple[AnnotatedFrame, ...]
    recent: tuple[npt.NDArray[np.bool_], ...]


class AnnotatedImages:
    """The images of a session by key, and which of their strokes are held out.

    Parameters
    ----------
    config : TrainConfig
        What strokes mean, how borders are weighted, and the share held out.
    read_strokes : callable or None
        See `PaintedPart.decode`.

    Attributes
    ----------
    images : dict
        Key -> `PaintedImage`.
    lacking : dict
        See `napari_unet.live.stable_holdout.divide_strokes`.
    """

    def __init__(self, config: TrainConfig, read_strokes: ReadStrokes | None = None) -> None:
        self.config, self._read_strokes = config, read_strokes
        self.images: dict[Hashable, PaintedImage] = {}
        self.lacking: dict[int, int] = {}
        self._rng = np.random.default_rng(config.seed)
        self._weights: dict[PaintedPart, tuple[Any, npt.NDArray[np.float32]]] = {}
        self._frames: dict[PaintedPart, tuple[Any, AnnotatedFrame]] = {}

    def parts(self) -> Iterator[tuple[PaintedImage, Place, PaintedPart]]:
        """Go through all that is painted."""
        for image in self.images.values():
            for position in sorted(image.parts):
                for part in image.parts[position]:
                    yield image, position, part

    def decode_anew(self) -> None:
        """Forget what labels mean, because the classes are others."""
        for *_, part in self.parts():
            part.targets = None

    def divide(self, classes: int) -> None:
        """Decode what changed, and hold strokes out.

        Raises
        ------
        AnnotationError
            If there are labels that are no class; the message names the image.
        """
        for image, _, part in self.parts():
            try:
                part.decode(self.config.task, classes, self._read_strokes)
            except AnnotationError as error:
                raise AnnotationError(f"{image.sample.name or 'The image'}: {error}") from error
        self.lacking = divide_strokes([part for *_, part in self.parts()], self.config.holdout, self._rng)

    def painted_frames(self, read: Read) -> list[AnnotatedFrame]:
        """Return all that is painted, each pixel with the weight 1; what `divide` was called for."""
        known, self._frames = self._frames, {}
        for image, position, part in self.parts():
            targets, reader = cast("Targets", part.targets), read(image)
            found = known.get(part)
            if found is None or found[0] is not targets or found[1].reader is not reader:
                weights = targets.valid.astype(np.float32)
                found = targets, AnnotatedFrame(reader, position, part.origin, targets.classes, weights)
            self._frames[part] = found
        return [frame for _, frame in self._frames.values()]

    def held_pixels(self, pixels: tuple[npt.NDArray[np.int64], ...]) -> npt.NDArray[np.bool_]:
        """Say of pixels, numbers in each of the flattened frames of `painted_frames`, whether they are held out."""
        held = [np.zeros(0, bool)]
        for (image, _, part), numbers in zip(self.parts(), pixels, strict=True):
            places = np.unravel_index(numbers, image.layout.frame_shape)
            local = tuple(axis - o for axis, o in zip(places, part.origin, strict=True))
            held.append(part.fate[local] == HELD)
        return np.concatenate(held)

    def training_frames(self, read: Read, names: tuple[str, ...]) -> TrainingFrames:
        """Return what is learnt and what is scored; what is learnt is never held out from then on."""
        parts = list(self.parts())
        frames = balance_classes([self._weighted(*entry, read) for entry in parts], names)
        self._weights = {part: self._weights[part] for *_, part in parts}
        latest = max((int(part.born.max()) for *_, part in parts), default=0)
        held = [part.fate == HELD for *_, part in parts]
        train, recent = [], []
        for (_, _, part), frame, own in zip(parts, frames, held, strict=True):
            part.fate[(part.kinds > 0) & ~own] = LEARNT
            train.append(frame.keep(~own))
            recent.append((part.born > max(0, latest - _RECENT_CHANGES)) & (part.fate != FREE) & ~own)
        score = () if any(self.lacking.values()) else keep_in_frames(frames, held)
        return TrainingFrames(tuple(train), score, tuple(recent))

    def _weighted(self, image: PaintedImage, position: Place, part: PaintedPart, read: Read) -> AnnotatedFrame:
        targets = cast("Targets", part.targets)
        known = self._weights.get(part)
        if known is None or known[0] is not targets:
            weights = border_weights(
                targets.objects, w0=self.config.w0, sigma=self.config.sigma, class_balance=False, valid=targets.valid,
                spacing=relative_spacing(image.sample.spacing, image.layout.ndim),
            )  # fmt: skip
            self._weights[part] = known = targets, weights
        return AnnotatedFrame(read(image), position, part.origin, targets.classes, known[1])
