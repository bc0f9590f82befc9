"""Every benchmark runs, in its smallest form, and writes its figures."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.few_strokes.plot import main as draw
from benchmarks.few_strokes.race import main
from tests.widgets.window_steps import own_application

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]
NAMES = ["architectures", "augmentation", "isbi", "large_images", "prediction", "training", "weights"]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs_and_writes_its_figures(name: str, device: str, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    module = importlib.import_module(f"benchmarks.{name}")
    module.main(["--quick", "--device", device, "--threads", str(threads), "--out", str(tmp_path)])
    document = json.loads((tmp_path / f"{name}.json").read_text())
    assert document["benchmark"] == name
    assert document["machine"]["torch"] == torch.__version__
    assert document["rows"]
    assert all(row.keys() == document["rows"][0].keys() for row in document["rows"])


def test_the_race_with_few_strokes_runs(real_data: Any, tmp_path: Path) -> None:
    real_data("nuclei_fluo_dsb2018")
    main(["--quick", "--device", "cpu", "--threads", str(torch.get_num_threads()), "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "few_strokes.json").read_text())["rows"]
    assert {row["contender"] for row in rows} == {"forest", "closed form", "scratch"}
    assert all(0 <= row["Dice"] <= 1 for row in rows)
    assert max(row["Dice"] for row in rows) > 0.5
    draw([str(tmp_path / "few_strokes.json"), str(tmp_path / "curves.png")])
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_the_benchmark_of_where_to_paint_runs(real_data: Any, tmp_path: Path) -> None:
    real_data("nuclei_he_dsb2018")
    where_to_paint = importlib.import_module("benchmarks.where_to_paint")
    where_to_paint.main(
        ["--quick", "--device", "cpu", "--threads", str(torch.get_num_threads()), "--out", str(tmp_path)]
    )
    rows = json.loads((tmp_path / "where_to_paint.json").read_text())["rows"]
    assert [(row["set"], row["image"]) for row in rows] == [
        ("nuclei_he", "0"), ("mean of the images", ""), ("nuclei_he", "all"), ("mean of the sets", ""),
    ]  # fmt: skip
    assert rows[0]["ratio, disagreement"] == rows[0]["needed, disagreement"] / rows[0]["needed, random"]


def test_the_benchmark_of_corrections_runs(real_data: Any, tmp_path: Path) -> None:
    real_data("nuclei_he_dsb2018")
    module = importlib.import_module("benchmarks.corrections")
    module.main(["--quick", "--device", "cpu", "--threads", str(torch.get_num_threads()), "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "corrections.json").read_text())["rows"]
    assert [row["contender"] for row in rows] == 2 * ["closed form", "without trees", "regression alone", "forest"]
    assert rows[0]["last"] > 0.5
    assert all(0 <= row["painted, but shown otherwise"] <= 1 for row in rows)


@pytest.mark.window
def test_the_benchmark_of_the_window_runs(tmp_path: Path) -> None:
    module = importlib.import_module("benchmarks.window_prediction")
    with own_application("benchmark of the window"):
        module.main(["--quick", "--device", "cpu", "--threads", "2", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "window_prediction.json").read_text())["rows"]
    assert rows[0]["what"] == "the view is predicted"
    assert rows[-1]["what"].startswith("Predict again")
    assert rows[0]["seconds"] > 0
    assert rows[0]["longest block (ms)"] > 0


@pytest.mark.window
def test_the_benchmark_of_a_person_who_paints_runs(tmp_path: Path) -> None:
    module = importlib.import_module("benchmarks.live.__main__")
    with own_application("benchmark of the live loop"):
        module.main(["--quick", "--device", "cpu", "--threads", "2", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "live.json").read_text())["rows"]
    figures = {row["what"]: row["synthetic"] for row in rows}
    assert figures["first result (s)"] > 0
    assert figures["inputs to the first result"] <= 6
    assert figures["longest block (ms)"] >= figures["99th percentile (ms)"] > 0
    assert figures["frames per second in training"] > 0
    assert 0 < figures["Dice in view after round 1"] <= 1
