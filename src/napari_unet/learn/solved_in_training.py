"""A network in training, seen as its starting weights were: by last layers that are solved from other crops."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from napari_unet.learn.closed_form import ClosedForm
from napari_unet.nets.blocks import center_crop

if TYPE_CHECKING:
    from napari_unet.nets.base import SegmentationNetwork

__all__ = ["SolvedInTraining"]


class SolvedInTraining(nn.Module):
    """Asks of a network what its starting weights were trained for: solved from some strokes, to segment others.

    What a last layer makes of strokes that it was solved from says little. So the crops of a batch fall into two
    halves, and each half is segmented by the layer that is solved from the other. Only the last feature map learns from
    that, and it stays one from which a last layer can be solved, as `napari_unet.adapt` does with every new stroke.

    Parameters
    ----------
    network : torch.nn.Module
        With a last feature map and a head, see `napari_unet.nets.base.SegmentationNetwork`.
    form : ClosedForm
        How its last layer is solved.
    """

    def __init__(self, network: nn.Module, form: ClosedForm) -> None:
        super().__init__()
        self.network = network
        self._form = form

    def forward(
        self, image: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Map crops to logits.

        Parameters
        ----------
        image : torch.Tensor
            (N, C, \\*space); the first M of them are painted. Where the place counts, further channels tell it: what it
            and the trees add to the logits is taken as given by the layers that are solved.
        classes : torch.Tensor
            (M, \\*space) int64.
        weights : torch.Tensor
            (M, \\*space) float32; 0 where nothing is painted.

        Returns
        -------
        own : torch.Tensor
            (N, class, \\*space) by the network's own head.
        solved : torch.Tensor
            (M, class, \\*space) by those that are solved from the other half.
        weights : torch.Tensor
            (M, \\*space) with 0 where the other half lacks the class of a pixel.
        """
        network = cast("SegmentationNetwork", self.network)
        image = image.to(next(network.parameters()).dtype)
        maps = network.features(network.grey_values(image))
        own = network.head_logits(maps)
        size = maps.shape[2:]
        place = network.given_logits(image, tuple(size))
        if place is not None:
            own = own + place
            place = place[: len(classes)]
        classes, weights = center_crop(classes, size), center_crop(weights, size)
        with torch.autocast(image.device.type, enabled=False):
            painted = maps[: len(classes)].float().movedim(1, -1)
            first = torch.arange(len(classes), device=image.device) % 2 == 0
            parts = [self._solve(painted, classes, weights, half, own.shape[1], place) for half in (~first, first)]
            order = torch.argsort(torch.cat([torch.nonzero(half)[:, 0] for half in (first, ~first)]))
        solved, known = (torch.cat(both)[order] for both in zip(*parts, strict=True))
        return own, solved, known

    def _solve(
        self, maps: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor, support: torch.Tensor, count: int,
        place: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Solve from some crops (a mask) and segment the others."""
        painted = (weights > 0) & support.view(-1, *(1,) * (weights.ndim - 1))
        others, known = maps[~support], weights[~support]
        if not painted.any():
            return others.new_zeros(others.shape[0], count, *others.shape[1:-1]), torch.zeros_like(known)
        given = None if place is None else place.movedim(1, -1)[painted]
        weight, bias = self._form.solve(maps[painted], classes[painted], count, given=given)
        there = torch.bincount(classes[painted], minlength=count) > 0
        logits = cast("SegmentationNetwork", self.network).smoothed((others @ weight.T + bias).movedim(-1, 1))
        if place is not None:
            logits = logits + place[~support]
        return logits, known * there[classes[~support]]
