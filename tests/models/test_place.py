"""A model for which the place in the image counts: the same in every way in which it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch

import napari_unet as nu
from napari_unet.data import enclosure
from napari_unet.errors import InputError, ModelFileError
from napari_unet.learn.closed_form import ClosedForm
from napari_unet.learn.prepare import prepare_frames
from napari_unet.learn.stroke_pixels import strokes_of_pixels
from napari_unet.models.adapt import Adapter
from napari_unet.nets.base import SegmentationNetwork
from tests.place_task import body, organ

CPU = nu.PredictConfig(device="cpu", precision="float32")


def adapted(shape: tuple[int, ...] = (60, 72), **settings: Any) -> tuple[nu.Model, npt.NDArray[Any], npt.NDArray[Any]]:
    model = nu.Model.create(nu.ModelConfig(**{"features": 4, "depth": 1, "ndim": len(shape), **settings}))
    model.closed_form = ClosedForm(ridge=0.01, scale=3.0)
    image, annotation, truth = organ(shape)
    nu.adapt(model, [nu.Sample(image, annotation, "ZYX"[-len(shape) :])], task="classes", device="cpu")
    return model, image, truth


def network_of(model: nu.Model) -> SegmentationNetwork:
    return cast("SegmentationNetwork", model.network)


@pytest.mark.parametrize("shape", [(60, 72), (6, 40, 48)])
def test_an_organ_is_found_by_its_place_in_another_image_of_another_size(shape: tuple[int, ...]) -> None:
    model, *_ = adapted(shape)
    assert network_of(model).place is not None
    image, _, truth = organ((*shape[:-2], shape[-2] + 7, shape[-1] + 25), seed=5)
    found = nu.segment(model, image, "ZYX"[-len(shape) :], config=CPU) == 2
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85


def dice(found: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


@pytest.mark.parametrize("trained", [False, True])
def test_what_is_around_a_body_is_told_from_its_cavities_without_a_stroke_on_it(*, trained: bool) -> None:
    """By a network that sees the nearest pixels alone, and takes all that is dark for a cavity."""
    image, annotation, _ = body()
    other, _, truth = body(shift=9)

    def found(*, may_count: bool) -> npt.NDArray[np.bool_]:
        model, samples = nu.Model.create(nu.ModelConfig(features=4, depth=1)), [nu.Sample(image, annotation)]
        model.closed_form = ClosedForm(ridge=0.1, scale=2.5, offset=0.4)
        if trained:
            config = nu.TrainConfig(task="classes", max_steps=1, crop=64, batch_size=2, place_may_count=may_count)
            for _ in nu.fit(model, samples, config, device="cpu"):
                pass
        else:
            nu.adapt(model, samples, task="classes", device="cpu", place_may_count=may_count)
        labels: npt.NDArray[np.bool_] = nu.segment(model, other, config=CPU) == 2
        return labels

    assert dice(found(may_count=True), truth) > 0.9
    assert dice(found(may_count=False), truth) < 0.7


def test_the_starting_weights_see_much_of_that_by_themselves() -> None:
    image, annotation, _ = body()
    other, _, truth = body(shift=9)
    model = nu.Model.pretrained()
    nu.adapt(model, [nu.Sample(image, annotation)], task="classes", device="cpu", place_may_count=False)
    assert dice(nu.segment(model, other, config=CPU) == 2, truth) > 0.8


def test_it_does_not_count_where_it_is_not_wanted() -> None:
    model = nu.Model.create(nu.ModelConfig(features=4, depth=1))
    image, annotation, _ = organ((60, 72))
    nu.adapt(model, [nu.Sample(image, annotation)], task="classes", device="cpu", place_may_count=False)
    assert network_of(model).place is None


@pytest.mark.parametrize("settings", [{}, {"padding": "valid"}, {"in_channels": 2}])
def test_tiles_give_what_the_whole_gives(settings: dict[str, Any]) -> None:
    model, image, _ = adapted()
    if settings:
        place = network_of(model).place
        model = nu.Model.create(nu.ModelConfig(features=4, depth=1, **settings))
        network_of(model).set_place(place)
    picture = np.stack([image] * settings["in_channels"]) if "in_channels" in settings else image
    axes = "CYX" if "in_channels" in settings else "YX"
    whole = nu.predict(model, picture, axes, nu.PredictConfig(device="cpu", precision="float32", tile=128))
    tiled = nu.predict(model, picture, axes, nu.PredictConfig(device="cpu", precision="float32", tile=16))
    assert np.abs(whole - tiled).max() < 1e-5
    network_of(model).set_place(None)
    plain = nu.predict(model, picture, axes, CPU)
    assert np.abs(plain - whole).max() > 0.1


def test_a_turned_image_keeps_its_places() -> None:
    model, image, truth = adapted()
    config = nu.PredictConfig(device="cpu", precision="float32", averaging="flips")
    found = nu.predict(model, image, "YX", config)[1] > 0.5
    assert (found == truth).mean() > 0.85


def test_what_is_shown_is_what_is_predicted() -> None:
    model, image, _ = adapted()
    shown = Adapter(model, "cpu").probabilities(image, "YX", (slice(7, 50), slice(11, 70)))
    assert np.abs(shown - nu.predict(model, image, "YX", CPU)[:, 7:50, 11:70]).max() < 0.05  # 16-bit features


def test_a_file_keeps_it(tmp_path: Path) -> None:
    model, image, _ = adapted()
    model.save(tmp_path / "a.unet.safetensors")
    loaded = nu.Model.load(tmp_path / "a.unet.safetensors")
    assert np.array_equal(nu.predict(loaded, image, config=CPU), nu.predict(model, image, config=CPU))
    network_of(model).set_place(torch.zeros(2, 9))
    model.save(tmp_path / "b.unet.safetensors")
    with pytest.raises(ModelFileError, match="'place' of shape"):
        nu.Model.load(tmp_path / "b.unet.safetensors")


def test_a_network_that_is_not_given_the_place_says_so() -> None:
    model, *_ = adapted()
    with pytest.raises(InputError, match="was not given the place"):
        model.network(torch.zeros(1, 1, 16, 16))


def test_a_training_goes_on_with_it() -> None:
    model, image, _ = adapted()
    _, annotation, _ = organ((60, 72))
    config = nu.TrainConfig(task="classes", max_steps=2, crop=32, batch_size=2)
    before = nu.predict(model, image, config=CPU)
    for _ in nu.fit(model, [nu.Sample(image, annotation)], config, device="cpu", should_stop=lambda: True):
        pass
    assert np.array_equal(nu.predict(model, image, config=CPU), before)  # stopped before its first step
    with pytest.raises(InputError, match="no contrast"):
        list(nu.fit(model, [nu.Sample(0 * image, annotation)], config, device="cpu"))
    assert np.array_equal(nu.predict(model, image, config=CPU), before)
    for _ in nu.fit(model, [nu.Sample(image, annotation)], config, device="cpu"):
        pass
    assert network_of(model).place is not None
    forbidden = nu.TrainConfig(task="classes", max_steps=2, crop=32, batch_size=2, place_may_count=False)
    for _ in nu.fit(model, [nu.Sample(image, annotation)], forbidden, device="cpu"):
        pass
    assert network_of(model).place is None
    assert nu.predict(model, image, config=CPU).shape == (2, 60, 72)


def test_a_network_takes_the_place_of_the_state_that_it_is_given() -> None:
    model, image, _ = adapted()
    other = nu.Model.create(model.config, seed=3)
    other.network.load_state_dict(model.network.state_dict())
    assert np.array_equal(nu.predict(other, image, config=CPU), nu.predict(model, image, config=CPU))
    network_of(model).set_place(None)
    other.network.load_state_dict(model.network.state_dict())
    assert network_of(other).place is None


def test_strokes_are_told_apart_in_large_frames_and_volumes() -> None:
    def numbers(places: list[tuple[int, ...]], kinds: list[int], shape: tuple[int, ...]) -> list[int]:
        pixels = np.ravel_multi_index(tuple(np.array(places).T), shape)
        return strokes_of_pixels(pixels, np.array(kinds), shape).tolist()

    near, far = [(5000, 5000), (5000, 5001)], [(100, 19_000), (19_000, 19_000)]
    assert numbers(near + far, [0, 0, 0, 1], (20_000, 20_000)) in ([1, 1, 0, 2], [0, 0, 1, 2])
    assert numbers([(0, 1, 1), (1, 2, 2), (3, 2, 2)], [1, 1, 1], (4, 5, 6)) == [0, 0, 1]
    assert strokes_of_pixels(np.zeros(0, np.int64), np.zeros(0, np.int64), (4, 4)).tolist() == []


def test_an_image_painted_throughout_falls_into_regions() -> None:
    kinds = np.arange(20 * 12) % 2
    numbers = strokes_of_pixels(np.arange(20 * 12), kinds, (20, 12)).reshape(20, 12)
    assert numbers[0, :8].tolist() == [0] * 8
    assert numbers[0, 8:].tolist() == [1] * 4
    assert np.unique(numbers).tolist() == list(range(6))


def test_while_a_person_waits_only_what_is_known_is_looked_at_beyond_the_strokes() -> None:
    image, annotation, _ = body()
    adapter = Adapter(nu.Model.create(nu.ModelConfig(features=4, depth=1)), "cpu")
    config = nu.TrainConfig(task="classes")
    frames = prepare_frames([nu.Sample(image, annotation)], adapter.model.config, config, adapter.cache.reader)
    around = len(adapter.gather(frames, most_unknown=0).seen.places)
    adapter.cache.clear()
    whole = len(adapter.gather(frames).seen.places)
    assert 0 < around < whole
    assert len(adapter.gather(frames, most_unknown=0).seen.places) == whole  # its features are known now


def test_the_more_slices_are_painted_the_less_is_looked_at_in_each_and_all_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, annotation, _ = body()
    count, measured = 40, []
    measure = enclosure.measure_enclosure
    monkeypatch.setattr(enclosure, "measure_enclosure", lambda plane: measured.append(1) or measure(plane))
    adapter = Adapter(nu.Model.create(nu.ModelConfig(features=4, depth=1)), "cpu")
    sample = nu.Sample(np.stack([image] * count), np.stack([annotation] * count), "TYX")
    config = nu.TrainConfig(task="classes")
    frames = prepare_frames([sample], adapter.model.config, config, adapter.cache.reader)
    few, many = adapter.gather(frames[:4]), adapter.gather(frames)
    assert len(few.seen.places) <= 12_000
    assert len(few.seen.places) / 4 > len(many.seen.places) / count > 12_000 / count / 4
    assert len(many.seen.places) <= 12_000
    adapter.gather(frames)
    assert len(measured) == count
