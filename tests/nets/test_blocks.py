"""The parts of the networks, each against an independent way to the same numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.measure import block_reduce
from torch import nn

from napari_unet.nets.attention import AttentionGate
from napari_unet.nets.blocks import (
    ConvUnit,
    SpatialPyramid,
    conv,
    he_init_,
    pool,
    separable_conv,
    smooth,
    smooth_up,
    up_conv,
)
from napari_unet.nets.recurrent import RecurrentConv
from napari_unet.nets.residual import ResidualUnit
from napari_unet.nets.transunet import TransformerLayer, rotate


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_separable_convolution_is_one_kernel_a_channel_and_a_mixture(ndim: int) -> None:
    layer: Any = separable_conv(ndim, 3, 5, 3, padding=1).double()
    assert sum(p.numel() for p in layer.parameters()) == 3 * 3**ndim + 3 * 5 + 5
    x = torch.randn(1, 3, *(6,) * ndim, dtype=torch.float64)
    kernels, mixture, bias = layer[0].weight.detach(), layer[1].weight.detach().reshape(5, 3), layer[1].bias.detach()
    filtered = np.stack([ndimage.correlate(x[0, c].numpy(), kernels[c, 0].numpy(), mode="constant") for c in range(3)])
    expected = np.tensordot(mixture.numpy(), filtered, 1) + bias.numpy().reshape(5, *(1,) * ndim)
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_pyramid_sees_the_strongest_signal_in_windows_of_three_sizes(ndim: int) -> None:
    block = SpatialPyramid(ndim, 2, norm=None)
    seen: list[torch.Tensor] = []
    block.mix.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    x = torch.randn(1, 2, *(16,) * ndim)
    assert block(x).shape == x.shape
    for number, side in enumerate((1, 5, 9, 13)):
        for channel in range(2):
            expected = ndimage.maximum_filter(x[0, channel].numpy(), side, mode="nearest")
            np.testing.assert_array_equal(seen[0][0, 2 * number + channel].numpy(), expected)


@pytest.mark.parametrize("ndim", [2, 3])
def test_poolings_halve_by_the_strongest_or_the_mean(ndim: int) -> None:
    x = torch.randn(1, 1, *(6, 8, 4)[:ndim])
    cells = (2,) * ndim
    np.testing.assert_array_equal(pool(ndim)(x)[0, 0], block_reduce(x[0, 0].numpy(), cells, np.max))
    np.testing.assert_allclose(pool(ndim, "average")(x)[0, 0], block_reduce(x[0, 0].numpy(), cells, np.mean), atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 10), (5, 8, 9), (1, 6), (2, 2, 4)])
def test_smoothing_is_a_binomial_kernel_with_edges_repeated(shape: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    expected = x.numpy()
    for axis in range(2, x.ndim):
        expected = ndimage.convolve1d(expected, [0.25, 0.5, 0.25], axis, mode="nearest")
    np.testing.assert_allclose(smooth(x), expected, atol=1e-12)


@pytest.mark.parametrize("ndim", [2, 3])
def test_smoothing_removes_what_alternates(ndim: int) -> None:
    board = torch.from_numpy(np.indices((8,) * ndim).sum(axis=0) % 2).float()
    inner = smooth(5 + board[None, None])[(0, 0, *(slice(1, -1),) * ndim)]
    torch.testing.assert_close(inner, torch.full_like(inner, 5.5))


@pytest.mark.parametrize("factor", [2, 4])
def test_interpolation_goes_from_pixel_centre_to_pixel_centre(factor: int) -> None:
    x = torch.randn(1, 1, 5, 7, dtype=torch.float64)
    expected = ndimage.zoom(x[0, 0].numpy(), factor, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(smooth_up(2, factor)(x)[0, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("ndim", [2, 3])
def test_an_up_convolution_doubles_any_size(ndim: int, kernel: int) -> None:
    sides = (5, 3, 4)[:ndim]
    assert up_conv(ndim, 2, 3, kernel=kernel)(torch.zeros(1, 2, *sides)).shape == (1, 3, *(2 * n for n in sides))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("low", [False, True])
def test_an_up_convolution_trains_and_predicts_as_pytorchs_own(ndim: int, kernel: int, low: bool) -> None:
    torch.manual_seed(0)
    layer: Any = up_conv(ndim, 6, 4, kernel=kernel)
    nn.init.normal_(layer.bias)
    own = (nn.ConvTranspose2d if ndim == 2 else nn.ConvTranspose3d)(
        6, 4, kernel, stride=2, padding=kernel - 2, output_padding=kernel - 2
    )
    own.load_state_dict(layer.state_dict())
    x = torch.randn(2, 6, *(5, 4, 3)[:ndim])
    results = []
    for module in (layer, own):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            result = module(x)
        assert result.dtype == (torch.bfloat16 if low else torch.float32)
        result.float().square().sum().backward()
        results.append((result.detach().float(), module.weight.grad, module.bias.grad))
    for ours, expected in zip(*results, strict=True):
        tolerance = 0.02 if low else 1e-5
        torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    assert torch.equal(layer.eval()(x), own.eval()(x))


def test_a_unit_without_normalisation_and_activation_is_its_layer() -> None:
    assert len(ConvUnit(2, 1, 2, norm=None, activation=None)) == 1
    assert [type(layer) for layer in ConvUnit(2, 1, 2, norm="batch", activation=nn.ReLU())] == [
        nn.Conv2d, nn.BatchNorm2d, nn.ReLU,
    ]  # fmt: skip


def test_depth_wise_convolutions_keep_the_size_of_the_signal() -> None:
    torch.manual_seed(0)
    layer = conv(2, 64, 64, 3, padding=1, groups=64)
    he_init_(layer)
    assert layer(torch.randn(4, 64, 32, 32)).std().item() == pytest.approx(1, abs=0.1)
    assert layer.weight.std().item() == pytest.approx(1 / 3, rel=0.1)  # type: ignore[union-attr, operator]


def test_a_residual_unit_adds_its_input() -> None:
    unit = ResidualUnit(2, 3, 3, norm="batch").eval()
    for module in unit.layers.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(unit(x), x)
    assert isinstance(unit.shortcut, nn.Identity)
    assert ResidualUnit(2, 3, 5, norm=None, stride=2)(x).shape == (2, 5, 4, 4)


def test_a_gate_multiplies_by_numbers_between_0_and_1() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(2, 4, 8)
    skip, coarse = torch.randn(1, 4, 8, 12), torch.randn(1, 8, 4, 6)
    share = gate(skip, coarse) / skip
    torch.testing.assert_close(share, share[:, :1].expand_as(share))  # one number for all channels of a place
    assert 0 < share.min() < share.max() < 1
    nn.init.constant_(gate.score.bias, 100.0)  # type: ignore[arg-type]
    torch.testing.assert_close(gate(skip, coarse), skip)  # wide open


def test_a_recurrent_convolution_follows_the_papers_equation() -> None:
    torch.manual_seed(0)
    layer = RecurrentConv(2, 3, norm=None)
    x = torch.randn(1, 3, 6, 6)
    drive = nn.functional.conv2d(x, layer.feed.weight, layer.feed.bias, padding=1)  # type: ignore[arg-type]
    state = drive.relu()
    for _ in range(2):
        state = (drive + nn.functional.conv2d(state, layer.recur.weight, padding=1)).relu()  # type: ignore[arg-type]
    torch.testing.assert_close(layer(x), state)


# ------------------------------------------------------------------------------------------------------- attention


def test_attention_is_the_textbooks() -> None:
    torch.manual_seed(0)
    layer = TransformerLayer(8, 2, 0.0).double()
    tokens = torch.randn(1, 12, 8, dtype=torch.float64)
    with torch.no_grad():
        result = layer(tokens, (3, 4))
        normed = layer.norm1(tokens)[0]
        query, key, value = (normed @ layer.query_key_value.weight.T + layer.query_key_value.bias).split(8, dim=1)
        heads = []
        for part in (slice(0, 4), slice(4, 8)):
            q, k = (rotate(t[None, None, :, part], (3, 4))[0, 0] for t in (query, key))
            heads.append(torch.softmax(q @ k.T / math.sqrt(4), dim=1) @ value[:, part])
        attended = tokens[0] + torch.cat(heads, dim=1) @ layer.join.weight.T + layer.join.bias
        expected = attended + layer.mlp(layer.norm2(attended))
    torch.testing.assert_close(result[0], expected)


@pytest.mark.parametrize("space", [(5, 6), (3, 4, 5)])
def test_positions_enter_attention_as_differences(space: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 14, dtype=torch.float64)
    places = math.prod(space)
    turned_q = rotate(query.expand(1, 1, places, 14), space)[0, 0].reshape(*space, 14)
    turned_k = rotate(key.expand(1, 1, places, 14), space)[0, 0].reshape(*space, 14)
    origin, step = (0,) * len(space), (1, 2, 1)[: len(space)]
    shifted = tuple(1 for _ in space), tuple(1 + s for s in step)
    here, there = turned_q[origin] @ turned_k[step], turned_q[shifted[0]] @ turned_k[shifted[1]]
    torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-5)
    for axis in range(len(space)):  # and a step along any axis makes a difference
        moved = tuple(int(i == axis) for i in range(len(space)))
        assert not torch.isclose(turned_q[origin] @ turned_k[moved], turned_q[origin] @ turned_k[origin])
    torch.testing.assert_close(turned_q.norm(dim=-1), query.norm().expand(space), rtol=1e-5, atol=0)


# ------------------------------------------------------------------------------------- 16-bit convolutions on the CPU


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("space", [(2, 4, 4), (2, 2, 2), (1, 1, 1), (3, 3, 3), (4, 4, 4), (1, 6, 5)])
def test_in_sixteen_bits_the_gradient_at_the_bottom_of_a_volume_is_right(
    space: tuple[int, int, int], kernel: int, memory_format: torch.memory_format
) -> None:
    """Where the map has fewer planes than the kernel, PyTorch's own 16-bit gradient is garbage on some CPUs."""
    torch.manual_seed(0)
    layer = conv(3, 16, 32, kernel, padding=kernel // 2).to(memory_format=memory_format)
    x = torch.randn(2, 16, *space).contiguous(memory_format=memory_format)
    weight: Any = layer.weight
    gradients = []
    for low in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            result = layer(x)
        result.float().square().sum().backward()
        gradients.append(weight.grad.clone())
    exact, rough = gradients
    assert (exact - rough).abs().max() < 0.03 * exact.abs().max()
