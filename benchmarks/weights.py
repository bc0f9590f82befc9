"""Border weights: against one distance transform for each object, and against single ones of the whole image.

The naive way is equation 2 of the U-Net paper word by word: a distance transform of the whole image for each object,
and the two nearest of them all. A volume is weighed in a process of its own, whose largest memory is reported.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.reporting import arguments, interleaved, report
from napari_unet.learn import nearest_objects
from napari_unet.learn.border_weights import border_weights

W0, SIGMA = 10.0, 5.0


def main(argv: list[str] | None = None) -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--volume", type=json.loads, help=argparse.SUPPRESS)  # how it starts itself
    options = parser.parse_args(argv)
    if options.volume:
        print(json.dumps(_weigh_volume(*options.volume)))
        return
    size, count, radius = (192, 12, (8, 16)) if options.quick else (1024, 200, (15, 30))
    rows = _plane(size, count, radius, rounds=2 if options.quick else 5)
    report("weights", f"Border weights, {size}x{size}, {count} objects", rows, options.out, w0=W0, sigma=SIGMA)
    volumes = {"small": ((16, 32, 32), 5, (3, 5))} if options.quick else VOLUMES
    rows = [
        _in_its_own_process({"volume": name, "transform": way}, shape, count, radius, way)
        for name, (shape, count, radius) in volumes.items()
        for way in _transforms()
    ]
    report(
        "weights_3d", "Border weights of volumes, each in a process of its own", rows, options.out, w0=W0, sigma=SIGMA
    )


VOLUMES = {
    "256x512x512, 500 objects": ((256, 512, 512), 500, (10, 20)),
    "256x512x512, 5000 objects": ((256, 512, 512), 5000, (5, 10)),
}


def balls(shape: tuple[int, ...], count: int, radius: tuple[int, int]) -> np.ndarray:
    """Draw balls at random places, none over another, touching where they would be."""
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint16)
    for number in range(1, count + 1):
        centre, size = rng.integers(0, shape), rng.integers(*radius, endpoint=True)
        box = tuple(slice(max(0, c - size), min(n, c + size + 1)) for c, n in zip(centre, shape, strict=True))
        away = sum((g - c) ** 2 for g, c in zip(np.mgrid[box], centre, strict=True))
        part = labels[box]
        part[(away <= size**2) & (part == 0)] = number
    return labels


def naive(labels: np.ndarray) -> np.ndarray:
    """Weigh by equation 2, with one distance transform of the whole image for each object."""
    first, second = np.full(labels.shape, np.inf), np.full(labels.shape, np.inf)
    for number in np.unique(labels[labels > 0]):
        distance = ndimage.distance_transform_edt(labels != number)
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    inside = labels > 0
    balance = labels.size / (2 * np.where(inside, inside.sum(), (~inside).sum()))
    return balance + W0 * np.exp(-((first + second) ** 2) / (2 * SIGMA**2))


def _plane(size: int, count: int, radius: tuple[int, int], rounds: int) -> list[dict[str, object]]:
    labels = balls((size, size), count, radius)
    background = labels == 0
    results = {}

    def ours(way: str) -> None:
        with _transform(way):
            results[way] = border_weights(labels, w0=W0, sigma=SIGMA)

    ways = {f"border_weights, {way}": lambda way=way: ours(way) for way in _transforms()}
    seconds = interleaved(
        {
            **ways,
            "scipy distance_transform_edt, 1": lambda: ndimage.distance_transform_edt(background),
            "scipy distance_transform_edt, 4": lambda: [ndimage.distance_transform_edt(background) for _ in range(4)],
        },
        rounds,
    )
    began = time.perf_counter()
    expected = naive(labels)
    times = {name: statistics.median(turns) for name, turns in seconds.items()}
    times["naive"] = time.perf_counter() - began
    errors = {f"border_weights, {way}": float(np.abs(result - expected).max()) for way, result in results.items()}
    single = times["scipy distance_transform_edt, 1"]
    return [
        {
            "way": name,
            "seconds": value,
            "single transforms": value / single,
            "times faster than naive": times["naive"] / value,
            "largest error": errors.get(name),
        }
        for name, value in times.items()
    ]


def _transforms() -> list[str]:
    """Name the distance transforms that are installed."""
    return ["scipy", "edt"] if nearest_objects.edt is not None else ["scipy"]


@contextmanager
def _transform(way: str) -> Iterator[None]:
    installed = nearest_objects.edt
    nearest_objects.edt = installed if way == "edt" else None
    try:
        yield
    finally:
        nearest_objects.edt = installed


def _in_its_own_process(
    row: dict[str, str], shape: tuple[int, ...], count: int, radius: tuple[int, int], way: str
) -> dict[str, object]:
    volume = json.dumps([shape, count, radius, way])
    command = [sys.executable, "-m", "benchmarks.weights", "--volume", volume]
    root = Path(__file__).resolve().parent.parent
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return {**row, **json.loads(run.stdout)}


def _weigh_volume(shape: list[int], count: int, radius: list[int], way: str) -> dict[str, float]:
    labels = balls(tuple(shape), count, (radius[0], radius[1]))
    with _transform(way):
        began = time.perf_counter()
        border_weights(labels, w0=W0, sigma=SIGMA)
        seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"seconds": seconds, "largest memory (GB)": most / 1e9, "bytes a voxel": most / labels.size}


if __name__ == "__main__":
    main()
