"""Where one more stroke would teach a model most: the choice of a place by what is uncertain and what is painted.

A classifier that is solved from strokes in closed form can be solved again in no time, as it would be with one more
stroke. So a few hundred places are tried, and the one is chosen after which the classes of all other places are
expected to be clearest. Where the disagreement counts as uncertain, which the classifier alone does not know of, it is
the place whose stroke takes away most of the classifier's variance at the places that disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from napari_unet.data.axes import Box
from napari_unet.predict.experience import Experience
from napari_unet.predict.uncertainty import Measure, entropy

__all__ = ["Candidates", "Choice", "choose", "join", "make_candidates"]

_CELL = {2: 4, 3: 2}  # pixels along each side of the cells that are chosen among, by dimensions
_AWAY = 2  # cells from what is painted
_UNLIKE = 2.0  # times the median distance to what is painted, from which on a place is unlike it
_TRIED = 256  # cells in which a stroke is tried
_OTHERS = 2048  # cells that are looked at after each
_UNCERTAIN: dict[Measure, float] = {"entropy": 0.3, "disagreement": 0.05}  # from which on a place is uncertain

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Small cells of an image that a stroke could begin in.

    Attributes
    ----------
    places : numpy.ndarray
        (n, axes) their middle pixels, in the frame.
    features : numpy.ndarray
        (n, D) float32, mean over the cell.
    probabilities : numpy.ndarray
        (n, class) float32, mean over the cell.
    uncertainty : numpy.ndarray
        (n,) float32, entropy or disagreement, see `napari_unet.predict.uncertainty`, mean over the cell.
    at_edge : numpy.ndarray
        (n,) bool, whether another class begins in or beside the cell.
    free : numpy.ndarray
        (n,) bool, whether nothing is painted in the cell and around it.
    """

    places: npt.NDArray[np.intp]
    features: FloatArray
    probabilities: FloatArray
    uncertainty: FloatArray
    at_edge: npt.NDArray[np.bool_]
    free: npt.NDArray[np.bool_]


def make_candidates(
    features: torch.Tensor,
    probabilities: FloatArray,
    painted: npt.NDArray[np.bool_],
    box: Box,
    disagreement: FloatArray | None = None,
) -> Candidates:
    """Divide a box of a frame into cells.

    Parameters
    ----------
    features : torch.Tensor
        (D, \\*box) the network's last feature map.
    probabilities : numpy.ndarray
        (class, \\*box).
    painted : numpy.ndarray
        (\\*box) bool.
    box : tuple of slice
        Where it lies in the frame.
    disagreement : numpy.ndarray or None
        (\\*box) see `napari_unet.predict.uncertainty.disagreement`; None: the entropy says what is uncertain.
    """
    ndim = len(box)
    cell = _CELL[ndim]

    def mean(values: torch.Tensor) -> FloatArray:
        pool: Any = functional.avg_pool2d if ndim == 2 else functional.avg_pool3d
        pooled: FloatArray = pool(values[None], cell, ceil_mode=True, count_include_pad=False)[0].cpu().numpy()
        return pooled

    def highest(values: npt.NDArray[Any], size: int, step: int) -> FloatArray:
        pool: Any = functional.max_pool2d if ndim == 2 else functional.max_pool3d
        numbers = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None, None]
        pooled: FloatArray = pool(numbers, size, step, padding=0 if step > 1 else size // 2, ceil_mode=True)[
            0, 0
        ].numpy()
        return pooled

    def grow(values: npt.NDArray[Any], size: int) -> FloatArray:
        return highest(highest(values, cell, cell), size, 1)

    classes = probabilities.argmax(axis=0)
    uncertain = entropy(probabilities) if disagreement is None else disagreement
    means = mean(torch.from_numpy(np.concatenate([probabilities, uncertain[np.newaxis]])))
    grid = means.shape[1:]
    steps = [
        np.minimum(part.start + cell * np.arange(size) + cell // 2, part.stop - 1)
        for part, size in zip(box, grid, strict=True)
    ]
    return Candidates(
        places=np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, ndim),
        features=mean(features.float()).reshape(len(features), -1).T.copy(),
        probabilities=means[:-1].reshape(len(probabilities), -1).T.copy(),
        uncertainty=means[-1].ravel(),
        at_edge=(grow(classes, 3) != -grow(-classes, 3)).ravel(),
        free=(grow(painted, 2 * _AWAY + 1) == 0).ravel(),
    )


@dataclass(frozen=True)
class Choice:
    """The cell that was chosen.

    Attributes
    ----------
    number : int
        Its place among the candidates.
    uncertainty : float
        0 to 1, see `Candidates`.
    why : str
        What makes it worth painting, in a few words.
    """

    number: int
    uncertainty: float
    why: str


def choose(
    experience: Experience,
    candidates: Candidates,
    closed: npt.NDArray[np.bool_],
    measure: Measure = "entropy",
    *,
    seed: int = 0,
) -> Choice | None:
    """Choose the cell in which a stroke would teach most.

    By entropy that is the one after whose stroke all others are expected to be clearest. By disagreement it is the one
    whose stroke takes away most variance, where each cell counts by its disagreement.

    Parameters
    ----------
    experience : Experience
        What the strokes tell.
    candidates : Candidates
        All cells.
    closed : numpy.ndarray
        (n,) bool, cells that are not wanted.
    measure : {"entropy", "disagreement"}
        What the candidates' uncertainty is.
    seed : int
        Draws the cells that are tried and those that are looked at then.

    Returns
    -------
    Choice or None
        None if everything is painted or closed.
    """
    open_cells = np.flatnonzero(candidates.free & ~closed)
    if not len(open_cells):
        return None
    rng = np.random.default_rng(seed)
    tried = rng.choice(open_cells, min(_TRIED, len(open_cells)), replace=False)
    others = rng.choice(len(closed), min(_OTHERS, len(closed)), replace=False)
    features = candidates.features
    if measure == "disagreement":
        best = int(open_cells[experience.gains(features, candidates.uncertainty)[open_cells].argmax()])
    else:
        clearness = experience.clearness(features[tried], candidates.probabilities[tried], features[others])
        best = int(tried[clearness.argmax()])
    uncertainty = float(candidates.uncertainty[best])
    kind = "edge" if candidates.at_edge[best] else "area"
    words = [f"uncertain {kind}" if uncertainty >= _UNCERTAIN[measure] else kind]
    usual = float(np.median(experience.unlikeness(features[others])))
    if experience.unlikeness(features[[best]])[0] >= _UNLIKE * usual:
        words.append("unlike what is painted")
    else:
        words.append("would make much else clear")
    return Choice(best, uncertainty, ", ".join(words))


def join(parts: Sequence[Candidates]) -> Candidates:
    """Put candidates together."""
    return Candidates(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))


_FIELDS = ("places", "features", "probabilities", "uncertainty", "at_edge", "free")
