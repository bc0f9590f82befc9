"""What the place of a pixel, and how far it is enclosed, adds to its logits, wherever a deformation took the pixel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch

__all__ = ["enclosure_logits", "place_logits"]


def place_logits(coefficients: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Sum up the functions of `napari_unet.data.place.place_basis` at given places.

    Parameters
    ----------
    coefficients : torch.Tensor
        (K, \\*centres) of the functions.
    places : torch.Tensor
        (N, axis, \\*space) relative places, see `napari_unet.data.place.relative_places`.

    Returns
    -------
    torch.Tensor
        (N, K, \\*space), computed as exactly as `places` are given, not in 16 bits.
    """
    with torch.autocast(places.device.type, enabled=False):
        bumps = [_bumps(places[:, axis], coefficients.shape[1]) for axis in range(places.shape[1])]
        return _sum_up(coefficients.to(places.dtype), bumps)


def enclosure_logits(coefficients: torch.Tensor, enclosed: torch.Tensor) -> torch.Tensor:
    """Weigh how far pixels are enclosed.

    Parameters
    ----------
    coefficients : torch.Tensor
        (K, E), of `napari_unet.data.enclosure.measure_enclosure`; with E = 0 the logits are 0.
    enclosed : torch.Tensor
        (N, E, \\*space).

    Returns
    -------
    torch.Tensor
        (N, K, \\*space), not computed in 16 bits.
    """
    with torch.autocast(enclosed.device.type, enabled=False):
        return torch.einsum("ke,ne...->nk...", coefficients.to(enclosed.dtype), enclosed)


def _bumps(along: torch.Tensor, centres: int) -> torch.Tensor:
    """Return (N, centre, \\*space) of places (N, \\*space) along an axis."""
    numbers = torch.arange(centres, device=along.device, dtype=along.dtype).view(-1, *(1,) * (along.ndim - 1))
    return torch.exp(-0.5 * (along.unsqueeze(1) * (centres - 1) - numbers) ** 2)


def _sum_up(coefficients: torch.Tensor, bumps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum over the centres of the last axis at once, and over those of the others one after the other."""
    first, *others = bumps
    if not others:
        return torch.einsum("kc,nc...->nk...", coefficients, first)
    parts = (_sum_up(own, others) * first[:, i : i + 1] for i, own in enumerate(coefficients.unbind(1)))
    return reduce(torch.add, parts)
