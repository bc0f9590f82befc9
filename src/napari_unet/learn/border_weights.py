"""The weight map that makes a network learn the thin gaps between touching objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_unet.errors import AnnotationError, InputError
from napari_unet.learn.nearest_objects import sum_of_two_nearest

__all__ = ["balance_weights", "border_weights"]

_NEGLIGIBLE = 1e-7  # border terms below this, relative to w0, are left out


def border_weights(
    labels: npt.NDArray[Any],
    *,
    w0: float = 10.0,
    sigma: float = 5.0,
    class_balance: bool = True,
    valid: npt.NDArray[np.bool_] | None = None,
    spacing: Sequence[float] | None = None,
) -> npt.NDArray[np.float32]:
    r"""Weight every pixel by its class and by how near it lies to two objects.

    .. math:: w(x) = w_c(x) + w_0 \exp\left(-\frac{(d_1(x) + d_2(x))^2}{2 \sigma^2}\right)

    where d1 and d2 are the distances from x to the nearest and the second nearest object, 0 inside of an object, so
    that an object's own pixels that lie near another one count more as well. The second term vanishes with fewer than
    two objects. With the package edt (the extra ``fast``) volumes of large objects take about half the time.

    Parameters
    ----------
    labels : numpy.ndarray
        (\*space) integers, 0 = background, otherwise one id for each object. Touching objects have no background
        between them, so separate them first (`napari_unet.data.strokes.separate_touching`).
    w0 : float
        Height of the border term.
    sigma : float
        Width of the border term, in pixels, or in the unit of `spacing`.
    class_balance : bool
        Whether w_c balances background and objects: each then has the same sum, and the mean is 1. Otherwise w_c is 1.
    valid : numpy.ndarray or None
        (\*space) bool, the painted pixels; None: all. Others weigh 0 and define no borders.
    spacing : sequence of float or None
        Distance of pixels along each axis; None: 1.

    Returns
    -------
    numpy.ndarray
        (\*space) float32.

    Raises
    ------
    InputError
        If the shapes differ or a number is not positive.

    References
    ----------
    Ronneberger, Fischer, Brox 2015, U-Net, arXiv 1505.04597, equation 2.

    Examples
    --------
    >>> labels = np.array([[1, 1, 0, 2, 2, 0, 0, 0]])
    >>> border_weights(labels, class_balance=False, sigma=1).round(2)  # d1 + d2 = 2 in the gap
    array([[1.11, 2.35, 2.35, 2.35, 1.11, 1.  , 1.  , 1.  ]], dtype=float32)
    """
    labels = np.asarray(labels)
    valid = np.ones(labels.shape, bool) if valid is None else np.asarray(valid, bool)
    spacing = (1.0,) * labels.ndim if spacing is None else tuple(float(step) for step in spacing)
    if valid.shape != labels.shape:
        raise InputError(f"Expected `valid` to have the shape {labels.shape}, but got {valid.shape}.")
    usable = len(spacing) == labels.ndim and all(0 < step < math.inf for step in spacing)
    if not usable or not sigma > 0 or not w0 >= 0:
        raise InputError(
            f"Expected {labels.ndim} positive spacings, sigma > 0 and w0 >= 0, but got {spacing}, {sigma}, {w0}."
        )
    if labels.dtype.kind not in "bui" or (labels.dtype.kind == "i" and labels.min(initial=0) < 0):
        raise AnnotationError("Expected labels of whole numbers from 0 on.")
    objects = np.where(valid, labels, labels.dtype.type(0))
    weights = balance_weights(objects > 0, valid) if class_balance else valid.astype(np.float32)
    if w0 > 0 and labels.size:
        weights += valid * _border_term(objects, [step / sigma for step in spacing], w0)
    return weights


def _border_term(objects: npt.NDArray[Any], spacing: list[float], w0: float) -> npt.NDArray[np.float32]:
    """Second term of the weight; `spacing` in units of sigma."""
    with np.errstate(over="ignore", under="ignore"):  # what is too far away for float32 weighs nothing
        border = sum_of_two_nearest(objects, spacing, reach=math.sqrt(-2 * math.log(_NEGLIGIBLE)))
        np.square(border, out=border)
        border *= -0.5
        np.exp(border, out=border)
        border *= w0
    return border


def balance_weights(classes: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Weight pixels by the inverse frequency of their class.

    Parameters
    ----------
    classes : numpy.ndarray
        (\\*space) integers or bool.
    valid : numpy.ndarray
        (\\*space) bool; the others weigh 0.

    Returns
    -------
    numpy.ndarray
        (\\*space) float32; every class that occurs has the same sum, the mean over the valid pixels is 1.

    Examples
    --------
    >>> balance_weights(np.array([0, 0, 0, 1]), np.array([True, True, True, True])).tolist()
    [0.6666666865348816, 0.6666666865348816, 0.6666666865348816, 2.0]
    """
    weights = np.zeros(classes.shape, np.float32)
    values = (False, True) if classes.dtype == bool else np.unique(classes[valid])
    counts = [np.count_nonzero(valid & (classes == value)) for value in values]
    present = [(value, count) for value, count in zip(values, counts, strict=True) if count]
    for value, count in present:
        weights[valid & (classes == value)] = sum(counts) / (len(present) * count)
    return weights
