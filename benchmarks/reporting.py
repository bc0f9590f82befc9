"""A benchmark's table on the terminal and its JSON file, with the machine they were measured on."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from napari_unet.data.storage import atomic_path

__all__ = ["arguments", "data_folder", "interleaved", "report", "wait_for_gpu"]

_ROOT = Path(__file__).resolve().parent


def arguments(about: str) -> argparse.ArgumentParser:
    """Make the parser that every benchmark starts from: ``--device``, ``--threads``, ``--quick``, ``--out``."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of PyTorch")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--out", type=Path, default=_ROOT / "results", help="folder for the JSON file")
    return parser


def data_folder() -> Path:
    """Return the folder with the real annotated images: NAPARI_UNET_DATA, or ``shared/data`` beside the project."""
    return Path(os.environ.get("NAPARI_UNET_DATA") or _ROOT.parent.parent / "shared" / "data")


def interleaved(ways: Mapping[str, Callable[[], Any]], rounds: int, *, warm_up: int = 1) -> dict[str, list[float]]:
    """Time several ways of doing the same, in turns, so that a busy moment of the machine meets all of them.

    Parameters
    ----------
    ways : mapping of str to callable
        What to time.
    rounds : int
        How often each is timed.
    warm_up : int
        Runs of each before the clock starts.

    Returns
    -------
    dict of str to list of float
        Seconds of each run, `rounds` for each way.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(warm_up + rounds):
        for name, way in ways.items():
            wait_for_gpu()
            began = time.perf_counter()
            way()
            wait_for_gpu()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def wait_for_gpu() -> None:
    """Wait until a GPU has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def report(name: str, title: str, rows: Sequence[Mapping[str, Any]], out: Path, **details: Any) -> Path:
    """Print rows as a table and write them as JSON.

    Parameters
    ----------
    name : str
        Name of the JSON file, without suffix.
    title : str
        Line over the table.
    rows : sequence of mapping
        One for each line; the keys of the first are the columns. Numbers are printed with four digits.
    out : Path
        Folder of the JSON file.
    **details : Any
        What else belongs into the file: sizes, settings, seeds.

    Returns
    -------
    Path
        The JSON file.
    """
    machine = _machine()
    table = Table(title=f"{title}\n{machine['cpu']}, {machine['threads']} threads, {machine['gpu'] or 'no GPU'}")
    for column in rows[0]:
        table.add_column(str(column), justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*(_words(value) for value in row.values()))
    Console(width=140).print(table)
    document = {"benchmark": name, "title": title, "machine": machine, "details": details, "rows": list(rows)}
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / f"{name}.json") as part:
        part.write_text(json.dumps(document, indent=2, default=_plain) + "\n")
    print(f"written: {out / f'{name}.json'}")
    return out / f"{name}.json"


def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _words(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
