"""Images made from nothing but a seed, whose objects are known exactly: for samples, demos, tests and pretraining.

Each kind of image is one function that draws its objects and hands them to `microscope`; they share `smooth_noise`,
from which shapes, textures and uneven light are made. Two, three dimensions and time run through the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_unet.data.population import draw, place, positions_over_time
from napari_unet.errors import InputError

__all__ = ["SyntheticImage", "cells", "microscope", "smooth_noise"]

FloatArray = npt.NDArray[np.float32]

_AXES = {2: "YX", 3: "ZYX", 4: "TZYX"}


@dataclass(frozen=True, eq=False)
class SyntheticImage:
    """An image with the truth about it.

    Attributes
    ----------
    image : numpy.ndarray
        uint16 grey values with the axes `axes`.
    labels : numpy.ndarray
        uint16 of the same shape: 0 background, 1, 2, ... one id for each object, the same at all times.
    axes : str
        ``"YX"``, ``"ZYX"``, ``"TYX"`` or ``"TZYX"``.
    spacing : tuple of float
        Distance of pixels along the spatial axes (ZYX order).
    """

    image: npt.NDArray[np.uint16]
    labels: npt.NDArray[np.uint16]
    axes: str
    spacing: tuple[float, ...]


def cells(
    shape: Sequence[int],
    axes: str | None = None,
    *,
    radius: float = 12.0,
    coverage: float = 0.25,
    touching: float = 0.4,
    blur: float = 1.5,
    noise: float = 0.15,
    unevenness: float = 0.3,
    spacing: Sequence[float] | None = None,
    seed: int = 0,
) -> SyntheticImage:
    """Make an image of bright, irregular, partly touching cells on a dark background.

    Parameters
    ----------
    shape : sequence of int
        Shape of the image, one number for each axis.
    axes : str or None
        ``"YX"``, ``"ZYX"``, ``"TYX"`` or ``"TZYX"``; None: YX, ZYX or TZYX by the number of axes. With T the cells
        move, pushing each other aside.
    radius : float
        Mean radius of the cells, in the unit of `spacing`.
    coverage : float
        Share of the image to be covered by cells, 0 to 0.6; very crowded images stay a little below it.
    touching : float
        Share of the cells that are put against another one, 0 to 1.
    blur : float
        Standard deviation of the blur, in pixels.
    noise : float
        Standard deviation of the noise of a pixel of mean brightness, as a share of that brightness.
    unevenness : float
        How strongly light and background vary over the image; 0: not at all.
    spacing : sequence of float or None
        Distance of pixels along the spatial axes; None: 1 along each.
    seed : int
        Start of the random numbers; the same seed gives the same image.

    Raises
    ------
    InputError
        If shape, axes and spacing don't fit each other or a number is out of its range.

    Examples
    --------
    >>> made = cells((64, 96), radius=8, seed=1)
    >>> made.image.shape, made.image.dtype, made.labels.max() > 3
    ((64, 96), dtype('uint16'), np.True_)
    >>> cells((5, 64, 64), "TYX").axes
    'TYX'
    """
    axes, space, distance = _check(shape, axes, radius, spacing)
    for name, value, highest in (("coverage", coverage, 0.6), ("touching", touching, 1.0), ("noise", noise, 10.0)):
        if not 0 <= value <= highest:
            raise InputError(f"Expected `{name}` to be between 0 and {highest}, but got {value!r}.")
    rng = np.random.default_rng(seed)
    size = distance * space
    population = place(size, radius, coverage, touching, rng)
    bend = np.stack([smooth_noise(space, 1.5 * radius / distance, rng) for _ in space]) * np.float32(0.15 * radius)
    texture = 1 + 0.2 * smooth_noise(space, np.maximum(0.3 * radius / distance, 1.0), rng)
    light = np.exp(unevenness * smooth_noise(space, 0.7 * np.asarray(space), rng)).astype(np.float32)
    haze = 0.15 * np.exp(unevenness * smooth_noise(space, 0.4 * np.asarray(space), rng))

    images, labels = [], []
    frames = shape[0] if "T" in axes else 1
    for current in positions_over_time(population, frames, size, rng):
        ids, depth = draw(current, space, distance, bend)
        signal = np.append(0, current.brightness).astype(np.float32)[ids] * depth * texture
        images.append(microscope(signal, rng, blur=blur, noise=noise, light=light, haze=haze))
        labels.append(ids)
    truth = _renumber(np.stack(labels).reshape(shape))
    return SyntheticImage(np.stack(images).reshape(shape), truth, axes, tuple(distance.tolist()))


def microscope(
    signal: FloatArray,
    rng: np.random.Generator,
    *,
    blur: float = 1.5,
    noise: float = 0.15,
    light: float | FloatArray = 1.0,
    haze: float | npt.NDArray[Any] = 0.15,
) -> npt.NDArray[np.uint16]:
    """Take a picture of what is there: blur it, light it unevenly, add haze and the noise of counted photons.

    Parameters
    ----------
    signal : numpy.ndarray
        (\\*space) float32, brightness of the objects, about 1 inside and 0 outside.
    rng : numpy.random.Generator
        Source of the noise.
    blur : float
        Standard deviation of the blur, in pixels.
    noise : float
        Standard deviation of the noise where the brightness is 1; it grows with the root of the brightness.
    light : float or numpy.ndarray
        (\\*space) factor of the signal.
    haze : float or numpy.ndarray
        (\\*space) brightness of the background.

    Returns
    -------
    numpy.ndarray
        (\\*space) uint16 grey values, about 2000 where the brightness is 1.
    """
    expected = ndimage.gaussian_filter(signal, blur) * light + haze
    grain = rng.standard_normal(signal.shape, dtype=np.float32)
    seen = expected + noise * np.sqrt(expected + 0.05) * grain
    grey: npt.NDArray[np.uint16] = np.clip(100 + 1900 * seen, 0, 65535).astype(np.uint16)
    return grey


def smooth_noise(
    shape: Sequence[int], scale: float | npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Make a smooth random field: cubic B-splines through normal random numbers on a coarse grid.

    Parameters
    ----------
    shape : sequence of int
        Shape of the field.
    scale : float or numpy.ndarray
        Distance of the grid's points in pixels, for all or each of the axes: how far bumps are apart.
    rng : numpy.random.Generator
        Source of the numbers.

    Returns
    -------
    numpy.ndarray
        (\\*shape) float32; each value is normally distributed with mean 0 and standard deviation 1.

    Examples
    --------
    >>> field = smooth_noise((200, 200), 4, np.random.default_rng(0))
    >>> bool(abs(field.std() - 1) < 0.1)
    True
    """
    bases = [
        _spline_basis(n, step) for n, step in zip(shape, np.broadcast_to(scale, (len(shape),)).tolist(), strict=True)
    ]
    field = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    for basis in bases:  # one axis after the other; the axis just done goes to the end, so that the order is kept
        field = np.tensordot(field, basis, axes=(0, 1))
    return field


def _spline_basis(size: int, step: float) -> FloatArray:
    """Return (size, knots): the weights of the knots at each pixel, scaled so that their squares sum up to 1."""
    position = np.arange(size) / max(step, 1e-6)
    before = position.astype(np.intp)
    t = position - before
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3])
    basis = np.zeros((size, int(position[-1]) + 4), np.float32)
    basis[np.arange(size), before + np.arange(4)[:, np.newaxis]] = weights / np.sqrt((weights**2).sum(axis=0))
    return basis


def _check(
    shape: Sequence[int], axes: str | None, radius: float, spacing: Sequence[float] | None
) -> tuple[str, tuple[int, ...], npt.NDArray[np.float64]]:
    axes = axes or _AXES.get(len(shape), "")
    if axes not in ("YX", "ZYX", "TYX", "TZYX") or len(axes) != len(shape):
        raise InputError(f"Expected the axes YX, ZYX, TYX or TZYX for the shape {tuple(shape)}, but got {axes!r}.")
    if min(shape) < 1:
        raise InputError(f"Expected at least 1 pixel along each axis, but got the shape {tuple(shape)}.")
    space = tuple(shape[1:] if axes[0] == "T" else shape)
    distance = np.asarray(spacing if spacing is not None else (1.0,) * len(space), dtype=np.float64)
    if distance.shape != (len(space),) or not (distance > 0).all():
        raise InputError(f"Expected `spacing` to be {len(space)} positive numbers, but got {spacing!r}.")
    if not radius > 0:
        raise InputError(f"Expected `radius` to be positive, but got {radius!r}.")
    return axes, space, distance


def _renumber(ids: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Give the ids that are there the numbers 1, 2, ... without gaps."""
    there = np.bincount(ids.ravel()) > 0
    there[0] = False
    return (there.cumsum() * there).astype(np.uint16)[ids]
