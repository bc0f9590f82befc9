"""The sample images open in napari with their axes, sizes and colours."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_unet.widgets import sample_data

PROVIDERS = [sample_data.stained_tissue, sample_data.cells_2d, sample_data.cells_3d, sample_data.cells_over_time]


@cache
def sample(provider: Callable[[], list[tuple[Any, ...]]]) -> tuple[Any, ...]:
    """Make a sample image where there is no network."""

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("a sample image must not need the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        (data,) = provider()
    return data


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Image:
    """Return the layer of a sample image that is opened."""
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*sample(request.param)))
    (layer,) = viewer.layers
    return layer


@pytest.mark.parametrize("opened", PROVIDERS, indirect=True)
def test_each_sample_is_an_image_with_contrast(opened: Image) -> None:
    assert isinstance(opened, Image)
    assert opened.visible
    assert np.asarray(opened.data).std() > 0
    low, high = opened.contrast_limits
    assert low < high


@pytest.mark.parametrize("opened", [sample_data.stained_tissue], indirect=True)
def test_the_tissue_is_a_colour_image(opened: Image) -> None:
    assert opened.rgb
    assert opened.data.shape == (512, 512, 3)
    assert opened.data.dtype == np.uint8


@pytest.mark.parametrize(
    ("opened", "labels", "scale", "units"),
    [
        (sample_data.cells_2d, "yx", [0.5, 0.5], ["micrometer"] * 2),
        (sample_data.cells_3d, "zyx", [1, 0.5, 0.5], ["micrometer"] * 3),
        (sample_data.cells_over_time, "tyx", [1, 0.5, 0.5], ["pixel", "micrometer", "micrometer"]),
    ],
    indirect=["opened"],
)
def test_synthetic_cells_know_their_axes_and_size(
    opened: Image, labels: str, scale: list[float], units: list[str]
) -> None:
    assert "".join(opened.axis_labels) == labels
    np.testing.assert_allclose(opened.scale, scale)
    assert [str(unit) for unit in opened.units] == units


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_sample_is_the_same_each_time(provider: Callable[[], list[tuple[Any, ...]]]) -> None:
    np.testing.assert_array_equal(sample(provider)[0], provider()[0][0])
