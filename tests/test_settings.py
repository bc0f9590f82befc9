"""Settings describe themselves and refuse what they can't be, in words."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest

from napari_unet.errors import InputError
from napari_unet.learn.config import TrainConfig
from napari_unet.nets.config import ModelConfig
from napari_unet.predict.config import PredictConfig
from napari_unet.settings import SettingInfo, describe_settings, setting, validate_settings

CONFIGS = (ModelConfig, TrainConfig, PredictConfig)


@dataclass(frozen=True)
class _Oven:
    heat: float = setting(180.0, "Heat", "How hot.", minimum=50.0, maximum=250.0)
    trays: int = setting(2, "Trays", "How many.", minimum=1)
    mode: str | None = setting("fan", "Mode", "How.", choices=("fan", "grill", None), advanced=True)
    timer: float | None = setting(None, "Timer", "Minutes; empty: none.", minimum=0.0)
    colour: str = "white"

    def __post_init__(self) -> None:
        validate_settings(self)


def test_description_says_all_that_a_form_needs_and_leaves_plain_fields_out() -> None:
    heat, trays, mode, timer = describe_settings(_Oven)
    assert heat == SettingInfo("heat", "Heat", "How hot.", 180.0, 50.0, 250.0)
    assert (trays.minimum, trays.maximum, trays.choices, trays.advanced) == (1, None, (), False)
    assert (mode.choices, mode.advanced) == (("fan", "grill", None), True)
    assert timer.default is None
    assert describe_settings(_Oven(heat=60.0))[0].default == 180.0  # of an instance: the default, not its value


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"heat": 49.9}, "`heat` to be at least 50.0, but got 49.9"),
        ({"heat": 251}, "`heat` to be at most 250.0, but got 251"),
        ({"heat": float("nan")}, "`heat` to be at least 50.0, but got nan"),
        ({"heat": "hot"}, "`heat` to be a number, but got 'hot'"),
        ({"heat": None}, "`heat` to have a value"),
        ({"trays": 0}, "`trays` to be at least 1"),
        ({"trays": 1.5}, "`trays` to be a whole number, but got 1.5"),
        ({"trays": "2"}, "`trays` to be a whole number, but got '2'"),
        ({"mode": "steam"}, "`mode` to be one of 'fan', 'grill', None, but got 'steam'"),
        ({"timer": -1.0}, "`timer` to be at least 0.0"),
    ],
)
def test_values_out_of_bounds_are_refused_by_name(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match="Expected") as caught:
        _Oven(**values)
    assert words in str(caught.value)


def test_bounds_are_inclusive_and_none_stands_where_it_is_a_choice_or_the_default() -> None:
    oven = _Oven(heat=50.0, trays=np.int64(1), mode=None, timer=None)  # type: ignore[arg-type]
    assert (oven.heat, oven.trays, oven.mode, oven.timer) == (50.0, 1, None, None)
    assert _Oven(heat=np.float32(250)).heat == 250  # type: ignore[arg-type]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_setting_has_words_and_a_default_within_its_own_bounds(config: Any) -> None:
    described = describe_settings(config)
    assert described
    for info in described:
        assert info.title
        assert info.description.endswith((".", ").")), info.name
        assert "  " not in info.description
        if info.choices:
            assert info.default in info.choices
        if isinstance(info.default, (int, float)) and not info.choices:
            assert info.minimum is None or info.default >= info.minimum
            assert info.maximum is None or info.default <= info.maximum
    assert config() == config()  # the defaults pass their own check


@pytest.mark.parametrize("config", CONFIGS)
def test_every_bound_holds_on_both_sides(config: Any) -> None:
    for info in describe_settings(config):
        for bound, step in ((info.minimum, -1), (info.maximum, 1)):
            if bound is not None:
                config(**{info.name: bound})
                with pytest.raises(InputError, match=f"`{info.name}`"):
                    config(**{info.name: bound + step})
        if info.choices:
            with pytest.raises(InputError, match=f"`{info.name}`"):
                config(**{info.name: "something else"})


def test_only_names_of_classes_have_no_description() -> None:
    undescribed = {f.name for config in CONFIGS for f in fields(config)}
    undescribed -= {info.name for config in CONFIGS for info in describe_settings(config)}
    assert undescribed == {"classes"}


@pytest.mark.parametrize("classes", [(), ("background",), ("background", "cell", "cell")])
def test_a_model_needs_two_different_classes(classes: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="classes"):
        ModelConfig(classes=classes)
