"""Which part of an image the window shows."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_unet.errors import InputError
from napari_unet.widgets.parts.source import ImageSource, read_source
from napari_unet.widgets.results.view_region import Look, choose_region, extents_for, visible_box


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    viewer.canvas.size = (100, 200)
    return viewer


def add(viewer: ViewerModel, shape: tuple[int, ...]) -> tuple[Image, ImageSource]:
    image = viewer.add_image(np.zeros(shape), name="cells", scale=(2,) * len(shape))
    return image, read_source(image)


def look_at(viewer: ViewerModel, y: float, x: float, zoom: float = 1.0) -> None:
    viewer.scene.camera.center = (0, y, x)
    viewer.scene.camera.zoom = zoom


def test_the_shown_slice_is_the_region_and_comes_first(viewer: ViewerModel) -> None:
    image, source = add(viewer, (5, 40, 60))
    viewer.dims.set_current_step(0, 3)
    assert [extent.key for extent in extents_for(source)] == ["frame", "view", "all"]
    look = Look(viewer, image, source)
    assert choose_region(look.view, source, "frame") == (slice(3, 4), slice(0, 40), slice(0, 60))
    assert choose_region(look.view, source, "all") is None
    assert look.focus()[0] == 3


@pytest.mark.parametrize("multiscale", [False, True])
def test_the_view_is_what_the_camera_shows(viewer: ViewerModel, multiscale: bool) -> None:
    levels = [np.zeros((400, 600), np.uint8), np.zeros((200, 300), np.uint8)]
    image = viewer.add_image(levels if multiscale else levels[0], multiscale=multiscale, scale=(0.5, 0.5))
    source = read_source(image)
    look_at(viewer, 100, 150, zoom=2)  # 50 x 100 units of the world: 100 x 200 pixels
    assert visible_box(viewer, image, source) == (slice(150, 251), slice(200, 401))
    look_at(viewer, 0, 300, zoom=2)
    assert visible_box(viewer, image, source) == (slice(0, 51), slice(500, 600))


def test_an_image_that_is_turned_is_seen_where_it_lies(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((400, 600)), rotate=90, translate=(0, 400))
    look_at(viewer, *image.data_to_world((250, 200)))
    view = visible_box(viewer, image, read_source(image))
    assert [value for span in view for value in (span.start, span.stop)] == pytest.approx([150, 350, 150, 250], abs=3)


def test_the_axes_may_be_shown_in_another_order(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((30, 400, 600)))
    viewer.dims.order = (1, 2, 0)  # X down, Z to the right
    viewer.dims.set_current_step(1, 77)
    look_at(viewer, 300, 15)
    assert visible_box(viewer, image, read_source(image, ndim=3)) == (slice(0, 30), slice(0, 400), slice(250, 351))


def test_in_3d_the_view_is_the_whole_frame(viewer: ViewerModel) -> None:
    image, source = add(viewer, (5, 40, 60))
    viewer.dims.ndisplay = 3
    assert visible_box(viewer, image, source)[1:] == (slice(0, 40), slice(0, 60))


def test_an_image_out_of_view_is_told(viewer: ViewerModel) -> None:
    image, source = add(viewer, (40, 60))
    look_at(viewer, 5000, 5000)
    with pytest.raises(InputError, match="'cells' is not in view"):
        choose_region(visible_box(viewer, image, source), source, "view")


def test_the_look_follows_until_the_image_is_taken_out(viewer: ViewerModel) -> None:
    image, source = add(viewer, (9, 400, 600))
    look_at(viewer, 100, 150)
    look = Look(viewer, image, source)
    assert look.focus()[1:] == pytest.approx((50, 75), abs=1)
    look_at(viewer, 300, 500)
    viewer.dims.set_current_step(0, 7)
    look.update()
    assert look.focus() == pytest.approx((7, 150, 250), abs=1)
    viewer.layers.remove(image)
    look_at(viewer, 0, 0)
    look.update()
    assert look.focus() == pytest.approx((7, 150, 250), abs=1)


def test_the_choices_of_a_volume_are_volumes(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((2, 5, 40, 60)))
    assert [e.title for e in extents_for(read_source(image, ndim=3))] == ["this volume", "current view", "all volumes"]
    assert [e.title for e in extents_for(read_source(image))] == ["this slice", "current view", "all slices"]
