from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_unet.widgets.predict_job import PieceReady
from napari_unet.widgets.result_layers import (
    ResultLayers,
    ensure_probability_layers,
    ensure_result_layer,
    filled_positions,
    usable_as_source,
)
from napari_unet.widgets.source import ImageSource, read_source
from napari_unet.widgets.view_region import choose_region, extents_for

COLOURS = ("#0000ff", "#ff0000", "#00ff00")


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def add(viewer: ViewerModel, shape: tuple[int, ...] = (3, 8, 9)) -> tuple[Image, ImageSource]:
    image = viewer.add_image(np.zeros(shape), name="cells", scale=(2,) * len(shape))
    return image, read_source(image)


def piece(labels: np.ndarray, position: int = 1) -> PieceReady:
    box = (slice(position, position + 1), slice(2, 2 + labels.shape[1]), slice(3, 3 + labels.shape[2]))
    return PieceReady(box, labels, labels[np.newaxis].astype(np.float32) / 10, (position,), 1, 1)


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
    ResultLayers(viewer, areas).write(piece(np.full((1, 2, 2), 2, np.uint8)))
    again = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    assert again is not areas
    assert areas.data.any()


def test_background_of_areas_is_seen_through(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    areas = ensure_result_layer(viewer, image, source, task="classes", colours=COLOURS)
    assert areas.get_color(1)[3] == 0
    np.testing.assert_allclose(areas.get_color(3)[:3], (0, 1, 0))


def test_pieces_go_where_they_belong_and_filled_frames_are_known(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    labels = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    probabilities = ensure_probability_layers(viewer, image, source, names=("b", "cell"), colours=COLOURS[:2])
    view = ResultLayers(viewer, labels, probabilities)
    view.write(piece(np.full((1, 4, 5), 7, np.uint16)))
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
    assert not view.is_gone
    viewer.layers.remove(view.labels)
    assert view.is_gone


def test_a_copy_of_a_result_is_the_persons(viewer: ViewerModel) -> None:
    image, source = add(viewer)
    result = ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS)
    copy = Labels.create(*result.as_layer_data_tuple())
    viewer.add_layer(copy)
    viewer.layers.remove(result)
    assert ensure_result_layer(viewer, image, source, task="objects", colours=COLOURS) is not copy


def test_the_shown_slice_is_the_region_and_comes_first(viewer: ViewerModel) -> None:
    image, source = add(viewer, (5, 40, 60))
    viewer.dims.set_current_step(0, 3)
    assert [extent.key for extent in extents_for(source)] == ["frame", "view", "all"]
    region, focus = choose_region(viewer, image, source, "frame")
    assert region == (slice(3, 4), slice(0, 40), slice(0, 60))
    assert focus[0] == 3
    assert choose_region(viewer, image, source, "all")[0] is None


def test_the_view_is_the_part_between_the_corners_also_of_a_pyramid(viewer: ViewerModel) -> None:
    levels = [np.zeros((400, 600), np.uint8), np.zeros((200, 300), np.uint8)]
    image = viewer.add_image(levels, multiscale=True)
    source = read_source(image)
    image.corner_pixels = np.array([[10, 20], [50, 90]])
    image._data_level = 1
    region, _ = choose_region(viewer, image, source, "view")
    assert region == (slice(20, 101), slice(40, 181))


def test_in_3d_the_view_is_the_whole_frame(viewer: ViewerModel) -> None:
    image, source = add(viewer, (5, 40, 60))
    viewer.dims.ndisplay = 3
    region, _ = choose_region(viewer, image, source, "view")
    assert region is not None
    assert region[1:] == (slice(0, 40), slice(0, 60))


def test_the_choices_of_a_volume_are_volumes(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((2, 5, 40, 60)))
    assert [e.title for e in extents_for(read_source(image, ndim=3))] == ["this volume", "current view", "all volumes"]
    assert [e.title for e in extents_for(read_source(image))] == ["this slice", "current view", "all slices"]
