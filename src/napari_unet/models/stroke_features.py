"""What a network sees where strokes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from napari_unet.data.crops import AnnotatedFrame, same_frames
from napari_unet.data.intensity import FrameReader
from napari_unet.learn.one_place import in_one_place
from napari_unet.learn.painted_pixels import SeenPixels, enough_strokes
from napari_unet.learn.stroke_pixels import choose_pixels, is_small, most_around, pixels_around
from napari_unet.predict.features import FeatureMaps

__all__ = ["StrokeFeatures", "gather_features"]

Chosen = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class StrokeFeatures:
    """What a network sees at painted pixels: of each class in each frame at most 10,000.

    A frame counts once, also where what is painted lies in parts far from each other.

    Attributes
    ----------
    features : torch.Tensor
        (n, D) on the device.
    classes : numpy.ndarray
        (n,) int64, index of the class, 0 = background.
    weights : numpy.ndarray
        (n,) float32, how many painted pixels each stands for.
    pixels : tuple of numpy.ndarray
        For each painted part of a frame the numbers of its pixels in the flattened frame.
    strokes, images : numpy.ndarray
        (n,) int64, which connected stroke and which image each belongs to.
    places : torch.Tensor
        (n, B) float32, where each lies in its frame, see `napari_unet.data.intensity.FrameReader.places`.
    seen : SeenPixels
        Pixels around the strokes.
    enclosed : callable
        Returns (n, E) float32, how far each is enclosed.
    greys : callable
        Returns (n, F), what trees may ask for in each, see `napari_unet.nets.grey_features`.
    """

    features: torch.Tensor
    classes: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    pixels: tuple[npt.NDArray[np.int64], ...]
    strokes: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    places: torch.Tensor
    seen: SeenPixels
    enclosed: Callable[[], torch.Tensor]
    greys: Callable[[], torch.Tensor]


def gather_features(
    frames: Sequence[AnnotatedFrame],
    maps_of: Callable[[FrameReader], FeatureMaps],
    count: int,
    *,
    with_places: bool,
    most_unknown: int | None,
) -> StrokeFeatures:
    """Return the features of what is painted on frames.

    Parameters
    ----------
    frames : sequence of AnnotatedFrame
        Several may be parts of one.
    maps_of : callable
        Returns the feature maps of what a reader reads.
    count : int
        Number of classes.
    with_places : bool
        Whether the place may count, for which pixels around the strokes are looked at, too.
    most_unknown : int or None
        See `napari_unet.models.adapt.Adapter.gather`.
    """
    groups = same_frames(frames)
    chosen = _choose(frames, groups, count)
    kinds, numbers = np.concatenate([part[1] for part in chosen]), np.concatenate([part[3] for part in chosen])
    readers = {id(frame.reader): frame.reader for frame in frames}
    maps = {key: maps_of(reader) for key, reader in readers.items()}
    images = np.repeat([list(readers).index(id(frame.reader)) for frame in frames], [len(part[0]) for part in chosen])
    counts = with_places and (enough_strokes(kinds, numbers) or _lie_in_one_place(frames, chosen))
    looked_at = most_around(len(frames)) if counts else 0
    features: list[torch.Tensor] = [torch.empty(0)] * len(frames)
    places, around = features.copy(), []
    for group in groups:
        reader, position = frames[group[0]].reader, frames[group[0]].position
        pixels = [chosen[i][0] for i in group]
        near = _look_around(maps[id(reader)], position, pixels, looked_at, most_unknown)
        both = np.unique(np.concatenate([*pixels, near]))
        found = maps[id(reader)].gather(position, both)
        told = torch.from_numpy(reader.places(position, both, enclosed=looked_at > 0))
        for i, own in zip(group, pixels, strict=True):
            rows = torch.from_numpy(np.searchsorted(both, own))
            features[i], places[i] = found[rows], told[rows]
        rows = torch.from_numpy(np.searchsorted(both, near))
        around.append(SeenPixels(found[rows], told[rows]))

    @cache
    def enclosed() -> torch.Tensor:
        parts = [frame.reader.enclosures(frame.position, own[0]) for frame, own in zip(frames, chosen, strict=True)]
        return torch.from_numpy(np.concatenate(parts))

    @cache
    def greys() -> torch.Tensor:
        parts = [
            maps[id(frame.reader)].gather_greys(frame.position, own[0])
            for frame, own in zip(frames, chosen, strict=True)
        ]
        return torch.cat([part for part in parts if len(part)])

    return StrokeFeatures(
        torch.cat(features), kinds, np.concatenate([part[2] for part in chosen]),
        tuple(part[0] for part in chosen), numbers, images, torch.cat(places), SeenPixels.join(around), enclosed,
        greys,
    )  # fmt: skip


def _choose(frames: Sequence[AnnotatedFrame], groups: list[list[int]], count: int) -> list[Chosen]:
    """Choose pixels of each frame, see `choose_pixels`, with numbers of strokes that are different in all."""
    chosen: dict[int, Chosen] = {}
    known = 0
    for group in groups:
        parts = choose_pixels([frames[i] for i in group], count)
        for i, (pixels, kinds, weights, own) in zip(group, parts, strict=True):
            chosen[i] = pixels, kinds, weights, known + own
        known = max((int(chosen[i][3].max(initial=known - 1)) for i in group), default=known - 1) + 1
    return [chosen[i] for i in range(len(frames))]


def _lie_in_one_place(frames: Sequence[AnnotatedFrame], chosen: Sequence[Chosen]) -> bool:
    """Whether the strokes of one frame say that the place counts, see `napari_unet.learn.one_place`."""
    shapes = [frame.reader.layout.frame_shape for frame in frames]
    positions = [np.stack(np.unravel_index(own[0], shape), axis=1) for own, shape in zip(chosen, shapes, strict=True)]
    kinds, weights, strokes = (np.concatenate([own[i] for own in chosen]) for i in (1, 2, 3))
    return len(same_frames(frames)) == 1 and in_one_place(np.concatenate(positions), kinds, strokes, weights)


def _look_around(
    maps: FeatureMaps, position: tuple[int, ...], painted: Sequence[npt.NDArray[np.int64]], most: int,
    most_unknown: int | None,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Choose pixels around each of the painted parts of a frame; 0: none."""
    if most == 0:
        return painted[0][:0]
    whole = is_small(maps.shape) and (most_unknown is None or len(maps.unknown(position)) <= most_unknown)
    return np.unique(
        np.concatenate([pixels_around(pixels, maps.shape, maps.side, whole=whole, most=most) for pixels in painted])
    )
