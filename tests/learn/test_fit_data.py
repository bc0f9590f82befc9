"""A training on every kind of image and strokes that a person may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet.data.sample import Sample
from napari_unet.learn.config import TrainConfig
from napari_unet.learn.events import FitEvent, FitFinished, FitRecovered, FitScored, FitStarted
from napari_unet.learn.fit import fit
from napari_unet.models.model import Model

Make = Callable[..., Any]


def _weights(model: Model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.network.state_dict().items()}


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _finite(model: Model) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in model.network.state_dict().values())


def _fit(model: Model, samples: Any, config: TrainConfig, **options: Any) -> list[FitEvent]:
    samples = samples if isinstance(samples, list) else [samples]
    return list(fit(model, samples, config, device="cpu", **options))


KINDS: dict[str, tuple[dict[str, Any], Callable[[Make], Sample]]] = {
    "rgb": (
        {"in_channels": 3},
        lambda make: Sample(np.stack([make().image] * 3, -1).clip(0, 255).astype(np.uint8), make().annotation, "YXS"),
    ),
    "rgba": (
        {"in_channels": 3},
        lambda make: Sample(np.stack([make().image] * 4, -1).clip(0, 255).astype(np.uint8), make().annotation, "YXS"),
    ),
    "volume": ({"ndim": 3}, lambda make: make((10, 24, 24))),
    "unpadded": ({"padding": "valid"}, lambda make: make()),
    "unpadded volume": ({"padding": "valid", "ndim": 3, "norm": None}, lambda make: make((10, 24, 24))),
    "time series": (
        {},
        lambda make: Sample(
            np.stack([make(seed=n).image for n in range(4)]),
            np.stack([make(seed=n).annotation * (n in (0, 2)) for n in range(4)]),
            "TYX",
        ),
    ),
    "ids 3 and 200": ({}, lambda make: Sample(make().image, _ids(make().annotation), "YX")),
    "tiny": ({"depth": 4}, lambda make: make((17, 23))),
    "tiny, instance": ({"depth": 4, "norm": "instance"}, lambda make: make((9, 11))),
    "large crop than image": ({"depth": 3, "norm": "group"}, lambda make: make((30, 13))),
    "flat volume": ({"ndim": 3, "depth": 2}, lambda make: make((2, 24, 24))),
}


def _ids(annotation: np.ndarray) -> np.ndarray:
    """Background stays 1; the strokes on objects become the ids 3 and 200."""
    ids = np.where(annotation == 2, 3, annotation).astype(np.uint8)
    ids[:, annotation.shape[1] // 2 :][ids[:, annotation.shape[1] // 2 :] == 3] = 200
    return ids


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_can_be_trained_on(kind: str, make_model: Make, make_sample: Make, quick: Make) -> None:
    settings, make = KINDS[kind]
    model, sample = make_model(**settings), make(make_sample)
    before = _weights(model)
    annotation = sample.annotation.tobytes()
    events = _fit(model, sample, quick(max_steps=4, validate_every=2, batch_size=2))
    finished = events[-1]
    assert isinstance(finished, FitFinished)
    assert finished.step == 4
    assert not [event for event in events if isinstance(event, FitRecovered)]
    assert _finite(model)
    assert not _same(_weights(model), before)
    assert sample.annotation.tobytes() == annotation


@pytest.mark.parametrize("norm", ["batch", "instance", "group", None])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_one_painted_pixel_of_each_class_in_a_small_image(
    norm: str | None, batch_size: int, make_model: Make, quick: Make, rng: np.random.Generator
) -> None:
    annotation = np.zeros((17, 23), np.uint8)
    annotation[2, 3], annotation[14, 20] = 1, 2
    model = make_model(depth=4, norm=norm, features=2)
    events = _fit(model, Sample(rng.random((17, 23)), annotation), quick(crop=8, batch_size=batch_size, max_steps=4))
    assert isinstance(events[0], FitStarted)
    assert not events[0].held_out
    assert "background and foreground" in events[0].note
    finished = events[-1]
    assert isinstance(finished, FitFinished)
    assert (finished.step, finished.best) == (4, None)
    assert _finite(model)


def test_without_a_score_the_last_weights_are_kept(make_model: Make, make_sample: Make, quick: Make) -> None:
    model = make_model()
    before = _weights(model)
    events = _fit(model, make_sample(), quick(holdout=0.0))
    assert not [event for event in events if isinstance(event, FitScored)]
    assert not _same(_weights(model), before)
    assert model.history["best_score"] is None
