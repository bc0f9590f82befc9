"""Whether the place counts is decided by strokes that were left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_unet.data.place import CENTRES, place_basis
from napari_unet.learn import place_choice
from napari_unet.learn.closed_form import ClosedForm, solve_head
from napari_unet.learn.place_choice import _WEIGHTS, _Moments, choose_place_weight, solve_with_place
from napari_unet.learn.stroke_pixels import strokes_of_pixels

FORM = ClosedForm(ridge=0.1, scale=2.5, offset=0.4)


def strokes(informative: str, seed: int = 0, classes: int = 2, each: int = 6) -> dict[str, object]:
    """Return strokes whose class shows in the features, in the place, or in neither."""
    rng = np.random.default_rng(seed)
    count = classes * each
    kinds = np.repeat(np.arange(count) % classes, 15)
    features = rng.normal(size=(len(kinds), 4))
    places = np.repeat(rng.uniform(size=(count, 3)), 15, axis=0)
    if informative == "features":
        features[:, 0] += 4 * kinds
    if informative == "place":
        places[:, 0] = 2.0 * kinds + 0.1 * rng.normal(size=len(kinds))
    return {
        "features": torch.from_numpy(features).float(),
        "places": torch.from_numpy(places).float(),
        "strokes": np.repeat(np.arange(count), 15),
        "classes": torch.from_numpy(kinds),
        "count": classes,
    }


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weight", _WEIGHTS)
def test_the_loss_is_that_of_solving_anew_without_each_stroke(classes: int, weight: float) -> None:
    given = strokes("place", classes=classes, each=4)
    f, places, kinds, names = given["features"], given["places"], given["classes"], given["strokes"]
    z = torch.cat([f, places, torch.ones(len(f), 1)], dim=1).double()
    found = _Moments(z, kinds, torch.from_numpy(names), classes).left_out_loss(4, weight, FORM)
    both = torch.cat([f, weight * places], dim=1) if weight else f
    losses: list[list[float]] = [[] for _ in range(classes)]
    for name in np.unique(names):
        out = torch.from_numpy(names == name)
        head = solve_head(both[~out], kinds[~out], classes, ridge=FORM.ridge, scale=FORM.scale, offset=FORM.offset)
        logits = both[out] @ head[0].T + head[1]
        loss = torch.nn.functional.cross_entropy(logits, kinds[out], reduction="none").clamp(max=5)
        losses[int(kinds[out][0])].append(float(loss.mean()))
    assert found == pytest.approx(np.mean([np.mean(part) for part in losses]), abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_place_counts_only_where_it_predicts_strokes(seed: int) -> None:
    assert choose_place_weight(**strokes("place", seed), form=FORM) > 0
    assert choose_place_weight(**strokes("features", seed, each=20), form=FORM) == 0


def test_too_few_strokes_say_nothing_of_the_place() -> None:
    assert choose_place_weight(**strokes("place", each=2), form=FORM) == 0
    alone = strokes("place")
    alone["classes"] = torch.zeros_like(alone["classes"])
    assert choose_place_weight(**alone, form=FORM) == 0


def painted_images(informative: str, seed: int = 0) -> dict[str, object]:
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
    return {
        "features": torch.from_numpy(features).float(),
        "places": torch.from_numpy(places),
        "strokes": regions,
        "classes": torch.from_numpy(kinds),
        "count": 2,
    }


def test_one_object_in_images_painted_throughout_is_enough_for_the_place_to_count() -> None:
    given = painted_images("place")
    assert len(np.unique(given["strokes"])) == 18  # nine regions of eight pixels in each image
    assert choose_place_weight(**given, form=FORM) > 0
    assert choose_place_weight(**painted_images("features"), form=FORM) == 0


def test_the_place_must_bring_more_where_regions_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = painted_images("place")
    monkeypatch.setattr(place_choice, "_GAIN_OF_PARTS", 0.999)
    assert choose_place_weight(**given, form=FORM) == 0
    assert choose_place_weight(**strokes("place"), form=FORM) > 0


def volume(informative: str) -> dict[str, object]:
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
    return {
        "features": torch.from_numpy(features).float(),
        "places": torch.from_numpy(place_basis(pixels, shape, CENTRES[3])),
        "strokes": np.array(names),
        "classes": torch.tensor(kinds),
        "count": 2,
    }


def test_in_a_volume_parts_of_strokes_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    given = volume("place")
    seen: list[int] = []
    plain = place_choice._draw_folds
    monkeypatch.setattr(place_choice, "_draw_folds", lambda k, s: seen.append(len(np.unique(s))) or plain(k, s))
    assert choose_place_weight(**given, form=FORM) > 0
    assert seen[0] > 10  # strokes
    assert choose_place_weight(**volume("features"), form=FORM) == 0
    slices = {key: value[:-64] if hasattr(value, "shape") else value for key, value in given.items()}
    assert choose_place_weight(**slices, form=FORM) == 0  # three slices: three strokes of each class


def test_the_solution_is_one_regression_on_both() -> None:
    given = strokes("place")
    solved = solve_with_place(**given, form=FORM)
    weight = choose_place_weight(**given, form=FORM)
    both = torch.cat([given["features"], weight * given["places"]], dim=1)
    known = {"ridge": FORM.ridge, "scale": FORM.scale, "offset": FORM.offset}
    head, bias = solve_head(both, given["classes"], 2, **known)
    logits = given["features"] @ solved.weight.T + given["places"] @ solved.place.T + solved.bias
    assert torch.allclose(logits, both @ head.T + bias, atol=1e-5)
    plain = strokes("features")
    assert solve_with_place(**plain, form=FORM).place is None
