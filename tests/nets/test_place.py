"""The logits of the place, evaluated wherever pixels were taken from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_unet.data.place import PlaceLogits, relative_places
from napari_unet.nets.place import place_logits


@pytest.mark.parametrize(("axes", "space"), [(2, (9, 13)), (3, (3, 5, 4))])
def test_they_are_sums_of_gaussians_computed_one_by_one(axes: int, space: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    coefficients, places = rng.normal(size=(3, *(4,) * axes)), rng.uniform(-0.3, 1.3, (2, axes, *space))
    expected = np.zeros((2, 3, *space))
    for centre in np.ndindex(*(4,) * axes):
        square = sum((places[:, axis] * 3 - c) ** 2 for axis, c in enumerate(centre))
        expected += coefficients[(slice(None), *centre)].reshape(3, *(1,) * axes) * np.exp(-square / 2)[:, None]
    with torch.autocast("cpu", torch.bfloat16):
        found = place_logits(torch.from_numpy(coefficients).float(), torch.from_numpy(places).float())
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 14), (4, 7, 5)])
def test_a_box_of_a_frame_is_that_of_the_closed_form(shape: tuple[int, ...]) -> None:
    coefficients = np.random.default_rng(1).normal(size=(2, *(5,) * len(shape))).astype(np.float32)
    start, stop = (-1,) * len(shape), tuple(n - 1 for n in shape)
    places = torch.from_numpy(relative_places(start, stop, shape))[None]
    found = place_logits(torch.from_numpy(coefficients), places)[0].numpy()
    np.testing.assert_allclose(found, PlaceLogits(coefficients).box(start, stop, shape), atol=1e-5)
