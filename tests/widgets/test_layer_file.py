"""Axes and pixel sizes that napari's own readers leave out are taken from the file of a layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import layer_source

from napari_unet.data.files import write_image
from napari_unet.widgets.parts.source import describe_source, guess_layer_axes, read_source
from napari_unet.widgets.segment.dock import SegmentDock


def opened(path: Path) -> Image:
    """Return the layer that napari's own reader makes of a file: its pixels and its path, and nothing else."""
    pixels: Any
    if path.suffix == ".zarr":
        pixels = dask.array.from_zarr(str(path / "0" if (path / "0").is_dir() else path))
    else:
        pixels = tifffile.imread(path)
    with layer_source(path=str(path), reader_plugin="napari"):
        return Image(pixels, name=path.stem, contrast_limits=(0, 99))


def test_a_stack_has_the_pixel_sizes_of_its_file(tmp_path: Path) -> None:
    write_image(tmp_path / "stack.ome.tif", np.zeros((5, 24, 32), np.uint16), "ZYX", (2.0, 0.5, 0.25))
    source = read_source(opened(tmp_path / "stack.ome.tif"), ndim=3)
    assert (source.spacing, source.unit) == ((2.0, 0.5, 0.25), "µm")
    assert describe_source(source) == "3D 32 × 24, 5 slices, 1 channel, 2 × 0.5 × 0.25 µm"


def test_what_the_person_set_on_the_layer_goes_before_the_file(tmp_path: Path) -> None:
    write_image(tmp_path / "stack.ome.tif", np.zeros((5, 24, 32), np.uint16), "ZYX", (2.0, 0.5, 0.25))
    layer = opened(tmp_path / "stack.ome.tif")
    layer.scale = (3, 1, 1)
    assert read_source(layer, ndim=3).spacing == (3.0, 1.0, 1.0)
    layer.data = np.zeros((3, 4, 8, 8))
    assert guess_layer_axes(layer) == "TZYX"


def test_channels_of_an_ome_zarr_are_no_slices(tmp_path: Path) -> None:
    write_image(tmp_path / "slide.zarr", np.zeros((3, 24, 32), np.uint16), "CYX", (0.5, 0.25))
    source = read_source(opened(tmp_path / "slide.zarr"))
    assert (source.axes, source.layout.channels, source.spacing) == ("CYX", 3, (0.5, 0.25))


def test_files_that_do_not_say_or_are_gone_leave_the_usual_guess(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((5, 24, 32), np.uint16))
    zarr.save_array(tmp_path / "plain.zarr", np.zeros((5, 24, 32), np.uint16))
    write_image(tmp_path / "gone.ome.tif", np.zeros((5, 24, 32), np.uint16), "TYX", (0.5, 0.5))
    gone = opened(tmp_path / "gone.ome.tif")
    (tmp_path / "gone.ome.tif").write_bytes(b"II*no more")
    for layer in (opened(tmp_path / "plain.tif"), opened(tmp_path / "plain.zarr"), gone):
        assert (guess_layer_axes(layer), read_source(layer).spacing) == ("ZYX", None)


@pytest.mark.parametrize("lazy", [False, True])
def test_an_image_with_channels_behind_time_is_shown_with_channels_first(
    viewer: ViewerModel, make_dock: Callable[[], SegmentDock], tmp_path: Path, do: Any, lazy: bool
) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (4, 2, 24, 32), dtype=np.uint16)
    path = tmp_path / ("movie.zarr" if lazy else "movie.ome.tif")
    write_image(path, pixels, "TCYX", (0.5, 0.25))
    image = opened(path)
    viewer.add_layer(image)
    viewer.dims.set_point((0, 1), (3, 1))
    dock = make_dock()
    do.qtbot.waitUntil(lambda: dock.strokes is not None)
    assert dock.image is not None
    assert dock.image.name == f"{image.name}, channels first"
    assert viewer.dims.point[:2] == (1, 3)
    assert (image.visible, image.data.shape) == (False, (4, 2, 24, 32))
    np.testing.assert_array_equal(np.asarray(dock.image.data), pixels.transpose(1, 0, 2, 3))
    assert dock.panel.info.text() == "2D 32 × 24, 4 time points, 2 channels, 0.5 × 0.25 µm"
    assert dock.strokes is not None
    assert dock.strokes.data.shape == (4, 24, 32)
    assert image.name in dock.message.text()
    assert viewer.dims.nsteps == (2, 4, 24, 32)  # no slider has positions that only the hidden layer fills
    image.visible = True
    assert viewer.dims.nsteps[0] == 4
    image.visible = False
    viewer.add_points(np.zeros((1, 4)))
    viewer.layers.remove(image)
    viewer.add_layer(image)
    assert viewer.dims.nsteps[:2] == (2, 4)
    dock.image_chooser.choose(image)
    assert dock.image is not image
    assert len([layer for layer in viewer.layers if isinstance(layer, Image)]) == 2
