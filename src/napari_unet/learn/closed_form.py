"""The last layer of a network solved from strokes at once, without training: a ridge regression in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from napari_unet.errors import InputError

__all__ = ["ABSENT", "ClosedForm", "follow_strokes", "share_wrong", "solve_head"]

ABSENT = -30.0  # logit of a class without strokes: it is never chosen, and a training can still bring it back
_KEPT = 2.0  # twice what the squared distance from a solved layer counts beside the mean cross entropy
_CORRECTIONS = 30  # steps
_MOST_PIXELS = 8_000  # of a class that a layer is corrected by


@dataclass(frozen=True)
class ClosedForm:
    """How the last layer of a network is solved, see `solve_head`.

    A network that was trained to be solved in this way has learnt these numbers, too. The defaults are for any other.

    Attributes
    ----------
    ridge : float
        How strongly small weights are preferred; more than 0.
    scale : float
        From the regression, whose targets are -1 and 1, to logits.
    offset : float
        What is added to the logit of the background.
    """

    ridge: float = 0.05
    scale: float = 3.0
    offset: float = 0.0

    def solve(
        self, features: torch.Tensor, classes: torch.Tensor, count: int, *, weights: torch.Tensor | None = None,
        given: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Solve with these numbers, see `solve_head`."""
        return solve_head(
            features, classes, count, weights=weights, given=given, ridge=self.ridge, scale=self.scale,
            offset=self.offset,
        )  # fmt: skip

    def solve_and_follow(
        self, features: torch.Tensor, classes: torch.Tensor, count: int, *, weights: torch.Tensor | None = None,
        background: float = 1.0,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Solve, then correct what the solution gets wrong of the strokes, see `follow_strokes`.

        The background, class 0, is taken to be `background` times as frequent as any other class: by Bayes' rule its
        logit is higher by the logarithm of that.
        """
        prior = replace(self, offset=self.offset + math.log(background))
        solved = prior.solve(features, classes, count, weights=weights)
        return follow_strokes(features, classes, *solved, weights=weights, background=background)


def solve_head(
    features: torch.Tensor,
    classes: torch.Tensor,
    count: int,
    *,
    weights: torch.Tensor | None = None,
    given: torch.Tensor | None = None,
    ridge: float | torch.Tensor,
    scale: float | torch.Tensor,
    offset: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve the 1x1 convolution that turns features into logits, from pixels whose class is known.

    Minimises ``sum_i w_i ||W f_i + b - y_i||**2 + ridge * ||W||**2`` with ``y`` 1 for the class of a pixel and -1 for
    the others; the logits are ``scale * (W f + b)``, and `offset` more for class 0. The weights are divided so that
    each class that has pixels counts as much as the others and all sum up to 1, so `ridge` means the same for few and
    for many strokes. All steps can be differentiated, and run in float64 where the device can.

    Parameters
    ----------
    features : torch.Tensor
        (n, D) features of the painted pixels.
    classes : torch.Tensor
        (n,) int64, 0 to ``count - 1``.
    count : int
        Number of classes, K.
    weights : torch.Tensor or None
        (n,) at least 0: what a pixel counts among those of its class; None: all the same.
    given : torch.Tensor or None
        (n, K) logits that come from elsewhere: only what is lacking is solved, to be added to them; None: there are
        none.
    ridge, scale, offset : float or torch.Tensor
        See `ClosedForm`; tensors of one number where they are learnt.

    Returns
    -------
    weight : torch.Tensor
        (K, D) float32.
    bias : torch.Tensor
        (K,) float32. A class without pixels gets weights of 0 and the bias `ABSENT`.

    Raises
    ------
    InputError
        If there is no pixel.

    References
    ----------
    Hoerl and Kennard 1970, doi 10.1080/00401706.1970.10488634; in a network that is trained through the solution:
    Bertinetto et al. 2019, arXiv 1805.08136.

    Examples
    --------
    >>> features = torch.tensor([[0.0], [1.0], [1.0]])
    >>> weight, bias = solve_head(features, torch.tensor([0, 1, 1]), 2, ridge=1e-6, scale=1.0, offset=0.0)
    >>> (features @ weight.T + bias).round(decimals=3).tolist()
    [[1.0, -1.0], [-1.0, 1.0], [-1.0, 1.0]]
    """
    if len(features) == 0:
        raise InputError("Nothing is painted; paint a stroke of background and one of another class.")
    exact = torch.float32 if features.device.type == "mps" else torch.float64
    with torch.autocast(features.device.type, enabled=False):
        f = features.to(exact)
        member = functional.one_hot(classes, count).to(exact)
        share = member if weights is None else member * weights.to(exact)[:, None]
        sums = share.sum(0)
        present = sums > 0
        w = (share / sums.clamp(min=torch.finfo(exact).tiny)).sum(1) / present.sum()
        mean, target = w @ f, 2 * member - 1
        if given is not None:
            target = target - given.to(exact) / scale
        mean_target = w @ target
        centred = (f - mean) * w[:, None]
        penalty = torch.as_tensor(ridge, device=f.device, dtype=exact) * torch.eye(
            f.shape[1], device=f.device, dtype=exact
        )
        solved, _ = torch.linalg.solve_ex(centred.T @ (f - mean) + penalty, centred.T @ (target - mean_target))
        weight = scale * solved.T
        bias = scale * (mean_target - mean @ solved)
        bias = bias + functional.pad(torch.as_tensor(offset, device=f.device, dtype=exact).reshape(1), (0, count - 1))
        weight = torch.where(present[:, None], weight, 0.0)
        bias = torch.where(present, bias, ABSENT)
        return weight.to(torch.float32), bias.to(torch.float32)


def follow_strokes(
    features: torch.Tensor,
    classes: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    *,
    weights: torch.Tensor | None = None,
    given: torch.Tensor | None = None,
    background: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Change a solved layer as little as it takes to get those strokes right that it gets wrong.

    A regression counts pixels that are far on the right side as much as those on the wrong one, so that a person who
    corrects what is shown would paint in vain. This minimises ``sum_i w_i CE_i + ||V - V0||**2`` with the cross entropy
    ``CE_i`` of a painted pixel, the weights ``w_i`` of `solve_head`, the layer's weights and biases ``V``, and those
    given, ``V0``; it leaves a layer alone that is sure of all strokes.

    Parameters
    ----------
    features, classes, weights
        As in `solve_head`. Of a class with very many pixels some are used, evenly spread.
    weight : torch.Tensor
        (K, D).
    bias : torch.Tensor
        (K,).
    given : torch.Tensor or None
        (n, K) logits that come from elsewhere and stay; None: there are none.
    background : float
        How many times as much class 0 counts as any other.

    Returns
    -------
    weight : torch.Tensor
        (K, D) float32.
    bias : torch.Tensor
        (K,) float32. A class without pixels keeps what it has.

    References
    ----------
    The curvature of the cross entropy is bounded as by Böhning 1992, doi 10.1007/BF00048682, and the steps are those of
    Beck and Teboulle 2009, doi 10.1137/080716542.

    Examples
    --------
    >>> features, classes = torch.tensor([[0.0], [2.0], [2.0], [2.0], [10.0]]), torch.tensor([0, 1, 1, 1, 1])
    >>> solved = solve_head(features, classes, 2, ridge=0.05, scale=3.0, offset=0.0)
    >>> followed = follow_strokes(features, classes, *solved)
    >>> [(features @ weight.T + bias).argmax(1).tolist() for weight, bias in (solved, followed)]
    [[0, 0, 0, 0, 1], [0, 1, 1, 1, 1]]
    """
    exact = torch.float32 if features.device.type == "mps" else torch.float64
    count = len(bias)
    rows = torch.cat([_spread(torch.nonzero(classes == kind)[:, 0]) for kind in range(count)])
    with torch.autocast(features.device.type, enabled=False):
        f = functional.pad(features[rows].to(exact), (0, 1), value=1.0)
        member = functional.one_hot(classes[rows], count).to(exact)
        share = member if weights is None else member * weights[rows].to(exact)[:, None]
        sums = share.sum(0)
        present = sums > 0
        counts = functional.pad(torch.full_like(sums[:1], background), (0, count - 1), value=1.0) * present
        w = (share / sums.clamp(min=torch.finfo(exact).tiny)) @ (counts / counts.sum())[:, None]
        start = torch.cat([weight, bias[:, None]], dim=1).to(exact).T
        elsewhere = 0.0 if given is None else given[rows].to(exact)
        unit = torch.eye(f.shape[1], device=f.device, dtype=exact)
        step, _ = torch.linalg.solve_ex(0.5 * f.T @ (w * f) + _KEPT * unit, unit)
        found = ahead = start
        pace = 1.0
        for _ in range(_CORRECTIONS):
            slope = f.T @ (w * ((f @ ahead + elsewhere).softmax(dim=1) - member)) + _KEPT * (ahead - start)
            before, found = found, ahead - step @ slope * present
            pace, last = (1 + math.sqrt(1 + 4 * pace**2)) / 2, pace
            ahead = found + (last - 1) / pace * (found - before)
        corrected = found.T.to(torch.float32)
    return corrected[:, :-1].contiguous(), corrected[:, -1].contiguous()


def share_wrong(logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor | None = None) -> float:
    """Return the share of painted pixels that get another class; each class counts the same.

    Parameters
    ----------
    logits : torch.Tensor
        (n, K).
    classes, weights
        As in `solve_head`.

    Examples
    --------
    >>> share_wrong(torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]]), torch.tensor([0, 1, 1]))
    0.25
    """
    wrong = (logits.argmax(dim=1) != classes).float()
    counts = torch.ones_like(wrong) if weights is None else weights.float()
    shares = [(wrong * counts)[own].sum() / counts[own].sum() for own in (classes == kind for kind in classes.unique())]
    return float(torch.stack(shares).mean())


def _spread(rows: torch.Tensor) -> torch.Tensor:
    """Choose some of very many rows, evenly spread."""
    return rows[:: max(1, -(-len(rows) // _MOST_PIXELS))]
