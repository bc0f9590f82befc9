"""Trees that ask for grey values, where the features of the network leave too much of the strokes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from napari_unet.learn.closed_form import share_wrong
from napari_unet.learn.grow_trees import grow_trees
from napari_unet.learn.place_choice import PlaceWeight, SolvedHead, have_regions
from napari_unet.nets.trees import Trees

__all__ = ["ask_trees"]

_WRONG = 0.1  # share of the painted pixels from which on too much of them is left wrong by the features,
_WRONG_STILL = 0.05  # or by these and the place, where it tells the rest
_SHARE = 0.5  # what the trees count; the rest is the network's


def ask_trees(
    head: SolvedHead,
    features: torch.Tensor,
    places: torch.Tensor,
    strokes: npt.NDArray[np.int64],
    classes: torch.Tensor,
    count: int,
    greys: Callable[[], torch.Tensor],
    *,
    weights: torch.Tensor | None = None,
    chosen: PlaceWeight | None = None,
) -> SolvedHead:
    """Let trees be half of the answer where a solved layer leaves more than a tenth of what is painted wrong.

    The features of a network were made for whatever is usual in images, and a layer on them is linear. What a person
    corrects may be told by neither; trees that ask for the grey values around a pixel follow such strokes better. Where
    the layer gets the strokes right they would only add noise: few strokes do not tell trees enough. They are not asked
    where the place, or how far a pixel is enclosed, was found to tell strokes that were left out, which is more than
    they know; nor in images that are painted throughout, where the network can learn what is lacking.

    Parameters
    ----------
    head : SolvedHead
        What is solved.
    features, places, strokes, classes, count, weights
        As in `napari_unet.learn.place_choice.solve_with_place`.
    greys : callable
        Returns (n, F), what the trees may ask for, see `napari_unet.nets.grey_features`.
    chosen : PlaceWeight or None
        Whether they are asked; None: that is chosen.
    """
    if chosen is not None:
        wanted = chosen.trees
    elif head.counted.place or head.counted.enclosure or have_regions(classes.cpu().numpy(), strokes):
        wanted = False
    else:
        told = features.float() @ head.weight.T + head.bias
        if head.place is not None:
            told = told + places[:, : head.place.shape[1]].to(told.device) @ head.place.T
        wanted = share_wrong(told, classes, weights) > (_WRONG_STILL if head.counted.rest else _WRONG)
    if not wanted:
        return head
    asked = greys().float().cpu().numpy()
    shares = None if weights is None else weights.cpu().numpy()
    grown = grow_trees(asked, classes.cpu().numpy(), count, weights=shares)
    trees = Trees(grown.questions, grown.thresholds, _SHARE * grown.values)
    rest = 1 - _SHARE
    return SolvedHead(
        rest * head.weight, rest * head.bias, None if head.place is None else rest * head.place,
        replace(head.counted, trees=True), trees,
    )  # fmt: skip
