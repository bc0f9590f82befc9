"""Settings of a prediction are checked when they are made, and describe themselves to a form."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from napari_unet.errors import InputError
from napari_unet.predict.config import PredictConfig
from napari_unet.settings import describe_settings


def test_defaults_leave_tile_and_device_to_the_program() -> None:
    config = PredictConfig()
    assert (config.tile, config.device, config.precision) == (None, "auto", "auto")


@pytest.mark.parametrize(
    ("given", "kept"),
    [(64, 64), ((32, 64), (32, 64)), ([8, 16, 16], (8, 16, 16)), (np.int64(5), 5), ((np.uint8(7), 9), (7, 9))],
)
def test_a_tile_is_one_side_or_one_for_each_axis(given: Any, kept: Any) -> None:
    config = PredictConfig(tile=given)
    assert config.tile == kept
    assert hash(config) == hash(PredictConfig(tile=kept))


@pytest.mark.parametrize("tile", [0, -3, (16, 0), (), 12.5, (16, 8.0), "64", float("nan")])
def test_a_tile_without_whole_positive_sides_is_refused(tile: Any) -> None:
    with pytest.raises(InputError, match="`tile`"):
        PredictConfig(tile=tile)


@pytest.mark.parametrize("changes", [{"precision": "half"}, {"precision": None}, {"device": None}])
def test_other_values_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"`{next(iter(changes))}`"):
        PredictConfig(**changes)


def test_settings_can_not_be_changed_afterwards() -> None:
    config = PredictConfig()
    with pytest.raises(FrozenInstanceError):
        config.tile = 5  # type: ignore[misc]


def test_a_form_can_be_made_of_all_settings() -> None:
    described = {info.name: info for info in describe_settings(PredictConfig)}
    assert list(described) == ["tile", "device", "precision", "averaging"]
    assert described["precision"].choices == ("auto", "float32")
    assert not described["device"].advanced
    assert all(info.title and info.description.endswith(".") for info in described.values())
