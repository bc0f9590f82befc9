"""What a training minimises, blind to what was not painted.

Each term is put together from sums over the pixels, which have functions of their own (`..._sums`), so that they can
be added up over the parts of a batch before they are divided.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from napari_unet.learn.config import LossName

__all__ = [
    "boundary_loss",
    "boundary_sums",
    "cross_entropy_sums",
    "dice_loss",
    "dice_sums",
    "focal_loss",
    "focal_sums",
    "segmentation_loss",
    "weighted_cross_entropy",
]

Reduce = Callable[[torch.Tensor], torch.Tensor]

_EDGE = 3  # pixels: side of the window in which a neighbour of another class makes an edge
_TOLERANCE = 5  # pixels: side of the window in which two edges meet


def _as_it_is(sums: torch.Tensor) -> torch.Tensor:
    return sums


def weighted_cross_entropy(
    logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor, *, reduce: Reduce = _as_it_is
) -> torch.Tensor:
    """Pixel-wise softmax and cross entropy, weighted and averaged over the weights.

    Parameters
    ----------
    logits : torch.Tensor
        (N, class, \\*space).
    classes : torch.Tensor
        (N, \\*space) int64.
    weights : torch.Tensor
        (N, \\*space) float32; pixels of weight 0 are ignored.
    reduce : callable
        What makes the sums over a part of a batch those over the whole batch, where several processes share it.

    Returns
    -------
    torch.Tensor
        A scalar; 0 with a gradient of 0 if all weights are 0.

    References
    ----------
    Ronneberger et al. 2015, equation 1, divided by the sum of the weights.
    """
    return _weighted_mean(reduce(cross_entropy_sums(logits, classes, weights)))


def focal_loss(
    logits: torch.Tensor,
    classes: torch.Tensor,
    weights: torch.Tensor,
    *,
    gamma: float = 2.0,
    reduce: Reduce = _as_it_is,
) -> torch.Tensor:
    """Cross entropy in which a pixel of probability p for its class counts ``(1 - p)**gamma`` times.

    Pixels that are right already have little say, so that a few difficult ones are not lost among them.

    Parameters
    ----------
    logits, classes, weights : torch.Tensor
        As in `weighted_cross_entropy`; the weights stand in the place of the paper's alpha.
    gamma : float
        0 gives the weighted cross entropy.
    reduce : callable
        As in `weighted_cross_entropy`.

    Returns
    -------
    torch.Tensor
        A scalar; 0 with a gradient of 0 if all weights are 0.

    References
    ----------
    Lin et al. 2017, arXiv 1708.02002, equation 5, divided by the sum of the weights.
    """
    return _weighted_mean(reduce(focal_sums(logits, classes, weights, gamma)))


def dice_loss(
    logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor, *, reduce: Reduce = _as_it_is
) -> torch.Tensor:
    """One minus the soft Dice coefficient, averaged over the classes but background, over the batch as a whole.

    Parameters
    ----------
    logits, classes, weights : torch.Tensor
        As in `weighted_cross_entropy`; of the weights only whether they are positive counts.
    reduce : callable
        As in `weighted_cross_entropy`.

    Returns
    -------
    torch.Tensor
        A scalar, 0 to 1.

    References
    ----------
    Milletari et al. 2016, V-Net, arXiv 1606.04797, with the sum (not the squares) in the denominator.
    """
    overlap, predicted, true = reduce(dice_sums(logits, classes, weights))
    return _mean_over_present(1 - (2 * overlap + 1) / (predicted + true + 1), true)


def boundary_loss(
    logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor, *, reduce: Reduce = _as_it_is
) -> torch.Tensor:
    """One minus the soft F1 score of the outlines, averaged over the classes but background, over the batch as a whole.

    A pixel's edge is how much its probability exceeds the lowest one in a window of 3 pixels a side. An edge counts as
    found where the other side has one in a window of 5 pixels a side. Distances are counted in pixels, whatever their
    spacing. An edge is known only where the whole window is painted: strokes that do not touch have none, and the term
    is then 0.

    Parameters
    ----------
    logits, classes, weights : torch.Tensor
        As in `weighted_cross_entropy`; of the weights only whether they are positive counts.
    reduce : callable
        As in `weighted_cross_entropy`.

    Returns
    -------
    torch.Tensor
        A scalar, 0 to 1.

    Notes
    -----
    Chosen before the boundary loss of Kervadec et al. 2019 (arXiv 1812.07032), which needs the distance of every pixel
    to the outline: after augmentation that is a distance transform of each crop on the CPU, and it is wrong wherever
    the outline runs through what is not painted. Windows are max poolings, and say exactly which pixels they saw.

    References
    ----------
    Bokhovkin and Burnaev 2019, arXiv 1905.07852, with 1 added to the sums.
    """
    found, predicted, met, true = reduce(boundary_sums(logits, classes, weights))
    precision, recall = (found + 1) / (predicted + 1), (met + 1) / (true + 1)
    return _mean_over_present(1 - 2 * precision * recall / (precision + recall), true)


def segmentation_loss(
    logits: torch.Tensor,
    classes: torch.Tensor,
    weights: torch.Tensor,
    *,
    loss: LossName = "cross-entropy+dice",
    dice_weight: float = 0.5,
    boundary_weight: float = 0.5,
    focal_gamma: float = 2.0,
    reduce: Reduce = _as_it_is,
) -> torch.Tensor:
    """Compute the loss that a name stands for, in 32 bits or more.

    Parameters
    ----------
    logits, classes, weights : torch.Tensor
        As in `weighted_cross_entropy`.
    loss : str
        See `napari_unet.learn.config.TrainConfig`.
    dice_weight, boundary_weight : float
        What `dice_loss` or `boundary_loss` counts beside the cross entropy.
    focal_gamma : float
        See `focal_loss`.
    reduce : callable
        As in `weighted_cross_entropy`.

    Returns
    -------
    torch.Tensor
        A float32 (or float64) scalar; 0 with a gradient of 0 if all weights are 0.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if loss == "focal":
        return focal_loss(logits, classes, weights, gamma=focal_gamma, reduce=reduce)
    value = weighted_cross_entropy(logits, classes, weights, reduce=reduce)
    if loss == "cross-entropy+dice" and dice_weight > 0:
        value = value + dice_weight * dice_loss(logits, classes, weights, reduce=reduce)
    if loss == "cross-entropy+boundary" and boundary_weight > 0:
        value = value + boundary_weight * boundary_loss(logits, classes, weights, reduce=reduce)
    return value


def cross_entropy_sums(logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum up the weighted cross entropy and the weights: (2,)."""
    entropy = functional.cross_entropy(logits, classes, reduction="none")
    return torch.stack([(entropy * weights).sum(), weights.sum().to(entropy.dtype)])


def focal_sums(logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor, gamma: float) -> torch.Tensor:
    """Sum up the weighted focal loss and the weights: (2,)."""
    entropy = functional.cross_entropy(logits, classes, reduction="none")
    missing = (-torch.expm1(-entropy)).clamp(min=1e-6)  # 1 - p, kept from 0 where its power has no finite slope
    return torch.stack([(missing**gamma * entropy * weights).sum(), weights.sum().to(entropy.dtype)])


def dice_sums(logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum up overlap, predicted and true pixels of each class but background: (3, class - 1)."""
    probability, truth, valid = _foreground(logits, classes, weights)
    probability, truth = probability * valid, truth * valid
    return torch.stack([_total(probability * truth), _total(probability), _total(truth)])


def boundary_sums(logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum up the edges of each class but background: (4, class - 1).

    Predicted edges that meet a true one, predicted edges, true edges that meet a predicted one, true edges.
    """
    probability, truth, valid = _foreground(logits, classes, weights)
    known = _lowest(valid, _EDGE)
    predicted = (probability - _lowest(probability, _EDGE)) * known
    true = (truth - _lowest(truth, _EDGE)) * known
    near_true, near_predicted = _highest(true, _TOLERANCE), _highest(predicted, _TOLERANCE)
    return torch.stack([_total(predicted * near_true), _total(predicted), _total(true * near_predicted), _total(true)])


def _foreground(
    logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return probability and truth of the classes but background, (N, class - 1, \\*space), and what is painted."""
    probability = logits.softmax(dim=1)[:, 1:]
    truth = functional.one_hot(classes, logits.shape[1]).movedim(-1, 1)[:, 1:].to(probability.dtype)
    return probability, truth, (weights > 0).unsqueeze(1).to(probability.dtype)


def _highest(x: torch.Tensor, side: int) -> torch.Tensor:
    """Return the highest value around each pixel; what lies outside of the crop does not count."""
    pool = functional.max_pool2d if x.ndim == 4 else functional.max_pool3d
    result: torch.Tensor = pool(x, side, stride=1, padding=side // 2)
    return result


def _lowest(x: torch.Tensor, side: int) -> torch.Tensor:
    return -_highest(-x, side)


def _total(x: torch.Tensor) -> torch.Tensor:
    """Sum over the batch and the pixels: (N, class, \\*space) to (class,)."""
    total: torch.Tensor = x.sum((0, *range(2, x.ndim)))
    return total


def _weighted_mean(sums: torch.Tensor) -> torch.Tensor:
    return sums[0] / sums[1].clamp(min=1e-6)


def _mean_over_present(losses: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Average over the classes of which there is something."""
    present = true > 0
    return (losses * present).sum() / present.sum().clamp(min=1)
