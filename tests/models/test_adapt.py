"""A head solved from strokes: right without training, the same everywhere it is used, and quick for one more stroke."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import napari_unet as nu
from napari_unet.errors import AnnotationError, InputError
from napari_unet.learn import stroke_pixels
from napari_unet.learn.closed_form import ClosedForm, follow_strokes
from napari_unet.models.adapt import Adapter
from napari_unet.nets.architectures import ARCHITECTURES
from napari_unet.nets.device import choose_device
from napari_unet.predict.feature_cache import FeatureCache
from napari_unet.predict.features import FeatureMaps

NETWORKS = [(name, ndim) for name, kind in ARCHITECTURES.items() for ndim in kind.ndims]


def small(**settings: Any) -> nu.Model:
    return nu.Model.create(nu.ModelConfig(**{"features": 4, "depth": 2, **settings}))


def able(**settings: Any) -> nu.Model:
    """Make a model whose random features can be told apart: many, and small weights hardly preferred."""
    model = small(features=16, **settings)
    model.closed_form = ClosedForm(ridge=1e-4)
    return model


def draw(shape: tuple[int, ...], channels: int = 0, seed: int = 0) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return noise with a bright box in it, channels first, and strokes: background around, class 1 inside."""
    image = np.random.default_rng(seed).normal(size=((channels,) if channels else ()) + shape)
    box = tuple(slice(n // 4, n - n // 4) for n in shape)
    image[(..., *box)] += 6
    strokes = np.zeros(shape, np.uint8)
    strokes[(..., slice(0, 2))] = 1
    strokes[tuple(slice(n // 2, n // 2 + 3) for n in shape)] = 2
    return image, strokes


@pytest.mark.parametrize(("name", "ndim"), NETWORKS)
def test_every_network_can_be_adapted(name: str, ndim: int) -> None:
    model = able(architecture=name, ndim=ndim)
    image, strokes = draw((40, 44) if ndim == 2 else (12, 20, 24))
    sample = nu.Sample(image, strokes, "ZYX"[-ndim:])
    nu.adapt(model, [sample], task="classes", device="cpu")
    found = nu.segment(model, image, sample.axes, config=nu.PredictConfig(device="cpu"))
    assert (found[strokes > 0] == strokes[strokes > 0]).mean() > 0.7  # its features are random
    shown = Adapter(model, "cpu").probabilities(image, sample.axes)
    predicted = nu.predict(model, image, sample.axes, nu.PredictConfig(device="cpu"))
    assert np.abs(shown - predicted).max() < 0.05  # 16-bit numbers in the head of the one


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_head_is_the_regression_on_the_features_led_to_the_strokes(norm: Any) -> None:
    from sklearn.linear_model import Ridge

    model = small(classes=("background", "a", "b"), norm=norm)
    model.closed_form = ClosedForm(ridge=0.3, scale=2.0, offset=0.25)
    image, strokes = draw((40, 44))
    strokes[5:9, 20:26] = 3
    adapter = Adapter(model, "cpu", place_may_count=False)
    adapter.adapt([nu.Sample(image, strokes)], task="classes")
    reader = next(iter(adapter.cache._readers.values()))
    maps = FeatureMaps(model, reader, adapter.device, adapter.cache)
    pixels = np.flatnonzero(strokes)
    features = maps.gather((), pixels).double().numpy()
    kinds = strokes.ravel()[pixels] - 1
    shares = 1 / (3 * np.bincount(kinds))[kinds]
    targets = np.where(kinds[:, None] == np.arange(3), 1.0, -1.0)
    reference = Ridge(alpha=0.3).fit(features, targets, sample_weight=shares)
    solved = torch.from_numpy(2 * reference.coef_), torch.from_numpy(2 * reference.intercept_ + [0.25, 0, 0])
    weight, bias = follow_strokes(torch.from_numpy(features), torch.from_numpy(kinds.astype(np.int64)), *solved)
    head: Any = model.network.head
    np.testing.assert_allclose(head.weight.detach().flatten(1), weight, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(head.bias.detach(), bias, rtol=1e-3, atol=1e-5)


def test_nothing_but_the_head_changes_and_the_model_says_what_it_learnt() -> None:
    model = small()
    model.history = {"steps": 5, "best_score": 0.5}
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    image, strokes = draw((40, 44))
    sample = nu.Sample(image, strokes, spacing=(0.5, 0.5), name="one")
    nu.adapt(model, [sample], task="classes", device="cpu")
    after = model.network.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"head.weight", "head.bias"}
    assert (model.task, model.spacing) == ("classes", (0.5, 0.5))
    painted = int((strokes > 0).sum())
    assert model.history["steps"] == 5
    assert "best_score" not in model.history
    assert model.history["adapted"].items() >= {"painted": painted, "used": painted, "images": ["one"]}.items()


def test_an_adapted_model_comes_back_from_its_file(tmp_path: Path) -> None:
    model = small()
    model.closed_form = ClosedForm(ridge=0.1, scale=2.0, offset=0.5)
    image, strokes = draw((40, 44))
    nu.adapt(model, [nu.Sample(image, strokes)], task="classes", device="cpu")
    model.save(tmp_path / "adapted.unet.safetensors")
    loaded = nu.Model.load(tmp_path / "adapted.unet.safetensors")
    assert loaded.closed_form == model.closed_form
    np.testing.assert_array_equal(nu.segment(loaded, image), nu.segment(model, image))


@pytest.mark.parametrize(
    ("axes", "shape", "channels"), [("TYX", (3, 40, 44), 0), ("CZYX", (3, 20, 24), 2), ("ZYXC", (3, 20, 24), 3)]
)
def test_stacks_and_channels(axes: str, shape: tuple[int, ...], channels: int) -> None:
    image, strokes = draw(shape, channels)
    strokes[0] = 0  # of three frames two are painted
    strokes[1:, 8:11, 9:12] = 2
    image = np.moveaxis(image, 0, -1) if axes[-1] == "C" else image
    model = small(in_channels=max(1, channels))
    adapter = Adapter(model, "cpu")
    adapter.adapt([nu.Sample(image, strokes, axes)], task="classes")
    shown = adapter.probabilities(image, axes)
    np.testing.assert_allclose(shown, nu.predict(model, image, axes, nu.PredictConfig(device="cpu")), atol=0.05)
    region = (slice(1, 3), slice(3, 17), slice(None, -2))
    np.testing.assert_array_equal(adapter.probabilities(image, axes, region), shown[(slice(None), *region)])


def test_a_region_crosses_tiles_and_transposed_images_come_back_transposed() -> None:
    image, strokes = draw((300, 280))
    model = small()
    adapter = Adapter(model, "cpu")
    adapter.adapt([nu.Sample(image, strokes)], task="classes")
    shown = adapter.probabilities(image)
    region = (slice(250, 270), slice(-40, None))
    np.testing.assert_array_equal(adapter.probabilities(image, region=region), shown[(slice(None), *region)])
    turned = adapter.probabilities(image.T, "XY")
    np.testing.assert_allclose(turned.transpose(0, 2, 1), shown, atol=1e-6)


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize(
    ("axes", "shape"), [("YX", (300, 45)), ("YX", (33, 31)), ("ZYX", (7, 75, 21)), ("TYX", (2, 40, 37))]
)
def test_smoothed_logits_are_the_same_tile_by_tile_and_as_predicted(
    axes: str, shape: tuple[int, ...], counts: bool
) -> None:
    image, strokes = draw(shape)
    found = []
    for smooth in (True, False):
        model = able(ndim=3 if axes == "ZYX" else 2, smooth_logits=smooth)
        adapter = Adapter(model, "cpu", place_may_count=counts)
        adapter.device = choose_device("cpu", precision="float32")
        adapter.adapt([nu.Sample(image, strokes, axes)], task="classes")
        shown = adapter.probabilities(image, axes)
        predicted = nu.predict(model, image, axes, nu.PredictConfig(device="cpu", precision="float32"))
        np.testing.assert_allclose(shown, predicted, atol=3e-3)  # features are remembered with 11 bits
        found.append(shown)
    assert np.abs(found[0] - found[1]).max() > 0.1  # the same head, once smoothed


def test_several_images_count_together() -> None:
    model = able()
    (first, marks), (second, _) = draw((40, 44)), draw((48, 50), seed=1)
    background = np.where(marks == 1, 1, 0).astype(np.uint8)
    foreground = np.zeros((48, 50), np.uint8)
    foreground[20:28, 20:28] = 2
    samples = [nu.Sample(first, background), nu.Sample(second, foreground)]
    nu.adapt(model, samples, task="classes", device="cpu")
    for image, truth in ((first, marks), (second, foreground)):
        painted = truth > 0
        assert (nu.segment(model, image)[painted] == truth[painted]).mean() > 0.9


def test_many_pixels_are_thinned_evenly_and_those_chosen_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = draw((200, 200))
    strokes = np.full((200, 200), 1, np.uint8)
    strokes[50:150, 50:150] = 2
    few, all_of_them = small(), small()
    nu.adapt(all_of_them, [nu.Sample(image, strokes)], task="classes", device="cpu")
    assert all_of_them.history["adapted"]["used"] == 20_000  # 10,000 of 30,000, and all 10,000
    monkeypatch.setattr(stroke_pixels, "_MOST_PIXELS", 1000)
    cache = FeatureCache()
    nu.adapt(few, [nu.Sample(image, strokes)], task="classes", device="cpu", cache=cache)
    assert few.history["adapted"]["used"] == 2000
    (known,) = cache._painted.values()
    rows, columns = np.unravel_index(known[0], (200, 200))
    quarters = np.histogram2d(rows, columns, bins=2)[0]
    assert quarters.min() > 0.9 * quarters.mean()
    difference = nu.predict(few, image) - nu.predict(all_of_them, image)
    assert np.abs(difference).mean() < 0.03
    first = set(known[0].tolist())
    strokes[:, :40] = 0
    nu.adapt(few, [nu.Sample(image, strokes)], task="classes", device="cpu", cache=cache)
    kept = {pixel for pixel in first if strokes.ravel()[pixel]}
    assert kept <= set(next(iter(cache._painted.values()))[0].tolist())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"annotation": np.zeros((40, 44), np.uint8)}, AnnotationError, "Nothing is painted"),
        ({"annotation": np.ones((40, 44), np.uint8)}, AnnotationError, "Only background is painted"),
        ({"annotation": np.ones((40, 43), np.uint8)}, AnnotationError, "The strokes have the shape"),
        ({"image": np.zeros((2, 40, 44)), "axes": "CYX"}, InputError, "reads 1 channel, but the image has 2"),
        ({"image": np.zeros((40, 44))}, InputError, "no contrast"),
    ],
)
def test_what_can_not_be_used_is_said_as_by_a_training(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    sample = replace(nu.Sample(*draw((40, 44))), **change)
    model = small()
    before = model.network.head.weight.clone()  # type: ignore[union-attr, operator]
    messages = []
    for run in (lambda: nu.adapt(model, [sample]), lambda: list(nu.fit(model, [sample]))):
        with pytest.raises(error, match=words) as caught:
            run()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert torch.equal(model.network.head.weight, before)  # type: ignore[union-attr, arg-type]


def test_other_wrong_input_is_refused() -> None:
    adapter = Adapter(small(), "cpu")
    with pytest.raises(InputError, match="nothing to train on"):
        adapter.adapt([])
    with pytest.raises(InputError, match="task"):
        adapter.adapt([nu.Sample(*draw((40, 44)))], task="cells")  # type: ignore[arg-type]
    for region in [(slice(0, 2),), (slice(0, 9, 2), slice(None)), (slice(5, 5), slice(None))]:
        with pytest.raises(InputError, match="region"):
            adapter.probabilities(draw((40, 44))[0], region=region)
    with pytest.raises(InputError, match="channel"):
        adapter.probabilities(np.zeros((2, 40, 44)), "CYX")


def test_one_more_stroke_runs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    image, strokes = draw((300, 280))
    adapter = Adapter(small(), "cpu")
    adapter.adapt([nu.Sample(image, strokes)])
    adapter.probabilities(image)
    monkeypatch.setattr(FeatureMaps, "_infer", lambda *_: pytest.fail("the network ran"))
    strokes[270:280, 100:200] = 1
    adapter.adapt([nu.Sample(image, strokes)])
    before = adapter.model.network.head.weight.clone()  # type: ignore[union-attr, operator]
    strokes[20:30, 100:200] = 2
    adapter.adapt([nu.Sample(image, strokes)])
    assert not torch.equal(adapter.model.network.head.weight, before)  # type: ignore[union-attr, arg-type]
    adapter.probabilities(image)


@pytest.mark.timed
def test_it_is_quick() -> None:
    """Bounds that hold on a busy machine; measured on an idle core: 0.7 s, and 0.02 s for one more stroke."""
    image, strokes = draw((1024, 1024))
    adapter = Adapter(nu.Model.create(nu.ModelConfig(features=16, last_features=32)), "cpu")
    began = time.perf_counter()
    adapter.adapt([nu.Sample(image, strokes)])
    adapter.probabilities(image)
    assert time.perf_counter() - began < 20
    seconds = []
    for row in range(100, 600, 100):
        strokes[row : row + 3, 20:60] = 1
        began = time.perf_counter()
        adapter.adapt([nu.Sample(image, strokes)])
        adapter.probabilities(image)
        seconds.append(time.perf_counter() - began)
    assert statistics.median(seconds) < 1.5
