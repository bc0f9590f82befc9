"""Any image in any tiles gives what the network gives for the whole image, for any kind of network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

from napari_unet.models.model import Model
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictStarted, TilePredicted
from napari_unet.predict.tiled import predict_tiles

FloatArray = npt.NDArray[np.float32]
MakeModel = Callable[..., Model]
Case = tuple[tuple[int, ...], tuple[int, ...], int, int]  # shape, tile, depth, seed

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"ndim": 2, "padding": "same"},
    "without normalisation": {"ndim": 2, "padding": "same", "norm": None},
    "unpadded": {"ndim": 2, "padding": "valid"},
    "residual": {"ndim": 2, "architecture": "residual"},
    "3D": {"ndim": 3, "padding": "same"},
    "3D unpadded": {"ndim": 3, "padding": "valid"},
    "3D residual": {"ndim": 3, "architecture": "residual"},
}
quickly = settings(
    max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def cases(draw: st.DrawFn, ndim: int) -> Case:
    longest, deepest = (70, 3) if ndim == 2 else (22, 2)
    shape = tuple(draw(st.integers(1, longest)) for _ in range(ndim))
    tile = tuple(draw(st.integers(6 if ndim == 3 else 9, longest + 10)) for _ in range(ndim))
    return shape, tile, draw(st.integers(1, deepest)), draw(st.integers(0, 99))


def tiled(model: Model, image: npt.NDArray[Any], tile: tuple[int, ...]) -> FloatArray:
    """Put the tiles together; each pixel must come exactly once."""
    config = PredictConfig(tile=tile, device="cpu", precision="float32")
    for event in predict_tiles(model, image, "ZYX"[-image.ndim :], config):
        if isinstance(event, PredictStarted):
            result, count = np.full(event.shape, np.nan, np.float32), np.zeros(image.shape, np.int64)
        elif isinstance(event, TilePredicted):
            result[(slice(None), *event.box)] = event.probabilities
            count[event.box] += 1
    assert (count == 1).all()
    return result


def in_one_piece(model: Model, image: npt.NDArray[Any]) -> FloatArray:
    """Predict the image, mirrored by hand as far as the network needs it, in one run."""
    network: Any = model.network.eval()
    step, halo = network.divisor, network.halo
    before, after = (step, step) if model.config.padding == "same" else halo
    pads = [(before, -(-side // step) * step - side + after) for side in image.shape]
    low, high = np.percentile(image, (1.0, 99.8))
    scaled = np.clip((image - low) / (high - low), -10, 10)
    mirrored = np.pad(scaled, pads, mode="reflect").astype(np.float32)
    with torch.inference_mode():
        logits = network(torch.from_numpy(mirrored)[None, None])[0]
    first = step if model.config.padding == "same" else 0
    box = (slice(None), *(slice(first, first + side) for side in image.shape))
    result: FloatArray = logits[box].softmax(dim=0).numpy()
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_tiled_equals_whole(make_model: MakeModel, kind: str) -> None:
    chosen = KINDS[kind]

    @quickly
    @given(cases(chosen["ndim"]))
    def check(case: Case) -> None:
        shape, tile, depth, seed = case
        rng = np.random.default_rng(seed)
        image = rng.normal(100, 10, shape)
        image.flat[0] += 50  # a single pixel has contrast, too
        if image.size == 1:
            return
        model = make_model(seed=seed, depth=depth, features=3, **chosen)
        difference = float(np.abs(tiled(model, image, tile) - in_one_piece(model, image)).max())
        assert difference < 1e-5

    check()


class Shift(nn.Module):
    """Looks only at the pixel `by` before the one it writes, along each axis, and adds 1."""

    def __init__(self, by: int, divisor: int, halo: tuple[int, int]) -> None:
        super().__init__()
        self.by, self.divisor, self.halo = by, divisor, halo

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        start, end = self.halo[0] - self.by, -self.halo[1] - self.by
        grey = x[(..., *(slice(start, end or None) for _ in x.shape[2:]))] + 1
        return torch.cat([torch.zeros_like(grey), grey], dim=1)


@quickly
@given(
    st.lists(st.integers(1, 50), min_size=2, max_size=3),
    st.integers(6, 40),
    st.sampled_from([1, 2, 3, 4, 8, 16]),
    st.tuples(st.integers(0, 20), st.integers(0, 20)),
    st.data(),
)
@example([1, 1], 6, 16, (20, 20), None)
def test_a_shift_plus_one_is_exact_whatever_the_halo(
    sides: list[int], tile: int, divisor: int, halo: tuple[int, int], data: st.DataObject | None
) -> None:
    shape = tuple(sides) if len(sides) == 2 else tuple(-(-side // 3) for side in sides)
    by = 0 if data is None else data.draw(st.integers(-halo[1], halo[0]))
    image = np.arange(np.prod(shape), dtype=float).reshape(shape)
    if image.size == 1:
        return
    config = ModelConfig(
        ndim=len(shape), features=1, depth=1, padding="valid", low_percentile=0.0, high_percentile=100.0
    )
    model = Model(config=config, network=Shift(by, divisor, halo))
    result = tiled(model, image, (tile,) * len(shape))
    reach = max(abs(by), 1)
    mirrored = np.pad(image, reach, mode="reflect") / image.max()
    moved = mirrored[tuple(slice(reach - by, reach - by + side) for side in shape)].astype(np.float32)
    np.testing.assert_allclose(np.log(result[1] / result[0]), moved + 1, rtol=0, atol=2e-6)
    order = np.argsort(result[1], axis=None, kind="stable")
    np.testing.assert_array_equal(moved.ravel()[order], np.sort(moved, axis=None))
