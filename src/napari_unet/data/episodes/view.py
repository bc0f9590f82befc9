"""Pieces of images at any scale, and how their look varies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.intensity import mirror_index
from napari_unet.data.synthetic import smooth_noise

__all__ = ["View", "draw_exposure", "draw_look", "draw_turn", "draw_view", "draw_zoom"]

Images = npt.NDArray[np.float32]

_GAMMA, _BRIGHTNESS = 0.25, 0.08  # standard deviation of their logarithms
_LIGHT = 0.25  # most that it varies across the image, in the same unit


@dataclass(frozen=True)
class View:
    """A box of an image, scaled to a fixed size; what lies outside of the image is mirrored.

    Attributes
    ----------
    start : tuple of float
        Where the box begins, in pixels of the image along each spatial axis.
    zoom : float
        Pixels of the image for each pixel of the piece.
    shape : tuple of int
        Size of the piece.
    """

    start: tuple[float, ...]
    zoom: float
    shape: tuple[int, ...]

    def image(self, image: npt.NDArray[Any]) -> Images:
        """Cut (C, \\*space) and scale it, linearly between pixels, averaged where several become one."""
        tables, places = self._places(image.shape[1:])
        for axis, table in enumerate(tables, start=1):
            image = image.take(table, axis=axis)
        piece: Images = image.astype(np.float32)
        for axis, place in enumerate(places, start=1):
            if self.zoom > 1.2:
                piece = ndimage.uniform_filter1d(piece, round(self.zoom), axis=axis, mode="nearest")
            low = np.floor(place).astype(np.intp)
            share = (place - low).astype(np.float32).reshape(-1, *(1,) * (piece.ndim - 1 - axis))
            if not share.any():
                piece = piece.take(low, axis=axis)
                continue
            piece = piece.take(low, axis=axis) * (1 - share) + piece.take(low + 1, axis=axis) * share
        return np.ascontiguousarray(piece)

    def labels(self, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Cut (\\*space), taking the nearest pixel."""
        tables, places = self._places(labels.shape)
        for axis, (table, place) in enumerate(zip(tables, places, strict=True)):
            labels = labels.take(table[np.rint(place).astype(np.intp)], axis=axis)
        return labels

    def _places(self, space: tuple[int, ...]) -> tuple[list[npt.NDArray[np.intp]], list[npt.NDArray[Any]]]:
        """Return, for each axis, the pixels that are needed and where among them each pixel of the piece lies."""
        tables, places = [], []
        for start, side, size in zip(self.start, self.shape, space, strict=True):
            place = start + (np.arange(side) + 0.5) * self.zoom - 0.5
            first = int(np.floor(place[0]))
            tables.append(mirror_index(first, int(np.floor(place[-1])) + 2, size))
            places.append(place - first)
        return tables, places


def draw_zoom(rng: np.random.Generator, space: Sequence[int], shape: Sequence[int]) -> float:
    """Draw a scale: about as it is, or anything between that and the whole image in one piece."""
    whole = min(n / side for n, side in zip(space, shape, strict=True))
    zoom = whole ** rng.uniform(0, 1) if rng.random() < 0.5 else 1.0
    return float(min(zoom * np.exp(rng.normal(0, 0.25)), max(whole, 0.5)))


def draw_view(
    rng: np.random.Generator, regions: npt.NDArray[np.uint8], thing: int | None, zoom: float, shape: tuple[int, ...]
) -> View:
    """Draw where to look: anywhere, or where at least one pixel of `thing` is in view."""
    extent = np.array(shape) * zoom
    last = np.maximum(np.array(regions.shape) - extent, 0.0)
    start = rng.uniform(0, 1, len(shape)) * last
    if thing is not None:
        places = np.flatnonzero(regions == thing)
        place = np.array(np.unravel_index(places[rng.integers(len(places))], regions.shape))
        start = np.clip(place - rng.uniform(0, 1, len(shape)) * (extent - 1), 0, last)
    return View(tuple(start.tolist()), zoom, shape)


def draw_look(rng: np.random.Generator) -> Callable[[Images], Images]:
    """Draw how images (C, \\*space) shall look: negative, brighter or darker, without colour, in other colours."""
    negative, grey, recoloured = rng.random(3) < (0.15, 0.15, 0.3)
    gamma = float(np.exp(rng.normal(0, 0.3))) if rng.random() < 0.5 else 1.0
    order = rng.permutation(3)

    def change(image: Images) -> Images:
        if negative:
            image = 1 - image
        if gamma != 1:
            image = np.sign(image) * np.abs(image) ** np.float32(gamma)
        if grey:
            return np.repeat(image.mean(axis=0, keepdims=True), len(image), axis=0)
        return image[order] if recoloured else image

    return change


def draw_exposure(rng: np.random.Generator, shape: Sequence[int]) -> Callable[[Images], Images]:
    """Draw how one image (C, \\*space) differs from others of its kind: in gamma, brightness, and light across it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    shape : sequence of int
        Pixels along each spatial axis.
    """
    gamma = np.float32(np.exp(rng.normal(0, _GAMMA)))
    bumps = rng.uniform(0, _LIGHT) * smooth_noise(shape, 0.6 * max(shape), rng)
    light = np.exp(np.clip(bumps + rng.normal(0, _BRIGHTNESS), -1.2, 0.8))
    return lambda image: np.sign(image) * np.abs(image) ** gamma * light


def draw_turn(rng: np.random.Generator, shape: Sequence[int]) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """Draw a mirroring along the axes of a shape, and where the last two are equal a swap of these."""
    mirrored = tuple(-1 - axis for axis in range(len(shape)) if rng.random() < 0.5)
    turned = shape[-1] == shape[-2] and rng.random() < 0.5

    def turn(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        array = np.flip(array, mirrored) if mirrored else array
        return np.ascontiguousarray(array.swapaxes(-1, -2) if turned else array)

    return turn
