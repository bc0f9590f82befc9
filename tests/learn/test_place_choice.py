"""Whether the place, or how far a pixel is enclosed, counts is decided by strokes that were left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_unet.data.place import CENTRES, place_basis
from napari_unet.learn import place_choice
from napari_unet.learn.closed_form import ClosedForm, solve_head
from napari_unet.learn.painted_pixels import PaintedPixels, SeenPixels, enough_strokes
from napari_unet.learn.place_choice import PlaceWeight, _Moments, choose_place_weight, solve_with_place
from napari_unet.learn.stroke_pixels import strokes_of_pixels

FORM = ClosedForm(ridge=0.1, scale=2.5, offset=0.4)
NOTHING = PlaceWeight()


def strokes(informative: str, seed: int = 0, classes: int = 2, each: int = 6) -> dict[str, Any]:
    """Return strokes whose class shows in the features, the place, the enclosure, or nowhere."""
    rng = np.random.default_rng(seed)
    count = classes * each
    kinds = np.repeat(np.arange(count) % classes, 15)
    features = rng.normal(size=(len(kinds), 4))
    places = np.repeat(rng.uniform(size=(count, 51)), 15, axis=0) / 4
    if informative == "features":
        features[:, 0] += 4 * kinds
    if informative == "place":
        places[:, 0] = 2.0 * kinds + 0.1 * rng.normal(size=len(kinds))
    if informative == "enclosure":
        places[:, -2] = 0.5 * kinds + 0.02 * rng.normal(size=len(kinds))
    return with_seen(features, places, np.repeat(np.arange(count), 15), kinds, classes)


def with_seen(features: Any, places: Any, names: Any, kinds: Any, count: int) -> dict[str, Any]:
    """Return what a last layer is solved from, where the pixels around the strokes are like those painted."""
    f, p = torch.from_numpy(features).float(), torch.from_numpy(places).float()
    return {
        "features": f, "places": p, "strokes": names, "classes": torch.from_numpy(kinds), "count": count,
        "seen": SeenPixels(f, p),
    }  # fmt: skip


def choose(given: dict[str, Any], **named: Any) -> PlaceWeight:
    return choose_place_weight(PaintedPixels(**given), form=FORM, **named)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weight", [NOTHING, PlaceWeight(2.0), PlaceWeight(0.0, 4.0), PlaceWeight(1.0, 0.5)])
def test_the_lift_is_that_of_solving_anew_without_each_stroke(classes: int, weight: PlaceWeight) -> None:
    given = strokes("place", classes=classes, each=4)
    f, places, kinds, names = given["features"], given["places"], given["classes"], given["strokes"]
    around = torch.cat([torch.randn(40, 55, generator=torch.Generator().manual_seed(1)), torch.ones(40, 1)], 1).double()
    z = torch.cat([f, places, torch.ones(len(f), 1)], dim=1).double()
    scaling = torch.tensor([1.0] * 4 + [weight.place] * 49 + [weight.enclosure] * 2).double()
    found = _Moments(z, kinds, torch.from_numpy(names), classes).lift(scaling, around, FORM)
    used = (scaling > 0).nonzero()[:, 0]
    both, seen = ((part[:, used] * scaling[used]).float() for part in (z, around))
    lifts: list[list[float]] = [[] for _ in range(classes)]
    for name in np.unique(names):
        out, kind = torch.from_numpy(names == name), int(kinds[names == name][0])
        head, bias = solve_head(
            both[~out], kinds[~out], classes, ridge=FORM.ridge, scale=FORM.scale, offset=FORM.offset
        )
        there, elsewhere = ((part @ head.T + bias).softmax(1)[:, kind].mean() for part in (both[out], seen))
        usual = elsewhere if kind > 0 else torch.ones(())  # most of an image may be background
        lifts[kind].append(float(torch.log((there + 0.01) / (usual + 0.01))))
    assert found == pytest.approx(np.mean([np.mean(part) for part in lifts]), abs=1e-4)


def test_many_strokes_of_a_volume_are_left_out_with_more_than_one_thread() -> None:
    rng = np.random.default_rng(0)
    kinds, folds = np.repeat(np.arange(50) % 2, 40), np.repeat(np.arange(50), 40)
    z = torch.from_numpy(np.concatenate([rng.normal(size=(2000, 157)), np.ones((2000, 1))], axis=1))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = _Moments(z, torch.from_numpy(kinds), torch.from_numpy(folds), 2).solve(torch.ones(157).double(), FORM)
    finally:
        torch.set_num_threads(threads)
    out = folds == 49
    head, bias = solve_head(
        z[~out, :157], torch.from_numpy(kinds[~out]), 2, ridge=FORM.ridge, scale=FORM.scale, offset=FORM.offset
    )
    assert torch.allclose(found[49], torch.cat([head.T, bias[None]]).double(), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_what_tells_the_strokes_counts_and_nothing_else(seed: int) -> None:
    assert choose(strokes("place", seed)).place > 0
    assert choose(strokes("enclosure", seed)).enclosure > 0
    assert choose(strokes("features", seed, each=20)) == NOTHING


def test_strokes_of_an_organ_tell_that_what_looks_like_it_elsewhere_is_none() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1], 120)
    features = rng.normal(size=(240, 4)) * 0.1
    features[:, 0] += kinds  # so that each stroke is predicted well without the place
    corner = rng.integers(0, 9, 240)
    places = place_basis(np.where(kinds == 1, corner, rng.integers(0, 900, 240)), (30, 30), 7)
    given = with_seen(features, places, np.repeat(np.arange(24), 10), kinds, 2)
    assert choose(given) == NOTHING
    alike = rng.normal(size=(300, 4)) * 0.1
    alike[:150, 0] += 1.0  # as bright as the organ, anywhere
    around = place_basis(rng.integers(0, 900, 300), (30, 30), 7)
    given["seen"] = SeenPixels(torch.from_numpy(alike).float(), torch.from_numpy(around))
    assert choose(given).place > 0


@pytest.mark.parametrize(("rise", "place"), [(0.1, 8.0), (0.3, 8.0), (0.0, 0.0), (-0.1, 0.0)])
def test_of_strokes_in_one_place_little_has_to_speak_for_it(
    rise: float, place: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds, names = np.repeat(np.arange(12) % 2, 15), np.repeat(np.arange(12), 15)
    rng, images = np.random.default_rng(0), np.repeat(np.arange(12) // 2 % 2, 15)  # both classes in two images
    where = np.repeat(np.where(np.arange(12) % 2, 30 * rng.integers(13, 16, 12) + 14, rng.integers(0, 900, 12)), 15)
    places = place_basis(where, (30, 30), 7)
    given = with_seen(rng.normal(size=(180, 4)), places, names, kinds, 2) | {"images": images}
    monkeypatch.setattr(_Moments, "lift", lambda self, scaling, *_: rise * float(scaling[4] > 0))
    assert choose(given) == PlaceWeight(place=place)
    anywhere = place_basis(np.repeat(rng.integers(0, 900, 12), 15), (30, 30), 7)
    apart = choose(given | {"places": torch.from_numpy(anywhere)})
    assert (apart.place > 0) == (rise > 0.17)
    assert apart.place != 8.0
    assert (choose(given, task="objects").place > 0) == (rise > 0.35)


def test_next_to_an_organ_nothing_that_looks_otherwise_is_of_it() -> None:
    rows, columns = np.indices((40, 40))
    bright = ((rows - 20) ** 2 + (columns - 14) ** 2 < 49) | (rows > 36)  # an organ, and what looks like it far away
    features = torch.from_numpy(bright.reshape(-1, 1) + 0.1 * np.random.default_rng(0).normal(size=(1600, 4))).float()
    places = torch.from_numpy(place_basis(np.arange(1600), (40, 40), 7))
    background = [(20, 3), (3, 3), (38, 3), (38, 30), (3, 36)]  # none right of the organ
    spots = {1: [(16, 16), (18, 17), (22, 17), (24, 15)], 0: background}
    pixels, kinds, names = [], [], []
    for kind, found in spots.items():
        for row, column in found:
            own = [40 * row + column + step for step in range(3)]
            pixels += own
            kinds += [kind] * 3
            names += [len(names) // 3] * 3
    given = PaintedPixels(
        features[pixels], torch.tensor(kinds), 2, np.array(names), places[pixels], SeenPixels(features, places)
    )
    solved = solve_with_place(given, chosen=PlaceWeight(place=8.0), form=FORM)
    found = (solved.foreground(given.seen) > 0.5).numpy().reshape(40, 40)
    truth = bright & (rows <= 36)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85


def test_of_objects_more_has_to_speak_for_the_place_and_the_enclosure(monkeypatch: pytest.MonkeyPatch) -> None:
    given = strokes("place")
    for rise, chosen in ((0.1, ()), (0.3, ("classes",)), (0.4, ("classes", "objects"))):
        monkeypatch.setattr(_Moments, "lift", lambda self, scaling, *_, rise=rise: rise * float(scaling[-1] > 0))
        found = [task for task in ("classes", "objects") if choose(given, task=task).enclosure]
        assert tuple(found) == chosen


def test_few_strokes_of_one_image_say_nothing_of_the_place_but_of_the_enclosure() -> None:
    given = strokes("place", each=3)
    assert choose(given) == NOTHING
    images = np.repeat(np.arange(6) // 2 % 2, 15)  # both classes in two images
    assert choose(given | {"images": images}).place > 0
    one = np.where(given["classes"] == 0, 0, images)
    assert choose(given | {"images": one}) == NOTHING
    assert choose(strokes("enclosure", each=3)).enclosure > 0


def test_single_strokes_and_classes_say_nothing() -> None:
    alone = strokes("enclosure", each=1)
    assert not enough_strokes(alone["classes"].numpy(), alone["strokes"])
    assert choose(alone) == NOTHING
    one = strokes("place")
    one["classes"] = torch.zeros_like(one["classes"])
    assert choose(one) == NOTHING


def painted_images(informative: str, seed: int = 0) -> dict[str, Any]:
    """Return two images painted throughout, with one object each in the same place, so regions of both classes."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((24, 24)).reshape(2, -1)
    inside = (abs(rows - 11) < 6) & (abs(columns - 11) < 6)
    kinds = np.tile(inside.astype(np.int64), 2)
    features = rng.normal(size=(len(kinds), 4))
    if informative == "features":
        features[:, 0] += 4 * kinds
    places = np.tile(place_basis(np.arange(24 * 24), (24, 24), 5), (2, 1))
    regions = np.concatenate(
        [strokes_of_pixels(np.arange(24 * 24), kinds[: 24 * 24], (24, 24)) + 100 * i for i in (0, 1)]
    )
    return with_seen(features, places, regions, kinds, 2)


def test_one_object_in_images_painted_throughout_is_enough_for_the_place_to_count() -> None:
    given = painted_images("place")
    assert len(np.unique(given["strokes"])) == 18  # nine regions of eight pixels in each image
    assert choose(given).place > 0
    assert choose(painted_images("features")) == NOTHING


def volume(informative: str) -> dict[str, Any]:
    """Return one stroke of each class on each of five slices of a volume; the place tells them by its half, or not."""
    rng = np.random.default_rng(1)
    shape = (20, 20, 20)
    cells, kinds, names = [], [], []
    for number, z in enumerate(range(1, 20, 4)):
        halves = (16, 3) if informative == "features" and number % 2 else (3, 16)
        for kind, x in enumerate(halves):
            cells.append([(z, y, x) for y in range(2, 18)])
            kinds += [kind] * 16
            names += [2 * number + kind] * 16
    pixels = np.ravel_multi_index(tuple(np.concatenate(cells).T), shape)
    features = rng.normal(size=(len(kinds), 4))
    if informative == "features":
        features[:, 0] += 4 * np.array(kinds)
    return with_seen(features, place_basis(pixels, shape, CENTRES[3]), np.array(names), np.array(kinds), 2)


def test_in_a_volume_parts_of_strokes_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = volume("place")
    seen: list[int] = []
    plain = place_choice._draw_folds
    monkeypatch.setattr(place_choice, "_draw_folds", lambda k, s: seen.append(len(np.unique(s))) or plain(k, s))
    assert choose(given).place > 0
    assert seen[0] > 10  # strokes
    assert choose(volume("features")) == NOTHING
    slices = {key: value[:-64] if hasattr(value, "shape") else value for key, value in given.items()}
    assert choose(slices) == NOTHING  # three slices: three strokes of each class


@pytest.mark.parametrize(("informative", "columns"), [("place", 49), ("enclosure", 51)])
def test_the_solution_is_one_regression_on_both(informative: str, columns: int) -> None:
    given = strokes(informative)
    given["seen"] = SeenPixels(*(part[::3] for part in (given["features"], given["places"])))
    solved = solve_with_place(PaintedPixels(**given), form=FORM)
    chosen = choose(given)
    scaling = torch.tensor([chosen.place] * 49 + [chosen.enclosure] * 2)
    both = torch.cat([given["features"], scaling * given["places"]], dim=1)
    head, bias = FORM.solve_and_follow(both, given["classes"], 2)
    if informative == "place":  # what is unpainted is background as far as it looks so, with the place or without
        around, alone = both[::3], FORM.solve_and_follow(given["features"], given["classes"], 2)
        without = 1 - (given["features"][::3] @ alone[0].T + alone[1]).softmax(1)[:, 0]
        likely = 1 - (1 - (around @ head.T + bias).softmax(1)[:, 0]) * (4 * without).clamp(max=1)
        counts = torch.cat([torch.ones(len(both)), 4 * likely * (given["classes"] == 0).sum() / len(around)])
        kinds = torch.cat([given["classes"], torch.zeros(len(around), dtype=torch.int64)])
        odds = float(likely.mean() / (1 - likely.mean()))
        assert 1 < odds < 5
        head, bias = FORM.solve_and_follow(torch.cat([both, around]), kinds, 2, weights=counts, background=odds)
    assert solved.place is not None
    assert solved.place_columns == columns
    logits = given["features"] @ solved.weight.T + given["places"][:, :columns] @ solved.place.T + solved.bias
    assert torch.allclose(logits, both @ head.T + bias, atol=1e-4)
    plain = solve_with_place(PaintedPixels(**strokes("features")), form=FORM)
    assert plain.place is None
    assert plain.place_columns == 0


@pytest.mark.parametrize(
    ("share", "others", "times"), [(0.98, 1, 5), (1.0, 1, 5), (0.6, 1, 1.5), (0.6, 2, 3), (0.3, 1, 1), (0.75, 3, 5)]
)
def test_the_background_is_as_frequent_as_it_seems_up_to_five_times(share: float, others: int, times: float) -> None:
    background = torch.tensor([share] * 3 + [1.0, 2 * share - 1])
    assert place_choice._times_as_frequent(background, others) == pytest.approx(times)
