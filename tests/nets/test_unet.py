"""The U-Net: the paper's figures, and a halo that is proven pixel by pixel."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_unet.errors import InputError
from napari_unet.nets.blocks import DoubleConv, center_crop, he_init_, normalization
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.registry import build_network
from napari_unet.nets.unet import UNet

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def _paper(**changes: Any) -> ModelConfig:
    return ModelConfig(**({"padding": "valid", "norm": None, "features": 64} | changes))


# ------------------------------------------------------------------------------------------------ the paper's figures


def test_the_papers_network_has_its_parameters_and_layers() -> None:
    with torch.device("meta"):
        network = build_network(_paper())
    assert sum(p.numel() for p in network.parameters()) == 31_030_658
    layers = [module for module in network.modules() if isinstance(module, CONVOLUTIONS)]
    assert len(layers) == 23
    widths = [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)]
    down = [64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024]
    assert sorted(widths) == sorted([*down, 512, 512, 256, 256, 128, 128, 64, 64])
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in layers) == 4
    assert sum(layer.kernel_size == (1, 1) for layer in layers) == 1
    assert sum(isinstance(module, nn.ReLU) for module in network.modules()) == 18


def test_the_papers_network_maps_572_to_388() -> None:
    with torch.device("meta"):
        output = build_network(_paper())(torch.zeros(1, 1, 572, 572))
    assert output.shape == (1, 2, 388, 388)
    output = build_network(_paper(features=1))(torch.zeros(1, 1, 572, 188 + 16))  # computed, in a narrow one
    assert output.shape == (1, 2, 388, 20)


def test_weights_start_as_he_proposed() -> None:
    torch.manual_seed(1)
    network = build_network(_paper(features=24))
    incoming = {
        nn.Conv2d: lambda m: m.in_channels * math.prod(m.kernel_size),
        nn.ConvTranspose2d: lambda m: m.in_channels,
    }
    checked = 0
    for module in network.modules():
        if isinstance(module, CONVOLUTIONS):
            kind = next(kind for kind in incoming if isinstance(module, kind))
            weight, nodes = module.weight.detach(), incoming[kind](module)
            expected = math.sqrt(2 / nodes)
            assert abs(weight.std().item() / expected - 1) < 5 / math.sqrt(2 * weight.numel())
            assert abs(weight.mean().item()) < 5 * expected / math.sqrt(weight.numel())
            assert module.bias is not None
            assert not module.bias.detach().any()
            checked += 1
    assert checked == 23


def test_the_start_keeps_the_size_of_the_signal_through_all_layers() -> None:
    """What He's initialisation is for: the output neither vanishes nor explodes with the depth."""
    torch.manual_seed(1)
    for ndim, side in ((2, 64), (3, 16)):
        network = build_network(ModelConfig(ndim=ndim, features=8, depth=3, norm=None))
        with torch.no_grad():
            features = network.features(torch.randn(2, 1, *(side,) * ndim))  # type: ignore[operator]
        assert 0.1 < features.std().item() < 10


def test_an_up_convolution_has_one_incoming_node_for_each_channel() -> None:
    """With kernel 2 and stride 2 every output pixel is fed by a single input pixel."""
    layer = nn.ConvTranspose2d(1, 1, 2, stride=2, bias=False)
    x = torch.zeros(1, 1, 3, 3, requires_grad=True)
    layer(x)[0, 0, 2, 3].backward()
    assert x.grad is not None
    assert int((x.grad != 0).sum()) == 1
    he_init_(layer)


# -------------------------------------------------------------------------------------------------- shapes and sizes


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_sizes_channels_and_classes(ndim: int, depth: int, padding: Any) -> None:
    config = ModelConfig(
        ndim=ndim, in_channels=3, classes=("a", "b", "c", "d"), features=2, depth=depth, padding=padding, norm=None
    )
    network = UNet(config)
    assert network.divisor == 2**depth
    before, after = network.halo
    sides = [network.divisor * n for n in (2, 1, 3)][:ndim]
    extra = 0 if padding == "same" else before + after
    output = network(torch.zeros(2, 3, *(side + extra for side in sides)))
    assert output.shape[:2] == (2, 4)
    for side, size in zip(sides, output.shape[2:], strict=True):
        assert size == side if padding == "same" else side <= size < side + network.divisor
    assert network.features(torch.zeros(1, 3, *(side + extra for side in sides))).shape[1] == 2


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_the_last_feature_map_can_have_a_width_of_its_own(ndim: int, padding: Any) -> None:
    plain, wide = (
        UNet(ModelConfig(ndim=ndim, features=4, depth=2, padding=padding, last_features=last)).eval()
        for last in (None, 11)
    )
    assert (wide.halo, wide.divisor, wide.exact_tiling) == (plain.halo, plain.divisor, plain.exact_tiling)
    x = torch.zeros(1, 1, *(4 + sum(wide.halo) * (padding == "valid"),) * ndim)
    assert [network.features(x).shape[1] for network in (plain, wide)] == [4, 11]
    assert wide(x).shape == plain(x).shape
    last = [layer.out_channels for layer in wide.merge[0].modules() if isinstance(layer, CONVOLUTIONS)]
    assert last == [11, 11]
    same = {key for key, value in plain.state_dict().items() if value.shape == wide.state_dict()[key].shape}
    changed = set(plain.state_dict()) - same
    assert {key.rpartition(".layers")[0] or key.partition(".")[0] for key in changed} == {"merge.0", "head"}


@pytest.mark.parametrize(
    ("padding", "depth", "space"),
    [
        ("same", 1, (7, 8)),
        ("same", 2, (8, 10)),
        ("same", 4, (16, 24)),
        ("same", 2, (0, 8)),
        ("valid", 2, (44, 45)),
        ("valid", 2, (44, 46)),
        ("valid", 4, (570, 572)),
        ("valid", 4, (16, 16)),
        ("valid", 1, (8, 8)),
        ("valid", 1, (10, 10)),
        ("valid", 1, (12, 12)),
    ],
)
def test_a_size_that_does_not_fit_is_refused_in_words(padding: Any, depth: int, space: tuple[int, int]) -> None:
    network = UNet(ModelConfig(features=1, depth=depth, padding=padding, norm=None))
    with pytest.raises(InputError, match=rf"can't halve {space[0]} x {space[1]} pixels {depth} times"):
        network(torch.zeros(1, 1, *space))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_is_not_refused_runs(depth: int) -> None:
    """The check of the size agrees with what the layers can do, for every size."""
    for padding in ("same", "valid"):
        network = UNet(ModelConfig(features=1, depth=depth, padding=padding, norm=None))
        accepted = []
        for size in range(1, 2 ** (depth + 1) + (sum(network.halo) if padding == "valid" else 0) + 1):
            try:
                output = network(torch.zeros(1, 1, size, size))
            except InputError:
                continue
            assert min(output.shape) > 0
            accepted.append(size)
        assert accepted
        assert set(np.diff(accepted)) <= {2**depth}


def test_a_network_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"no network called 'resnet'; there are: .*unet"):
        build_network(ModelConfig(architecture="resnet"))


# ---------------------------------------------------------------------------------------- halo and equivariance


def _random_network(depth: int, ndim: int, padding: Any, norm: Any = None) -> UNet:
    torch.manual_seed(depth)
    network = UNet(ModelConfig(ndim=ndim, features=2, depth=depth, padding=padding, norm=norm)).double().eval()
    for module in network.modules():  # nothing dead: any path that can carry a change does
        if isinstance(module, CONVOLUTIONS):
            module.weight.data.abs_()
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.uniform_(-1, 1)  # type: ignore[union-attr, operator]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    return network


CASES = [(depth, 2, padding) for depth in (1, 2, 3, 4) for padding in ("same", "valid")]
CASES += [(depth, 3, "same") for depth in (1, 2, 3, 4)] + [(1, 3, "valid"), (2, 3, "valid")]


@pytest.mark.parametrize(("depth", "ndim", "padding"), CASES)
def test_the_halo_covers_all_that_a_tile_depends_on_and_little_more(depth: int, ndim: int, padding: str) -> None:
    """The gradient of a tile's result reaches as far as the network sees: within the halo, and nearly to its end."""
    network = _random_network(depth, ndim, padding)
    before, after = network.halo
    divisor = network.divisor
    room = 2 * divisor if padding == "valid" else 0
    for axis in range(ndim):
        # along the other axes as small as may be; along this one a tile, its halo, and pixels beyond
        other = divisor if padding == "same" else divisor + before + after
        sides = [other] * ndim
        sides[axis] = divisor + before + after + 2 * (divisor + room)
        begin = before + divisor + room  # of the tile, a multiple of the divisor from the start of what is read
        seen = torch.zeros(sides[axis], dtype=torch.bool)
        for _ in range(6 if ndim == 2 else 4):
            x = torch.rand(1, 1, *sides, dtype=torch.float64, requires_grad=True)
            output = network(x)
            first = begin - (before if padding == "valid" else 0)
            part = output.movedim(2 + axis, 0)[first : first + divisor]
            (gradient,) = torch.autograd.grad(part.sum(), x)
            seen |= (gradient[0, 0].movedim(axis, 0).reshape(sides[axis], -1) != 0).any(1)
        reached = torch.nonzero(seen).flatten()
        low, high = begin - int(reached[0]), int(reached[-1]) + 1 - (begin + divisor)
        assert low <= before
        assert high <= after
        assert before - low < divisor + 2, (before, low)
        assert after - high < 2 * divisor, (after, high)


@pytest.mark.parametrize(("depth", "ndim", "padding"), [case for case in CASES if case[0] < 3 or case[1] == 2])
def test_what_lies_beyond_the_halo_changes_nothing(depth: int, ndim: int, padding: str) -> None:
    """A tile from an image, and from the image with everything beyond the halo replaced, are the same."""
    network = _random_network(depth, ndim, padding, norm="batch")
    before, after = network.halo
    outer = network.divisor + before + after
    margin = network.divisor * (2 if depth < 3 else 1)
    x = torch.randn(1, 1, *(outer + 2 * margin,) * ndim, dtype=torch.float64)
    other = torch.randn_like(x) * 100
    kept = (slice(None), slice(None), *(slice(margin, margin + outer),) * ndim)
    other[kept] = x[kept]
    first = margin + (before if padding == "same" else 0)
    tile = (slice(None), slice(None), *(slice(first, first + network.divisor),) * ndim)
    alone = (slice(None), slice(None), *(slice(first - margin, first - margin + network.divisor),) * ndim)
    with torch.no_grad():
        expected = network(x)[tile]
        torch.testing.assert_close(network(other)[tile], expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(network(x[kept])[alone], expected, rtol=1e-9, atol=1e-9)
        nearer = x.clone()  # and a pixel in the middle of the tile does change it
        nearer[(0, 0, *(margin + before,) * ndim)] += 1
        assert not torch.equal(network(nearer)[tile], expected)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("depth", "ndim"), [(1, 2), (2, 2), (3, 2), (4, 2), (1, 3), (2, 3)])
def test_moving_the_image_by_the_divisor_moves_the_result(depth: int, ndim: int, padding: str) -> None:
    network = _random_network(depth, ndim, padding)
    step = network.divisor
    side = sum(network.halo) + 3 * step
    x = torch.randn(1, 1, *(side,) * ndim, dtype=torch.float64)
    with torch.no_grad():
        result = network(x)
        for axis in range(2, 2 + ndim):
            moved = network(
                torch.cat([torch.randn_like(x).narrow(axis, 0, step), x.narrow(axis, 0, side - step)], axis)
            )
            edge = network.halo[0] + step if padding == "same" else step
            end = result.shape[axis] - (network.halo[1] if padding == "same" else 0)
            inner = moved.narrow(axis, edge, end - edge)
            torch.testing.assert_close(inner, result.narrow(axis, edge - step, end - edge), rtol=1e-9, atol=1e-9)
        if depth > 1:  # by less than the divisor it does not: the pooling falls on other pixels
            moved = network(torch.cat([torch.randn_like(x).narrow(-1, 0, 1), x.narrow(-1, 0, side - 1)], -1))
            edge = network.halo[0] + step if padding == "same" else step
            assert not torch.allclose(moved.narrow(-1, edge, 2), result.narrow(-1, edge - 1, 2))


# ------------------------------------------------------------------------------------- normalisation and dropout


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(
    ("norm", "kinds"),
    [
        ("batch", (nn.BatchNorm2d, nn.BatchNorm3d)),
        ("instance", (nn.InstanceNorm2d, nn.InstanceNorm3d)),
        ("group", (nn.GroupNorm,)),
        (None, ()),
    ],
)
def test_a_normalisation_follows_every_convolution_but_head_and_up(
    norm: Any, kinds: tuple[type, ...], ndim: int
) -> None:
    network = UNet(ModelConfig(ndim=ndim, features=4, depth=2, norm=norm))
    layers = [module for module in network.modules() if kinds and isinstance(module, kinds)]
    assert len(layers) == (10 if norm else 0)
    plain = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d) and m.kernel_size[0] == 3]
    assert all((module.bias is None) == bool(norm) for module in plain)  # a shift before a normalisation is lost
    output = network(torch.randn(2, 1, *(16,) * ndim))
    output.sum().backward()
    assert torch.isfinite(output).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 12, 32, 100])
def test_groups_divide_any_number_of_channels(channels: int) -> None:
    layer = normalization("group", 2, channels)
    assert isinstance(layer, nn.GroupNorm)
    assert channels % layer.num_groups == 0
    assert layer(torch.randn(1, channels, 4, 4)).shape == (1, channels, 4, 4)


def test_batch_normalisation_is_fixed_when_predicting() -> None:
    network = UNet(ModelConfig(features=4, depth=2)).eval()
    x = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        together = network(x)
        torch.testing.assert_close(network(x[:1]), together[:1])  # what else is in the batch plays no part


@pytest.mark.parametrize("ndim", [2, 3])
def test_dropout_drops_whole_features_in_training_only(ndim: int) -> None:
    torch.manual_seed(0)
    network = UNet(ModelConfig(ndim=ndim, features=4, depth=2, norm=None, dropout=0.5))
    layers = [module for module in network.modules() if isinstance(module, nn.Dropout2d | nn.Dropout3d)]
    assert len(layers) == 2  # the end of the contracting path: the last level before the bottom, and the bottom
    x = torch.randn(1, 1, *(16,) * ndim)
    network.eval()
    assert torch.equal(network(x), network(x))
    without = copy.deepcopy(network)
    for layer in without.modules():
        if isinstance(layer, nn.Dropout2d | nn.Dropout3d):
            layer.p = 0.0
    assert torch.equal(without(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))
    dropped = network.down[2](torch.rand(1, 8, *(8,) * ndim) + 1)[0].flatten(1)
    silent = (dropped == 0).all(1)
    alive = without.eval().down[2](torch.rand(1, 8, *(8,) * ndim) + 1)[0].flatten(1)
    assert silent.sum() > (alive == 0).all(1).sum()


def test_without_dropout_there_is_no_such_layer() -> None:
    assert not [m for m in UNet(ModelConfig(features=2)).modules() if isinstance(m, nn.modules.dropout._DropoutNd)]


# ---------------------------------------------------------------------------------------------------- small parts


@pytest.mark.parametrize(
    ("have", "want"), [((8, 8), (4, 4)), ((9, 7), (4, 4)), ((5, 5), (5, 5)), ((6, 9, 7), (1, 2, 3))]
)
def test_the_middle_is_cut_out(have: tuple[int, ...], want: tuple[int, ...]) -> None:
    x = torch.arange(math.prod(have)).reshape(1, 1, *have)
    cut = center_crop(x, want)
    assert cut.shape == (1, 1, *want)
    first = np.unravel_index(int(cut.flatten()[0]), have)
    for at, n, m in zip(first, have, want, strict=True):
        assert at in ((n - m) // 2, -(-(n - m) // 2))
    assert torch.equal(center_crop(x[0, 0], want), cut[0, 0])  # with any leading axes


def test_a_double_convolution_is_two_plain_ones() -> None:
    torch.manual_seed(2)
    block = DoubleConv(2, 2, 3, padding="valid", norm=None)
    first, second = (m for m in block.modules() if isinstance(m, nn.Conv2d))
    x = torch.randn(1, 2, 9, 8)
    expected = nn.functional.conv2d(
        nn.functional.conv2d(x, first.weight, first.bias).relu(), second.weight, second.bias
    )
    torch.testing.assert_close(block(x), expected.relu())
    assert block(x).shape[2:] == (9 - DoubleConv.shrink, 8 - DoubleConv.shrink)


def test_in_a_volume_a_flat_image_is_treated_alike_in_every_plane() -> None:
    """2D and 3D are one definition: kernels that ignore Z make the 3D network the 2D one in each plane."""
    torch.manual_seed(3)
    flat = UNet(ModelConfig(features=3, depth=2, norm=None)).double()
    deep = UNet(ModelConfig(ndim=3, features=3, depth=2, norm=None)).double()
    for a, b in zip(flat.parameters(), deep.parameters(), strict=True):
        b.data.zero_()
        if b.ndim == 5 and b.shape[2] == 3:
            b.data[:, :, 1] = a.data
        elif b.ndim == 5:
            b.data.copy_(a.data.unsqueeze(2).expand_as(b))
        else:
            b.data.copy_(a.data)
    x = torch.randn(1, 1, 16, 12, dtype=torch.float64)
    volume = x.unsqueeze(2).expand(1, 1, 8, 16, 12)
    with torch.no_grad():
        torch.testing.assert_close(deep(volume), flat(x).unsqueeze(2).expand(1, 2, 8, 16, 12))
