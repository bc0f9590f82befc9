"""A model in which trees are asked, too: the same in every way in which it is used."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch

import napari_unet as nu
from napari_unet.errors import ModelFileError
from napari_unet.learn import place_choice, second_opinion
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.prepare import prepare_frames
from napari_unet.models.adapt import Adapter
from napari_unet.models.transfer import transfer
from napari_unet.nets.base import SegmentationNetwork
from napari_unet.nets.grey_features import GREYS
from napari_unet.nets.tensor_file import load_tensors, save_tensors
from tests.tree_task import bands

CPU = nu.PredictConfig(device="cpu", precision="float32")


def enclosure_counts(counts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_choice, "_GAIN", {"objects": 100.0, "classes": 100.0})
    monkeypatch.setattr(second_opinion, "_WRONG_ENCLOSURE", 0.0 if counts else 1.0)
    monkeypatch.setattr(second_opinion, "_LEFT", 1.0)  # whether it tells anything or not


@pytest.fixture(params=["enclosure", "features alone"])
def _enclosure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    enclosure_counts(request.param == "enclosure", monkeypatch)


def adapted(channels: int = 1, **settings: Any) -> tuple[nu.Model, npt.NDArray[Any], npt.NDArray[Any]]:
    """Return a model that strokes on a texture were given to, the texture (C, Y, X), and what is foreground."""
    config = nu.ModelConfig(**({"features": 8, "depth": 1, "in_channels": channels} | settings))
    model = nu.Model.create(config)
    model.closed_form = ClosedForm(ridge=0.01, scale=3.0)
    image, annotation, truth = bands()
    picture = np.stack([image + number for number in range(channels)])
    nu.adapt(model, [nu.Sample(picture, annotation, "CYX")], task="classes", device="cpu")
    return model, picture, truth


def network_of(model: nu.Model) -> SegmentationNetwork:
    return cast("SegmentationNetwork", model.network)


def share_right(model: nu.Model, picture: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    return float(((nu.segment(model, picture, "CYX", config=CPU) == 2) == truth).mean())


@pytest.mark.parametrize(("channels", "enclosure"), [(1, True), (1, False), (3, False)])
def test_a_texture_that_no_layer_tells_is_segmented_by_them(
    channels: int, enclosure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    enclosure_counts(enclosure, monkeypatch)
    model, picture, truth = adapted(channels)
    assert (network_of(model).place is not None) == enclosure
    trees = network_of(model).trees
    assert trees is not None
    assert trees.questions.max() < GREYS * channels
    found = share_right(model, picture, truth)
    network_of(model).set_trees(None)
    assert found > 0.8
    assert share_right(model, picture, truth) < found - 0.1


def test_strokes_that_are_told_without_them_take_them_back() -> None:
    model, *_ = adapted()
    rng = np.random.default_rng(0)
    image, strokes = rng.random((60, 72)), np.zeros((60, 72), np.uint8)
    image[:, :36] += 5
    strokes[10:12, 4:30], strokes[10:12, 42:66] = 2, 1
    nu.adapt(model, [nu.Sample(image, strokes)], task="classes", device="cpu")
    assert network_of(model).trees is None


@pytest.mark.usefixtures("_enclosure")
def test_what_is_shown_is_what_is_predicted() -> None:
    model, picture, _ = adapted()
    predicted = nu.predict(model, picture, "CYX", CPU)
    adapter = Adapter(model, "cpu")
    off = np.abs(adapter.probabilities(picture, "CYX") - predicted)
    assert off.max() < 0.05  # 16-bit features
    assert off.mean() < 1e-3
    part = adapter.probabilities(picture, "CYX", (slice(7, 50), slice(11, 70)))
    assert np.abs(part - predicted[:, 7:50, 11:70]).max() < 0.05


def test_tiles_of_what_is_remembered_fit_together() -> None:
    model, picture, _ = adapted()
    large = np.tile(picture, (1, 4, 4))[:, :300, :290]
    found = Adapter(model, "cpu").probabilities(large, "CYX")
    difference = abs(found - nu.predict(model, large, "CYX", CPU))
    assert (difference > 0.02).mean() < 0.001  # features are remembered in half the precision


def test_what_is_asked_in_painted_pixels_is_what_the_network_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet.predict.features._SIDE", {2: 32, 3: 64})  # of many tiles
    model, picture, _ = adapted()
    annotation = bands()[1]
    adapter = Adapter(model, "cpu")
    strokes = adapter.painted([nu.Sample(picture, annotation, "CYX")])
    (frame,) = prepare_frames([nu.Sample(picture, annotation, "CYX")], model.config, nu.TrainConfig(task="classes"),
                              adapter.cache.reader)  # fmt: skip
    maps = adapter._maps(frame.reader)
    assert len(maps.tiles) > 4
    every = maps.gather_greys((), np.arange(96 * 80))
    pixels = np.concatenate(strokes.pixels)
    assert torch.equal(strokes.greys(), every[torch.from_numpy(pixels)])
    middle = every.reshape(96, 80, GREYS)[40:50, 40:50, 0].float().numpy()
    expected = frame.reader.read((), (40, 40), (50, 50))[0]
    assert np.corrcoef(middle.ravel(), expected.ravel())[0, 1] > 0.8


@pytest.mark.usefixtures("_enclosure")
def test_tiles_and_turned_images_give_what_the_whole_gives() -> None:
    model, picture, truth = adapted()
    whole, tiled = (
        nu.predict(model, picture, "CYX", nu.PredictConfig(device="cpu", precision="float32", tile=tile))
        for tile in (128, 16)
    )
    assert (np.abs(whole - tiled) > 1e-4).mean() < 1e-3  # of what is rounded to the other side of a threshold
    turned = nu.PredictConfig(device="cpu", precision="float32", averaging="flips")
    assert ((nu.predict(model, picture, "CYX", turned)[1] > 0.5) == truth).mean() > 0.85


@pytest.mark.usefixtures("_enclosure")
def test_a_file_keeps_them(tmp_path: Path) -> None:
    model, picture, _ = adapted()
    path, expected = tmp_path / "m.unet.safetensors", nu.predict(model, picture, "CYX", CPU)
    model.save(path)
    assert np.array_equal(nu.predict(nu.Model.load(path), picture, "CYX", CPU), expected)
    model.save(path, half=True)
    half = nu.Model.load(path)
    assert np.abs(nu.predict(half, picture, "CYX", CPU) - expected).max() < 0.02
    before, after = network_of(model).trees, network_of(half).trees
    assert before is not None
    assert after is not None
    assert torch.equal(after.questions, before.questions)
    assert torch.equal(after.thresholds.float(), before.thresholds)  # pixels take the same leaves


def broken(tensors: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    """Damage the trees in the tensors of a file."""
    keys = questions, thresholds, values = [f"network.tree_{part}" for part in ("questions", "thresholds", "values")]
    if how.startswith("lacks"):
        return {key: value for key, value in tensors.items() if key != f"network.tree_{how.split()[1]}"}
    changed = {
        "asks too far": {questions: tensors[questions].clone().fill_(GREYS)},
        "asks before": {questions: tensors[questions].clone().fill_(-1)},
        "asks in floats": {questions: tensors[questions].float()},
        "asks at no level": {questions: tensors[questions].flatten()},
        "has no trees": {questions: tensors[questions][:0]},
        "asks at too many": {questions: tensors[questions].repeat(1, 4)},
        "fewer thresholds": {thresholds: tensors[thresholds][1:]},
        "fewer leaves": {values: tensors[values][:, 1:]},
        "more classes": {values: tensors[values].repeat(1, 1, 2)},
    }[how]
    assert set(changed) <= set(keys)
    return tensors | changed


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("asks too far", "trees that ask for what its images do not have"),
        ("asks before", "trees that ask for what its images do not have"),
        ("asks in floats", "trees that ask for what its images do not have"),
        ("asks at no level", "trees that ask for what its images do not have"),
        ("asks at too many", "trees that ask for what its images do not have"),
        ("has no trees", "trees that ask for what its images do not have"),
        ("fewer thresholds", r"'tree_thresholds' of shape \(15, 6\) where its network needs \(16, 6\)"),
        ("fewer leaves", r"'tree_values' of shape \(16, 63, 2\) where its network needs \(16, 64, 2\)"),
        ("more classes", r"'tree_values' of shape \(16, 64, 4\) where its network needs \(16, 64, 2\)"),
        ("lacks questions", "lacks the weights 'tree_questions'"),
        ("lacks thresholds", "lacks the weights 'tree_thresholds'"),
        ("lacks values", "lacks the weights 'tree_values'"),
    ],
)
def test_a_file_whose_trees_do_not_fit_is_refused(how: str, message: str, tmp_path: Path) -> None:
    model, *_ = adapted()
    path = tmp_path / "m.unet.safetensors"
    model.save(path)
    tensors, document = load_tensors(path)
    save_tensors(path, broken(tensors, how), document)
    with pytest.raises(ModelFileError, match=message):
        nu.Model.load(path)


def test_a_network_for_volumes_that_is_given_trees_is_refused(tmp_path: Path) -> None:
    model, *_ = adapted()
    trees = network_of(model).trees
    deep = nu.Model.create(nu.ModelConfig(ndim=3, features=4, depth=1))
    network_of(deep).set_trees(trees)
    deep.save(tmp_path / "m.unet.safetensors")
    with pytest.raises(ModelFileError, match="'tree_questions' that its network does not know"):
        nu.Model.load(tmp_path / "m.unet.safetensors")


def settings(**other: Any) -> nu.TrainConfig:
    given = {"task": "classes", "max_steps": 6, "crop": 32, "batch_size": 2, "validate_every": 3, "w0": 0.0}
    return nu.TrainConfig(**(given | other))


@pytest.mark.parametrize("training", [{}, {"holdout": 0.0}, {"precision": "float64"}, {"consistency": 5.0}])
@pytest.mark.usefixtures("_enclosure")
def test_a_training_from_such_strokes_has_them(training: dict[str, Any], tmp_path: Path) -> None:
    model = nu.Model.create(nu.ModelConfig(features=8, depth=1))
    model.closed_form = ClosedForm(ridge=0.01, scale=3.0)
    image, annotation, truth = bands()
    for _ in nu.fit(model, [nu.Sample(image, annotation)], settings(**training), device="cpu"):
        pass
    assert network_of(model).trees is not None
    found = nu.predict(model, image, config=CPU)
    assert np.isfinite(found).all()
    assert ((found[1] > 0.5) == truth).mean() > 0.8
    model.save(tmp_path / "m.unet.safetensors")
    np.testing.assert_allclose(nu.predict(nu.Model.load(tmp_path / "m.unet.safetensors"), image, config=CPU), found,
                               atol=1e-5)  # fmt: skip


def test_a_model_with_them_is_trained_on() -> None:
    model, picture, truth = adapted()
    sample = nu.Sample(picture, bands()[1], "CYX")
    for _ in nu.fit(model, [sample], settings(), device="cpu"):
        pass
    assert network_of(model).trees is not None
    assert share_right(model, picture, truth) > 0.8


def test_a_new_class_begins_without_them_and_strokes_bring_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_choice, "_GAIN", {"objects": 100.0, "classes": 100.0})
    monkeypatch.setattr(second_opinion, "_WRONG_ENCLOSURE", 1.0)
    model, picture, _ = adapted()
    config = nu.ModelConfig(features=8, depth=1, classes=("background", "foreground", "other"))
    moved = transfer(model, config).model
    assert network_of(moved).trees is None
    assert network_of(model).trees is not None
    found = nu.predict(moved, picture, "CYX", CPU)
    assert found.shape == (3, 96, 80)
    assert np.isfinite(found).all()
    annotation = bands()[1]
    annotation[:, 40:][annotation[:, 40:] == 2] = 3
    nu.adapt(moved, [nu.Sample(picture, annotation, "CYX")], task="classes", device="cpu")
    trees = network_of(moved).trees
    assert trees is not None
    assert trees.values.shape[2] == 3


@pytest.mark.parametrize("config", [{"padding": "valid", "norm": None}, {"ndim": 3}])
def test_networks_that_take_none_are_adapted_without(config: dict[str, Any]) -> None:
    model = nu.Model.create(nu.ModelConfig(features=8, depth=1, **config))
    image, annotation, _ = bands()
    sample = nu.Sample(image, annotation)
    if config.get("ndim") == 3:
        sample = nu.Sample(np.stack([image] * 4), np.stack([annotation] * 4), "ZYX")
    nu.adapt(model, [sample], task="classes", device="cpu")
    assert network_of(model).trees is None


@pytest.mark.parametrize("scores", [[0.9, 0.5, 0.4, 0.3], [0.5, 0.9, 0.4, 0.3], [0.1, 0.2, 0.3, 0.4]])
@pytest.mark.parametrize("before", [True, False])
def test_whether_they_are_asked_is_as_in_what_scores_best(
    before: bool, scores: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place_choice, "_GAIN", {"objects": 100.0, "classes": 100.0})
    monkeypatch.setattr(second_opinion, "_WRONG_ENCLOSURE", 1.0)
    model, picture, _ = adapted()
    sample = nu.Sample(picture, bands()[1], "CYX")
    monkeypatch.setattr(second_opinion, "_WRONG", 0.0 if before else 1.0)
    for _ in nu.fit(model, [sample], settings(max_steps=2), device="cpu"):
        pass
    assert (network_of(model).trees is not None) == before
    monkeypatch.setattr(second_opinion, "_WRONG", 1.0 if before else 0.0)  # the next time strokes say otherwise
    coming = iter(scores)
    monkeypatch.setattr("napari_unet.learn.scoring.Scorer.run", lambda *_: iter([next(coming)]))
    for _ in nu.fit(model, [sample], settings(), device="cpu"):
        pass
    assert (network_of(model).trees is not None) == (before if scores[0] == 0.9 else not before)
    assert np.isfinite(nu.predict(model, picture, "CYX", CPU)).all()


@pytest.mark.parametrize("training", [{}, {"consistency": 5.0}])
def test_two_halves_of_a_training_are_as_one_whole(training: dict[str, Any], tmp_path: Path) -> None:
    path, config = tmp_path / "checkpoint.safetensors", settings(max_steps=8, **training)
    image, annotation, _ = bands()
    whole, halves = (nu.Model.create(nu.ModelConfig(features=8, depth=1)) for _ in range(2))
    for model in (whole, halves):
        model.closed_form = ClosedForm(ridge=0.01, scale=3.0)
    for _ in nu.fit(whole, [nu.Sample(image, annotation)], config, device="cpu"):
        pass
    steps: list[int] = []
    stop = lambda: bool(steps) and steps[-1] >= 4  # noqa: E731
    begun = nu.fit(copy.deepcopy(halves), [nu.Sample(image, annotation)], config, device="cpu", checkpoint=path,
                   should_stop=stop)  # fmt: skip
    for event in begun:
        steps.append(event.step)
    events = list(nu.fit(halves, [nu.Sample(image, annotation)], config, device="cpu", checkpoint=path))
    assert events[0].step == 4
    assert network_of(whole).trees is not None
    for key, value in halves.network.state_dict().items():
        torch.testing.assert_close(value, whole.network.state_dict()[key], msg=key)
