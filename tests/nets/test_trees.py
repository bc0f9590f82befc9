"""Trees that add to the logits of a network: computed one by one, in tiles, and kept in its state."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch

import napari_unet as nu
from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.grey_features import GREY_REACH, GREYS, grey_features
from napari_unet.nets.trees import Trees, _sum_up, _sum_up_on_cpu, tree_logits


def forest(classes: int = 2, features: int = GREYS, trees: int = 5, levels: int = 3, seed: int = 0) -> Trees:
    generator = torch.Generator().manual_seed(seed)
    return Trees(
        torch.randint(0, features, (trees, levels), generator=generator),
        torch.rand((trees, levels), generator=generator).half().float(),
        torch.randn((trees, 2**levels, classes), generator=generator),
    )


def make_network(**settings: Any) -> SegmentationNetwork:
    config = nu.ModelConfig(**({"features": 4, "depth": 1} | settings))
    return cast("SegmentationNetwork", nu.Model.create(config).network.eval())


def test_the_leaf_of_a_tree_is_found_by_all_its_questions() -> None:
    trees = forest(classes=3, features=4)
    features = torch.rand(4, 5, 7, generator=torch.Generator().manual_seed(1))
    features[:, 0, 0] = trees.thresholds[0, 0]  # as large is not larger
    found = tree_logits(trees, features)
    for y, x in np.ndindex(5, 7):
        expected = np.zeros(3)
        for questions, thresholds, values in zip(trees.questions, trees.thresholds, trees.values, strict=True):
            answers = [bool(features[q, y, x] > t) for q, t in zip(questions, thresholds, strict=True)]
            expected += values[sum(2**level for level, yes in enumerate(answers) if yes)].numpy()
        np.testing.assert_allclose(found[:, y, x], expected, atol=1e-5)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("classes", [2, 3])
def test_pytorch_and_numpy_say_the_same(classes: int) -> None:
    given, columns = forest(classes, features=7), torch.rand(7, 50, generator=torch.Generator().manual_seed(1))
    on_cpu = _sum_up_on_cpu(given, columns.numpy())
    np.testing.assert_allclose(_sum_up(given, columns).numpy(), on_cpu, rtol=1e-5, atol=1e-6)


def test_features_of_half_the_precision_are_asked_as_they_are() -> None:
    trees, features = forest(), torch.rand(GREYS, 30, 30).half()
    assert torch.equal(tree_logits(trees, features), tree_logits(trees, features.float()))


def test_a_copy_has_memory_of_its_own() -> None:
    trees = forest()
    copied = trees.copy()
    trees.values.zero_()
    assert copied.values.any()


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 3)])
def test_a_network_adds_what_they_say_of_the_grey_values(channels: int, classes: int) -> None:
    names = ("background", "a", "b")[:classes]
    network, trees = make_network(in_channels=channels, classes=names), forest(classes, GREYS * channels)
    image = torch.rand(2, channels, 24, 32)
    with torch.no_grad():
        without = network(image)
        network.set_trees(trees)
        added = network(image) - without
    expected = torch.stack([tree_logits(trees, one.half()) for one in grey_features(image)])
    torch.testing.assert_close(added, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(cast("torch.Tensor", network.given_logits(image, (24, 32))), expected)
    network.set_trees(None)
    assert network.trees is None
    assert network.given_logits(image, (24, 32)) is None
    with torch.no_grad():
        assert torch.equal(network(image), without)


def test_they_add_to_what_the_place_adds() -> None:
    network, trees = make_network(), forest()
    network.set_place(torch.randn(2, 49, generator=torch.Generator().manual_seed(2)))
    image = torch.rand(1, 3, 16, 16)  # grey values, and where a pixel lies
    place = cast("torch.Tensor", network.given_logits(image, (16, 16)))
    network.set_trees(trees)
    both = cast("torch.Tensor", network.given_logits(image, (16, 16)))
    greys = grey_features(image[:, :1])[0].half()
    torch.testing.assert_close(both[0], place[0] + tree_logits(trees, greys))


def test_a_network_sees_as_far_as_they_do() -> None:
    tiny, deep = make_network(depth=2), make_network(depth=5)
    for network in (tiny, deep):
        assert network.whole_halo == network.halo
        network.set_trees(forest())
        assert min(network.whole_halo) >= GREY_REACH
        assert all(whole >= own for whole, own in zip(network.whole_halo, network.halo, strict=True))
        assert not any(side % network.divisor for side in network.whole_halo)
    assert max(tiny.halo) < GREY_REACH
    assert tiny.whole_halo == (52, 52)
    assert deep.whole_halo == deep.halo  # it looks farther anyway


@pytest.mark.parametrize(
    ("settings", "shape"), [({}, (90, 70)), ({}, (20, 30)), ({"depth": 3, "in_channels": 2}, (90, 70))]
)
def test_tiles_give_what_the_whole_gives(settings: dict[str, Any], shape: tuple[int, int]) -> None:
    model = nu.Model.create(nu.ModelConfig(**({"features": 4, "depth": 1} | settings)))
    channels = model.config.in_channels
    picture = np.random.default_rng(0).random((channels, *shape)) + np.linspace(0, 3, shape[1])
    results = []
    for trees in (None, forest(features=GREYS * channels, trees=60)):
        cast("SegmentationNetwork", model.network).set_trees(trees)
        for tile in (128, 16):
            config = nu.PredictConfig(device="cpu", precision="float32", tile=tile)
            results.append(nu.predict(model, picture, "CYX", config))
    plain, _, whole, tiled = results
    off = np.abs(whole - tiled).max(axis=0)
    assert (off > 1e-4).mean() < 1e-3  # a feature may be rounded to the other side of a threshold
    assert np.abs(plain - whole).max() > 0.1


def test_the_state_of_a_network_tells_them() -> None:
    network, other, image = make_network(), make_network(), torch.rand(1, 1, 16, 16)
    plain = {key: value.clone() for key, value in network.state_dict().items()}
    assert not any(key.startswith("tree") for key in plain)
    network.set_trees(forest())
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(other(image), network(image))
    assert other.trees is not None
    assert other.trees.questions.dtype == torch.int64
    other.load_state_dict(plain)
    assert other.trees is None


def test_networks_for_volumes_unpadded_ones_and_those_with_inner_results_take_none() -> None:
    assert make_network().takes_trees
    assert not make_network(ndim=3).takes_trees
    assert not make_network(padding="valid", norm=None).takes_trees
    assert not make_network(architecture="unet++", depth=2, deep_supervision=True).takes_trees
