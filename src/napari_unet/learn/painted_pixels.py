"""What a last layer is solved from: painted pixels, what the network sees in them, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from napari_unet.data.enclosure import ENCLOSURES
from napari_unet.data.place import CENTRES, places_of_basis
from napari_unet.learn.one_place import in_one_place

__all__ = ["PaintedPixels", "SeenPixels", "enough_strokes"]

Numbers = npt.NDArray[np.int64]

_FEWEST = 2  # strokes of a class below which those left out tell nothing,
_FEWEST_FOR_PLACE = 5  # or nothing of the place, if they are in one image


@dataclass(frozen=True, eq=False)
class SeenPixels:
    """Pixels of painted images, of parts of large ones, painted or not, evenly spread: what a layer makes of the rest.

    Attributes
    ----------
    features : torch.Tensor
        (m, D).
    places : torch.Tensor
        (m, B) float32, see `napari_unet.data.intensity.FrameReader.places`.
    """

    features: torch.Tensor
    places: torch.Tensor

    @classmethod
    def join(cls, parts: Sequence[SeenPixels]) -> SeenPixels:
        """Put pixels of several images together."""
        return cls(torch.cat([part.features for part in parts]), torch.cat([part.places for part in parts]))


@dataclass(frozen=True, eq=False)
class PaintedPixels:
    """Pixels whose class is known.

    Attributes
    ----------
    features : torch.Tensor
        (n, D).
    classes : torch.Tensor
        (n,) int64, 0 = background.
    count : int
        Number of classes.
    strokes : numpy.ndarray
        (n,) which connected stroke a pixel belongs to, or which region of an image that is painted throughout, see
        `napari_unet.learn.stroke_pixels.strokes_of_pixels`.
    places : torch.Tensor
        (n, B) float32 where each lies, see `napari_unet.data.intensity.FrameReader.places`; or (n, B + E) with how far
        it is enclosed.
    seen : SeenPixels
        Pixels around the strokes; there may be none.
    images : numpy.ndarray or None
        (n,) which image a pixel is of; None: all are of one.
    weights : torch.Tensor or None
        (n,) how many painted pixels each stands for; None: one.
    """

    features: torch.Tensor
    classes: torch.Tensor
    count: int
    strokes: Numbers
    places: torch.Tensor
    seen: SeenPixels
    images: Numbers | None = None
    weights: torch.Tensor | None = None

    @cached_property
    def kinds(self) -> Numbers:
        """The classes (n,) as an array."""
        return self.classes.cpu().numpy()

    @property
    def enclosures(self) -> int:
        """How many columns of `places` tell how far a pixel is enclosed; 0 if that is not known."""
        known = self.places.shape[1] - ENCLOSURES in {CENTRES[ndim] ** ndim for ndim in CENTRES}
        return ENCLOSURES if known else 0

    @property
    def basis(self) -> torch.Tensor:
        """The functions of the place alone, (n, B)."""
        return self.places[:, : self.places.shape[1] - self.enclosures]

    @property
    def ndim(self) -> int:
        """Axes of the images, as the functions of the place tell; 0: they don't."""
        return next((ndim for ndim in CENTRES if self.basis.shape[1] == CENTRES[ndim] ** ndim), 0)

    @property
    def are_enough(self) -> bool:
        """Whether strokes that are left out can tell what else is to count, see `enough_strokes`."""
        return enough_strokes(self.kinds, self.strokes)

    @property
    def tell_place(self) -> bool:
        """Whether strokes that are left out can tell that the place counts: many, or a few in two images.

        Few strokes in one image may lie on different sides of it by chance.
        """
        enough = _fewest(self.kinds, self.strokes) >= _FEWEST_FOR_PLACE or self.are_regions
        return enough or (self.images is not None and _fewest(self.kinds, self.images) > 1)

    @property
    def are_regions(self) -> bool:
        """Whether there are regions of images painted throughout, which classes share.

        They tell of each class where it is not, so that few of them are enough.
        """
        return _share_numbers(self.kinds, self.strokes)

    @property
    def lie_in_one_place(self) -> bool:
        """Whether they lie closer together than by chance, in all images, see `napari_unet.learn.one_place`."""
        if self.ndim == 0:
            return False
        weights = np.ones(len(self.kinds)) if self.weights is None else self.weights.cpu().numpy()
        return in_one_place(places_of_basis(self.basis.cpu().numpy(), self.ndim), self.kinds, self.strokes, weights)


def enough_strokes(kinds: Numbers, strokes: Numbers) -> bool:
    """Whether strokes that are left out can tell what else is to count: there are two of each class, or regions.

    Parameters
    ----------
    kinds, strokes : numpy.ndarray
        (n,) class and stroke of each pixel.
    """
    several = len(np.unique(kinds)) > 1
    return several and (_fewest(kinds, strokes) >= _FEWEST or _share_numbers(kinds, strokes))


def _fewest(kinds: Numbers, groups: Numbers) -> int:
    """Return how many groups the class has that has the fewest."""
    return min(len(np.unique(groups[kinds == kind])) for kind in np.unique(kinds))


def _share_numbers(kinds: Numbers, strokes: Numbers) -> bool:
    """Whether pixels of different classes have the same number."""
    pairs = np.unique(np.stack([kinds, strokes]), axis=1)
    return bool(len(np.unique(pairs[1])) < pairs.shape[1])
