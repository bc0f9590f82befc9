"""The starting weights: read from the package, brought to other channels, classes and to volumes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import napari_unet as nu
from napari_unet.errors import InputError, ModelFileError
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.models import pretrained
from napari_unet.models.inflate import inflate
from napari_unet.nets.architectures import ARCHITECTURES
from napari_unet.nets.tensor_file import load_tensors, save_tensors

FORM = ClosedForm(ridge=0.1, scale=2.0, offset=0.5)


def trained(seed: int = 0, **settings: Any) -> nu.Model:
    """Make a model whose normalisations are not those of a fresh one."""
    model = nu.Model.create(nu.ModelConfig(**{"features": 4, "depth": 2, "in_channels": 3, **settings}), seed)
    chance = torch.Generator().manual_seed(seed)
    for module in model.network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.2, generator=chance)
            with torch.no_grad():
                module.bias.normal_(0, 0.2, generator=chance)
    model.closed_form, model.history = FORM, {"steps": 70, "best_score": 0.4}
    model.network.eval()
    return model


@pytest.fixture
def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return ``ship(model, ndim)``, which puts a model where the package's weights are looked for."""
    monkeypatch.setattr(pretrained, "_folder", lambda: tmp_path)

    def put(model: nu.Model, ndim: int = 2) -> None:
        model.save(tmp_path / f"strokes_{ndim}d.unet.safetensors", half=True)

    return put


def image_of(channels: int, *shape: int) -> torch.Tensor:
    return torch.rand(1, channels, *shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def features(model: nu.Model, image: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = model.network.features(image)  # type: ignore[operator]
    return found


def test_grey_images_are_seen_as_if_given_three_times(ship: Callable[..., None]) -> None:
    source = trained()
    ship(source)
    grey, colour = nu.Model.pretrained(), nu.Model.pretrained(3)
    assert (grey.config.in_channels, grey.config.ndim) == (1, 2)
    image = image_of(1, 16, 24)
    torch.testing.assert_close(
        features(grey, image), features(colour, image.expand(1, 3, 16, 24)), atol=1e-4, rtol=1e-4
    )
    given = image_of(3, 16, 24)
    torch.testing.assert_close(features(colour, given), features(source, given), atol=1e-2, rtol=1e-2)  # float16
    assert grey.closed_form == colour.closed_form == FORM
    assert not grey.network.training
    assert next(grey.network.parameters()).dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("classes", [("background", "foreground"), ("ground", "a", "b")])
def test_any_channels_and_classes(ship: Callable[..., None], channels: int, classes: tuple[str, ...]) -> None:
    ship(trained())
    model = nu.Model.pretrained(channels, classes=classes)
    assert model.config.classes == classes
    with torch.no_grad():
        assert model.network(image_of(channels, 16, 16)).shape == (1, len(classes), 16, 16)
    assert model.history == {"start": {"pretrained": True, "steps": 70, "encoder_kept": True}}


def test_two_channels_can_be_told_apart(ship: Callable[..., None]) -> None:
    ship(trained())
    model, image = nu.Model.pretrained(2), image_of(2, 16, 16)
    assert (features(model, image) - features(model, image.flip(1))).abs().max() > 0.05


def test_it_goes_on_in_a_training_that_keeps_the_encoder(ship: Callable[..., None]) -> None:
    ship(trained())
    model = nu.Model.pretrained()
    image = np.random.default_rng(0).random((32, 32))
    strokes = np.zeros((32, 32), np.uint8)
    strokes[:3], strokes[10:14] = 1, 2
    sample = nu.Sample(image, strokes)
    nu.adapt(model, [sample], device="cpu")
    for event in nu.fit(model, [sample], nu.TrainConfig(max_steps=1, freeze_encoder=True, crop=32), device="cpu"):
        assert event.step <= 1
    assert model.closed_form == FORM


def test_weights_for_volumes_are_preferred_to_inflated_ones(ship: Callable[..., None]) -> None:
    ship(trained())
    inflated = nu.Model.pretrained(ndim=3)
    ship(trained(seed=4, ndim=3), 3)
    shipped = nu.Model.pretrained(ndim=3)
    assert inflated.config == shipped.config
    image = image_of(1, 8, 16, 16)
    assert (features(inflated, image) - features(shipped, image)).abs().max() > 0.05


def test_inflated_weights_smooth_nothing(ship: Callable[..., None]) -> None:
    source = trained(smooth_logits=True)
    ship(source)
    flat, deep = nu.Model.pretrained(3), nu.Model.pretrained(3, ndim=3)
    assert (flat.config.smooth_logits, deep.config.smooth_logits) == (True, False)
    assert deep.history["start"]["steps"] == 70
    volume = image_of(3, 8, 16, 16)
    torch.testing.assert_close(features(deep, volume), features(inflate(source), volume), atol=1e-2, rtol=1e-2)
    ship(trained(ndim=3, smooth_logits=True), 3)
    assert nu.Model.pretrained(3, ndim=3).config.smooth_logits  # trained for volumes


@pytest.mark.parametrize(
    "settings",
    [{}, {"last_features": 7}, {"convolution": "separable", "pooling": "average"}, {"upsampling": "interpolate"},
     {"smooth_logits": True}, {"architecture": "attention"}, {"architecture": "recurrent"}, {"architecture": "unet++"},
     {"architecture": "unet3+"}, {"architecture": "fcn"}, {"norm": None}],
)  # fmt: skip
def test_inflated_networks_say_of_equal_planes_what_the_flat_one_says(settings: dict[str, Any]) -> None:
    flat = trained(in_channels=1, depth=1, **settings)
    deep = inflate(flat)
    assert deep.closed_form == FORM
    reach = max(deep.network.halo)  # type: ignore[arg-type]
    plane = image_of(1, 12, 16)
    volume = plane.unsqueeze(2).expand(1, 1, 2 * reach + 4, 12, 16)
    with torch.no_grad():
        expected, found = flat.network(plane), deep.network(volume)
    middle = found[:, :, reach : reach + 4]
    scale = expected.abs().max().item()
    torch.testing.assert_close(middle, expected.unsqueeze(2).expand_as(middle), rtol=0, atol=1e-4 * scale)


def test_a_volume_is_mostly_seen_plane_by_plane() -> None:
    """Planes lie further apart than pixels: the middle of a kernel counts most, and all of it as much as before."""
    flat = trained()
    deep, kernel = inflate(flat).network.state_dict(), flat.network.state_dict()["down.0.layers.0.weight"]
    planes = deep["down.0.layers.0.weight"].unbind(2)
    torch.testing.assert_close(sum(planes), kernel)
    assert torch.equal(planes[0], planes[2])
    assert planes[1].abs().sum() > 2 * planes[0].abs().sum()


def test_what_can_not_be_inflated_is_refused() -> None:
    with pytest.raises(InputError, match="images"):
        inflate(trained(ndim=3))
    with pytest.raises(InputError, match="overlap"):
        inflate(trained(architecture="residual"))
    with pytest.raises(InputError, match="not volumes"):
        inflate(trained(architecture="sliding-window"))


def test_an_installation_without_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "_folder", lambda: tmp_path / "nowhere")
    for ndim in (2, 3):
        with pytest.raises(ModelFileError, match="lacks its starting weights"):
            nu.Model.pretrained(ndim=ndim)


@pytest.mark.parametrize("wrong", [{"in_channels": 0}, {"ndim": 4}, {"classes": ("one",)}])
def test_wrong_wishes_are_refused(ship: Callable[..., None], wrong: dict[str, Any]) -> None:
    ship(trained())
    with pytest.raises(InputError):
        nu.Model.pretrained(**wrong)


def test_half_the_precision_is_half_the_file(tmp_path: Path) -> None:
    model = trained(features=16)
    model.save(tmp_path / "full.unet.safetensors")
    model.save(tmp_path / "half.unet.safetensors", half=True)
    full, half = (tmp_path / f"{name}.unet.safetensors" for name in ("full", "half"))
    assert half.stat().st_size < 0.6 * full.stat().st_size
    tensors, _ = load_tensors(half)
    assert {tensors[key].dtype for key in tensors if key.endswith("running_var")} == {torch.float32}
    loaded, again = nu.Model.load(half), tmp_path / "again.unet.safetensors"
    for key, value in loaded.network.state_dict().items():
        assert value.dtype in (torch.float32, torch.int64)
        torch.testing.assert_close(value, model.network.state_dict()[key], rtol=1e-3, atol=1e-6)
    loaded.save(again, half=True)  # nothing more is lost
    assert all(torch.equal(value, tensors[key]) for key, value in load_tensors(again)[0].items())
    with torch.no_grad():
        next(model.network.parameters())[0] = 1e5
    with pytest.raises(InputError, match="half=False"):
        model.save(half, half=True)


def test_older_files_have_no_closed_form_and_broken_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.unet.safetensors"
    trained().save(path)
    assert nu.Model.load(path).closed_form == FORM
    tensors, document = load_tensors(path)
    assert document["closed_form"] == asdict(FORM)
    for value in ("ridge", {"ridge": 1.0, "power": 2.0}, {"ridge": "many"}, {"ridge": 0.0}, [1.0]):
        save_tensors(path, tensors, document | {"closed_form": value})
        with pytest.raises(ModelFileError, match="last layer"):
            nu.Model.load(path)
    del document["closed_form"]
    save_tensors(path, tensors, document)
    assert nu.Model.load(path).closed_form is None


def run_python(code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(Path(nu.__file__).parents[1])}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("name", ["unet", "transunet", "vnet"])
def test_opening_a_model_does_not_load_the_compiler(tmp_path: Path, name: str) -> None:
    """It takes a second."""
    path = tmp_path / "model.unet.safetensors"
    nu.Model.create(nu.ModelConfig(name, ARCHITECTURES[name].ndims[0], features=4, depth=1)).save(path)
    code = f"import sys, napari_unet as nu; nu.Model.load({str(path)!r}); print('torch._dynamo' in sys.modules)"
    assert run_python(code) == "False"


def test_the_package_has_weights_that_load_quickly() -> None:
    if not (pretrained._folder() / "strokes_2d.unet.safetensors").is_file():
        pytest.skip("the weights are not in this checkout")
    code = (
        "import time, torch, napari_unet as nu; nu.Model.create();"  # loads what any model needs
        "t = time.perf_counter(); nu.Model.pretrained(); nu.Model.pretrained(3); print(time.perf_counter() - t)"
    )
    assert float(run_python(code)) < 5  # 0.1 s each on an idle core
