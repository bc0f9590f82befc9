"""Every network by its name: what it is made for, how large it is, and that it learns, predicts, and can be kept."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from napari_unet.data.sample import Sample
from napari_unet.errors import InputError
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.fit import fit
from napari_unet.learn.losses import segmentation_loss
from napari_unet.models.model import Model
from napari_unet.nets.architectures import ARCHITECTURES, OPTIONS
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.registry import build_network
from napari_unet.nets.sliding_window import SlidingWindow
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.tiled import predict
from napari_unet.settings import describe_settings

NETWORKS = [(name, ndim) for name, kind in ARCHITECTURES.items() for ndim in kind.ndims]
EXACTLY = PredictConfig(device="cpu", precision="float32")


def count(**settings: Any) -> int:
    with torch.device("meta"):
        network = build_network(ModelConfig(**settings))
    return sum(p.numel() for p in network.parameters())


# -------------------------------------------------------------------------------------------------------- by the name


def test_all_networks_that_the_literature_names_are_there() -> None:
    named = "unet residual attention recurrent unet++ unet3+ vnet transunet fcn sliding-window"
    assert list(ARCHITECTURES) == named.split()


def test_a_form_has_a_line_on_when_to_use_each() -> None:
    (setting,) = (info for info in describe_settings(ModelConfig) if info.name == "architecture")
    assert setting.choices == tuple(ARCHITECTURES)
    assert len(set(setting.choice_notes)) == len(setting.choices)
    assert all(20 < len(note) < 120 and note.endswith(".") for note in setting.choice_notes)


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_each_says_which_paper_it_is_of_and_what_differs(name: str, ndim: int) -> None:
    words = " ".join((type(build_network(ModelConfig(name, ndim, features=2, depth=1))).__doc__ or "").split())
    assert "What differs" in words
    assert any(year in words for year in map(str, range(2012, 2024)))


@pytest.mark.parametrize(("name", "ndim"), [("vnet", 2), ("sliding-window", 3)])
def test_dimensions_that_a_network_is_not_made_for_are_refused_in_words(name: str, ndim: int) -> None:
    reads = "reads volumes, not images" if name == "vnet" else "reads images and slices, not volumes"
    with pytest.raises(InputError, match=reads):
        ModelConfig(architecture=name, ndim=ndim)


CHANGED: dict[str, Any] = {
    "padding": "valid", "bottom": "pyramid", "convolution": "separable", "pooling": "average",
    "upsampling": "interpolate", "last_features": 5, "smooth_logits": True, "deep_supervision": True,
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_options_that_a_network_does_not_know_are_refused_in_words(name: str) -> None:
    kind = ARCHITECTURES[name]
    assert set(CHANGED) == set(OPTIONS)
    for option, value in CHANGED.items():
        settings = {"architecture": name, "ndim": kind.ndims[0], option: value}
        if option in kind.options or option in kind.fixed:
            assert build_network(ModelConfig(**settings, features=2, depth=1)) is not None
        else:
            with pytest.raises(InputError, match=rf"'{name.replace('+', '.')}' does not know `{option}=.*choose"):
                ModelConfig(**settings)


@pytest.mark.parametrize(
    "option", [{"bottom": "dilated"}, {"bottom": "pyramid"}, {"upsampling": "interpolate"}, {"smooth_logits": True}]
)
def test_without_padding_bottom_and_upsampling_are_the_papers(option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="without padding"):
        ModelConfig(padding="valid", **option)


def test_what_the_sliding_window_fixes_is_entered_whatever_is_asked_for() -> None:
    config = ModelConfig("sliding-window", features=7, depth=2, padding="same")
    assert (config.features, config.depth, config.padding) == (48, 4, "valid")
    assert config == ModelConfig("sliding-window")


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_channels_and_classes_are_as_asked_for(name: str, ndim: int) -> None:
    config = ModelConfig(name, ndim, in_channels=3, classes=("a", "b", "c"), features=4, depth=2, dropout=0.5)
    network: Any = build_network(config)
    side = 2 * network.divisor + (sum(network.halo) if config.padding == "valid" else 0)
    x = torch.randn(2, 3, *(side,) * ndim)
    logits = network(x)
    assert logits.shape[:2] == (2, 3)
    assert logits.shape[2:] == (2 * network.divisor,) * ndim
    torch.manual_seed(1)
    logits = network(x)
    torch.manual_seed(1)
    torch.testing.assert_close(network.head(network.features(x)), logits)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert not torch.equal(network(x), network(x))  # dropout while training
    network.eval()
    assert torch.equal(network(x), network(x))
    with pytest.raises(InputError, match="choose another tile"):
        network(torch.zeros(1, 3, *(5,) * ndim))


# --------------------------------------------------------------------------------------------------------- their size

# Trainable parameters for one channel and two classes. MONAI 1.6.1 with PyTorch 2.13, widths (w, 2w, 4w, 8w, 16w),
# four strides of 2, sum(p.numel() for p in network.parameters()):
#   residual   UNet(channels=widths, strides=(2, 2, 2, 2), num_res_units=2, norm="batch")
#   attention  AttentionUnet(channels=widths, strides=(2, 2, 2, 2))
#   unet++     BasicUNetPlusPlus(features=(*widths, w), norm="batch"); ours is smaller by the up-convolutions to the
#              finest level, which halve the channels like those of the other levels (as in the paper)
MONAI = {
    ("residual", 2, 16): 1_627_597,
    ("residual", 2, 32): 6_500_189,
    ("residual", 2, 64): 25_980_541,
    ("residual", 3, 16): 4_808_917,
    ("residual", 3, 32): 19_221_797,
    ("attention", 2, 16): 1_987_434,
    ("attention", 2, 32): 7_939_778,
    ("attention", 2, 64): 31_739_250,
    ("attention", 3, 16): 5_909_130,
    ("attention", 3, 32): 23_625_986,
    ("unet++", 2, 16): 2_282_840,
    ("unet++", 2, 32): 9_118_888,
    ("unet++", 2, 64): 36_450_632,
    ("unet++", 3, 16): 6_598_776,
    ("unet++", 3, 32): 26_382_056,
}
# As published, in millions: Zhou et al. 2018 (widths 32 to 512), Huang et al. 2020 (widths 64 to 1024, without deep
# supervision), Ronneberger et al. 2015 (counted).
PAPERS = {("unet++", 32): 9.04, ("unet3+", 64): 26.97, ("unet", 64): 31.030658}


@pytest.mark.parametrize(("name", "ndim", "features"), MONAI)
def test_parameters_are_as_many_as_monais(name: str, ndim: int, features: int) -> None:
    ours, theirs = count(architecture=name, ndim=ndim, features=features), MONAI[name, ndim, features]
    print(f"{name} {ndim}D, width {features}: {ours:,} parameters, MONAI {theirs:,} ({ours / theirs - 1:+.2%})")
    assert ours == pytest.approx(theirs, rel=0.02)


@pytest.mark.parametrize(("name", "features"), PAPERS)
def test_parameters_are_as_many_as_published(name: str, features: int) -> None:
    ours = count(architecture=name, features=features, norm=None) / 1e6
    assert ours == pytest.approx(PAPERS[name, features], rel=0.002)


def test_the_reference_figures_are_still_monais() -> None:
    nets = pytest.importorskip("monai.networks.nets", reason="MONAI, the reference, is not installed")
    for (name, ndim, width), expected in MONAI.items():
        widths = tuple(width * 2**level for level in range(5))
        common = {"spatial_dims": ndim, "in_channels": 1, "out_channels": 2}
        if name == "unet++":
            network = nets.BasicUNetPlusPlus(features=(*widths, width), norm="batch", **common)
        elif name == "attention":
            network = nets.AttentionUnet(channels=widths, strides=(2,) * 4, **common)
        else:
            network = nets.UNet(channels=widths, strides=(2,) * 4, num_res_units=2, norm="batch", **common)
        assert sum(p.numel() for p in network.parameters()) == expected


def test_the_recurrent_network_has_two_kernels_a_convolution_and_a_shortcut() -> None:
    """Counted by hand for one level: 1x1 shortcuts, and twice two 3x3 kernels a block."""
    blocks = sum(i * o + o + 2 * (9 * o * o + o) + 2 * 9 * o * o for i, o in ((1, 4), (4, 8), (8, 4)))
    assert count(architecture="recurrent", features=4, depth=1, norm=None) == blocks + 8 * 4 * 4 + 4 + 4 * 2 + 2


def test_the_v_nets_stages_have_as_many_convolutions_as_in_the_paper() -> None:
    with torch.device("meta"):
        network: Any = build_network(ModelConfig("vnet", 3, features=16))
    stages = [*network.down, *reversed(network.merge)]
    kernels = [[m.out_channels for m in stage.modules() if isinstance(m, nn.Conv3d)] for stage in stages]
    assert [len(stage) for stage in kernels] == [1, 2, 3, 3, 3, 3, 3, 2, 1]
    assert [stage[-1] for stage in kernels] == [16, 32, 64, 128, 256, 256, 128, 64, 32]
    assert all(
        layer.kernel_size == (5, 5, 5) for stage in stages for layer in stage.modules() if isinstance(layer, nn.Conv3d)
    )


def test_the_v_net_is_larger_than_monais_by_the_convolutions_that_monai_leaves_out() -> None:
    monai = 45_597_898  # VNet(spatial_dims=3, in_channels=1, out_channels=2), MONAI 1.6.1
    left_out = [32, 64, 256, 256, 128, 64]  # widths of the 5x5x5 convolutions: three on the way down, three up
    heads = 125 * 32 * 2 + 2 * 2 - 32 * 2  # MONAI's has 5x5x5, then 1x1x1
    expected = monai + sum(125 * width**2 for width in left_out) - heads
    assert count(architecture="vnet", ndim=3, features=16) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("option", "ratio"),
    [
        ({"bottom": "dilated"}, 1.0),
        ({"pooling": "average"}, 1.0),
        ({"bottom": "pyramid"}, 1.135),
        ({"upsampling": "interpolate"}, 0.933),
        ({"convolution": "separable"}, 0.195),
        ({"last_features": 64}, 1.006),
    ],
)
def test_options_make_the_plain_network_as_much_larger_or_smaller_as_said(option: Any, ratio: float) -> None:
    assert count(**option) / count() == pytest.approx(ratio, abs=0.001)


# ------------------------------------------------------------------------------------ they learn, predict, can be kept


def make_scene(shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Make bright balls on a dark ground, with noise."""
    rng = np.random.default_rng(0)
    grid, truth = np.indices(shape), np.zeros(shape, bool)
    for _ in range(6):
        centre = [rng.uniform(0, side) for side in shape]
        truth |= sum((places - at) ** 2 for places, at in zip(grid, centre, strict=True)) < 4.5**2
    return (truth + rng.normal(0, 0.3, shape)).astype(np.float32), truth


def measure_loss(network: Any, image: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_]) -> float:
    """Measure the balanced loss on the whole image, normalised over itself so that it is that of a training step."""
    network = copy.deepcopy(network).train()
    x = torch.from_numpy(image)[None, None]
    if network.config.padding == "valid":
        x = nn.functional.pad(x, network.halo * truth.ndim)
    else:
        x = x[(..., *(slice(0, side // network.divisor * network.divisor) for side in truth.shape))]
    with torch.no_grad():
        logits = network(x)
    target = torch.from_numpy(truth)[tuple(slice(0, side) for side in logits.shape[2:])].long()[None]
    share = target.float().mean()
    return float(segmentation_loss(logits, target, torch.where(target > 0, 1 / share, 1 / (1 - share))))


@pytest.mark.parametrize(
    "settings",
    [{"architecture": name, "ndim": ndim} for name, ndim in NETWORKS]
    + [{"bottom": "pyramid", "upsampling": "interpolate"}, {"bottom": "dilated", "convolution": "separable"}]
    + [{"architecture": name, "deep_supervision": True} for name in ("unet++", "unet3+")],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_thirty_steps_an_odd_size_and_a_file(settings: dict[str, Any], tmp_path: Path) -> None:
    ndim = settings.get("ndim", 2)
    image, truth = make_scene((37, 43) if ndim == 2 else (11, 21, 23))
    axes = "ZYX"[-ndim:]
    model = Model.create(ModelConfig(**settings, features=4, depth=2))
    before = measure_loss(model.network, image, truth)
    crop = 8 if ndim == 3 or settings.get("architecture") == "sliding-window" else 16
    config = TrainConfig(
        max_steps=30, task="classes", learning_rate=5e-3, batch_size=2, crop=crop, holdout=0.0,
        elastic=0.0, rotation=0.0, scaling=0.0, shift=0.0,
    )  # fmt: skip
    sample = Sample(image, (truth + 1).astype(np.uint8), axes)
    for _ in fit(model, [sample], config, device="cpu"):
        pass
    after = measure_loss(model.network, image, truth)
    print(f"{settings}: loss {before:.2f} -> {after:.2f}")
    assert after < 0.95 * before
    probabilities = predict(model, image, axes, EXACTLY)
    assert probabilities.shape == (2, *truth.shape)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    assert np.isfinite(probabilities).all()
    model.save(tmp_path / "model.unet.safetensors")
    again = Model.load(tmp_path / "model.unet.safetensors")
    assert again.config == model.config
    np.testing.assert_array_equal(predict(again, image, axes, EXACTLY), probabilities)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_each_trains_and_predicts_on_the_gpu(name: str, ndim: int) -> None:
    image, truth = make_scene((37, 43) if ndim == 2 else (11, 21, 23))
    model = Model.create(ModelConfig(name, ndim, features=8, depth=2))
    sample = Sample(image, (truth + 1).astype(np.uint8), "ZYX"[-ndim:])
    for _ in fit(model, [sample], TrainConfig(max_steps=10, task="classes", crop=16, batch_size=2), device="cuda"):
        pass
    gpu = predict(model, image, sample.axes, PredictConfig(device="cuda", precision="float32"))
    cpu = predict(model, image, sample.axes, EXACTLY)
    np.testing.assert_allclose(gpu, cpu, rtol=0, atol=2e-2)  # convolutions of GPUs round to TF32


# --------------------------------------------------------------------------------------------------- deep supervision


@pytest.mark.parametrize(("name", "results"), [("unet++", 3), ("unet3+", 4)])
def test_inner_results_are_there_for_training_and_nowhere_else(name: str, results: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig(name, features=4, depth=3, deep_supervision=True)
    network = build_network(config).eval()
    x = torch.randn(2, 1, 16, 24)
    with torch.no_grad():
        logits, all_logits = network(x), network(x, auxiliary=True)
    assert logits.shape == (2, 2, 16, 24)
    assert all_logits.shape == (results, 2, 2, 16, 24)
    torch.testing.assert_close(all_logits[0], logits)
    assert all(not torch.allclose(inner, logits) for inner in all_logits[1:])
    plain = build_network(ModelConfig(name, features=4, depth=3))
    extra = set(network.state_dict()) - set(plain.state_dict())
    assert {key.split(".")[0] for key in extra} == {"inner_heads"}
    assert plain(x, auxiliary=True).shape == (1, 2, 2, 16, 24)


def test_a_training_step_moves_the_inner_heads_only_where_asked_for() -> None:
    image, truth = make_scene((37, 43))
    for deep in (True, False):
        model = Model.create(ModelConfig("unet++", features=4, depth=2, deep_supervision=deep))
        before = {key: value.clone() for key, value in model.network.state_dict().items()}
        sample = Sample(image, (truth + 1).astype(np.uint8))
        for _ in fit(model, [sample], TrainConfig(max_steps=2, task="classes", crop=16, holdout=0.0), device="cpu"):
            pass
        after = model.network.state_dict()
        moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
        assert ("inner_heads.0.weight" in moved) is deep
        assert "head.weight" in moved


# ------------------------------------------------------------------------------------------------- the sliding window


def test_the_sliding_window_has_the_layers_of_n4() -> None:
    network = SlidingWindow(ModelConfig("sliding-window", norm=None))
    assert network.window == 95
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size[0]) for m in layers] == [
        (48, 4),
        (48, 5),
        (48, 4),
        (48, 4),
        (200, 3),
        (2, 1),
    ]
    by_hand = 48 * (16 + 1) + 48 * (48 * 25 + 1) + 2 * 48 * (48 * 16 + 1) + 200 * (48 * 9 + 1) + 2 * (200 + 1)
    assert sum(p.numel() for p in network.parameters()) == by_hand


@pytest.mark.parametrize(("norm", "channels"), [(None, 1), ("batch", 2)])
def test_the_sliding_window_gives_the_same_in_one_run_as_window_by_window(norm: Any, channels: int) -> None:
    torch.manual_seed(0)
    network = SlidingWindow(ModelConfig("sliding-window", in_channels=channels, norm=norm))
    with torch.no_grad():
        network(torch.randn(2, channels, 110, 110))  # gives the normalisation something to remember
    network.eval()
    image = torch.randn(channels, 95 + 6, 95 + 9)
    windows = image.unfold(1, 95, 1).unfold(2, 95, 1)  # (channel, 7, 10, 95, 95)
    with torch.no_grad():
        slow = network.classify_windows(windows.movedim(0, 2).reshape(70, channels, 95, 95))
        fast = network(image[None])
    assert fast.shape == (1, 2, 7, 10)
    difference = (fast[0] - slow.T.reshape(2, 7, 10)).abs().max().item()
    print(f"norm {norm}: largest difference {difference:.1e} of logits with standard deviation {slow.std():.2f}")
    assert difference < 1e-5
    assert slow.std() > 0.05


def test_the_sliding_window_looks_at_the_pixel_in_the_middle_and_mirrors_the_border(rng: np.random.Generator) -> None:
    model = Model.create(ModelConfig("sliding-window", norm=None, low_percentile=0, high_percentile=100))
    image = rng.random((9, 12)).astype(np.float32)
    result = predict(model, image, "YX", EXACTLY)
    scaled = (image - image.min()) / (image.max() - image.min())
    around = np.pad(scaled, 47, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(around, (95, 95))
    network: Any = model.network.eval()
    with torch.no_grad():
        logits = network.classify_windows(torch.from_numpy(windows.reshape(-1, 1, 95, 95).copy()))
    np.testing.assert_allclose(result.reshape(2, -1), logits.softmax(dim=1).T.numpy(), rtol=0, atol=1e-5)


def test_windows_of_another_size_are_refused() -> None:
    network = SlidingWindow(ModelConfig("sliding-window"))
    with pytest.raises(InputError, match="windows of 95 x 95"):
        network.classify_windows(torch.zeros(1, 1, 94, 95))
