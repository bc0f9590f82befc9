"""From an image to labels: the encoding of areas, ids that are unique in a stack, and types that hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from napari_unet.data.axes import ImageLayout
from napari_unet.errors import InputError
from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict import frame_objects
from napari_unet.predict import segment as segment_module
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.segment import labels_from_probabilities, segment
from napari_unet.predict.tiled import predict

PLAIN = PredictConfig(tile=32, device="cpu", precision="float32")


class Bright(nn.Module):
    """Take grey values over a half for foreground: an untrained network whose answer is known."""

    divisor = 4
    halo = (4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), 20 * (x - 0.5)], dim=1)


def bright_model(**settings: Any) -> Model:
    config = ModelConfig(features=1, low_percentile=0.0, high_percentile=100.0, **settings)
    return Model(config=config, network=Bright())


def squares(*shape: int) -> npt.NDArray[np.float32]:
    """Make frames (Y, X) with one, two, three, ... bright squares."""
    image = np.zeros(shape, np.float32)
    for number, frame in enumerate(image.reshape(-1, *shape[-2:])):
        for square in range(number + 1):
            frame[4:10, 4 + 10 * square : 10 + 10 * square] = 1
    return image


def test_ids_are_unique_in_a_stack_and_count_on() -> None:
    image = squares(2, 2, 20, 50)
    labels = segment(bright_model(), image, "TZYX", config=PLAIN)
    assert labels.shape == image.shape
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels > 0, image > 0)
    per_frame = [set(np.unique(frame)) - {0} for frame in labels.reshape(-1, 20, 50)]
    assert [len(ids) for ids in per_frame] == [1, 2, 3, 4]
    assert sorted(number for ids in per_frame for number in ids) == list(range(1, 11))


@pytest.mark.parametrize("order", ["TYX", "YXT", "XTY", "XYT"])
def test_labels_have_the_axes_of_the_image_in_its_order(order: str) -> None:
    image = squares(3, 20, 50)
    places = ["TYX".index(letter) for letter in order]
    labels = segment(bright_model(), image.transpose(places), order, config=PLAIN)
    np.testing.assert_array_equal(labels > 0, image.transpose(places) > 0)
    assert labels.max() == 6
    frames = np.moveaxis(labels, order.index("T"), 0)
    assert [len(np.unique(frame)) - 1 for frame in frames] == [1, 2, 3]


def test_channels_have_no_place_in_the_labels(make_model: Callable[..., Model], rng: np.random.Generator) -> None:
    image = rng.random((3, 30, 2, 40))
    labels = segment(make_model(in_channels=2), image, "TYCX", task="classes", config=PLAIN)
    assert labels.shape == (3, 30, 40)


def test_axes_are_guessed_as_in_predict(rng: np.random.Generator) -> None:
    image = squares(3, 20, 50)
    np.testing.assert_array_equal(
        segment(bright_model(), image, config=PLAIN), segment(bright_model(), image, "ZYX", config=PLAIN)
    )


def test_classes_are_encoded_as_in_an_annotation(make_model: Callable[..., Model], rng: np.random.Generator) -> None:
    model = make_model(classes=("background", "a", "b", "c"))
    image = rng.random((41, 37))
    labels = segment(model, image, "YX", task="classes", config=PLAIN)
    probabilities = predict(model, image, "YX", PLAIN)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {1, 2, 3, 4}
    assert len(np.unique(labels)) > 1
    chosen = np.take_along_axis(probabilities, labels[np.newaxis].astype(int) - 1, axis=0)[0]
    np.testing.assert_array_equal(chosen, probabilities.max(axis=0))


def test_the_task_of_the_model_is_taken_unless_one_says_otherwise() -> None:
    model, image = bright_model(), squares(1, 20, 50)[0]
    model.task = "classes"
    assert set(np.unique(segment(model, image, "YX", config=PLAIN))) == {1, 2}
    assert set(np.unique(segment(model, image, "YX", task="objects", config=PLAIN))) == {0, 1}
    model.task = "objects"
    assert set(np.unique(segment(model, image, "YX", config=PLAIN))) == {0, 1}


def probabilities_of(foreground: npt.NDArray[Any], classes: int = 2) -> npt.NDArray[np.float32]:
    parts = [1 - foreground, *[foreground / (classes - 1)] * (classes - 1)]
    return np.stack(parts).astype(np.float32)


def test_all_classes_but_the_background_make_the_foreground_of_objects() -> None:
    image = squares(1, 20, 50)[0] * 0.9
    layout = ImageLayout("YX", image.shape, 2)
    labels = labels_from_probabilities(probabilities_of(image, classes=4), "objects", layout)
    np.testing.assert_array_equal(labels > 0, image > 0)


def test_empty_and_full_images() -> None:
    layout = ImageLayout("YX", (20, 50), 2)
    for value, objects, area in ((0.0, 0, 1), (1.0, 1, 2)):
        probabilities = probabilities_of(np.full((20, 50), value))
        assert (labels_from_probabilities(probabilities, "objects", layout) == objects).all()
        assert (labels_from_probabilities(probabilities, "classes", layout) == area).all()


@pytest.mark.parametrize(("per_frame", "dtype"), [(21_845, np.uint16), (21_846, np.uint32)])
def test_many_objects_get_a_larger_type(per_frame: int, dtype: Any) -> None:
    foreground = np.zeros((3, per_frame * 5, 5), np.float32)
    foreground.reshape(3, per_frame, 5, 5)[:, :, :4, :4] = 1
    layout = ImageLayout("TYX", foreground.shape, 2)
    labels = labels_from_probabilities(probabilities_of(foreground), "objects", layout)
    assert labels.dtype == dtype
    np.testing.assert_array_equal(labels[:, ::5, 0].ravel(), np.arange(1, 3 * per_frame + 1))


def test_more_classes_than_a_byte_holds_get_a_larger_type() -> None:
    layout = ImageLayout("YX", (1, 300), 2)
    labels = labels_from_probabilities(np.eye(300, dtype=np.float32)[:, np.newaxis], "classes", layout)
    np.testing.assert_array_equal(labels[0], np.arange(1, 301))


def two_flat_balls() -> npt.NDArray[np.float32]:
    """Two balls one above the other in slices that are four times as far apart as the pixels."""
    z, y, x = (axis * step for axis, step in zip(np.ogrid[:24, :40, :40], (4, 1, 1), strict=True))
    flat = (y - 20) ** 2 + (x - 20) ** 2
    return np.asarray((flat + (z - 30) ** 2 <= 18**2) | (flat + (z - 62) ** 2 <= 18**2), np.float32)


def test_the_spacing_is_handed_on_in_the_order_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []
    original = frame_objects.label_blocks

    def listen(foreground: Any, **settings: Any) -> Iterator[Any]:
        seen.append((foreground.shape, settings["spacing"]))
        return original(foreground, **settings)

    monkeypatch.setattr(frame_objects, "label_blocks", listen)
    volume = two_flat_balls().transpose(2, 0, 1)  # X, Z, Y
    labels = labels_from_probabilities(
        probabilities_of(volume), "objects", ImageLayout("XZY", volume.shape, 3), spacing=(4.0, 1.0, 1.0)
    )
    assert labels.max() == 2
    assert seen == [((24, 40, 40), (4.0, 1.0, 1.0))]
    plane = volume[:, :, 20].T
    labels_from_probabilities(
        probabilities_of(plane), "objects", ImageLayout("YX", plane.shape, 2), spacing=(4.0, 1.0, 0.5)
    )
    assert seen[-1] == (plane.shape, (1.0, 0.5))


def test_a_volume_is_segmented_as_a_whole() -> None:
    model = bright_model(ndim=3)
    model.spacing = (4.0, 1.0, 1.0)
    labels = segment(model, two_flat_balls(), "ZYX", config=PLAIN)
    assert labels.max() == 2
    assert labels[7, 20, 20] != labels[15, 20, 20]


@pytest.mark.parametrize(
    ("shape", "task", "words"),
    [((2, 20, 51), "objects", "shape"), ((20, 50), "classes", "shape"), ((2, 20, 50), "magic", "'magic'")],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], task: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        labels_from_probabilities(np.zeros(shape, np.float32), task, ImageLayout("YX", (20, 50), 2))


def test_an_unknown_task_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        pytest.fail("the image was predicted for nothing")

    monkeypatch.setattr(segment_module, "predict_tiles", never)
    with pytest.raises(InputError, match="'magic'"):
        segment(bright_model(), squares(1, 20, 50)[0], "YX", task="magic", config=PLAIN)  # type: ignore[arg-type]
