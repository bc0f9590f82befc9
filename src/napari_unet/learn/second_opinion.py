"""Who else is asked where the features of the network leave too much of the strokes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from napari_unet.data.enclosure import ENCLOSURES
from napari_unet.learn.closed_form import follow_strokes, share_wrong
from napari_unet.learn.grow_trees import grow_trees
from napari_unet.learn.place_choice import PlaceWeight, SolvedHead, have_regions
from napari_unet.nets.trees import Trees

__all__ = ["ask_others"]

_WRONG_ENCLOSURE = 0.2  # share of the painted pixels from which on too much of them is left wrong by the features,
_STILL_WRONG = 0.5  # and the share of those that may be left so by how far they are enclosed
_ENCLOSURE = 12.0  # what that counts beside the features
_WRONG = 0.1  # the same from which on trees are asked,
_WRONG_STILL = 0.05  # where how far a pixel is enclosed tells the rest
_SHARE = 0.5  # what the trees count; the rest is the network's


def ask_others(
    head: SolvedHead,
    features: torch.Tensor,
    strokes: npt.NDArray[np.int64],
    classes: torch.Tensor,
    count: int,
    *,
    places: Callable[[], torch.Tensor],
    greys: Callable[[], torch.Tensor] | None,
    weights: torch.Tensor | None = None,
    chosen: PlaceWeight | None = None,
) -> SolvedHead:
    """Ask how far pixels are enclosed, and trees, where a solved layer leaves too much of what is painted wrong.

    The features of a network were made for whatever is usual in images, and a layer on them is linear. What a person
    corrects may be told by neither.

    The air around a body looks like that in it, and with one stroke on each none can be left out to choose what counts
    (`napari_unet.learn.place_choice.choose_place_weight`). So where the features leave more than a fifth wrong, the
    layer is led on to the strokes (`napari_unet.learn.closed_form.follow_strokes`) by how far pixels are enclosed, too,
    and that is kept if it leaves at most half of that wrong.

    Where more than a tenth is still wrong (a twentieth, if how far pixels are enclosed tells the rest), trees that ask
    for the grey values around a pixel are half of the answer: they follow strokes better. Where the layer gets the
    strokes right they would only add noise, as few strokes do not tell trees enough.

    Neither is asked where strokes that were left out chose the place or the enclosure, which is more than they know;
    nor in images that are painted throughout, where the network can learn what is lacking.

    Parameters
    ----------
    head : SolvedHead
        What is solved.
    features, strokes, classes, count, weights
        As in `napari_unet.learn.place_choice.solve_with_place`.
    places : callable
        Returns (n, B + E) float32, see `napari_unet.data.intensity.FrameReader.places`, with how far they are enclosed.
    greys : callable or None
        Returns (n, F), what the trees may ask for, see `napari_unet.nets.grey_features`; None: no trees are asked.
    chosen : PlaceWeight or None
        Who is asked; None: that is chosen.
    """
    told_already = head.counted.place or head.counted.enclosure or have_regions(classes.cpu().numpy(), strokes)
    if chosen is None and told_already:
        return head
    logits = features.float() @ head.weight.T + head.bias
    wrong = share_wrong(logits, classes, weights)
    if wrong > _WRONG_ENCLOSURE if chosen is None else chosen.rest:
        led, logits = _follow_enclosed(head, features, classes, places(), weights)
        still_wrong = share_wrong(logits, classes, weights)
        if chosen is not None or still_wrong <= _STILL_WRONG * wrong:
            head, wrong = led, still_wrong
    bound = _WRONG_STILL if head.counted.rest else _WRONG
    if greys is None or not (wrong > bound if chosen is None else chosen.trees):
        return head
    return _with_trees(head, greys(), classes, count, weights)


def _follow_enclosed(
    head: SolvedHead, features: torch.Tensor, classes: torch.Tensor, places: torch.Tensor, weights: torch.Tensor | None
) -> tuple[SolvedHead, torch.Tensor]:
    """Lead a layer on to the strokes by how far pixels are enclosed; returns it and the logits of the pixels."""
    width, basis = features.shape[1], places.shape[1] - ENCLOSURES
    both = torch.cat([features.float(), _ENCLOSURE * places[:, basis:].to(features.device)], dim=1)
    start = functional.pad(head.weight, (0, ENCLOSURES))
    weight, bias = follow_strokes(both, classes, start, head.bias, weights=weights)
    place = functional.pad(_ENCLOSURE * weight[:, width:], (basis, 0))
    led = SolvedHead(weight[:, :width].contiguous(), bias, place, replace(head.counted, rest=True))
    return led, both @ weight.T + bias


def _with_trees(
    head: SolvedHead, greys: torch.Tensor, classes: torch.Tensor, count: int, weights: torch.Tensor | None
) -> SolvedHead:
    """Grow trees, and let them be half of the answer."""
    shares = None if weights is None else weights.cpu().numpy()
    grown = grow_trees(greys.float().cpu().numpy(), classes.cpu().numpy(), count, weights=shares)
    trees = Trees(grown.questions, grown.thresholds, _SHARE * grown.values)
    rest = 1 - _SHARE
    return SolvedHead(
        rest * head.weight, rest * head.bias, None if head.place is None else rest * head.place,
        replace(head.counted, trees=True), trees,
    )  # fmt: skip
