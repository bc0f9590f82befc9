from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_unet.data.axes import ImageLayout
from napari_unet.errors import AnnotationError
from napari_unet.widgets.annotate.annotation import (
    check_shape,
    colour_strokes,
    ensure_strokes_layer,
    interpret,
    next_object_label,
    select_label,
)
from napari_unet.widgets.annotate.label_storage import PaintedFrames, new_label_array
from napari_unet.widgets.parts.source import read_source

COLOURS = ("#0000ff", "#ff0000", "#00ff00")


def test_the_strokes_lie_exactly_on_a_sheared_and_rotated_channel_stack() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(
        np.zeros((2, 5, 8, 9)),
        axis_labels=("c", "z", "y", "x"),
        scale=(1, 3, 2, 2),
        translate=(0, 1, 2, 3),
        shear=[0, 0, 0, 0, 0, 0.2],
        units=("pixel", "um", "um", "um"),
    )
    source = read_source(image)
    layer = ensure_strokes_layer(viewer, image, source, task="classes", colours=COLOURS)
    assert layer.data.shape == (5, 8, 9)
    assert layer.dtype == np.uint8
    assert layer.axis_labels == ("z", "y", "x")
    point = np.array([2.0, 3.0, 4.0])
    np.testing.assert_allclose(layer.data_to_world(point), image.data_to_world([0, *point])[1:])


def test_the_strokes_of_an_image_are_made_once() -> None:
    viewer = ViewerModel()
    first, second = viewer.add_image(np.zeros((8, 9)), name="a"), viewer.add_image(np.zeros((8, 9)), name="a")
    make = {"task": "objects", "colours": COLOURS}
    one = ensure_strokes_layer(viewer, first, read_source(first), **make)
    other = ensure_strokes_layer(viewer, second, read_source(second), **make)
    one.name = "renamed"
    assert one is not other
    assert ensure_strokes_layer(viewer, first, read_source(first), **make) is one
    assert ensure_strokes_layer(viewer, second, read_source(second), **make) is other


def test_each_class_is_shown_in_its_colour_and_touching_objects_differ() -> None:
    layer = Labels(np.zeros((8, 9), np.uint16))
    colour_strokes(layer, COLOURS, "classes")
    for label, colour in enumerate([(0, 0, 1), (1, 0, 0), (0, 1, 0)], start=1):
        np.testing.assert_allclose(layer.get_color(label)[:3], colour)
    colour_strokes(layer, COLOURS, "objects")
    shades = [tuple(layer.get_color(label)) for label in range(1, 8)]
    assert len(set(shades)) == 7


def test_a_label_that_does_not_fit_and_a_layer_that_can_not_be_painted_are_said() -> None:
    viewer = ViewerModel()
    narrow = viewer.add_labels(np.zeros((8, 9), np.uint8), name="narrow")
    with pytest.raises(AnnotationError, match="'narrow' can't hold more labels"):
        select_label(viewer, narrow, 256)
    pyramid = viewer.add_labels([np.zeros((8, 8), np.uint8), np.zeros((4, 4), np.uint8)], multiscale=True, name="big")
    with pytest.raises(AnnotationError, match="'big' is multiscale"):
        select_label(viewer, pyramid, 1)


def test_the_next_object_has_a_new_label() -> None:
    layer = Labels(np.zeros((8, 9), np.uint16))
    layer.selected_label = 1
    assert next_object_label(layer, 0) == 3
    layer.selected_label = 7
    assert next_object_label(layer, 4) == 8
    assert next_object_label(layer, 20) == 21


def test_shapes_that_differ_are_said_with_both_names() -> None:
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((8, 9)), name="cells")
    with pytest.raises(AnnotationError, match="'mine' \\(3 × 4\\) and the image 'cells' \\(8 × 9\\)"):
        check_shape(Labels(np.zeros((3, 4), np.uint8), name="mine"), read_source(image))


def test_separate_strokes_of_the_first_object_are_separate_objects_and_higher_ids_stay() -> None:
    frame = np.array(
        [
            [2, 0, 0, 2, 3, 0, 3],
            [0, 2, 0, 2, 3, 0, 3],
            [1, 1, 0, 0, 0, 0, 2],
        ],
        np.uint8,
    )
    before = frame.copy()
    found = interpret(frame, "strokes", "objects")
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(found == 1, frame == 1)
    np.testing.assert_array_equal(found == 0, frame == 0)
    np.testing.assert_array_equal(found == 3, frame == 3)
    assert found[0, 0] == found[1, 1]  # they touch over a corner
    assert len({int(found[0, 0]), int(found[0, 3]), int(found[2, 6]), 3}) == 4


def test_more_objects_than_a_narrow_type_holds_are_kept_apart() -> None:
    frame = np.zeros((40, 40), np.uint8)
    frame[::2, ::2] = 2
    found = interpret(frame, "strokes", "objects")
    assert len(np.unique(found)) == 401


@pytest.mark.parametrize(
    ("meaning", "expected"), [("strokes", [0, 1, 2, 5]), ("complete", [1, 1, 2, 5]), ("ground truth", [1, 2, 3, 6])]
)
def test_what_is_not_painted_means_what_was_chosen(meaning: str, expected: list[int]) -> None:
    assert interpret(np.array([[0, 1, 2, 5]], np.uint8), meaning, "classes").tolist() == [expected]


@pytest.mark.parametrize("most_bytes", [2**30, 0])
def test_a_copy_holds_only_painted_frames_and_does_not_change(most_bytes: int) -> None:
    layout = ImageLayout("TZYX", (3, 4, 40, 50))
    data = new_label_array(layout.shape, np.uint16, most_bytes=most_bytes)
    data[1, 2, 10:20, 5:9] = 7
    data[2, 0, 0, 0] = 1
    painted = PaintedFrames(data, layout)
    data[1, 2, 30:, :] = 9
    assert set(painted.frames) == {(1, 2), (2, 0)}
    expected = np.zeros((40, 50), np.uint16)
    expected[10:20, 5:9] = 7
    np.testing.assert_array_equal(layout.read_labels(painted, (1, 2)), expected)
    assert not layout.read_labels(painted, (0, 0)).any()


def test_a_huge_array_takes_no_memory_and_can_be_painted() -> None:
    viewer = ViewerModel()
    data = new_label_array((400, 8000, 8000), np.uint16)
    layer = viewer.add_labels(data)
    layer.brush_size = 5
    layer.paint((3, 100, 100), 2)
    assert data[3, 98:103, 98:103].any()
