from __future__ import annotations

import dask.array
import numpy as np
import pytest
from napari.layers import Image

from napari_unet.errors import InputError
from napari_unet.widgets.parts.source import describe_source, guess_layer_axes, may_be_channels, read_source


@pytest.mark.parametrize(
    ("shape", "kwargs", "axes"),
    [
        ((8, 9), {}, "YX"),
        ((5, 8, 9), {}, "ZYX"),
        ((5, 8, 9), {"axis_labels": ("t", "y", "x")}, "TYX"),
        ((5, 8, 9), {"axis_labels": ("Channel", "Y", "X")}, "CYX"),
        ((3, 5, 8, 9), {}, "TZYX"),
        ((8, 9, 3), {"rgb": True}, "YXS"),
        ((4, 8, 9, 4), {"rgb": True}, "ZYXS"),
        ((5, 8, 9), {"axis_labels": ("first", "second", "third")}, "ZYX"),
    ],
)
def test_axes_are_those_that_the_reader_named_or_the_usual_ones(
    shape: tuple[int, ...], kwargs: dict[str, object], axes: str
) -> None:
    assert guess_layer_axes(Image(np.zeros(shape, np.uint8), **kwargs)) == axes


@pytest.mark.parametrize(
    ("shape", "kwargs", "may_be"),
    [
        ((3, 8, 9), {}, True),
        ((6, 8, 9), {}, False),
        ((3, 8, 9), {"scale": (2, 1, 1)}, False),
        ((3, 8, 9), {"axis_labels": ("z", "y", "x")}, False),
        ((3, 8, 9), {"axis_labels": ("c", "y", "x")}, False),
        ((8, 9), {}, False),
        ((3, 8, 9, 3), {"rgb": True}, False),
    ],
)
def test_a_few_slices_of_which_nothing_is_known_may_be_channels(
    shape: tuple[int, ...], kwargs: dict[str, object], may_be: bool
) -> None:
    layer = Image(np.zeros(shape, np.uint8), **kwargs)
    assert may_be_channels(layer, read_source(layer)) is may_be


def test_nothing_is_read_of_a_lazy_image() -> None:
    def explode(block: np.ndarray) -> np.ndarray:
        if block.size:
            raise AssertionError("a pixel was read")
        return block

    lazy = dask.array.zeros((40, 20_000, 20_000), chunks=(1, 2000, 2000), dtype=np.uint16).map_blocks(
        explode, dtype=np.uint16, meta=np.zeros((0, 0, 0), np.uint16)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "_set_view_slice", lambda self: None)
        patch.setattr(Image, "refresh", lambda self, *args, **kwargs: None)
        layer = Image(lazy, contrast_limits=(0, 1))
        source = read_source(layer)
    assert source.array is lazy
    assert source.layout.label_shape == (40, 20_000, 20_000)


def test_multiscale_images_are_read_at_full_resolution() -> None:
    levels = [np.zeros((64, 96)), np.zeros((32, 48))]
    assert read_source(Image(levels, multiscale=True)).array.shape == (64, 96)


def test_a_description_says_what_a_person_looks_for() -> None:
    layer = Image(np.zeros((7, 8, 9)), scale=(2, 0.65, 0.65), units=("um",) * 3)
    assert describe_source(read_source(layer)) == "3D 9 × 8, 7 slices, 1 channel, 0.65 µm"
    assert describe_source(read_source(layer, ndim=3)) == "3D 9 × 8, 7 slices, 1 channel, 2 × 0.65 × 0.65 µm"
    assert describe_source(read_source(Image(np.zeros((8, 9))))) == "2D 9 × 8, 1 channel"
    assert describe_source(read_source(Image(np.zeros((8, 9, 4), np.uint8), rgb=True))) == "2D 9 × 8, RGB"


def test_an_unknown_scale_is_no_spacing() -> None:
    assert read_source(Image(np.zeros((8, 9)))).spacing is None
    assert read_source(Image(np.zeros((8, 9)), scale=(2, 3))).spacing == (2.0, 3.0)


@pytest.mark.parametrize(
    ("shape", "axes", "says"),
    [((3, 5, 8, 9), "TCYX", "channels first"), ((5, 8, 9), "QYX", "'layer' can't be used"), ((5, 8, 9), "YX", "layer")],
)
def test_axes_that_can_not_be_are_said_with_the_layers_name(shape: tuple[int, ...], axes: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_source(Image(np.zeros(shape), name="layer"), axes=axes)
