"""Starting from another model: what fits is kept, grey becomes colour without a change, and the rest is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.models.transfer import transfer
from napari_unet.nets.architectures import ARCHITECTURES
from napari_unet.nets.config import ModelConfig

NETWORKS = [(name, ndim) for name, kind in ARCHITECTURES.items() for ndim in kind.ndims]


def _trained(config: ModelConfig) -> Model:
    """Make a model that is none of those that a seed gives, with statistics and a history."""
    model = Model.create(config, seed=11)
    generator = torch.Generator().manual_seed(1)
    for module in model.network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean = torch.randn(module.num_features, generator=generator) * 0.1
    model.history, model.task, model.spacing = {"steps": 100, "best_score": 0.9}, "classes", (0.5,) * config.ndim
    model.network.eval()
    return model


def _image(model: Model, channels: int = 1) -> torch.Tensor:
    side = 96 if model.config.architecture == "sliding-window" else 16
    image = torch.rand(1, 1, *(side,) * model.config.ndim, generator=torch.Generator().manual_seed(2))
    return image.expand(1, channels, *image.shape[2:])


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_grey_to_colour_and_back_changes_no_result(name: str, ndim: int) -> None:
    grey = _trained(ModelConfig(name, ndim, features=4, depth=2))
    colour = transfer(grey, replace(grey.config, in_channels=3))
    back = transfer(colour.model, grey.config)
    assert not colour.made_anew
    assert 1 <= len(colour.adapted) <= 2
    with torch.no_grad():
        expected = grey.network(_image(grey))
        rounding = 1e-4 * expected.abs().max().item()
        torch.testing.assert_close(colour.model.network(_image(grey, 3)), expected, rtol=0, atol=rounding)
        torch.testing.assert_close(back.model.network(_image(grey)), expected, rtol=0, atol=rounding)
    assert "the first is adapted from 1 to 3 channels" in colour.note


def test_depth_wise_kernels_are_repeated() -> None:
    grey = _trained(ModelConfig(features=4, depth=1, convolution="separable"))
    colour = transfer(grey, replace(grey.config, in_channels=3))
    with torch.no_grad():
        torch.testing.assert_close(colour.model.network(_image(grey, 3)), grey.network(_image(grey)))


@pytest.mark.parametrize(
    ("before", "after", "mixture"),
    [
        (3, 1, [[1], [1], [1]]),
        (3, 2, [[1, 0], [0, 1], [1 / 2, 1 / 2]]),
        (3, 4, [[1 / 2, 0, 0, 1 / 2], [0, 1, 0, 0], [0, 0, 1, 0]]),
        (2, 5, [[1 / 3, 0, 1 / 3, 0, 1 / 3], [0, 1 / 2, 0, 1 / 2, 0]]),
    ],
)
def test_other_channels_are_mixed_to_those_that_are_known(before: int, after: int, mixture: Any) -> None:
    source = _trained(ModelConfig(features=4, depth=2, in_channels=before))
    moved = transfer(source, replace(source.config, in_channels=after))
    assert len(moved.adapted) == 1
    image = torch.rand(1, after, 16, 20, generator=torch.Generator().manual_seed(3))
    mixed = torch.einsum("ba,nayx->nbyx", torch.tensor(mixture, dtype=torch.float32), image)
    with torch.no_grad():
        expected = source.network(mixed)
        rounding = 1e-4 * expected.abs().max().item()
        torch.testing.assert_close(moved.model.network(image), expected, rtol=0, atol=rounding)


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_other_classes_leave_all_but_the_last_layer(name: str, ndim: int) -> None:
    source = _trained(ModelConfig(name, ndim, features=4, depth=2))
    config = replace(source.config, classes=("background", "a", "foreground", "b"))
    moved = transfer(source, config, seed=5)
    assert moved.made_anew == ("head",)
    assert moved.model.config == config
    old, new, fresh = (model.network.state_dict() for model in (source, moved.model, Model.create(config, 5)))
    for key, value in new.items():
        if not key.startswith("head"):
            assert torch.equal(value, old[key])
    for part in ("head.weight", "head.bias"):
        assert torch.equal(new[part][0], old[part][0])
        assert torch.equal(new[part][2], old[part][1])  # the class of the same name
        assert torch.equal(new[part][[1, 3]], fresh[part][[1, 3]])
    assert "the last is made anew for 'a' and 'b'" in moved.note


@pytest.mark.parametrize(
    ("classes", "rows"),
    [
        (("background", "a", "b"), [0, 1, 2]),
        (("background", "b", "a"), [0, 2, 1]),
        (("background", "x", "b"), [0, 1, 2]),  # renamed
        (("ground", "x", "y"), [0, 1, 2]),
        (("background", "b"), [0, 2]),
        (("ground", "a"), [0, 1]),
    ],
)
def test_classes_are_known_by_name_or_by_place(classes: tuple[str, ...], rows: list[int]) -> None:
    source = _trained(ModelConfig(features=4, depth=1, classes=("background", "a", "b")))
    moved = transfer(source, replace(source.config, classes=classes))
    assert not moved.made_anew
    with torch.no_grad():
        assert torch.equal(moved.model.network(_image(source)), source.network(_image(source))[:, rows])


def test_inner_heads_of_deep_supervision_go_with_the_head() -> None:
    for name in ("unet++", "unet3+"):
        source = _trained(ModelConfig(name, features=4, depth=2, deep_supervision=True))
        moved = transfer(source, replace(source.config, classes=("background", "foreground", "new")))
        assert {place.split(".")[0] for place in moved.made_anew} == {"head", "inner_heads"}
        old, new = source.network.state_dict(), moved.model.network.state_dict()
        assert all(torch.equal(new[key][:2], old[key]) for key in new if "head" in key)


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"depth": 3}, {"down.3", "up.2", "merge.2"}),
        ({"depth": 1}, set()),
        ({"architecture": "attention"}, {"gates.0", "gates.1", "merge.0", "merge.1"}),
        ({"architecture": "fcn"}, {"score.0", "score.1", "score.2"}),
        ({"bottom": "pyramid"}, {"bottom.mix"}),
    ],
)
def test_another_network_keeps_what_has_the_same_name_and_shape(change: dict[str, Any], anew: set[str]) -> None:
    source = _trained(ModelConfig(features=4, depth=2))
    moved = transfer(source, replace(source.config, **change))
    assert {".".join(name.split(".")[:2]) for name in moved.made_anew} - {"head"} == anew
    old, new = source.network.state_dict(), moved.model.network.state_dict()
    for name in moved.kept:
        assert torch.equal(new[f"{name}.weight"], old[f"{name}.weight"])
    for place in anew:
        assert place in moved.note
    assert "\n" not in moved.note


def test_a_transferred_model_says_where_it_comes_from_and_leaves_the_old_one_alone() -> None:
    source = _trained(ModelConfig(features=4, depth=2))
    before = {key: value.clone() for key, value in source.network.state_dict().items()}
    moved = transfer(source, replace(source.config, in_channels=2, depth=3)).model
    assert (moved.task, moved.spacing) == (source.task, source.spacing)
    assert "best_score" not in moved.history  # it has not been scored
    assert moved.history["start"]["steps"] == 100
    assert not moved.history["start"]["encoder_kept"]
    assert transfer(source, replace(source.config, in_channels=2)).model.history["start"]["encoder_kept"]
    for parameter in moved.network.parameters():
        parameter.data += 1
    assert all(torch.equal(before[key], value) for key, value in source.network.state_dict().items())


@pytest.mark.parametrize("change", [{"ndim": 3}, {"features": 8}])
def test_where_nothing_fits_it_is_said(change: dict[str, Any]) -> None:
    source = _trained(ModelConfig(features=4, depth=1))
    with pytest.raises(InputError, match="start with a new model"):
        transfer(source, replace(source.config, **change))


def test_the_place_goes_with_the_rows_of_the_last_layer() -> None:
    source = Model.create(ModelConfig(features=4, depth=1))
    place = torch.rand(2, 49)
    source.network.set_place(place)  # type: ignore[operator]
    moved = transfer(source, replace(source.config, in_channels=3, classes=("background", "new", "foreground"))).model
    assert torch.equal(moved.network.place, torch.stack([place[0], torch.zeros(49), place[1]]))  # type: ignore[arg-type]
    wider = transfer(source, replace(source.config, last_features=6)).model
    assert wider.network.place is None
