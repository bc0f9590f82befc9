"""Simple features of an image at several scales: what is known of a pixel without any learning."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

__all__ = ["GREYS", "GREY_REACH", "grey_features", "tree_features"]

_SCALES = (1.0, 2.0, 4.0, 8.0, 16.0)  # standard deviations of the Gaussians, in pixels
_CUT = 3.0  # standard deviations at which they end
GREYS = 4 * len(_SCALES)  # features of a channel
GREY_REACH = math.ceil(_CUT * _SCALES[-1]) + 2  # pixels around one that its features depend on


def grey_features(x: torch.Tensor) -> torch.Tensor:
    """Return grey value, gradient and curvatures at five scales.

    Of each channel and scale: the image smoothed by a Gaussian, the length of its gradient, and the larger and the
    smaller eigenvalue of its second derivatives, times the scale and its square, so that all are of the size of the
    grey values.

    Parameters
    ----------
    x : torch.Tensor
        (N, C, Y, X) float32. What lies outside is taken to be as the nearest pixel.

    Returns
    -------
    torch.Tensor
        (N, 20 C, Y, X) float32; those within `GREY_REACH` of an edge depend on what was taken to lie outside.

    References
    ----------
    Scale-normalised derivatives: Lindeberg 1998, doi 10.1023/A:1008045108935.

    Examples
    --------
    >>> grey_features(torch.ones(1, 1, 32, 32))[0, ::4, 5, 5].round(decimals=3).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    with torch.autocast(x.device.type, enabled=False):
        planes = x.float().flatten(0, 1).unsqueeze(1)
        found = [part for scale in _SCALES for part in _at_scale(planes, scale)]
        stacked = torch.stack(found, dim=1)
        return stacked.reshape(len(x), -1, *x.shape[2:])


def tree_features(x: torch.Tensor) -> torch.Tensor:
    """Return what trees may ask for: `grey_features` as numbers of float16, in which they are remembered."""
    largest = torch.finfo(torch.float16).max
    return torch.nan_to_num(grey_features(x)).clamp(-largest, largest).half()


def _at_scale(planes: torch.Tensor, scale: float) -> tuple[torch.Tensor, ...]:
    """Return the features (n, Y, X) of planes (n, 1, Y, X)."""
    radius = math.ceil(_CUT * scale)
    at = torch.arange(-radius, radius + 1, device=planes.device, dtype=planes.dtype)
    bell = torch.exp(-0.5 * (at / scale) ** 2)
    bell = bell / bell.sum()
    wide = functional.pad(planes, (radius + 1,) * 4, mode="replicate")
    smooth = functional.conv2d(functional.conv2d(wide, bell.view(1, 1, -1, 1)), bell.view(1, 1, 1, -1))[:, 0]
    middle = smooth[:, 1:-1, 1:-1]
    up, down, left, right = smooth[:, :-2, 1:-1], smooth[:, 2:, 1:-1], smooth[:, 1:-1, :-2], smooth[:, 1:-1, 2:]
    slope = torch.hypot(down - up, right - left) * (0.5 * scale)
    yy, xx = (down - 2 * middle + up) * scale**2, (right - 2 * middle + left) * scale**2
    yx = (smooth[:, 2:, 2:] - smooth[:, 2:, :-2] - smooth[:, :-2, 2:] + smooth[:, :-2, :-2]) * (0.25 * scale**2)
    mean, spread = 0.5 * (yy + xx), torch.hypot(0.5 * (yy - xx), yx)
    return middle, slope, mean + spread, mean - spread
