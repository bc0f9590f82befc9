"""Every benchmark runs, in its smallest form, and writes its figures."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["architectures", "augmentation", "isbi", "training", "weights"])
def test_a_benchmark_runs_and_writes_its_figures(name: str, device: str, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    module = importlib.import_module(f"benchmarks.{name}")
    module.main(["--quick", "--device", device, "--threads", str(threads), "--out", str(tmp_path)])
    document = json.loads((tmp_path / f"{name}.json").read_text())
    assert document["benchmark"] == name
    assert document["machine"]["torch"] == torch.__version__
    assert document["rows"]
    assert all(row.keys() == document["rows"][0].keys() for row in document["rows"])
