from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_unet.widgets.parts.source import ImageSource, read_source
from napari_unet.widgets.results.layers import (
    ResultLayers,
    ensure_probability_layers,
    ensure_result_layer,
    filled_positions,
    probability_look,
    record_of,
    usable_as_source,
)
from napari_unet.widgets.results.predict_job import PieceReady
from napari_unet.widgets.results.uncertainty_look import uncertainty_image

COLOURS = ("#0000ff", "#ff0000", "#00ff00")


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def add(viewer: ViewerModel, shape: tuple[int, ...] = (3, 8, 9)) -> tuple[Image, ImageSource]:
    image = viewer.add_image(np.zeros(shape), name="cells", scale=(2,) * len(shape))
    return image, read_source(image)


def write(layers: ResultLayers, labels: np.ndarray, position: int = 1) -> None:
    """Do what a worker and the window do with a tile."""
    box = (slice(position, position + 1), slice(2, 2 + labels.shape[1]), slice(3, 3 + labels.shape[2]))
    layers.result.write(box, labels)
    for array in layers.probability_arrays:
        array.write(box, labels.astype(np.float32) / 10)
    layers.note(PieceReady(box, (position,), 1.0, None))


def test_results_lie_below_the_strokes_that_stay_active(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    strokes = viewer.add_labels(np.zeros((3, 8, 9), np.uint8))
    strokes.mode = "paint"
    result = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    assert list(viewer.layers) == [image, result, strokes]
    assert viewer.layers.selection.active is strokes
    assert strokes.mode == "paint"
    np.testing.assert_allclose(result.scale, image.scale)


def test_an_empty_result_is_taken_for_the_other_task_and_a_filled_one_is_kept(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    objects = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    areas = ensure_result_layer(viewer, image, source, task="classes", colours=COLOURS)
    assert areas is objects
    assert (areas.name, areas.dtype) == ("areas: cells", np.uint8)
    write(ResultLayers(viewer, areas), np.full((1, 2, 2), 2, np.uint8))
    again = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    assert again is not areas
    assert areas.data.any()


def test_background_of_areas_is_seen_through(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    areas = ensure_result_layer(viewer, image, source, task="classes", colours=COLOURS)
    assert areas.get_color(1)[3] == 0
    np.testing.assert_allclose(areas.get_color(3)[:3], (0, 1, 0))


def test_colours_are_given_only_when_they_change(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    areas = ensure_result_layer(viewer, image, source, task="classes", colours=COLOURS)
    given: list[object] = []
    areas.events.colormap.connect(given.append)
    ensure_result_layer(viewer, image, source, task="classes", colours=COLOURS)
    assert not given
    ensure_result_layer(viewer, image, source, task="classes", colours=(*COLOURS[:2], "#ffff00"))
    assert len(given) == 1
    np.testing.assert_allclose(areas.get_color(3)[:3], (1, 1, 0))
    ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    assert areas.get_color(3)[3] == 1


def test_pieces_go_where_they_belong_and_filled_frames_are_known(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    labels = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    probabilities = ensure_probability_layers(viewer, image, source, names=("b", "cell"), colours=COLOURS[:2])
    view = ResultLayers(viewer, labels, probabilities)
    write(view, np.full((1, 4, 5), 7, np.uint16))
    view.draw()
    view.update_thumbnails()
    assert (labels.data[1, 2:6, 3:8] == 7).all()
    assert labels.data.sum() == 7 * 20
    np.testing.assert_allclose(probabilities[0].data[1, 2:6, 3:8], 0.7)
    assert filled_positions(labels) == {(1,)}
    assert not usable_as_source(probabilities[0])
    assert usable_as_source(image)


def test_a_result_that_was_taken_out_is_noticed(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    view = ResultLayers(viewer, ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS))
    assert not view.lost
    view.labels.name = "renamed"
    assert not view.lost
    viewer.layers.remove(view.labels)
    assert "was removed" in view.lost


def test_a_result_that_is_painted_on_is_left_alone_at_once(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    view = ResultLayers(viewer, ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS))
    write(view, np.full((1, 4, 5), 7, np.uint16))
    view.labels.data_setitem((np.array([1]), np.array([2]), np.array([3])), 9)
    write(view, np.full((1, 4, 5), 8, np.uint16))
    assert view.labels.data[1, 2, 3:5].tolist() == [9, 7]
    assert "is yours since you painted on it" in view.lost


def test_a_result_with_other_data_is_noticed(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    view = ResultLayers(viewer, ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS))
    view.labels.data = np.ones((3, 8, 9), np.uint16)
    assert "was given other data" in view.lost


def test_each_result_has_a_record_of_its_own(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    layer = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    assert record_of(layer) is record_of(layer)
    viewer.layers.remove(layer)
    another = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    assert record_of(another) is not record_of(layer)


def test_a_copy_of_a_result_is_the_persons(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    result = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    copy = Labels.create(*result.as_layer_data_tuple())
    viewer.add_layer(copy)
    viewer.layers.remove(result)
    assert ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS) is not copy


def test_a_large_result_has_smaller_copies_and_ids_of_32_bits(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.broadcast_to(np.uint8(0), (2, 600, 9000)), name="slide", contrast_limits=(0, 1))
    source = read_source(image)
    labels = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    assert labels.multiscale
    assert labels.dtype == np.uint32
    assert [level.shape for level in labels.data] == [(2, 600, 9000), (2, 300, 4500), (2, 150, 2250), (2, 75, 1125),
                                                      (2, 38, 563)]  # fmt: skip
    box = (slice(1, 2), slice(100, 300), slice(8000, 9000))
    ResultLayers(viewer, labels).result.write(box, np.full((1, 200, 1000), 5))
    for level, step in enumerate((1, 2, 4, 8, 16)):
        expected = np.zeros((2, 600, 9000), np.uint32)
        expected[box] = 5
        np.testing.assert_array_equal(labels.data[level], expected[:, ::step, ::step])
    assert ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS) is labels


def test_what_is_below_is_seen_where_a_class_is_ruled_out_or_nothing_is_uncertain() -> None:
    shades = [
        probability_look("cell", "#e69f00")["colormap"],
        uncertainty_image(np.zeros((3, 3)), "entropy", "").colormap,
    ]
    for shade in shades:
        transparent, opaque = shade.map(np.array([0.0, 1.0]))[:, 3]
        assert (transparent, opaque) == (0, 1)
    np.testing.assert_allclose(shades[0].map(np.array([1.0]))[0, :3] * 255, (230, 159, 0), atol=0.5)
