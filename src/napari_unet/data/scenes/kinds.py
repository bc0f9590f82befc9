"""All the kinds of scenes there are, and how often each is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_unet.data.scenes.brain import Brain
from napari_unet.data.scenes.chance import chance
from napari_unet.data.scenes.display import Dyes, Tint
from napari_unet.data.scenes.heart import Heart
from napari_unet.data.scenes.lines import Filaments, Rings, Rods, Vessels
from napari_unet.data.scenes.nuclei import Nuclei, TwoTypes
from napari_unet.data.scenes.organs import Organs
from napari_unet.data.scenes.scene import Kind
from napari_unet.data.scenes.sheets import CellSheet, ElectronMicrograph
from napari_unet.data.scenes.stained import Smear, StainedTissue
from napari_unet.data.scenes.thorax import Thorax
from napari_unet.data.scenes.unstained import Mosaic, TransmittedLight
from napari_unet.errors import InputError

__all__ = ["COLOUR_KINDS", "GREY_KINDS", "draw_kind"]

GREY_KINDS: dict[type[Kind], float] = {
    CellSheet: 1.5,
    ElectronMicrograph: 2.0,
    Nuclei: 2.0,
    TwoTypes: 1.5,
    Filaments: 1.0,
    Rods: 0.8,
    Rings: 1.0,
    Vessels: 1.0,
    TransmittedLight: 1.5,
    Mosaic: 1.0,
    Thorax: 1.2,
    Heart: 1.2,
    Brain: 1.0,
    Organs: 1.5,
}
COLOUR_KINDS: dict[type[Kind], float] = {StainedTissue: 4.0, Smear: 2.0}

# Shares of all kinds where nothing is asked for, and of those in colour.
_SEVERAL_CHANNELS = 0.1
_COLOUR = 0.3
_TINTED = 0.25


def draw_kind(rng: np.random.Generator, ndim: int = 2, colour: bool | None = None) -> Kind:
    """Draw an experiment: what is imaged and how, with everything that its images have in common.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the numbers; the same state gives the same kind.
    ndim : int
        2 or 3 spatial axes.
    colour : bool or None
        True: 3 channels, red, green and blue. False: one channel. None: any, also 2 to 5 channels of fluorescence.

    Raises
    ------
    InputError
        If `ndim` is neither 2 nor 3.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> kind = draw_kind(rng, colour=False)
    >>> support, query = (kind.scene(rng, (64, 64)) for _ in range(2))
    >>> support.image.shape, support.regions.shape, support.names == query.names
    ((1, 64, 64), (64, 64), True)
    """
    if ndim not in (2, 3):
        raise InputError(f"Expected `ndim` to be 2 or 3, but got {ndim!r}.")
    several = colour is None and chance(rng, _SEVERAL_CHANNELS)
    if colour is None:
        colour = not several and chance(rng, _COLOUR)
    if colour and ndim == 2 and not chance(rng, _TINTED):
        return _one_of(rng, COLOUR_KINDS).draw(rng, ndim)
    kind = _one_of(rng, GREY_KINDS).draw(rng, ndim)
    if several:
        return replace(kind, display=Dyes.draw(rng, len(kind.names)))
    return replace(kind, display=Tint.draw(rng)) if colour else kind


def _one_of(rng: np.random.Generator, kinds: dict[type[Kind], float]) -> type[Kind]:
    shares = np.array(list(kinds.values()))
    return list(kinds)[int(rng.choice(len(kinds), p=shares / shares.sum()))]
