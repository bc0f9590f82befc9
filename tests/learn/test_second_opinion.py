"""Trees are asked where a solved layer leaves too much of the strokes wrong, and are then half of the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet.learn import second_opinion
from napari_unet.learn.closed_form import share_wrong
from napari_unet.learn.place_choice import PlaceWeight, SolvedHead
from napari_unet.learn.second_opinion import ask_trees
from napari_unet.nets.trees import tree_logits

NONE_ASKED = "greys were computed although no trees are asked"
GREYS = torch.rand(200, 6, generator=torch.Generator().manual_seed(0)).half()
CLASSES = ((GREYS[:, 1] > 0.5) ^ (GREYS[:, 4] > 0.5)).long()
SAYS_THE_SIGN = SolvedHead(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.1, -0.1]))


def painted(wrong: float, *, throughout: bool = False) -> dict[str, Any]:
    """Return strokes of ten pixels of which `SAYS_THE_SIGN` leaves a share wrong, the same of each class."""
    features = 2.0 * CLASSES[:, None] - 1
    for kind in (0, 1):
        own = torch.nonzero(kind == CLASSES)[:, 0]
        features[own[: round(wrong * len(own))]] *= -1
    order = torch.argsort(CLASSES, stable=True).numpy()
    strokes = np.empty(200, np.int64)
    strokes[order] = np.arange(200) // 10 + CLASSES.numpy()[order] * 100  # of one class each
    return {
        "features": features, "places": torch.zeros(200, 49), "classes": CLASSES, "count": 2,
        "strokes": np.arange(200) // 10 if throughout else strokes,
    }  # fmt: skip


def never() -> torch.Tensor:
    raise AssertionError(NONE_ASKED)


@pytest.mark.parametrize("wrong", [0.0, 0.08])
def test_they_are_not_asked_where_the_layer_gets_the_strokes_right(wrong: float) -> None:
    assert ask_trees(SAYS_THE_SIGN, **painted(wrong), greys=never) is SAYS_THE_SIGN


def test_they_are_half_of_the_answer_where_it_leaves_more_than_a_tenth_wrong() -> None:
    given = painted(0.3)
    asked = ask_trees(SAYS_THE_SIGN, **given, greys=lambda: GREYS)
    assert asked.trees is not None
    assert asked.counted == PlaceWeight(trees=True)
    assert torch.equal(asked.weight, SAYS_THE_SIGN.weight / 2)
    assert torch.equal(asked.bias, SAYS_THE_SIGN.bias / 2)
    assert asked.place is None
    grown = second_opinion.grow_trees(GREYS.float().numpy(), CLASSES.numpy(), 2)
    torch.testing.assert_close(2 * tree_logits(asked.trees, GREYS.T), tree_logits(grown, GREYS.T))


def test_with_them_more_of_the_strokes_are_right() -> None:
    given = painted(0.3)
    asked = ask_trees(SAYS_THE_SIGN, **given, greys=lambda: GREYS)
    assert asked.trees is not None
    before = given["features"] @ SAYS_THE_SIGN.weight.T + SAYS_THE_SIGN.bias
    after = given["features"] @ asked.weight.T + asked.bias + tree_logits(asked.trees, GREYS.T).T
    assert share_wrong(before, CLASSES) == pytest.approx(0.3, abs=0.01)
    assert share_wrong(after, CLASSES) < 0.15


def test_they_are_not_asked_in_images_painted_throughout() -> None:
    assert ask_trees(SAYS_THE_SIGN, **painted(0.3, throughout=True), greys=never) is SAYS_THE_SIGN


def place_tells(kinds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the place adds, and places that tell these classes."""
    weight, places = torch.zeros(2, 49), torch.zeros(200, 49)
    weight[:, 3], places[:, 3] = torch.tensor([-10.0, 10.0]), 2.0 * kinds - 1
    return weight, places


def test_less_that_is_wrong_is_enough_where_the_place_tells_the_rest_and_it_counts_half_too() -> None:
    given = painted(0.08)
    place, given["places"] = place_tells((given["features"][:, 0] > 0).long())  # as wrong as the features
    head = replace(SAYS_THE_SIGN, place=place, counted=PlaceWeight(rest=12.0))
    asked = ask_trees(head, **given, greys=lambda: GREYS)
    assert asked.trees is not None
    assert asked.counted == PlaceWeight(rest=12.0, trees=True)
    assert asked.place is not None
    assert torch.equal(asked.place, place / 2)


def test_what_the_place_tells_of_the_rest_is_not_wrong() -> None:
    given = painted(0.3)
    place, given["places"] = place_tells(CLASSES)
    head = replace(SAYS_THE_SIGN, place=place, counted=PlaceWeight(rest=12.0))
    assert ask_trees(head, **given, greys=never) is head


@pytest.mark.parametrize("counted", [PlaceWeight(place=2.0), PlaceWeight(enclosure=12.0)])
def test_they_are_not_asked_where_the_place_or_the_enclosure_counts_everywhere(counted: PlaceWeight) -> None:
    head = replace(SAYS_THE_SIGN, place=torch.zeros(2, 49), counted=counted)
    assert ask_trees(head, **painted(0.3), greys=never) is head


def test_what_was_chosen_decides() -> None:
    asked = ask_trees(SAYS_THE_SIGN, **painted(0.0), greys=lambda: GREYS, chosen=PlaceWeight(trees=True))
    assert asked.trees is not None
    throughout = painted(0.3, throughout=True)
    always = ask_trees(SAYS_THE_SIGN, **throughout, greys=lambda: GREYS, chosen=PlaceWeight(trees=True))
    assert always.trees is not None
    assert ask_trees(SAYS_THE_SIGN, **painted(0.3), greys=never, chosen=PlaceWeight()).trees is None


def test_a_pixel_that_stands_for_many_is_as_wrong_as_these() -> None:
    given = painted(0.05)
    wrong = ((given["features"][:, 0] > 0).long() != CLASSES).float()
    assert ask_trees(SAYS_THE_SIGN, **given, greys=never, weights=torch.ones(200)).trees is None
    asked = ask_trees(SAYS_THE_SIGN, **given, greys=lambda: GREYS, weights=1 + 9 * wrong)
    assert asked.trees is not None
