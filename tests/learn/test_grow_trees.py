"""Trees grown from strokes: what no layer can tell, alike whenever grown, and fair to all classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from napari_unet.learn.closed_form import ClosedForm, share_wrong
from napari_unet.learn.grow_trees import _BINS, _best_question, grow_trees
from napari_unet.nets.trees import Trees, tree_logits

Features, Kinds = npt.NDArray[np.float32], npt.NDArray[np.int64]


def told(trees: Trees, features: Features) -> Kinds:
    found: Kinds = tree_logits(trees, torch.from_numpy(np.ascontiguousarray(features.T))).argmax(dim=0).numpy()
    return found


def crossed(rng: np.random.Generator, count: int = 1500) -> tuple[Features, Kinds]:
    """Return eight features, of which the third and the sixth tell the class, but only both together."""
    features = rng.normal(size=(count, 8)).astype(np.float16).astype(np.float32)
    return features, ((features[:, 2] > 0) ^ (features[:, 5] > 0)).astype(np.int64)


def same(first: Trees, second: Trees) -> bool:
    parts = ("questions", "thresholds", "values")
    return all(torch.equal(getattr(first, part), getattr(second, part)) for part in parts)


def test_what_two_features_tell_only_together_is_learnt_and_no_layer_can(rng: np.random.Generator) -> None:
    features, kinds = crossed(rng)
    more, truth = crossed(rng)
    trees = grow_trees(features, kinds, 2)
    assert (told(trees, features) == kinds).mean() > 0.9
    assert (told(trees, more) == truth).mean() > 0.8
    weight, bias = ClosedForm().solve_and_follow(torch.from_numpy(features), torch.from_numpy(kinds), 2)
    assert share_wrong(torch.from_numpy(features) @ weight.T + bias, torch.from_numpy(kinds)) > 0.4


def test_the_same_seed_gives_the_same_trees(rng: np.random.Generator) -> None:
    features, kinds = crossed(rng, 200)
    first, again, other = (grow_trees(features, kinds, 2, seed=seed) for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


def test_a_class_without_pixels_is_never_chosen_and_changes_nothing_for_the_others(rng: np.random.Generator) -> None:
    features, kinds = crossed(rng, 300)
    two, three = grow_trees(features, kinds, 2), grow_trees(features, 2 * kinds, 3)
    anywhere = torch.from_numpy(10 * rng.normal(size=(8, 1000)).astype(np.float32))
    likely = tree_logits(three, anywhere).softmax(dim=0)
    assert likely[1].max() < 1e-8
    torch.testing.assert_close(tree_logits(three, anywhere)[[0, 2]], tree_logits(two, anywhere))


def test_pixels_that_weigh_nothing_have_no_say(rng: np.random.Generator) -> None:
    features, kinds = crossed(rng, 600)
    lies = np.concatenate([kinds, 1 - kinds]), np.repeat([1.0, 0.0], len(kinds)).astype(np.float32)
    trees = grow_trees(np.tile(features, (2, 1)), lies[0], 2, weights=lies[1])
    assert (told(trees, features) == kinds).mean() > 0.9
    turned = grow_trees(np.tile(features, (2, 1)), lies[0], 2, weights=1 - lies[1])
    assert (told(turned, features) == 1 - kinds).mean() > 0.9


def test_a_pixel_weighs_as_if_it_were_there_more_often() -> None:
    """Where the classes lie in each other, each leaf has the shares that weights say."""
    features = np.repeat([0.0, 0.0, 1.0], 100).astype(np.float32)[:, None]
    kinds = np.repeat([0, 1, 1], 100)
    weights = np.repeat([1.0, 4.0, 1.0], 100).astype(np.float32)  # of its class four fifths lie on the other
    often = np.repeat(np.arange(300), weights.astype(np.int64))

    def shares(trees: Trees) -> torch.Tensor:
        return tree_logits(trees, torch.tensor([[0.0]])).softmax(dim=0)[:, 0]

    weighted, repeated, plain = (
        shares(trees)
        for trees in (
            grow_trees(features, kinds, 2, weights=weights),
            grow_trees(features[often], kinds[often], 2),
            grow_trees(features, kinds, 2),
        )
    )
    torch.testing.assert_close(weighted, repeated, atol=0.02, rtol=0)
    assert float(weighted[1]) == pytest.approx(0.8 / 1.8, abs=0.02)
    assert float(plain[1]) == pytest.approx(0.5 / 1.5, abs=0.02)


def test_each_class_counts_the_same_however_many_pixels_it_has(rng: np.random.Generator) -> None:
    kinds = np.repeat([0, 1], [2000, 20])
    features = (rng.normal(size=2020) + 2.0 * kinds).astype(np.float16).astype(np.float32)[:, None]
    found = told(grow_trees(features, kinds, 2), features)
    assert (found[kinds == 1] == 1).mean() > 0.8
    assert (found[kinds == 0] == 0).mean() > 0.7


def gini(parts: list[Kinds]) -> float:
    """Return how pure parts are: the sums of the squares of their classes' numbers, each by its size."""
    return sum(float((np.bincount(part) ** 2).sum() / len(part)) for part in parts if len(part))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_best_question_leaves_the_purest_leaves(classes: int, rng: np.random.Generator) -> None:
    bins = rng.integers(0, _BINS, (4, 60))
    kinds, leaf = rng.integers(0, classes, 60), rng.integers(0, 4, 60)
    for leaves in (0 * leaf, leaf):
        asked, border = _best_question(bins, leaves * classes + kinds, classes)
        purities = {
            (feature, at): gini(
                [kinds[(leaves == own) & (side == (bins[feature] > at))] for own in range(4) for side in (True, False)]
            )
            for feature in range(4)
            for at in range(_BINS - 1)
        }
        assert purities[asked, border] == pytest.approx(max(purities.values()))


def test_thresholds_are_numbers_that_half_the_precision_has(rng: np.random.Generator) -> None:
    features = rng.normal(size=(400, 3)).astype(np.float32) * np.array([1e-3, 1.0, 100.0], np.float32)
    trees = grow_trees(features, (features[:, 1] > 0).astype(np.int64), 2)
    assert torch.equal(trees.thresholds.half().float(), trees.thresholds)
    assert trees.thresholds.isfinite().all()


def test_three_classes_one_behind_the_other_are_told_by_one_feature(rng: np.random.Generator) -> None:
    features = rng.uniform(size=(900, 1)).astype(np.float16).astype(np.float32)
    kinds = (3 * features[:, 0]).astype(np.int64).clip(max=2)
    trees = grow_trees(features, kinds, 3)
    assert (told(trees, features) == kinds).mean() > 0.9


@pytest.mark.parametrize("count", [2, 3])
def test_one_pixel_of_each_class_is_enough(count: int) -> None:
    features = np.arange(count, dtype=np.float32)[:, None] * np.ones((1, 5), np.float32)
    trees = grow_trees(features, np.arange(count), count)
    logits = tree_logits(trees, torch.from_numpy(features.T.copy()))
    assert logits.isfinite().all()
    assert logits.argmax(dim=0).tolist() == list(range(count))


@pytest.mark.parametrize("given", [{}, {"weights": np.ones(40, np.float32)}])
def test_pixels_that_are_all_alike_and_one_class_alone_are_no_error(given: dict[str, Any]) -> None:
    alike = tree_logits(grow_trees(np.ones((40, 6), np.float32), np.arange(40) % 2, 2, **given), torch.ones(6, 1))
    torch.testing.assert_close(alike.softmax(dim=0), torch.full((2, 1), 0.5))
    alone = grow_trees(np.ones((40, 6), np.float32), np.ones(40, np.int64), 2, **given)
    assert tree_logits(alone, torch.randn(6, 50)).argmax(dim=0).all()
