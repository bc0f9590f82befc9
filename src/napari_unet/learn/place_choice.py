"""How much the place in the image is to count for the last layer: what tells strokes best that were left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.painted_pixels import PaintedPixels, SeenPixels
from napari_unet.nets.trees import Trees

__all__ = ["PlaceWeight", "SolvedHead", "Task", "choose_place_weight", "solve_with_place"]

_PLACES = (1.0, 2.0, 4.0)  # what the functions of the place may count beside the features
_PLACE_OF_ONE = 8.0  # the same where all that is painted of a class lies in one place
_UNPAINTED = 4.0  # what all that is unpainted counts there as background, where what is painted so counts 1, at most
_MOST_FREQUENT = 5.0  # how many times as frequent as a class whose place counts the background is taken to be at most
_ENCLOSURES = (12.0,)  # the same of how far a pixel is enclosed
_MOST_FOLDS = 64
_MOST_PIXELS = 200  # of a stroke
_GAIN = {"classes": 0.17, "objects": 0.35}  # by which the lift must rise for anything to count,
_GAIN_OF_ONE = 0.05  # and for the place where all that is painted of a class lies in one
_UNLIKE = 0.25  # probability below which a pixel around the strokes looks less and less like foreground
_FLOOR = 0.01  # probability below which it matters no more how low it is

Task = Literal["objects", "classes"]


@dataclass(frozen=True)
class PlaceWeight:
    """What counts beside the features, and how much.

    Attributes
    ----------
    place, enclosure : float
        Of the functions of the place, and of how far a pixel is enclosed.
    enclosure_leads, trees, place_leads : bool
        Who is asked of what the features leave wrong of the strokes, see
        `napari_unet.learn.second_opinion.ask_others`.
    """

    place: float = 0.0
    enclosure: float = 0.0
    enclosure_leads: bool = False
    trees: bool = False
    place_leads: bool = False


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
        (K, B) of the functions of the place, with two columns more if it counts how far a pixel is enclosed; None:
        neither counts.
    counted : PlaceWeight
        How much either counted.
    trees : Trees or None
        What else adds to the logits.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    place: torch.Tensor | None = None
    counted: PlaceWeight = PlaceWeight()
    trees: Trees | None = None

    @property
    def place_columns(self) -> int:
        """How many columns `place` has; 0: none."""
        return 0 if self.place is None else self.place.shape[1]

    def foreground(self, seen: SeenPixels) -> torch.Tensor:
        """Return how probable it is that pixels (m,) are not background; trees are not asked."""
        logits = seen.features.to(self.weight) @ self.weight.T + self.bias
        if self.place is not None:
            logits = logits + seen.places[:, : self.place_columns].to(self.place) @ self.place.T
        return 1 - logits.softmax(dim=1)[:, 0]


def solve_with_place(
    painted: PaintedPixels, *, chosen: PlaceWeight | None = None, task: Task = "classes", form: ClosedForm
) -> SolvedHead:
    """Solve a last layer that may look at the place of a pixel and at how far it is enclosed, too.

    Air in a lung and around the body look alike; where they lie, and what is around them, tells them apart. Cells lie
    anywhere, and there the place would only mislead. So each stroke is left out in turn, or region of an image painted
    throughout (see `strokes_of_pixels`), or part of a stroke in a volume, and the place counts as much as tells those
    left out best from all else, or not at all. Where it counts, the pixels around the strokes count as background, too,
    each as far as it looks so: no stroke may tell what is in other places. There is more of them than a person paints,
    so they count more. And each class counts the same, but what lies in one place may fill little of an image: so the
    background is taken to be as many times as frequent as it seems to be then, within bounds.

    Parameters
    ----------
    painted : PaintedPixels
        What is known.
    chosen : PlaceWeight or None
        How much the place counts; None: that is chosen.
    task : {"objects", "classes"}
        What the strokes mean, see `choose_place_weight`.
    form : ClosedForm
        How to solve.
    """
    if chosen is None:
        chosen = choose_place_weight(painted, task=task, form=form)
    solved = _solve(painted, chosen, form)
    if chosen.place and len(painted.seen.places):
        without = _solve(painted, replace(chosen, place=0.0), form)
        foreground = solved.foreground(painted.seen) * (without.foreground(painted.seen) / _UNLIKE).clamp(max=1)
        solved = _solve(painted, chosen, form, background=1 - foreground)
    return solved


def _solve(
    painted: PaintedPixels, chosen: PlaceWeight, form: ClosedForm, *, background: torch.Tensor | None = None
) -> SolvedHead:
    """Solve a last layer, also from the pixels seen if it is given how far each is background, (m,)."""
    features, classes, weights, times = painted.features, painted.classes, painted.weights, 1.0
    if not (chosen.place or chosen.enclosure):
        return SolvedHead(*form.solve_and_follow(features, classes, painted.count, weights=weights))
    rows = _both(features, painted.places)
    if background is not None:
        weights = torch.ones_like(rows[:, 0]) if weights is None else weights.to(rows)
        counts = background * (_UNPAINTED * weights[classes == 0].sum() / len(background))
        rows = torch.cat([rows, _both(painted.seen.features, painted.seen.places).to(rows)])
        classes = torch.cat([classes, classes.new_zeros(len(counts))])
        weights = torch.cat([weights, counts.to(weights)])
        times = _times_as_frequent(background, len(classes.unique()) - 1)
    scaling = _scaling(painted, chosen)
    weight, bias = form.solve_and_follow(scaling * rows, classes, painted.count, weights=weights, background=times)
    weight = weight * scaling
    width = features.shape[1]
    used = width + painted.places.shape[1] - (0 if chosen.enclosure else painted.enclosures)
    return SolvedHead(weight[:, :width].contiguous(), bias, weight[:, width:used].contiguous(), chosen)


def _times_as_frequent(background: torch.Tensor, others: int) -> float:
    """Return how many times as frequent as each of the other classes the background seems to be, within bounds."""
    share = float(background.mean())
    return min(_MOST_FREQUENT, max(1.0, share * others / max(1 - share, 1e-6)))


def _both(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return (n, D + B) float32."""
    return torch.cat([features.float(), places.to(features.device)], dim=1)


def _scaling(painted: PaintedPixels, chosen: PlaceWeight) -> torch.Tensor:
    """Return (D + B,) what each column counts."""
    sizes = torch.tensor([painted.features.shape[1], painted.basis.shape[1], painted.enclosures])
    return torch.tensor([1.0, chosen.place, chosen.enclosure]).repeat_interleave(sizes).to(painted.features.device)


def choose_place_weight(painted: PaintedPixels, *, task: Task = "classes", form: ClosedForm) -> PlaceWeight:
    """Choose how much the place counts by the lift of strokes left out one at a time; see `solve_with_place`.

    The lift of a stroke is the logarithm of how much more probable its class is on it than on the pixels seen as a
    whole: a layer that calls everything foreground has found nothing. Strokes of an organ tell that all that looks
    like it elsewhere is none; strokes of cells lie wherever the cells are, and the place brings nothing. Of strokes of
    the background it is the logarithm of their probability alone: most of an image may well be background. Each class
    counts the same, and each stroke the same within its class. Of a stroke at most 200 pixels are used, and of more
    than 64 strokes several are left out together. First the enclosure is chosen, then the place.

    Objects lie anywhere, also at the border of the image, where nothing is enclosed, and few strokes can't tell that:
    the enclosed part of them would seem the better answer. So of objects the lift has to rise by more.

    Strokes of an organ lie closer together than chance would have them (`napari_unet.learn.one_place`). For these a
    small rise of the lift is enough, or none where they are too few to tell it, as they often touch.
    """
    one = task == "classes" and painted.lie_in_one_place
    gain = _GAIN[task]
    best = _choose_by_lift(painted, gain, _GAIN_OF_ONE if one else gain, form) if painted.are_enough else PlaceWeight()
    if one and not best.enclosure and (best.place or not painted.tell_place):
        return PlaceWeight(place=_PLACE_OF_ONE)
    return best


def _choose_by_lift(painted: PaintedPixels, gain: float, gain_of_place: float, form: ClosedForm) -> PlaceWeight:
    """Choose the enclosure, then the place, if the strokes can have told it, by the lift; each must raise it so far."""
    steps = [(gain, [PlaceWeight(enclosure=weight) for weight in _ENCLOSURES])]
    if painted.tell_place:
        steps.append((gain_of_place, [PlaceWeight(place=weight) for weight in _PLACES]))
    strokes = painted.strokes
    if painted.ndim == 3:  # strokes lie in few slices, and one slice would be unknown without its own
        strokes = strokes * painted.basis.shape[1] + painted.basis.argmax(dim=1).cpu().numpy()
    kinds, folds, rows = _draw_folds(painted.kinds, strokes)
    here = torch.from_numpy(rows)
    z = _stack(painted.features[here.to(painted.features.device)], painted.places[here])
    moments = _Moments(z, torch.from_numpy(kinds), torch.from_numpy(folds), painted.count)
    around = _stack(painted.seen.features, painted.seen.places)

    def lift(weight: PlaceWeight) -> float:
        return moments.lift(_scaling(painted, weight).to(z), around, form)

    best = PlaceWeight()
    highest = lift(best)
    for needed, step in steps:
        options = [replace(best, place=best.place + w.place, enclosure=best.enclosure + w.enclosure) for w in step]
        lifts = [lift(option) for option in options]
        if max(lifts) > highest + needed:
            highest = max(lifts)
            best = options[lifts.index(highest)]
    return best


def _stack(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return (n, D + B + 1) float64 on the CPU: features, places and a 1."""
    f = features.cpu().double()
    return torch.cat([f, places.cpu().double(), f.new_ones(len(f), 1)], dim=1)


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
        (n, W + 1) float64: features, places and a 1.
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

    def solve(self, scaling: torch.Tensor, form: ClosedForm) -> torch.Tensor:
        """Solve the regression without each fold.

        Parameters
        ----------
        scaling : torch.Tensor
            (W,) what each column counts; 0: it is left out.

        Returns
        -------
        torch.Tensor
            (fold, W + 1, K), from the columns as they are, and the 1, to logits.
        """
        used = torch.nonzero(scaling)[:, 0]
        penalty = torch.diag(form.ridge / scaling[used] ** 2)
        mean, targets = self.second[:, -1, used], self.with_target[:, -1]
        square = self.second[:, used][:, :, used] - mean[:, :, None] * mean[:, None, :] + penalty
        cross = self.with_target[:, used] - mean[:, :, None] * targets[:, None, :]
        # not by PyTorch: oneMKL fails on many matrices of over 128 columns with more than one thread, or never ends
        solved = torch.from_numpy(np.linalg.solve(square.numpy(), cross.numpy()))
        weight: torch.Tensor = solved.new_zeros(len(self.names), len(scaling) + 1, solved.shape[2])
        weight[:, used] = form.scale * solved
        weight[:, -1] = form.scale * (targets - torch.einsum("fw,fwk->fk", mean, solved))
        weight[:, -1, 0] += form.offset
        weight[:, -1][~self.present] = -torch.inf
        return weight

    def lift(self, scaling: torch.Tensor, around: torch.Tensor, form: ClosedForm) -> float:
        """Return the mean lift of strokes left out among pixels (m, W + 1), see `choose_place_weight`."""
        weight = self.solve(scaling, form)
        elsewhere = torch.einsum("mw,fwk->fmk", around.float(), weight.float()).softmax(dim=2).mean(dim=1)
        lifts: dict[int, list[float]] = {}
        for i, fold in enumerate(self.names):
            own = self.folds == fold
            found = (self.z[own] @ weight[i]).softmax(dim=1)
            kinds = self.kinds[own]
            for kind in kinds.unique().tolist():
                there = found[kinds == kind, kind].mean()
                usual = elsewhere[i, kind] if kind > 0 else 1.0
                lifts.setdefault(kind, []).append(float(torch.log((there + _FLOOR) / (usual + _FLOOR))))
        return float(np.mean([np.mean(values) for values in lifts.values()]))
