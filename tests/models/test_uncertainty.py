"""Where a model is uncertain: what turning by hand gives; nothing for a network that turns along with the image."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import napari_unet as nu
from napari_unet.data.axes import ImageLayout
from napari_unet.data.intensity import FrameReader
from napari_unet.errors import InputError
from napari_unet.models.adapt import Adapter
from napari_unet.models.uncertainty import uncertainty, uncertainty_parts
from napari_unet.nets.device import choose_device
from napari_unet.predict import features as features_module
from napari_unet.predict.uncertainty import entropy

CASES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("YX", (37, 45), {}),
    ("CYX", (3, 33, 50), {"in_channels": 3, "depth": 3}),
    ("YXS", (31, 29, 3), {"in_channels": 3, "padding": "valid", "norm": None}),
    ("TYX", (2, 21, 34), {"classes": ("background", "a", "b")}),
    ("ZYX", (9, 19, 22), {"ndim": 3}),
    ("CZYX", (2, 7, 13, 17), {"ndim": 3, "in_channels": 2, "depth": 1}),
    ("YX", (35, 47), {"smooth_logits": True}),
    ("ZYX", (9, 19, 22), {"ndim": 3, "smooth_logits": True, "seed": 1}),
]


def make_model(seed: int = 0, **config: Any) -> nu.Model:
    """Return a model whose answers are clear and depend on how the image lies."""
    model = nu.Model.create(nu.ModelConfig(**{"features": 4, "depth": 2} | config), seed=seed)
    with torch.no_grad():
        model.network.head.weight.mul_(4)  # type: ignore[operator, union-attr]
    return model


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "_SIDE", {2: 16, 3: 8})


def make_adapter(model: nu.Model) -> Adapter:
    """Return an adapter that computes in 32 bits."""
    adapter = Adapter(model, "cpu")
    adapter.device = choose_device("cpu", precision="float32")
    return adapter


def by_hand(model: nu.Model, reader: FrameReader, position: tuple[int, ...]) -> np.ndarray:
    """Turn a padded frame, let the network look at all of it, and take the mean divergence from the mean prediction."""
    network: Any = model.network
    ndim, shape, step = model.config.ndim, reader.layout.frame_shape, network.divisor
    padded = model.config.padding == "same"
    before, behind = (step, step) if padded else network.halo
    stop = tuple(-(-side // step) * step + behind for side in shape)
    block = reader.read(position, (-before,) * ndim, stop)
    crop = tuple(slice(step * padded, step * padded + side) for side in shape)
    found = []
    for quarters, over in product(range(4), (False, True)):
        mirrored = ((-1,) if ndim == 2 else (-1, -3)) if over else ()
        turned = np.rot90(np.flip(block, mirrored), quarters, axes=(-2, -1)).copy()
        with torch.inference_mode():
            logits = network(torch.from_numpy(turned)[None])
        probabilities = torch.softmax(logits[0].double(), 0).numpy()
        found.append(np.flip(np.rot90(probabilities, -quarters, axes=(-2, -1)), mirrored)[(slice(None), *crop)])
    p = np.stack(found)
    divergence: np.ndarray = (p * np.log(p / p.mean(axis=0))).sum(axis=1).mean(axis=0) / np.log(p.shape[1])
    return divergence


@pytest.mark.parametrize(("axes", "shape", "config"), CASES)
def test_disagreement_is_that_of_eight_predictions_turned_by_hand(
    axes: str, shape: tuple[int, ...], config: dict[str, Any], rng: np.random.Generator
) -> None:
    model, image = make_model(**config), rng.random(shape).astype(np.float32)
    adapter, layout = make_adapter(model), ImageLayout(axes, shape, model.config.ndim)
    found = np.full(layout.label_shape, np.nan, np.float32)
    for part in uncertainty_parts(adapter, image, axes):
        found[part.box] = part.uncertainty
    reader = adapter.maps(image, layout).reader
    for position in layout.frames():
        expected = by_hand(model, reader, position)
        assert expected.max() > 0.01, "the network does not care how the image lies: nothing is shown"
        np.testing.assert_allclose(layout.read_labels(found, position), expected, atol=5e-3 * expected.max())


def test_one_call_gives_the_measure_for_all_pixels(rng: np.random.Generator) -> None:
    model, image = make_model(), rng.random((37, 45)).astype(np.float32)
    probabilities = nu.predict(model, image, config=nu.PredictConfig(device="cpu"))
    certain = uncertainty(model, image, measure="entropy", device="cpu")
    np.testing.assert_allclose(certain, entropy(probabilities), atol=2e-2)
    found = uncertainty(model, image, device="cpu")
    assert found.shape == image.shape
    assert 0 < found.max() < 1


class TurnsAlong(nn.Conv2d):
    """A convolution that sees the same in all positions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = torch.stack(
            [torch.rot90(w, k, (-2, -1)) for w in (self.weight, self.weight.flip(-1)) for k in range(4)]
        )
        return nn.functional.conv2d(x, weight.mean(dim=0), self.bias, self.stride, self.padding)


def test_a_network_that_turns_along_with_the_image_never_disagrees(rng: np.random.Generator) -> None:
    model = make_model(seed=1)
    for module in model.network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.__class__ = TurnsAlong
        elif isinstance(module, nn.ConvTranspose2d):
            module.weight.data[:] = module.weight.data.mean(dim=(-2, -1), keepdim=True)
    image = rng.random((37, 45)).astype(np.float32)
    assert uncertainty(model, image, device="cpu").max() < 1e-4
    assert uncertainty(model, image, measure="entropy", device="cpu").max() > 0.1
    assert uncertainty(make_model(seed=1), image, device="cpu").max() > 1e-3


def test_parts_come_from_the_focus_outwards_and_cover_the_region(rng: np.random.Generator) -> None:
    adapter = Adapter(make_model(), "cpu")
    image = rng.random((3, 64, 64)).astype(np.float32)
    region = (slice(1, 3), slice(16, 64), slice(0, 40))
    parts = list(uncertainty_parts(adapter, image, "TYX", region=region, focus=(2, 60, 4)))
    first = parts[0].box
    assert (first[0].start, first[1].start, first[2].start) == (2, 48, 0)
    covered = np.zeros(image.shape, int)
    for part in parts:
        covered[part.box] += 1
    assert covered[1:3, 16:64, 0:48].min() == covered.max() == 1
    assert covered.sum() == 2 * 48 * 48
    shares = [part.share for part in parts]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_it_stops_within_a_run_of_the_network_and_remembers_what_is_done(rng: np.random.Generator) -> None:
    adapter = Adapter(make_model(), "cpu")
    image = rng.random((64, 64)).astype(np.float32)
    runs = 0

    def count(*_: Any) -> None:
        nonlocal runs
        runs += 1

    next(adapter.model.network.down.children()).register_forward_pre_hook(count)  # type: ignore[union-attr]
    assert list(uncertainty_parts(adapter, image, should_stop=lambda: runs >= 3)) == []
    assert runs == 3
    list(uncertainty_parts(adapter, image))
    assert runs == 3 + 8 - 2, "the two runs that were whole are made again"
    list(uncertainty_parts(adapter, image))
    assert runs == 3 + 8 - 2
    adapter.forget(image)
    list(uncertainty_parts(adapter, image))
    assert runs == 3 + 8 - 2 + 8
    with pytest.raises(InputError, match="entropy, disagreement"):
        list(uncertainty_parts(adapter, image, measure="mystery"))  # type: ignore[arg-type]
