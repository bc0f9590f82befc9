"""How much the place in the image is to count for the last layer: what predicts strokes best that were left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from napari_unet.data.place import CENTRES
from napari_unet.learn.closed_form import ClosedForm

__all__ = ["SolvedHead", "choose_place_weight", "solve_with_place"]

_WEIGHTS = (0.0, 1.0, 2.0, 4.0)  # of the functions of the place beside the features; 0: the place does not count
_FEWEST = 5  # strokes of a class below which those left out do not tell enough
_MOST_FOLDS = 64
_MOST_PIXELS = 200  # of a stroke
_GAIN = 0.05  # share that the place must take off the loss to count at all
_GAIN_OF_PARTS = 0.3  # the same where regions or parts of strokes are left out, which are like those beside them
_WORST = 5.0  # the largest loss of a pixel that is believed


@dataclass(frozen=True, eq=False)
class SolvedHead:
    """A last layer that was solved from strokes.

    Attributes
    ----------
    weight : torch.Tensor
        (K, D) of the features.
    bias : torch.Tensor
        (K,).
    place : torch.Tensor or None
        (K, B) of the functions of the place; None: it does not count.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    place: torch.Tensor | None = None


def solve_with_place(
    features: torch.Tensor,
    places: torch.Tensor,
    strokes: npt.NDArray[np.int64],
    classes: torch.Tensor,
    count: int,
    *,
    weights: torch.Tensor | None = None,
    form: ClosedForm,
) -> SolvedHead:
    """Solve a last layer that may look at the place of a pixel, too.

    Air in a lung and around the body look alike; where they lie tells them apart. Cells lie anywhere, and there the
    place would only mislead. So each stroke is left out in turn, or region of an image painted throughout (see
    `strokes_of_pixels`), or part of a stroke in a volume, and the place counts as much as predicts those left out best,
    or not at all.

    Parameters
    ----------
    features : torch.Tensor
        (n, D) of the painted pixels.
    places : torch.Tensor
        (n, B) float32, see `napari_unet.data.place.place_basis`.
    strokes : numpy.ndarray
        (n,) which connected stroke a pixel belongs to.
    classes, count, weights
        As in `napari_unet.learn.closed_form.solve_head`.
    form : ClosedForm
        How to solve.
    """
    chosen = choose_place_weight(features, places, strokes, classes, count, form=form)
    if chosen == 0.0:
        return SolvedHead(*form.solve(features, classes, count, weights=weights))
    both = torch.cat([features.float(), chosen * places.to(features.device)], dim=1)
    weight, bias = form.solve(both, classes, count, weights=weights)
    depth = features.shape[1]
    return SolvedHead(weight[:, :depth].contiguous(), bias, chosen * weight[:, depth:])


def choose_place_weight(
    features: torch.Tensor,
    places: torch.Tensor,
    strokes: npt.NDArray[np.int64],
    classes: torch.Tensor,
    count: int,
    *,
    form: ClosedForm,
) -> float:
    """Choose how much the place counts, by cross entropy on strokes left out one at a time; see `solve_with_place`.

    Each class counts the same, and each stroke the same within its class. Of a stroke at most 200 pixels are used, and
    of more than 64 strokes several are left out together.
    """
    known = classes.cpu().numpy()
    throughout = _have_regions(known, strokes)
    per_class = [len(np.unique(strokes[known == kind])) for kind in np.unique(known)]
    if len(per_class) < 2 or (min(per_class) < _FEWEST and not throughout):
        return 0.0
    in_volume = places.shape[1] == CENTRES[3] ** 3
    if in_volume:  # strokes lie in few slices, and without one its slice would be unknown: parts of them are left out
        strokes = strokes * places.shape[1] + places.argmax(dim=1).cpu().numpy()
    kinds, folds, rows = _draw_folds(known, strokes)
    here = torch.from_numpy(rows)
    f = features.cpu()[here].double()
    z = torch.cat([f, places.cpu()[here].double(), f.new_ones(len(f), 1)], dim=1)
    moments = _Moments(z, torch.from_numpy(kinds), torch.from_numpy(folds), count)
    losses = [moments.left_out_loss(f.shape[1], weight, form) for weight in _WEIGHTS]
    best = int(np.argmin(losses))
    gain = _GAIN_OF_PARTS if throughout or in_volume else _GAIN
    return _WEIGHTS[best] if losses[best] < (1 - gain) * losses[0] else 0.0


def _have_regions(kinds: npt.NDArray[np.int64], strokes: npt.NDArray[np.int64]) -> bool:
    """Whether there are regions of images painted throughout, see `strokes_of_pixels`: classes share their numbers.

    They tell of each class where it is not, so that few of them are enough.
    """
    pairs = np.unique(np.stack([kinds, strokes]), axis=1)
    return bool(len(np.unique(pairs[1])) < pairs.shape[1])


def _draw_folds(
    kinds: npt.NDArray[np.int64], strokes: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Choose some pixels (rows) of each stroke; returns their classes, folds and rows."""
    names, number = np.unique(strokes, return_inverse=True)
    rows = []
    for own in range(len(names)):
        found = np.flatnonzero(number == own)
        rows.append(found[:: max(1, -(-len(found) // _MOST_PIXELS))])
    chosen = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    return kinds[chosen], number[chosen] % _MOST_FOLDS, chosen


class _Moments:
    """Sums over strokes, from which the regression without any one of them is solved at once.

    Parameters
    ----------
    z : torch.Tensor
        (n, D + B + 1) float64: features, places and a 1.
    kinds, folds : torch.Tensor
        (n,) class and fold of a pixel.
    count : int
        Number of classes.
    """

    def __init__(self, z: torch.Tensor, kinds: torch.Tensor, folds: torch.Tensor, count: int) -> None:
        self.z, self.kinds, self.folds = z, kinds, folds
        self.names = folds.unique()
        width = z.shape[1]
        sums = z.new_zeros(len(self.names), count, width, width)  # of each fold and class
        for i, fold in enumerate(self.names):
            for kind in kinds[folds == fold].unique():
                own = z[(folds == fold) & (kinds == kind)]
                sums[i, kind] = own.T @ own
        rest = sums.sum(0) - sums
        number = rest[..., -1, -1]
        self.present = number > 0.5
        share = torch.where(self.present, 1 / number.clamp(min=1) / self.present.sum(1, keepdim=True), 0.0)
        self.second = (rest * share[..., None, None]).sum(1)
        first = rest[..., -1, :] * share[..., None]  # (fold, class, width): sums of the class' part
        sign = 2 * torch.eye(count, dtype=z.dtype) - 1
        self.with_target = torch.einsum("fcw,ck->fwk", first, sign)

    def left_out_loss(self, depth: int, weight: float, form: ClosedForm) -> float:
        """Return the mean cross entropy of left-out strokes if the place counts so much."""
        used = slice(0, depth) if weight == 0 else slice(0, self.z.shape[1] - 1)
        size = self.z[:, used].shape[1]
        penalty = torch.full((size,), form.ridge, dtype=self.z.dtype)
        if weight:
            penalty[depth:] /= weight**2
        mean, targets = self.second[:, -1, used], self.with_target[:, -1]
        square = self.second[:, used, used] - mean[:, :, None] * mean[:, None, :] + torch.diag(penalty)
        cross = self.with_target[:, used] - mean[:, :, None] * targets[:, None, :]
        solved = torch.linalg.solve(square, cross)
        bias = targets - torch.einsum("fw,fwk->fk", mean, solved)
        losses: dict[int, list[float]] = {}
        for i, fold in enumerate(self.names):
            own = self.folds == fold
            logits = form.scale * (self.z[own][:, used] @ solved[i] + bias[i])
            logits[:, 0] += form.offset
            logits[:, ~self.present[i]] = -torch.inf
            kinds = self.kinds[own]
            loss = torch.nn.functional.cross_entropy(logits, kinds, reduction="none").clamp(max=_WORST)
            for kind in kinds.unique().tolist():
                losses.setdefault(kind, []).append(float(loss[kinds == kind].mean()))
        return float(np.mean([np.mean(values) for values in losses.values()]))
