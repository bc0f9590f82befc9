"""The images that are painted on, with the truth about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.few_strokes.tasks import load_set
from napari_unet.data.synthetic import cells

__all__ = ["SCENES", "Scene", "load_scene"]

SCENES = ("nuclei_fluo", "nuclei_he", "isbi2012_em", "synthetic")
_PIECE = 1024


@dataclass(frozen=True, eq=False)
class Scene:
    """What a person opens, and what they want to find in it.

    Attributes
    ----------
    image : numpy.ndarray
        (Y, X) or (Y, X, 3).
    truth : numpy.ndarray
        (Y, X) uint8, 0 background, 1 foreground.
    areas : bool
        Whether the person looks for areas, not for objects.
    """

    image: npt.NDArray[Any]
    truth: npt.NDArray[np.uint8]
    areas: bool


def load_scene(name: str, size: int = 4096) -> Scene:
    """Return the first image of a real set, or one of made-up cells.

    Parameters
    ----------
    name : str
        One of `SCENES`.
    size : int
        Side of the made-up image, which repeats itself every 1024 pixels.
    """
    if name == "synthetic":
        side = min(size, _PIECE)
        made = cells((side, side), radius=30, seed=3)
        times = (size // side, size // side)
        return Scene(np.tile(made.image, times), np.tile((np.asarray(made.labels) > 0).astype(np.uint8), times), False)
    from benchmarks.reporting import data_folder  # loads torch, which the person's own process does without

    first = load_set(name, data_folder())[0]
    return Scene(first.image, (first.objects > 0).astype(np.uint8), name == "isbi2012_em")
