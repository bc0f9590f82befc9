"""What a scene is, and what a kind of scene is: the two things that every module of this folder makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from napari_unet.data.scenes.camera import Camera
from napari_unet.data.scenes.display import Display
from napari_unet.errors import InputError

__all__ = ["Kind", "Painting", "Scene", "draw_spacing"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """A synthetic image with the truth about everything in it.

    Attributes
    ----------
    image : numpy.ndarray
        (C, \\*space) float32 in 0..1; 1 channel, 3 for colour, or 2 to 5 of fluorescence.
    regions : numpy.ndarray
        (\\*space) uint8, which of the things in `names` each pixel shows.
    names : tuple of str
        The things that this kind of scene can show, by their number in `regions`.
    objects : numpy.ndarray or None
        (\\*space) uint16, 0 where there is none, 1, 2, ... one number for each object; None where nothing is countable.
    """

    image: FloatArray
    regions: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    objects: npt.NDArray[np.uint16] | None = None


@dataclass(frozen=True, eq=False)
class Painting:
    """What lies before the camera: ideal brightness (C, \\*space) or (\\*space) in about 0..1, and the truth."""

    signal: FloatArray
    regions: npt.NDArray[np.uint8]
    objects: npt.NDArray[np.uint16] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind(ABC):
    """One experiment: everything that its images have in common, drawn once.

    Attributes
    ----------
    ndim : int
        2 or 3 spatial axes.
    names : tuple of str
        The things that its scenes show.
    spacing : tuple of float
        Distance of pixels along each spatial axis, in units of the finest one: slices of a stack lie further apart.
    camera : Camera
        How the images are taken.
    display : Display or None
        How a grey picture becomes several channels; None: it stays one, and a picture in colour as it is.
    """

    ndim: int
    names: tuple[str, ...]
    spacing: tuple[float, ...]
    camera: Camera
    display: Display | None = None

    @classmethod
    @abstractmethod
    def draw(cls, rng: np.random.Generator, ndim: int = 2) -> Self:
        """Draw a style at random."""

    @abstractmethod
    def paint(self, rng: np.random.Generator, space: tuple[int, ...]) -> Painting:
        """Draw what one image shows."""

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return 1 if self.display is None else self.display.channels

    def scene(self, rng: np.random.Generator, shape: Sequence[int]) -> Scene:
        """Make one image of this kind.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of the numbers.
        shape : sequence of int
            Pixels along each spatial axis.

        Raises
        ------
        InputError
            If the shape has not `ndim` axes of at least 8 pixels (a stack: 4 slices).
        """
        space = tuple(int(n) for n in shape)
        if len(space) != self.ndim or min(space[-2:]) < 8 or min(space) < 4:
            raise InputError(f"Expected a shape of {self.ndim} axes of at least 8 pixels, but got {space}.")
        painting = self.paint(rng, space)
        signal = painting.signal
        if self.display is not None:
            signal = self.display.show(signal, painting.regions)
        elif signal.ndim == self.ndim:
            signal = signal[np.newaxis]
        return Scene(self.camera.take(rng, signal), painting.regions, self.names, painting.objects)


def draw_spacing(rng: np.random.Generator, ndim: int) -> tuple[float, ...]:
    """Draw the distance of pixels: 1, and in stacks often more from slice to slice."""
    return (1.0,) * ndim if ndim == 2 else (float(rng.choice([1.0, rng.uniform(1, 4)])), 1.0, 1.0)
