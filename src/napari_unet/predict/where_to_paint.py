"""Where one more stroke would teach a model most: the choice of a place by what is uncertain and what is painted.

A classifier that is solved from strokes by ridge regression has a known variance at every place. A stroke lowers it
wherever the features are alike. The place chosen is the one whose stroke takes away most of the variance that matters:
that of all places whose class is not clear. So what is unlike the painted comes first, but not what is unlike all else.
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
from napari_unet.predict.uncertainty import Measure, entropy

__all__ = ["Candidates", "Choice", "Experience", "choose", "join", "make_candidates"]

_CELL = {2: 4, 3: 2}  # pixels along each side of the cells that are chosen among, by dimensions
_AWAY = 2  # cells from what is painted
_UNLIKE = 2.0  # times the median distance to what is painted, from which on a place is unlike it
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
    doubt : numpy.ndarray
        (n,) float32, how much it matters what the cell is: one minus the summed squares of the classes' probabilities,
        or the disagreement, mean over the cell.
    uncertainty : numpy.ndarray
        (n,) float32, entropy or disagreement, see `napari_unet.predict.uncertainty`, mean over the cell.
    at_edge : numpy.ndarray
        (n,) bool, whether another class begins in or beside the cell.
    free : numpy.ndarray
        (n,) bool, whether nothing is painted in the cell and around it.
    """

    places: npt.NDArray[np.intp]
    features: FloatArray
    doubt: FloatArray
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
        (\\*box) see `napari_unet.predict.uncertainty.disagreement`; None: the probabilities say what is in doubt.
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
    if disagreement is None:
        pixels = np.stack([1 - (probabilities**2).sum(axis=0), entropy(probabilities)])
    else:
        pixels = np.stack([disagreement, disagreement])
    means = mean(torch.from_numpy(pixels))
    grid = means.shape[1:]
    steps = [
        np.minimum(part.start + cell * np.arange(size) + cell // 2, part.stop - 1)
        for part, size in zip(box, grid, strict=True)
    ]
    return Candidates(
        places=np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, ndim),
        features=mean(features.float()).reshape(len(features), -1).T.copy(),
        doubt=means[0].ravel(),
        uncertainty=means[1].ravel(),
        at_edge=(grow(classes, 3) != -grow(-classes, 3)).ravel(),
        free=(grow(painted, 2 * _AWAY + 1) == 0).ravel(),
    )


class Experience:
    r"""What the painted pixels tell of a place by its features.

    Parameters
    ----------
    features : numpy.ndarray
        (n, D) features of the painted pixels.
    weights : numpy.ndarray
        (n,) what each counts in the regression, summing up to 1.
    ridge : float
        Of the regression, see `napari_unet.learn.closed_form.solve_head`.
    """

    def __init__(self, features: npt.NDArray[Any], weights: npt.NDArray[Any], ridge: float) -> None:
        known = np.asarray(features, np.float64)
        self.mean = weights @ known
        centred = known - self.mean
        self.covariance = np.linalg.inv((centred * weights[:, None]).T @ centred + ridge * np.eye(known.shape[1]))

    def gains(self, candidates: Candidates) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        r"""Say what a stroke in each cell would teach, and how unlike the painted pixels it is.

        With `A` the covariance of the regression's weights and `f` features less their mean, the variance at `x` is
        ``f_x A f_x``; painting at `c` lowers it by ``(f_x A f_c)**2 / (1 + f_c A f_c)``. Summed over all cells, each
        weighted by its doubt, this is ``f_c A M A f_c / (1 + f_c A f_c)`` with ``M = sum_x doubt_x f_x f_x^T``.

        Returns
        -------
        gains : numpy.ndarray
            (n,) the variance that is taken away, all cells together.
        variances : numpy.ndarray
            (n,) the variance in the cell: high where nothing like it is painted.

        References
        ----------
        Cohn, Ghahramani and Jordan 1996, Active learning with statistical models, arXiv cs/9603104; MacKay 1992,
        doi 10.1162/neco.1992.4.4.590, section 5 (mean marginal information gain).
        """
        centred = candidates.features - self.mean
        projected = centred @ self.covariance
        variances = (projected * centred).sum(axis=1)
        wanted = (centred * candidates.doubt[:, None]).T @ centred
        return ((projected @ wanted) * projected).sum(axis=1) / (1 + variances), variances


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
    experience: Experience, candidates: Candidates, closed: npt.NDArray[np.bool_], measure: Measure = "entropy"
) -> Choice | None:
    """Choose the cell in which a stroke would teach most.

    Parameters
    ----------
    experience : Experience
        What the painted pixels tell.
    candidates : Candidates
        All cells.
    closed : numpy.ndarray
        (n,) bool, cells that are not wanted.
    measure : {"entropy", "disagreement"}
        What the candidates' uncertainty is.

    Returns
    -------
    Choice or None
        None if everything is painted or closed.
    """
    gains, variances = experience.gains(candidates)
    open_cells = candidates.free & ~closed
    if not open_cells.any():
        return None
    best = int(np.where(open_cells, gains, -np.inf).argmax())
    uncertainty = float(candidates.uncertainty[best])
    kind = "edge" if candidates.at_edge[best] else "area"
    words = [f"uncertain {kind}" if uncertainty >= _UNCERTAIN[measure] else kind]
    if variances[best] >= _UNLIKE * float(np.median(variances)):
        words.append("unlike what is painted")
    else:
        words.append("like many others that are uncertain")
    return Choice(best, uncertainty, ", ".join(words))


def join(parts: Sequence[Candidates]) -> Candidates:
    """Put candidates together."""
    return Candidates(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))


_FIELDS = ("places", "features", "doubt", "uncertainty", "at_edge", "free")
