"""From annotated images to painted frames: weights that balance, and errors that name the image."""

from __future__ import annotations

from typing import Any

import dask.array
import numpy as np
import pytest

from napari_unet.data.crops import AnnotatedFrame
from napari_unet.data.sample import Sample
from napari_unet.data.strokes import decode_strokes, from_ground_truth
from napari_unet.errors import AnnotationError, InputError, UNetError
from napari_unet.learn.border_weights import border_weights
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.prepare import prepare_frames, relative_spacing
from napari_unet.nets.config import ModelConfig

CONFIG = TrainConfig()
MODEL = ModelConfig()


def _image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def _annotation(shape: tuple[int, ...] = (60, 80)) -> np.ndarray:
    annotation = np.zeros(shape, np.uint8)
    annotation[..., 10:14, 20:60] = 1
    annotation[..., 30:40, 22:30] = 2
    annotation[..., 30:40, 33:44] = 3
    return annotation


def _whole(frame: AnnotatedFrame) -> tuple[np.ndarray, np.ndarray]:
    """Classes and weights of the whole frame."""
    shape = frame.reader.layout.frame_shape
    _, classes, weights = frame.read((0,) * len(shape), shape)
    return classes, weights


def _sums(frames: list[AnnotatedFrame], classes: int) -> np.ndarray:
    """Sum of the class term of the weights over all frames, for each class."""
    return np.array(
        [sum(float(f.weights[(f.weights > 0) & (f.classes == i)].sum()) for f in frames) for i in range(classes)]
    )


def test_one_image_gets_the_weights_of_the_formula() -> None:
    annotation = _annotation()
    (frame,) = prepare_frames([Sample(_image((60, 80)), annotation)], MODEL, CONFIG)
    classes, weights = _whole(frame)
    targets = decode_strokes(annotation, "objects")
    np.testing.assert_array_equal(classes[annotation > 0], targets.classes[annotation > 0])
    border = border_weights(targets.objects, class_balance=False, valid=targets.valid) - targets.valid
    counts = [(targets.valid & (targets.classes == i)).sum() for i in (0, 1)]
    share = np.array([sum(counts) / (2 * n) for n in counts])
    np.testing.assert_allclose(weights, np.where(targets.valid, share[targets.classes] + border, 0), rtol=1e-5)
    assert frame.classes.shape == (30, 40)  # the bounding box of what is painted
    assert frame.origin == (10, 20)


@pytest.mark.parametrize("task", ["objects", "classes"])
def test_classes_balance_over_all_images_together(task: Any, rng: np.random.Generator) -> None:
    samples = []
    for number in range(4):
        annotation = np.zeros((50, 60), np.uint8)
        annotation[: 3 + 8 * number, :30] = 1  # a different mixture in each
        annotation[-4:, 31 : 35 + 5 * number] = 2
        samples.append(Sample(_image((50, 60), number), annotation))
    frames = prepare_frames(samples, MODEL, TrainConfig(task=task, w0=0.0))
    sums = _sums(frames, 2)
    painted = sum((f.weights > 0).sum() for f in frames)
    np.testing.assert_allclose(sums, painted / 2, rtol=1e-5)
    np.testing.assert_allclose(sums.sum() / painted, 1, rtol=1e-5)


def test_three_classes_balance_and_one_that_is_not_painted_changes_nothing() -> None:
    model = ModelConfig(classes=("background", "nucleus", "membrane", "debris"))
    frames = prepare_frames([Sample(_image((60, 80)), _annotation())], model, TrainConfig(task="classes"))
    sums = _sums(frames, 4)
    painted = (_annotation() > 0).sum()
    np.testing.assert_allclose(sums, [painted / 3] * 3 + [0], rtol=1e-5)


@pytest.mark.parametrize(
    ("axes", "shape", "positions"),
    [
        ("TYX", (6, 60, 80), [(1,), (4,)]),
        ("TCZYX", (2, 2, 3, 60, 80), [(0, 2), (1, 0)]),
        ("ZYXS", (5, 60, 80, 3), [(3,)]),
        ("CTYX", (2, 6, 60, 80), [(5,)]),
    ],
)
def test_only_the_painted_slices_of_a_stack_are_kept(
    axes: str, shape: tuple[int, ...], positions: list[tuple[int, ...]]
) -> None:
    label_shape = tuple(n for n, letter in zip(shape, axes, strict=True) if letter not in "CS")
    annotation = np.zeros(label_shape, np.uint8)
    for position in positions:
        annotation[position] = _annotation()
    channels = next((n for n, letter in zip(shape, axes, strict=True) if letter in "CS"), 1)
    image = _image(shape)
    frames = prepare_frames([Sample(image, annotation, axes)], ModelConfig(in_channels=channels), CONFIG)
    assert [frame.position for frame in frames] == positions
    for frame in frames:
        assert frame.classes.shape == (30, 40)
        pixels, _, _ = frame.read((0, 0), (60, 80))
        layout = frame.reader.layout
        raw = layout.read(image, frame.position, (slice(0, 60), slice(0, 80)))
        for channel in range(channels):
            assert np.corrcoef(raw[channel].ravel(), pixels[channel].ravel())[0, 1] > 0.99


def test_a_volume_is_one_frame_of_a_3d_network() -> None:
    annotation = np.zeros((9, 60, 80), np.uint8)
    annotation[2, 5:9, 5:50], annotation[5, 30:40, 30:50] = 1, 2
    (frame,) = prepare_frames([Sample(_image((9, 60, 80)), annotation, "ZYX")], ModelConfig(ndim=3), CONFIG)
    assert frame.classes.shape == (4, 35, 45)
    assert frame.origin == (2, 5, 5)


def test_axes_in_another_order_give_the_same_frames(rng: np.random.Generator) -> None:
    image, annotation = _image((4, 60, 80)), np.zeros((4, 60, 80), np.uint8)
    annotation[2] = _annotation()
    (plain,) = prepare_frames([Sample(image, annotation, "TYX")], MODEL, CONFIG)
    turned = Sample(image.transpose(2, 0, 1), annotation.transpose(2, 0, 1), "XTY")
    (other,) = prepare_frames([turned], MODEL, CONFIG)
    assert other.position == plain.position
    np.testing.assert_array_equal(other.weights, plain.weights)
    np.testing.assert_array_equal(other.read((0, 0), (9, 9))[0], plain.read((0, 0), (9, 9))[0])


def test_singleton_axes_of_image_and_strokes_need_not_agree() -> None:
    image, annotation = _image((60, 80)), _annotation()
    (plain,) = prepare_frames([Sample(image, annotation)], MODEL, CONFIG)
    variants = [
        Sample(image[None], annotation, "TYX"),
        Sample(image[None], annotation[None], "TYX"),
        Sample(image[None, None], annotation[None], "TCYX"),
        Sample(image, annotation[None, :, :, None], "YX"),
        Sample(image[..., None], annotation, "YXC"),
    ]
    for sample in variants:
        (frame,) = prepare_frames([sample], MODEL, CONFIG)
        np.testing.assert_array_equal(frame.weights, plain.weights)


def test_anisotropic_spacing_widens_the_border_along_the_fine_axes() -> None:
    annotation = np.ones((12, 40, 40), np.uint8)
    annotation[1:5, 10:30, 10:30], annotation[6:10, 10:30, 10:30] = 2, 3
    model = ModelConfig(ndim=3)
    targets = decode_strokes(annotation, "objects")
    for spacing, relative in ((None, (1, 1, 1)), ((2.0, 0.5, 0.5), (4, 1, 1)), ((9.0, 2.0, 0.5, 0.5), (4, 1, 1))):
        (frame,) = prepare_frames([Sample(_image((12, 40, 40)), annotation, "ZYX", spacing)], model, CONFIG)
        border = border_weights(targets.objects, class_balance=False, spacing=relative)
        _, weights = _whole(frame)
        gap = targets.classes == 0
        np.testing.assert_allclose(np.ptp(weights[gap]), np.ptp(border[gap]), rtol=1e-4)


@pytest.mark.parametrize(
    ("spacing", "expected"), [(None, (1, 1)), ((0.2, 0.1), (2, 1)), ((7, 3, 6), (1, 2)), ([0.5, 0.5], (1, 1))]
)
def test_spacing_is_told_in_pixels_of_the_finest_axis(spacing: Any, expected: tuple[float, ...]) -> None:
    assert relative_spacing(spacing, 2) == pytest.approx(expected)


@pytest.mark.parametrize("spacing", [(1.0,), (0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_spacing_without_sense_is_refused(spacing: Any) -> None:
    with pytest.raises(InputError, match="positive pixel size"):
        relative_spacing(spacing, 2)


def _single(value: int) -> np.ndarray:
    annotation = np.zeros((60, 80), np.uint8)
    annotation[5:9] = value
    return annotation


ERRORS: list[tuple[str, Any, ModelConfig, Any, str]] = [
    ("other shape", Sample(_image((60, 80)), _annotation()[:-1], name="leaf.tif"), MODEL, AnnotationError,
     r"^leaf.tif: The strokes have the shape \(59, 80\), but the image needs \(60, 80\) \(YX\)"),
    ("turned", Sample(_image((80, 60)), _annotation(), name="leaf.tif"), MODEL, AnnotationError, "^leaf.tif: "),
    ("channels", Sample(_image((60, 80, 3)), _annotation(), "YXS", name="leaf.tif"), MODEL, InputError,
     "^leaf.tif: The model reads 1 channel, but the image has 3"),
    ("too few channels", Sample(_image((60, 80)), _annotation(), name="leaf.tif"), ModelConfig(in_channels=2),
     InputError, "^leaf.tif: The model reads 2 channels, but the image has 1"),
    ("no volume", Sample(_image((60, 80)), _annotation(), name="leaf.tif"), ModelConfig(ndim=3), InputError,
     "^leaf.tif: A 3D network needs the axes ZYX"),
    ("constant", Sample(np.zeros((60, 80)), _annotation(), name="leaf.tif"), MODEL, InputError,
     "^leaf.tif: The image has no contrast"),
    ("nan", Sample(np.full((60, 80), np.nan), _annotation(), name="leaf.tif"), MODEL, InputError, "^leaf.tif: "),
    ("wrong letters", Sample(_image((60, 80)), _annotation(), "AB", name="leaf.tif"), MODEL, InputError, "^leaf.tif: "),
    ("float strokes", Sample(_image((60, 80)), _annotation() * 1.5, name="leaf.tif"), MODEL, AnnotationError,
     "^leaf.tif: Expected an annotation of whole numbers"),
    ("negative strokes", Sample(_image((60, 80)), -_annotation().astype(int), name="leaf.tif"), MODEL, AnnotationError,
     "^leaf.tif: .*negative"),
    ("spacing", Sample(_image((60, 80)), _annotation(), "YX", (0.0, 1.0), "leaf.tif"), MODEL, InputError,
     "^leaf.tif: Expected a positive pixel size"),
    ("background only", Sample(_image((60, 80)), _single(1)), MODEL, AnnotationError,
     "Only background is painted: paint a few strokes of foreground, too"),
    ("foreground only", Sample(_image((60, 80)), _single(2)), MODEL, AnnotationError, "Only foreground is painted"),
    ("nothing", Sample(_image((60, 80)), _single(0)), MODEL, AnnotationError, "Nothing is painted"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "model", "kind", "words"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS]
)
def test_what_can_not_be_used_is_said_in_words(sample: Sample, model: ModelConfig, kind: Any, words: str) -> None:
    good = Sample(_image((60, 80)), _single(0), name="good.tif") if model.ndim == 2 and model.in_channels == 1 else None
    samples = [sample] if good is None else [good, sample]
    with pytest.raises(kind, match=words) as caught:
        prepare_frames(samples, model, CONFIG)
    assert isinstance(caught.value, UNetError)
    assert "\n" not in str(caught.value)


def test_an_image_without_a_name_is_called_by_its_number() -> None:
    good, bad = Sample(_image((60, 80)), _annotation()), Sample(_image((60, 81)), _annotation())
    with pytest.raises(AnnotationError, match=r"^image 2: "):
        prepare_frames([good, bad], MODEL, CONFIG)


def test_a_class_that_the_model_lacks_is_named_with_the_image() -> None:
    sample = Sample(_image((60, 80)), _annotation(), name="leaf.tif")
    with pytest.raises(AnnotationError, match=r"^leaf.tif: The annotation holds the value 3, but"):
        prepare_frames([sample], MODEL, TrainConfig(task="classes"))


def test_no_image_at_all_is_said() -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        prepare_frames([], MODEL, CONFIG)


def test_an_image_without_strokes_beside_a_painted_one_is_passed_over() -> None:
    empty = Sample(np.zeros((60, 80)), np.zeros((60, 80), np.uint8))  # not even looked at: it has no contrast
    frames = prepare_frames([empty, Sample(_image((60, 80)), _annotation())], MODEL, CONFIG)
    assert len(frames) == 1


def test_classes_may_be_painted_in_different_images() -> None:
    frames = prepare_frames(
        [Sample(_image((60, 80)), _single(1)), Sample(_image((60, 80), 1), _single(2))], MODEL, CONFIG
    )
    np.testing.assert_allclose(_sums(frames, 2), 320, rtol=1e-5)


def test_annotations_are_only_read() -> None:
    annotation, image = _annotation(), _image((60, 80))
    before = annotation.tobytes(), image.tobytes()
    for array in (annotation, image):
        array.flags.writeable = False
    frames = prepare_frames([Sample(image, annotation)], MODEL, CONFIG)
    frames[0].read((-5, -5), (70, 90))
    assert (annotation.tobytes(), image.tobytes()) == before
    assert not np.shares_memory(frames[0].weights, annotation)


def test_lazy_arrays_are_as_good_as_arrays() -> None:
    image, annotation = _image((5, 60, 80)), np.zeros((5, 60, 80), np.uint16)
    annotation[3] = from_ground_truth(_annotation())
    (plain,) = prepare_frames([Sample(image, annotation, "TYX")], MODEL, CONFIG)
    lazy = Sample(dask.array.from_array(image, chunks=25), dask.array.from_array(annotation, chunks=25), "TYX")
    (frame,) = prepare_frames([lazy], MODEL, CONFIG)
    for a, b in zip(plain.read((0, 0), (60, 80)), frame.read((0, 0), (60, 80)), strict=True):
        np.testing.assert_array_equal(a, b)
