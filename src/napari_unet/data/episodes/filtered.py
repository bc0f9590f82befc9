"""Things that no truth knows: where a simple filter of a random kind and scale responds most."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["FILTERS", "draw_responses"]

Grey = npt.NDArray[np.float32]

_SCALES = 0.7, 10.0  # least and largest standard deviation in pixels
_SHARES = (0.08, 0.15, 0.25, 0.4)  # of the pixels, which are the thing
_LOOKED_AT = 7  # every seventh pixel tells the threshold


def draw_responses(rng: np.random.Generator, images: Iterable[npt.NDArray[Any]]) -> list[npt.NDArray[np.uint8]]:
    """Mark where a filter that is drawn at random responds most, or least, in images of one kind.

    So a network learns the brightness, edges, spots, lines and textures of many scales that a person may go by and
    that no scene was made of.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers.
    images : iterable of numpy.ndarray
        At least one (C, \\*space); one channel is looked at.

    Returns
    -------
    list of numpy.ndarray
        (\\*space) uint8: 1 beyond a threshold that the images have in common, 0 elsewhere.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> (marked,) = draw_responses(rng, [rng.random((3, 32, 32))])
    >>> bool(0.03 < marked.mean() < 0.45)
    True
    """
    stack = [image.astype(np.float32) for image in images]
    channel = int(rng.integers(len(stack[0])))
    respond = FILTERS[rng.integers(len(FILTERS))]
    scale = float(np.exp(rng.uniform(*np.log(_SCALES))))
    sign = np.float32(rng.choice([-1, 1]))
    share = float(rng.choice(_SHARES))
    responses = [sign * respond(image[channel], scale) for image in stack]
    threshold = np.quantile(np.concatenate([r.ravel()[::_LOOKED_AT] for r in responses]), 1 - share)
    return [(r > threshold).astype(np.uint8) for r in responses]


def _brightness(image: Grey, scale: float) -> Grey:
    blurred: Grey = ndimage.gaussian_filter(image, scale)
    return blurred


def _spots(image: Grey, scale: float) -> Grey:
    return _brightness(image, scale) - _brightness(image, 2 * scale)


def _edges(image: Grey, scale: float) -> Grey:
    slope: Grey = ndimage.gaussian_gradient_magnitude(image, scale)
    return slope


def _texture(image: Grey, scale: float) -> Grey:
    """Variance in the neighbourhood."""
    return _brightness(image * image, scale) - _brightness(image, scale) ** 2


def _bright_lines(image: Grey, scale: float) -> Grey:
    return _curvatures(image, scale)[0]


def _dark_lines(image: Grey, scale: float) -> Grey:
    return _curvatures(image, scale)[1]


def _curvatures(image: Grey, scale: float) -> tuple[Grey, Grey]:
    """Return the lowest and the highest eigenvalue of the second derivatives in the plane of the last two axes."""
    blurred = _brightness(image, scale)
    y, x = np.gradient(blurred, axis=(-2, -1))
    yy, xx, xy = np.gradient(y, axis=-2), np.gradient(x, axis=-1), np.gradient(y, axis=-1)
    mean, half = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
    return -(mean - half), mean + half


FILTERS: tuple[Callable[[Grey, float], Grey], ...] = (
    _brightness, _spots, _edges, _texture, _bright_lines, _dark_lines,
)  # fmt: skip
