"""The one gate through which every image comes to a network: finite, float32, contiguous, robustly normalised.

The grey values between two percentiles become 0 to 1, for each channel by itself. They are measured once for an image
from a bounded sample of blocks, so that every part of it, read at any time, is treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.data.axes import Box, ImageLayout
from napari_unet.data.enclosure import ENCLOSURES, EnclosureMap
from napari_unet.data.place import CENTRES, place_basis, relative_places
from napari_unet.errors import InputError

__all__ = ["FrameReader", "IntensityRange", "measure_range", "mirror_index", "spread_blocks"]

_MAX_SAMPLED = 4_000_000
_MAX_SEARCHED = 16_000_000  # pixels that are looked through where the sampled ones are all alike
_BLOCK = 256
_ENCLOSURE_BYTES = 256 * 2**20  # for how far pixels are enclosed in the last frames: up to half a MB for a plane
_LARGE = 64_000_000  # pixels of a frame above which it is not read whole to see what is enclosed
_LIMIT = 10.0  # grey values further out than this many ranges are outliers that would only unsettle a network


@dataclass(frozen=True)
class IntensityRange:
    """The grey values that become 0 and 1.

    Attributes
    ----------
    low, high : tuple of float
        One value for each channel.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def constant(self) -> bool:
        """Whether no channel has two different grey values."""
        return all(not high > low for low, high in zip(self.low, self.high, strict=True))

    def apply(self, block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Normalise a block.

        Parameters
        ----------
        block : numpy.ndarray
            (C, \\*space) of any real dtype, byte order and strides.

        Returns
        -------
        numpy.ndarray
            (C, \\*space) float32, contiguous, finite; NaN and infinite pixels and constant channels are 0.

        Examples
        --------
        >>> IntensityRange((10.0,), (20.0,)).apply(np.array([[10, 15, 20]]))
        array([[0. , 0.5, 1. ]], dtype=float32)
        """
        result = np.empty(block.shape, np.float32)
        exact = block.dtype.itemsize <= (4 if block.dtype.kind == "f" else 2)  # in float32
        for channel, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            half = high / 2 - low / 2  # halves: the range between two huge numbers is too large for any float
            if not half > 0:
                result[channel] = 0.0
                continue
            values = block[channel].astype(np.float32 if exact else np.float64)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # far outliers are cut off below
                scaled = (values / 2 - low / 2) / half
            scaled[~np.isfinite(values) | np.isnan(scaled)] = 0.0
            np.clip(scaled, -_LIMIT, _LIMIT, out=result[channel], casting="same_kind")
        return result


def measure_range(
    image: Any, layout: ImageLayout, *, low_percentile: float = 1.0, high_percentile: float = 99.8
) -> IntensityRange:
    """Measure the grey values of an image at two percentiles, channel by channel.

    About four million pixels a channel are read, in blocks that are spread evenly over the image; more only if these
    are all alike, as where a few bright objects lie on an empty ground.

    Parameters
    ----------
    image : array-like
        The image: numpy, memory-mapped, dask or zarr, of any real dtype.
    layout : ImageLayout
        Its axes.
    low_percentile, high_percentile : float
        Percentiles of the finite pixels, 0 to 100.

    Raises
    ------
    InputError
        If the image is not of real numbers or has no finite pixel at all.
    """
    kind = np.dtype(image.dtype).kind
    if kind not in "buif":
        raise InputError(f"Expected an image of real numbers, but its values are of type {image.dtype}.")
    samples: list[npt.NDArray[Any]] = []
    for position, box in spread_blocks(layout, _MAX_SAMPLED):
        samples.append(layout.read(image, position, box).reshape(layout.channels, -1))
    low, high = [], []
    for channel in range(layout.channels):
        values = np.concatenate([sample[channel] for sample in samples]).astype(np.float64)
        values = values[np.isfinite(values)]
        if values.size == 0:
            values = np.zeros(1)
        bottom, top = 4 * np.percentile(values / 4, (low_percentile, high_percentile))  # a quarter can't overflow
        if not top > bottom:  # a few bright pixels on an even ground
            bottom, top = values.min(), values.max()
        low.append(float(bottom))
        high.append(float(top))
    measured = IntensityRange(tuple(low), tuple(high))
    if measured.constant:
        measured = _search_contrast(image, layout)
    if measured.constant:
        raise InputError("The image has no contrast: all its pixels have the same value or are not numbers.")
    return measured


def _search_contrast(image: Any, layout: ImageLayout) -> IntensityRange:
    """Read on until two pixels differ."""
    low, high = np.full(layout.channels, np.inf), np.full(layout.channels, -np.inf)
    for position, box in spread_blocks(layout, _MAX_SEARCHED):
        for channel, block in enumerate(layout.read(image, position, box)):
            values = block[np.isfinite(block)].astype(np.float64)
            low[channel] = min(low[channel], values.min(initial=np.inf))
            high[channel] = max(high[channel], values.max(initial=-np.inf))
        if (high > low).any():
            break
    known = high >= low
    return IntensityRange(tuple(np.where(known, low, 0.0).tolist()), tuple(np.where(known, high, 0.0).tolist()))


def spread_blocks(layout: ImageLayout, most_pixels: int) -> list[tuple[tuple[int, ...], Box]]:
    """Choose blocks that cover an image, or an even selection of them with about `most_pixels`.

    Returns
    -------
    list of tuple
        Position in the stack and box of the frame of each block.
    """
    side = _BLOCK if layout.ndim == 2 else _BLOCK // 4
    starts = [range(0, n, side) for n in layout.frame_shape]
    count = int(np.prod(layout.stack_shape, dtype=np.int64)) * int(np.prod([len(s) for s in starts], dtype=np.int64))
    most = max(8, most_pixels // side**layout.ndim)
    chosen = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
    grid = (*layout.stack_shape, *(len(s) for s in starts))
    blocks = []
    for place in zip(*np.unravel_index(chosen, grid), strict=True):
        position = tuple(int(i) for i in place[: len(layout.stack_shape)])
        corner = [int(i) * side for i in place[len(layout.stack_shape) :]]
        blocks.append(
            (position, tuple(slice(a, min(a + side, n)) for a, n in zip(corner, layout.frame_shape, strict=True)))
        )
    return blocks


def mirror_index(start: int, stop: int, size: int) -> npt.NDArray[np.intp]:
    """Say which pixels stand at ``start..stop`` of an axis that is mirrored at both ends, over and over.

    The pixel at the border is not repeated, as in ``numpy.pad(mode="reflect")``.

    Examples
    --------
    >>> mirror_index(-2, 6, 4).tolist()
    [2, 1, 0, 1, 2, 3, 2, 1]
    """
    if size == 1:
        return np.zeros(stop - start, np.intp)
    period = 2 * (size - 1)
    folded = np.arange(start, stop) % period
    return np.minimum(folded, period - folded)


@dataclass(frozen=True, eq=False)
class FrameReader:
    """Reads normalised boxes of an image; what lies outside is mirrored.

    Attributes
    ----------
    image : array-like
        The image.
    layout : ImageLayout
        Its axes.
    intensity : IntensityRange
        The grey values that become 0 and 1.
    surroundings : int
        How many further channels tell where a pixel lies in the frame: 0; one for each axis, see
        `napari_unet.data.place.relative_places`; or two more, see `napari_unet.data.enclosure.measure_enclosure`.
    """

    image: Any
    layout: ImageLayout
    intensity: IntensityRange
    surroundings: int = 0
    _enclosures: dict[tuple[int, ...], EnclosureMap] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, image: Any, layout: ImageLayout, low_percentile: float, high_percentile: float) -> FrameReader:
        """Measure the grey values of an image, see `measure_range`, and return what reads it."""
        intensity = measure_range(image, layout, low_percentile=low_percentile, high_percentile=high_percentile)
        return cls(image, layout, intensity)

    def read(self, position: tuple[int, ...], start: tuple[int, ...], stop: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Read the box from `start` to `stop`, which may lie partly or wholly outside of the frame.

        Returns
        -------
        numpy.ndarray
            (C + surroundings, \\*(stop - start)) float32, contiguous.
        """
        spans = [mirror_index(a, b, n) for a, b, n in zip(start, stop, self.layout.frame_shape, strict=True)]
        corner = [int(span.min()) for span in spans]
        box = tuple(slice(a, int(span.max()) + 1) for a, span in zip(corner, spans, strict=True))
        block = self._normalised(position, box)
        for axis, (span, a) in enumerate(zip(spans, corner, strict=True), start=1):
            if not np.array_equal(span - a, np.arange(block.shape[axis])):
                block = block.take(span - a, axis=axis)
        parts = [block]
        if self.surroundings:
            parts.append(relative_places(start, stop, self.layout.frame_shape))
        if self.surroundings > self.layout.ndim:
            parts.append(self._enclosure(position).box(spans))
        return np.concatenate(parts) if len(parts) > 1 else np.ascontiguousarray(block)

    def places(
        self, position: tuple[int, ...], pixels: npt.NDArray[np.integer[Any]], *, enclosed: bool
    ) -> npt.NDArray[np.float32]:
        """Tell where pixels lie in a frame: what the last layer of a network may look at beside its features.

        Parameters
        ----------
        position : tuple of int
            Position of the frame in the stack.
        pixels : numpy.ndarray
            (n,) numbers of pixels in the flattened frame.
        enclosed : bool
            Whether to tell also how far they are enclosed, for which the whole frame is read once. In a frame of more
            than 64 million pixels none is taken to be enclosed.

        Returns
        -------
        numpy.ndarray
            (n, B) float32: the functions of `napari_unet.data.place.place_basis`, then the two of
            `napari_unet.data.enclosure.measure_enclosure`.
        """
        basis = place_basis(pixels, self.layout.frame_shape, CENTRES[self.layout.ndim])
        if not enclosed:
            return basis
        return np.concatenate([basis, self.enclosures(position, pixels)], axis=1)

    def enclosures(self, position: tuple[int, ...], pixels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Tell how far pixels are enclosed: the last columns of `places`, (n, 2) float32."""
        if self.is_large:
            return np.zeros((len(pixels), ENCLOSURES), np.float32)
        return self._enclosure(position).at(pixels)

    @property
    def is_large(self) -> bool:
        """Whether a frame has so many pixels that it is not read whole only to see what is enclosed."""
        return bool(np.prod(self.layout.frame_shape, dtype=np.float64) > _LARGE)

    def enclosed_box(
        self, position: tuple[int, ...], start: tuple[int, ...], stop: tuple[int, ...]
    ) -> npt.NDArray[np.float32]:
        """Return how far the pixels of a box are enclosed (2, \\*(stop - start)); outside of the frame, mirrored."""
        spans = [mirror_index(a, b, n) for a, b, n in zip(start, stop, self.layout.frame_shape, strict=True)]
        return self._enclosure(position).box(spans)

    def _enclosure(self, position: tuple[int, ...]) -> EnclosureMap:
        """Return how far the pixels of a frame are enclosed; measured once, for the last frames that were asked for."""
        found = self._enclosures.get(position)
        if found is None:
            found = EnclosureMap(partial(self._normalised, position), self.layout.frame_shape)
            self._enclosures[position] = found
            for oldest in list(self._enclosures):
                if sum(known.values.nbytes for known in list(self._enclosures.values())) <= _ENCLOSURE_BYTES:
                    break
                self._enclosures.pop(oldest, None)
        return found

    def _normalised(self, position: tuple[int, ...], box: Box) -> npt.NDArray[np.float32]:
        return self.intensity.apply(self.layout.read(self.image, position, box))
