"""What a training minimises: weighted cross entropy and Dice, both blind to what was not painted."""

from __future__ import annotations

import torch
from torch.nn import functional

__all__ = ["dice_loss", "segmentation_loss", "weighted_cross_entropy"]


def weighted_cross_entropy(logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Pixel-wise softmax and cross entropy, weighted and averaged over the weights.

    Parameters
    ----------
    logits : torch.Tensor
        (N, class, \\*space).
    classes : torch.Tensor
        (N, \\*space) int64.
    weights : torch.Tensor
        (N, \\*space) float32; pixels of weight 0 are ignored.

    Returns
    -------
    torch.Tensor
        A scalar; 0 with a gradient of 0 if all weights are 0.

    References
    ----------
    Ronneberger et al. 2015, equation 1, divided by the sum of the weights.
    """
    entropy = functional.cross_entropy(logits, classes, reduction="none")
    return (entropy * weights).sum() / weights.sum().clamp(min=1e-6)


def dice_loss(logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """One minus the soft Dice coefficient, averaged over the classes but background, over the batch as a whole.

    Parameters
    ----------
    logits, classes, weights : torch.Tensor
        As in `weighted_cross_entropy`; of the weights only whether they are positive counts.

    Returns
    -------
    torch.Tensor
        A scalar, 0 to 1.

    References
    ----------
    Milletari et al. 2016, V-Net, arXiv 1606.04797, with the sum (not the squares) in the denominator.
    """
    valid = (weights > 0).unsqueeze(1)
    probability = logits.softmax(dim=1)[:, 1:] * valid
    truth = functional.one_hot(classes, logits.shape[1]).movedim(-1, 1)[:, 1:] * valid
    axes = (0, *range(2, logits.ndim))
    overlap = (probability * truth).sum(axes)
    size = probability.sum(axes) + truth.sum(axes)
    present = truth.sum(axes) > 0
    dice = (2 * overlap + 1) / (size + 1)
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def segmentation_loss(
    logits: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor, *, dice_weight: float = 0.5
) -> torch.Tensor:
    """Weighted cross entropy plus `dice_weight` times the Dice loss; see there for the arguments."""
    logits = logits.float()
    loss = weighted_cross_entropy(logits, classes, weights)
    return loss + dice_weight * dice_loss(logits, classes, weights) if dice_weight > 0 else loss
