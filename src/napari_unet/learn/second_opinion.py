"""Who else is asked where the features of the network leave too much of the strokes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional

from napari_unet.learn.closed_form import follow_strokes, share_wrong
from napari_unet.learn.grow_trees import grow_trees
from napari_unet.learn.painted_pixels import PaintedPixels
from napari_unet.learn.place_choice import PlaceWeight, SolvedHead
from napari_unet.nets.trees import Trees, tree_logits

__all__ = ["ask_others"]

_WRONG_ENCLOSURE = 0.2  # share of the painted pixels from which on too much of them is left wrong by the features,
_WRONG = 0.1  # the same from which on trees are asked,
_WRONG_STILL = 0.05  # where how far a pixel is enclosed tells part of it,
_WRONG_AFTER_ALL = 0.05  # and that from which on the place is asked, too
_LEFT = 0.5  # the share of that which may be left so by the enclosure or the place
_COUNT = 12.0  # what either counts beside the features
_TREES = 0.5  # what the trees count; the rest is the network's
_FEWEST = 6  # strokes below which the place is not asked


def ask_others(
    head: SolvedHead,
    painted: PaintedPixels,
    *,
    enclosed: Callable[[], torch.Tensor],
    greys: Callable[[], torch.Tensor] | None,
    chosen: PlaceWeight | None = None,
) -> SolvedHead:
    """Ask what else there is where a solved layer leaves too much of what is painted wrong.

    The features of a network were made for whatever is usual in images, and a layer on them is linear. What a person
    corrects may be told by neither. So three others are asked, one after the other:

    How far pixels are enclosed, where more than a fifth is wrong. The air around a body looks like that in it, and with
    one stroke on each none can be left out to choose what counts
    (`napari_unet.learn.place_choice.choose_place_weight`). The layer is led on to the strokes by it
    (`napari_unet.learn.closed_form.follow_strokes`), which is kept if it leaves at most half of that wrong.

    Trees that ask for the grey values around a pixel, where more than a tenth is wrong then, or a twentieth if the
    enclosure told part of it. They follow strokes better than a layer and are half of the answer. Where the layer gets
    the strokes right they would only add noise, as few strokes do not tell trees enough.

    The place, where more than a twentieth is wrong with trees, too: then a stroke counts where it is painted. It leads
    the layer as the enclosure does. It is asked from six strokes on, as the first ones say too little of the rest of
    the image.

    None is asked where the strokes chose the place or the enclosure, which is more than they know; nor
    in images that are painted throughout, where the network can learn what is lacking.

    Parameters
    ----------
    head : SolvedHead
        What is solved.
    painted : PaintedPixels
        What it was solved from.
    enclosed : callable
        Returns (n, E) float32, how far pixels are enclosed, see `napari_unet.data.enclosure`.
    greys : callable or None
        Returns (n, F), what the trees may ask for, see `napari_unet.nets.grey_features`; None: no trees are asked.
    chosen : PlaceWeight or None
        Who is asked; None: that is chosen.
    """
    if chosen is None and (head.counted.place or head.counted.enclosure or painted.are_regions):
        return head
    basis, features = painted.basis, painted.features.float()
    answer = _Answer(head, features, painted.classes, painted.weights, features.new_zeros(len(features), painted.count))
    wrong = answer.wrong
    if chosen.enclosure_leads if chosen else wrong > _WRONG_ENCLOSURE:
        led = answer.led_by(functional.pad(enclosed(), (basis.shape[1], 0)), enclosure_leads=True)
        if chosen or led.wrong <= _LEFT * wrong:
            answer = led
    bound = _WRONG_STILL if answer.head.counted.enclosure_leads else _WRONG
    if greys is not None and (chosen.trees if chosen else answer.wrong > bound):
        answer = answer.with_trees(greys(), painted.count)
    may, wrong = answer.head.trees is not None and len(np.unique(painted.strokes)) >= _FEWEST, answer.wrong
    if chosen.place_leads if chosen else may and wrong > _WRONG_AFTER_ALL:
        led = answer.led_by(basis, place_leads=True)
        if chosen or led.wrong <= _LEFT * wrong:
            answer = led
    return answer.head


@dataclass(frozen=True, eq=False)
class _Answer:
    """A layer, and what it says of the painted pixels.

    Attributes
    ----------
    head : SolvedHead
        The layer.
    features, classes, weights
        As in `napari_unet.learn.closed_form.solve_head`.
    given : torch.Tensor
        (n, K) the part of the logits that is not of the features: of place, enclosure and trees.
    """

    head: SolvedHead
    features: torch.Tensor
    classes: torch.Tensor
    weights: torch.Tensor | None
    given: torch.Tensor

    @cached_property
    def wrong(self) -> float:
        """Share of what is painted that seems to be of another class."""
        logits = self.features @ self.head.weight.T + self.head.bias + self.given
        return share_wrong(logits, self.classes, self.weights)

    def led_by(self, told: torch.Tensor, **leads: bool) -> _Answer:
        """Lead the layer on to the strokes by the place of pixels (n, B), or how far they are enclosed (n, B + E)."""
        head, width = self.head, self.features.shape[1]
        told = told.to(self.features)
        weight, bias = follow_strokes(
            torch.cat([self.features, _COUNT * told], dim=1), self.classes,
            functional.pad(head.weight, (0, told.shape[1])), head.bias, weights=self.weights, given=self.given,
        )  # fmt: skip
        place = (_COUNT * weight[:, width:]).contiguous()
        given = self.given + told @ place.T
        if head.place is not None:
            place = functional.pad(place, (0, head.place.shape[1] - place.shape[1])) + head.place
        led = SolvedHead(weight[:, :width].contiguous(), bias, place, replace(head.counted, **leads), head.trees)
        return replace(self, head=led, given=given)

    def with_trees(self, greys: torch.Tensor, count: int) -> _Answer:
        """Grow trees, which then are half of the answer."""
        head, rest = self.head, 1 - _TREES
        shares = None if self.weights is None else self.weights.cpu().numpy()
        grown = grow_trees(greys.float().cpu().numpy(), self.classes.cpu().numpy(), count, weights=shares)
        trees = Trees(grown.questions, grown.thresholds, _TREES * grown.values)
        place = None if head.place is None else rest * head.place
        counted = replace(head.counted, trees=True)
        asked = SolvedHead(rest * head.weight, rest * head.bias, place, counted, trees)
        return replace(self, head=asked, given=rest * self.given + tree_logits(trees, greys.T).T)
