"""The names that others build on: they are there, they mean the same before and after their modules are imported."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import napari_unet as nu

SOURCE = Path(__file__).resolve().parent.parent / "src"


def run_python(code: str) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def parameters(function: Any) -> list[tuple[str, Any]]:
    """Names with their defaults; keyword-only ones begin with a star."""
    found = inspect.signature(function).parameters.values()
    return [("*" * (p.kind is p.KEYWORD_ONLY) + p.name, p.default) for p in found]


NEEDED = inspect.Parameter.empty


@pytest.mark.parametrize("name", nu.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(nu, name)
    if name != "__version__":
        assert callable(value) or isinstance(value, ModuleType)
        assert inspect.getdoc(value)


def test_the_names_that_were_promised_are_there() -> None:
    promised = {
        *("ModelConfig", "TrainConfig", "PredictConfig", "Sample", "Model"),
        *("adapt", "fit", "predict", "predict_tiles", "segment", "border_weights", "metrics"),
    }
    assert promised <= set(nu.__all__)
    assert set(dir(nu)) == set(nu.__all__)


def test_training_and_prediction_take_what_was_promised() -> None:
    assert parameters(nu.fit)[:3] == [("model", NEEDED), ("samples", NEEDED), ("config", None)]
    assert {("*device", "auto"), ("*should_stop", None)} <= set(parameters(nu.fit))
    assert parameters(nu.adapt)[:2] == [("model", NEEDED), ("samples", NEEDED)]
    assert {("*task", None), ("*device", "auto")} <= set(parameters(nu.adapt))
    expected = [("model", NEEDED), ("image", NEEDED), ("axes", None), ("config", None), ("out", None)]
    assert parameters(nu.predict) == expected
    assert parameters(nu.predict_tiles)[:4] == expected[:4]
    assert {("*region", None), ("*focus", None), ("*should_stop", None)} <= set(parameters(nu.predict_tiles))
    assert parameters(nu.segment)[:3] == expected[:3]
    assert {("*task", None), ("*config", None)} <= set(parameters(nu.segment))


def test_border_weights_and_models_take_what_was_promised() -> None:
    assert parameters(nu.border_weights) == [
        *(("labels", NEEDED), ("*w0", 10.0), ("*sigma", 5.0)),
        *(("*class_balance", True), ("*valid", None), ("*spacing", None)),
    ]
    assert parameters(nu.Model.create)[0] == ("config", None)
    assert parameters(nu.Model.load) == [("path", NEEDED)]
    assert parameters(nu.Model.pretrained)[:2] == [("in_channels", 1), ("ndim", 2)]
    assert parameters(nu.Model.save)[:2] == [("self", NEEDED), ("path", NEEDED)]
    assert {"config", "network"} <= {field.name for field in fields(nu.Model)}


@pytest.mark.parametrize(
    ("config", "promised"),
    [
        (
            nu.ModelConfig,
            {
                **{"architecture": "unet", "ndim": 2, "in_channels": 1, "classes": ("background", "foreground")},
                **{"features": 32, "depth": 4, "padding": "same", "norm": "batch"},
            },
        ),
        (
            nu.TrainConfig,
            {"max_seconds": None, "max_steps": None, "task": "objects", "w0": 10.0, "sigma": 5.0, "seed": 0},
        ),
        (nu.PredictConfig, {"tile": None, "device": "auto"}),
        (nu.Sample, {"image": MISSING, "annotation": MISSING, "axes": "YX", "spacing": None, "name": ""}),
    ],
)
def test_configs_have_the_promised_fields_and_defaults(config: Any, promised: dict[str, Any]) -> None:
    found = {field.name: field.default for field in fields(config)}
    assert {name: found[name] for name in promised} == promised
    if config is nu.Sample:
        assert list(found)[:5] == list(promised)


def test_metrics_is_a_module_with_the_promised_measures() -> None:
    for name in ("dice", "iou", "pixel_error", "average_precision"):
        assert callable(getattr(nu.metrics, name))


PREDICT = (
    "model = nu.Model.create(nu.ModelConfig(features=2, depth=1));"
    "print(*nu.predict(model, np.eye(8), 'YX').shape);"
    "print(*nu.predict(model, np.eye(8), axes='YX', config=None, out=None).shape)"
)


def test_predict_can_be_called_whatever_was_imported_before() -> None:
    before = [
        "pass",
        "nu.predict",
        "import napari_unet.predict",
        "import napari_unet.predict.tiles",
        "from napari_unet.predict.tiled import predict",
        "from napari_unet import segment, predict_tiles",
        "from napari_unet import predict; predict.tiled",
    ]
    programs = [f"import numpy as np, napari_unet as nu\n{first}\n{PREDICT}" for first in before]
    shapes = run_python(f"""
import sys
for program in {programs!r}:
    for name in [name for name in sys.modules if name.partition(".")[0] == "napari_unet"]:
        del sys.modules[name]
    exec(program, {{}})
""")
    assert shapes == ["2", "8", "8"] * 2 * len(programs)


def test_the_module_that_is_called_gives_what_the_function_gives() -> None:
    from napari_unet.predict.tiled import predict

    assert isinstance(sys.modules["napari_unet"].predict, ModuleType)
    model = nu.Model.create(nu.ModelConfig(features=2, depth=1))
    image = np.random.default_rng(0).random((9, 11))
    config = nu.PredictConfig(device="cpu")
    np.testing.assert_array_equal(nu.predict(model, image, "YX", config), predict(model, image, "YX", config))
    out = np.zeros((2, 9, 11), np.float32)
    assert nu.predict(model, image, config=config, axes="YX", out=out) is out
    with pytest.raises(TypeError):
        nu.predict(model, image, "YX", config, out, "one too many")  # type: ignore[call-arg]


def test_importing_is_light() -> None:
    heavy = {"torch", "numpy", "scipy", "skimage", "dask", "zarr", "napari", "qtpy", "napari_unet.predict"}
    assert run_python(f"import sys, napari_unet; print(*({heavy!r} & set(sys.modules)))") == []
    without_torch = "nu.metrics, nu.ModelConfig, nu.TrainConfig, nu.PredictConfig, nu.Sample, nu.border_weights"
    code = f"import sys, napari_unet as nu; {without_torch}; print('torch' in sys.modules)"
    assert run_python(code) == ["False"]
