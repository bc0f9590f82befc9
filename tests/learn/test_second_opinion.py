"""The enclosure, trees and the place are asked where a solved layer leaves too much of the strokes wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet.learn import second_opinion
from napari_unet.learn.closed_form import share_wrong
from napari_unet.learn.painted_pixels import PaintedPixels, SeenPixels
from napari_unet.learn.place_choice import PlaceWeight, SolvedHead
from napari_unet.learn.second_opinion import ask_others
from napari_unet.nets.trees import tree_logits

NONE_ASKED = "it was computed although it is not asked for"
GREYS = torch.rand(200, 6, generator=torch.Generator().manual_seed(0)).half()
CLASSES = ((GREYS[:, 1] > 0.5) ^ (GREYS[:, 4] > 0.5)).long()
SAYS_THE_SIGN = SolvedHead(torch.tensor([[-1.0], [1.0]]), torch.tensor([0.1, -0.1]))
BASIS = 49
NOTHING_SEEN = SeenPixels(torch.zeros(0, 1), torch.zeros(0, BASIS))


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
        "features": features, "classes": CLASSES, "count": 2,
        "strokes": np.arange(200) // 10 if throughout else strokes,
    }  # fmt: skip


def never() -> torch.Tensor:
    raise AssertionError(NONE_ASKED)


def enclosed(kinds: torch.Tensor = CLASSES) -> torch.Tensor:
    """Return how far pixels are enclosed: those of one class by brighter ones, of the other by darker ones."""
    return torch.stack([kinds, 1 - kinds], dim=1).float()


def nobody() -> torch.Tensor:
    return torch.zeros(200, 2)


def placed(kinds: torch.Tensor | None = None) -> torch.Tensor:
    """Return functions of the place, all alike, or of which one tells these classes."""
    places = torch.full((200, BASIS), 0.1)
    if kinds is not None:
        places[:, 3] = kinds
        places[:, 4] = 1 - kinds
    return places


def ask(head: SolvedHead, given: dict[str, Any], **named: Any) -> SolvedHead:
    """Ask; nothing is enclosed, and all is in the same place."""
    usual = {"places": placed(), "enclosed": nobody, "greys": lambda: GREYS}
    options = usual | given | named
    others = {name: options.pop(name) for name in ("enclosed", "greys", "chosen") if name in options}
    return ask_others(head, PaintedPixels(**options, seen=NOTHING_SEEN), **others)


def logits_of(head: SolvedHead, given: dict[str, Any], places: torch.Tensor) -> torch.Tensor:
    """Return the logits of what is painted; places (200, B) or (200, B + E)."""
    told = given["features"] @ head.weight.T + head.bias
    if head.place is not None:
        told = told + places @ head.place.T
    return told if head.trees is None else told + tree_logits(head.trees, GREYS.T).T


def both(places: torch.Tensor, enclosures: torch.Tensor) -> torch.Tensor:
    return torch.cat([places, enclosures], dim=1)


@pytest.mark.parametrize("wrong", [0.0, 0.01])
def test_nobody_is_asked_where_the_layer_gets_the_strokes_right(wrong: float) -> None:
    assert ask(SAYS_THE_SIGN, painted(wrong), places=placed(CLASSES), enclosed=never, greys=never) is SAYS_THE_SIGN


def test_trees_are_half_of_the_answer_where_it_leaves_more_than_a_tenth_wrong() -> None:
    given = painted(0.15)
    asked = ask(SAYS_THE_SIGN, given, enclosed=never)
    assert asked.trees is not None
    assert asked.counted == PlaceWeight(trees=True)
    assert torch.equal(asked.weight, SAYS_THE_SIGN.weight / 2)
    assert torch.equal(asked.bias, SAYS_THE_SIGN.bias / 2)
    assert asked.place is None
    grown = second_opinion.grow_trees(GREYS.float().numpy(), CLASSES.numpy(), 2)
    torch.testing.assert_close(2 * tree_logits(asked.trees, GREYS.T), tree_logits(grown, GREYS.T))


def test_with_trees_more_of_the_strokes_are_right() -> None:
    given, places = painted(0.3), placed()
    asked = ask(SAYS_THE_SIGN, given)
    assert share_wrong(logits_of(SAYS_THE_SIGN, given, places), CLASSES) == pytest.approx(0.3, abs=0.01)
    assert share_wrong(logits_of(asked, given, places), CLASSES) < 0.15


def test_how_far_pixels_are_enclosed_tells_what_the_layer_leaves_wrong() -> None:
    given = painted(0.3)
    led = ask(SAYS_THE_SIGN, given, enclosed=enclosed, greys=never)
    assert led.counted == PlaceWeight(enclosure_leads=True)
    assert led.place is not None
    assert led.place.shape == (2, BASIS + 2)
    assert not led.place[:, :BASIS].any()  # the place itself tells nothing
    assert share_wrong(logits_of(led, given, both(placed(), enclosed())), CLASSES) < 0.02


def test_what_is_enclosed_is_not_asked_for_a_fifth_and_not_kept_where_it_tells_less_than_half() -> None:
    assert ask(SAYS_THE_SIGN, painted(0.19), enclosed=never).counted == PlaceWeight(trees=True)
    kinds = CLASSES.clone()
    kinds[::3] = 1 - kinds[::3]
    assert ask(SAYS_THE_SIGN, painted(0.3), enclosed=lambda: enclosed(kinds), greys=None) is SAYS_THE_SIGN


def told_by_neither(number: int) -> torch.Tensor:
    """Return the classes, of which so many of each are wrong."""
    kinds = CLASSES.clone()
    for kind in (0, 1):
        kinds[torch.nonzero(kind == CLASSES)[:, 0][:number]] = 1 - kind
    return kinds


def test_less_is_enough_for_trees_where_the_enclosure_leads_and_that_counts_half_too() -> None:
    given, enclosures = painted(0.4), enclosed(told_by_neither(7))
    led = ask(SAYS_THE_SIGN, given, enclosed=lambda: enclosures, greys=None)
    assert 0.05 < share_wrong(logits_of(led, given, both(placed(), enclosures)), CLASSES) < 0.1
    asked = ask(SAYS_THE_SIGN, given, enclosed=lambda: enclosures)
    assert asked.trees is not None
    assert asked.counted == PlaceWeight(enclosure_leads=True, trees=True)
    assert asked.place is not None
    assert led.place is not None
    assert torch.equal(asked.place, led.place / 2)
    assert torch.equal(asked.weight, led.weight / 2)


@pytest.mark.parametrize("led", [False, True])
def test_the_place_leads_where_too_much_is_wrong_with_trees_too(led: bool) -> None:
    given, places = painted(0.4 if led else 0.15), placed(CLASSES)
    enclosures = enclosed(told_by_neither(12)) if led else nobody()
    before, after, known = (
        ask(SAYS_THE_SIGN, given, enclosed=lambda: enclosures, greys=noise, places=told)
        for told in (placed(), places, both(places, torch.zeros(200, 2)))
    )
    assert before.counted == PlaceWeight(enclosure_leads=led, trees=True)
    assert after.counted == PlaceWeight(enclosure_leads=led, trees=True, place_leads=True)
    assert after.place is not None
    assert after.place.shape == (2, BASIS + 2 * led)
    assert after.place[:, :BASIS].any()
    assert before.trees is not None
    assert after.trees is not None
    assert torch.equal(after.trees.values, before.trees.values)
    if before.place is not None:
        assert torch.equal(after.place[:, BASIS:], before.place[:, BASIS:])
    assert known.place is not None
    torch.testing.assert_close(known.place, after.place)  # what was known of the enclosure is no part of it
    told = (
        given["features"] @ after.weight.T
        + after.bias
        + both(places, enclosures)[:, : after.place.shape[1]] @ after.place.T
    )
    assert share_wrong(told + tree_logits(after.trees, noise().T).T, CLASSES) < 0.03


def noise() -> torch.Tensor:
    """Return what tells trees little."""
    return torch.rand(200, 6, generator=torch.Generator().manual_seed(5)).half()


def test_the_place_is_not_kept_where_it_tells_less_than_half() -> None:
    kinds = CLASSES.clone()
    kinds[::3] = 1 - kinds[::3]
    assert ask(SAYS_THE_SIGN, painted(0.15), places=placed(kinds), greys=noise).counted == PlaceWeight(trees=True)


def test_the_place_is_not_asked_after_five_strokes_nor_without_trees() -> None:
    given, places = painted(0.15), placed(CLASSES)
    few = given | {"strokes": np.arange(200) % 2 * 3 + CLASSES.numpy() * 10}  # four
    assert ask(SAYS_THE_SIGN, few, places=places, greys=noise).counted == PlaceWeight(trees=True)
    assert ask(SAYS_THE_SIGN, given, places=places, greys=None) is SAYS_THE_SIGN
    assert ask(SAYS_THE_SIGN, painted(0.09), places=places, greys=noise) is SAYS_THE_SIGN


def test_nobody_is_asked_in_images_painted_throughout() -> None:
    given = painted(0.3, throughout=True)
    assert ask(SAYS_THE_SIGN, given, places=placed(CLASSES), enclosed=never, greys=never) is SAYS_THE_SIGN


@pytest.mark.parametrize("counted", [PlaceWeight(place=2.0), PlaceWeight(enclosure=12.0)])
def test_nobody_is_asked_where_the_place_or_the_enclosure_counts_everywhere(counted: PlaceWeight) -> None:
    head = replace(SAYS_THE_SIGN, place=torch.zeros(2, BASIS), counted=counted)
    assert ask(head, painted(0.3), places=placed(CLASSES), enclosed=never, greys=never) is head


def test_what_was_chosen_decides() -> None:
    for given in (painted(0.0), painted(0.3, throughout=True)):
        for chosen in (
            PlaceWeight(trees=True), PlaceWeight(enclosure_leads=True), PlaceWeight(place_leads=True),
            PlaceWeight(enclosure_leads=True, trees=True, place_leads=True),
        ):  # fmt: skip
            assert ask(SAYS_THE_SIGN, given, chosen=chosen).counted == chosen
    nobody_asked = ask(SAYS_THE_SIGN, painted(0.3), enclosed=never, greys=never, chosen=PlaceWeight())
    assert nobody_asked is SAYS_THE_SIGN


def test_a_pixel_that_stands_for_many_is_as_wrong_as_these() -> None:
    given = painted(0.05)
    wrong = ((given["features"][:, 0] > 0).long() != CLASSES).float()
    assert ask(SAYS_THE_SIGN, given, greys=never, weights=torch.ones(200)).trees is None
    assert ask(SAYS_THE_SIGN, given, weights=1 + 9 * wrong).trees is not None
