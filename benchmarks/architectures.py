"""Every network beside the others: its size, its speed, and what it has learnt after equal time.

Parameters and floating-point operations are counted for an image of 256 x 256 pixels (a volume of 16 x 128 x 128 for a
network that reads volumes). Then each is trained twice for equal time on real images, from the same seed and with the
same settings: on fluorescent nuclei, scored by Dice, and on membranes in electron microscopy, scored by the F-scores of
the ISBI 2012 challenge for pixels and for Rand's pairs (1 - error; the higher, the better). A network for volumes is
trained on the stack of membranes as a volume, and not on the nuclei. The sliding window runs in its dilated form.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import napari_unet as nu
from benchmarks import isbi
from benchmarks.reporting import arguments, data_folder, report
from napari_unet.nets.architectures import ARCHITECTURES
from napari_unet.nets.registry import build_network

INPUT = {2: (256, 256), 3: (16, 128, 128)}
NUCLEI_TRAIN, NUCLEI_TEST = range(12), range(12, 16)


def count(config: nu.ModelConfig) -> tuple[int, int]:
    """Count the parameters, and the floating-point operations for one input; nothing is computed."""
    with torch.device("meta"):
        network: Any = build_network(config).eval()
        halo = sum(network.halo) if config.padding == "valid" else 0
        x = torch.empty(1, config.in_channels, *(side + halo for side in INPUT[config.ndim]))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops()


def train(config: nu.ModelConfig, samples: list[nu.Sample], budget: dict[str, Any], device: str) -> Any:
    """Train a new network; returns it with its steps per second."""
    model = nu.Model.create(config)
    training = nu.TrainConfig(task="classes", holdout=0.0, validate_every=100, **budget)
    for event in nu.fit(model, samples, training, device=device):
        last = event
    return model, last.step / max(last.seconds, 1e-9)


def read_nuclei(*, quick: bool) -> tuple[list[nu.Sample], list[nu.Sample]]:
    """Read the fluorescent nuclei to train on and to test on; drawn ones for a quick run without them."""
    path = data_folder() / "nuclei_fluo_dsb2018.npz"
    if quick:
        training, testing = isbi.draw_stack(2, seed=2), isbi.draw_stack(1, seed=3)
        return training.samples(), testing.samples()
    if not path.exists():
        sys.exit(f"The nuclei are missing: put {path.name} into {path.parent}, or set NAPARI_UNET_DATA.")
    with np.load(path) as data:
        return tuple(  # type: ignore[return-value]
            [nu.Sample(data[f"image_{i:02}"], (data[f"label_{i:02}"] > 0) + np.uint8(1)) for i in numbers]
            for numbers in (NUCLEI_TRAIN, NUCLEI_TEST)
        )


def score_nuclei(model: nu.Model, samples: list[nu.Sample], device: str) -> float:
    """Return the mean Dice of the nuclei."""
    config = nu.PredictConfig(device=device)
    found = [nu.predict(model, sample.image, sample.axes, config)[1] > 0.5 for sample in samples]
    pairs = zip(found, samples, strict=True)
    return float(np.mean([nu.metrics.dice(mask, sample.annotation == 2) for mask, sample in pairs]))


def score_membranes(model: nu.Model, stack: isbi.Stack, device: str) -> isbi.Errors:
    """Return the challenge's F-scores of the cells in slices that the network has not seen."""
    if model.config.ndim == 3:
        cells = nu.predict(model, stack.images, "ZYX", nu.PredictConfig(device=device))[0]
    else:
        cells = isbi.predict_cells(model, stack.images, device, "none")
    errors = isbi.measure_errors(cells, stack.membrane, warping=False)
    return {f"membrane {key} F": 1 - error for key, error in errors.items()}


def measure(
    name: str, features: int, depth: int, budget: dict[str, Any], device: str, *, quick: bool
) -> dict[str, Any]:
    """Count, train and score one network."""
    ndim = min(ARCHITECTURES[name].ndims)
    config = nu.ModelConfig(name, ndim, features=features, depth=depth, classes=("background", "foreground"))
    parameters, operations = count(config)
    row: dict[str, Any] = {
        "network": f"{name} ({ndim}D)", "parameters": parameters, "GFLOP": operations / 1e9, "steps/s": None,
        "nuclei Dice": None,
    }  # fmt: skip
    training, testing = isbi.read_stack(quick=quick)
    samples = training.samples()
    if ndim == 2:
        nuclei, others = read_nuclei(quick=quick)
        model, _ = train(config, nuclei, budget, device)
        row["nuclei Dice"] = score_nuclei(model, others, device)
    else:
        samples = [nu.Sample(training.images, training.membrane + np.uint8(1), "ZYX")]
    model, row["steps/s"] = train(config, samples, budget, device)
    return row | score_membranes(model, testing, device)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every network and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=60.0, help="time of each training")
    parser.add_argument("--features", type=int, default=16, help="width of all networks whose width can be chosen")
    parser.add_argument("--networks", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES))
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    budget: dict[str, Any] = {"max_seconds": args.seconds}
    features, depth = args.features, 4
    if args.quick:
        budget, features, depth = {"max_steps": 2, "crop": 16, "batch_size": 2}, 2, 1
    rows = []
    for name in args.networks:
        rows.append(measure(name, features, depth, budget, args.device, quick=args.quick))
        print(rows[-1], flush=True)
    report(
        "architectures", f"Networks after equal time of training, width {features}", rows, args.out,
        device=args.device, budget=budget, features=features, depth=depth, flop_input=INPUT,
    )  # fmt: skip


if __name__ == "__main__":
    main()
