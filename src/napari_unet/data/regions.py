"""Finding connected regions of a labels array around a place, without reading more of it than needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import label as label_components

from napari_unet.data.axes import Box
from napari_unet.data.drawing import Mask

__all__ = ["Index", "Plane", "Region", "find_region", "regions_at", "regions_within"]

Index = tuple[int | None, ...]

_FIRST_REACH = {2: 48, 3: 24}  # pixels around a place that are read first, by dimensions


@dataclass(frozen=True, eq=False)
class Plane:
    """The part of a labels array that is looked at: an image, one slice of a stack in any direction, or a volume.

    Attributes
    ----------
    data : array-like
        numpy, dask or zarr.
    index : tuple of int or None
        For each axis of `data` the place on it, or None for the axes that the plane has.

    Examples
    --------
    >>> plane = Plane(np.arange(24).reshape(2, 3, 4), (1, None, None))
    >>> plane.shape, plane.read((slice(0, 1), slice(2, 4))).tolist()
    ((3, 4), [[14, 15]])
    """

    data: Any
    index: Index

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of `data` that the plane has."""
        return tuple(axis for axis, place in enumerate(self.index) if place is None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the plane."""
        return tuple(int(self.data.shape[axis]) for axis in self.axes)

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Return a box of the plane; it is not to be written into."""
        parts = iter(box)
        return np.asarray(self.data[tuple(next(parts) if place is None else place for place in self.index)])

    def locate(self, pixels: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], ...]:
        """Return the places in `data` of pixels (n, axes) of the plane, one array for each axis."""
        columns = iter(pixels.T)
        return tuple(
            np.array(next(columns)) if place is None else np.full(len(pixels), place, np.intp) for place in self.index
        )


@dataclass(frozen=True, eq=False)
class Region:
    """Connected pixels of the same label.

    Attributes
    ----------
    label : int
        Their label.
    box : tuple of slice
        A part of the plane that holds all of them.
    mask : numpy.ndarray
        (\\*box) bool.
    """

    label: int
    box: Box
    mask: Mask

    @property
    def pixels(self) -> npt.NDArray[np.intp]:
        """The places (n, axes) of its pixels in the plane."""
        found: npt.NDArray[np.intp] = np.argwhere(self.mask) + [part.start for part in self.box]
        return found

    def contains(self, pixels: npt.NDArray[np.intp]) -> Mask:
        """Return (n,) whether pixels (n, axes) of the plane belong to it."""
        low, high = [part.start for part in self.box], [part.stop for part in self.box]
        inside: Mask = np.asarray(((pixels >= low) & (pixels < high)).all(axis=1))
        inside[inside] = self.mask[tuple((pixels[inside] - low).T)]
        return inside

    def mask_in(self, box: Box) -> Mask:
        """Return its mask (\\*box) in another box of the plane."""
        mask = np.zeros([part.stop - part.start for part in box], bool)
        here, there = _overlap(box, self.box)
        mask[here] = self.mask[there]
        return mask


def find_region(plane: Plane, place: Sequence[int]) -> Region:
    """Return the region that a place is in: the pixels of the same label that are connected with it, over corners too.

    Parameters
    ----------
    plane : Plane
        Is read around the place, farther and farther until the region ends.
    place : sequence of int
        A pixel of the plane.

    Examples
    --------
    >>> labels = np.array([[1, 1, 0, 1], [0, 1, 0, 1]])
    >>> region = find_region(Plane(labels, (None, None)), (0, 0))
    >>> region.label, region.pixels.tolist()
    (1, [[0, 0], [0, 1], [1, 1]])
    """
    ndim = len(plane.shape)
    reach = _FIRST_REACH.get(ndim, 16)
    around = np.ones((3,) * ndim)
    while True:
        box: Box = tuple(
            slice(max(0, at - reach), min(size, at + reach + 1)) for at, size in zip(place, plane.shape, strict=True)
        )
        block = plane.read(box)
        middle = tuple(at - part.start for at, part in zip(place, box, strict=True))
        parts, _ = ndimage.label(block == block[middle], around)
        mask = parts == parts[middle]
        if not any(_goes_on(mask, axis, box, plane.shape) for axis in range(ndim)):
            (inner,) = ndimage.find_objects(mask.astype(np.uint8))
            cropped: Box = tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, inner, strict=True))
            return Region(int(block[middle]), cropped, mask[inner])
        reach *= 3


def _goes_on(mask: Mask, axis: int, box: Box, shape: tuple[int, ...]) -> bool:
    """Whether a mask reaches a side of its box that is not a side of the plane."""
    begins = box[axis].start > 0 and bool(mask.take(0, axis=axis).any())
    return begins or (box[axis].stop < shape[axis] and bool(mask.take(-1, axis=axis).any()))


def regions_at(plane: Plane, pixels: npt.NDArray[np.intp], *, lowest: int) -> list[Region]:
    """Return the regions at some pixels (n, axes) whose label is at least `lowest`, each once, in the order met."""
    if not len(pixels):
        return []
    labels = _read_pixels(plane, pixels)
    known = labels < lowest
    found = []
    while not known.all():
        region = find_region(plane, pixels[known.argmin()].tolist())
        known |= region.contains(pixels)
        found.append(region)
    return found


def _read_pixels(plane: Plane, pixels: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
    block = plane.read(tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)))
    found: npt.NDArray[Any] = block[tuple((pixels - low).T)]
    return found


def regions_within(plane: Plane, box: Box, enclosed: Mask, *, lowest: int) -> list[Region]:
    """Return the regions, with labels from `lowest` on, of which more than half is enclosed.

    Parameters
    ----------
    plane : Plane
        Is read where the mask is, and as far as the regions go.
    box : tuple of slice
        Part of the plane.
    enclosed : numpy.ndarray
        (\\*box) bool.
    lowest : int
        Smaller labels are no regions.
    """
    block = plane.read(box)
    pieces = label_components(np.where(enclosed & (block >= lowest), block, 0), background=0, connectivity=block.ndim)
    known = np.zeros(block.shape, bool)
    found = []
    for number, around in enumerate(ndimage.find_objects(pieces), start=1):
        pixel = np.argwhere(pieces[around] == number)[0] + [part.start for part in around]
        if known[tuple(pixel)]:
            continue
        region = find_region(plane, [at + part.start for at, part in zip(pixel.tolist(), box, strict=True)])
        here, there = _overlap(box, region.box)
        known[here] |= region.mask[there]
        if 2 * np.count_nonzero(region.mask[there] & enclosed[here]) > np.count_nonzero(region.mask):
            found.append(region)
    return found


def _overlap(first: Box, second: Box) -> tuple[Box, Box]:
    """Return where the common part of two boxes lies in each of them; empty slices if there is none."""
    low = [max(a.start, b.start) for a, b in zip(first, second, strict=True)]
    high = [max(c, min(a.stop, b.stop)) for a, b, c in zip(first, second, low, strict=True)]

    def within(box: Box) -> Box:
        return tuple(slice(a - part.start, b - part.start) for a, b, part in zip(low, high, box, strict=True))

    return within(first), within(second)
