"""Membranes in electron microscopy, the U-Net paper's own task, after minutes of training.

Trains on nine slices of the ISBI 2012 challenge's training stack and measures the three errors of the challenge on four
others, each averaged over seven rotations as in the paper, beside what was published. The published figures come from
the challenge's own 30 test slices, which are not public, after training on all 30 slices.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

import napari_unet as nu
from benchmarks.reporting import arguments, data_folder, report

TRAIN, TEST = slice(0, 9), slice(9, 13)
MARKS = (2, 5, 10, 15)  # minutes of the default budget at which the curve is measured
MODEL = nu.ModelConfig(features=16, classes=("cell", "membrane"))
TRAINING = nu.TrainConfig(task="classes", crop=256, batch_size=2, holdout=0.0, validate_every=100, seed=0)

# Ronneberger et al. 2015, table 1 (from the challenge's leaderboard, March 2015), and Fakhry et al. 2016 for DIVE.
PUBLISHED = (
    ("human", 0.000005, 0.0021, 0.0010),
    ("U-Net", 0.000353, 0.0382, 0.0611),
    ("DIVE-SCI", 0.000355, 0.0305, 0.0584),
    ("sliding window (IDSIA)", 0.000420, 0.0504, 0.0613),
    ("DIVE", 0.000430, 0.0545, 0.0582),
)

Slices = npt.NDArray[np.uint8]
Errors = dict[str, float]


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices (Z, Y, X) and where their membranes are (1; elsewhere 0)."""

    images: Slices
    membrane: Slices

    def samples(self) -> list[nu.Sample]:
        """Return the slices as annotated images: 1 = cell, 2 = membrane."""
        pairs = zip(self.images, self.membrane, strict=True)
        return [nu.Sample(image, mask + np.uint8(1), name=f"slice {i}") for i, (image, mask) in enumerate(pairs)]


def read_stack(*, quick: bool = False) -> tuple[Stack, Stack]:
    """Read the slices to train on and those to test on; small ones, drawn if need be, for a quick run."""
    path = data_folder() / "isbi2012_em.npz"
    if not path.exists():
        if quick:
            return draw_stack(2, seed=0), draw_stack(1, seed=1)
        sys.exit(f"The slices are missing: put isbi2012_em.npz into {path.parent}, or set NAPARI_UNET_DATA.")
    with np.load(path) as data:
        images, membrane = data["images"], data["membrane"]
    if quick:
        images, membrane = images[:, :128, :128], membrane[:, :128, :128]
        return Stack(images[:2], membrane[:2]), Stack(images[9:10], membrane[9:10])
    return Stack(images[TRAIN], membrane[TRAIN]), Stack(images[TEST], membrane[TEST])


def draw_stack(count: int, seed: int, side: int = 128) -> Stack:
    """Draw slices with dark lines halfway between random points."""
    rng = np.random.default_rng(seed)
    images, masks = [], []
    for _ in range(count):
        points = np.zeros((side, side), bool)
        points[tuple(rng.integers(0, side, (2, 25)))] = True
        nearest = ndimage.distance_transform_edt(~points, return_distances=False, return_indices=True)
        ids = nearest[0] * side + nearest[1]
        lines = ndimage.grey_dilation(ids, size=3) != ndimage.grey_erosion(ids, size=3)
        masks.append(lines.astype(np.uint8))
        images.append(np.clip(160 - 90 * lines + rng.normal(0, 20, lines.shape), 0, 255).astype(np.uint8))
    return Stack(np.stack(images), np.stack(masks))


def train(
    model: nu.Model, stack: Stack, config: nu.TrainConfig, device: str, pauses: Sequence[float]
) -> Iterator[tuple[float, int]]:
    """Train, and pause after the given seconds and at the end; yields seconds and steps so far."""
    samples, seconds, step = stack.samples(), 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for pause in [*pauses, math.inf]:

            def is_due(moment: float = time.monotonic() + pause - seconds) -> bool:
                return time.monotonic() >= moment

            checkpoint = Path(folder) / "training.checkpoint"  # from which it goes on after a pause
            for event in nu.fit(model, samples, config, device=device, should_stop=is_due, checkpoint=checkpoint):
                seconds, step = event.seconds, event.step
            yield seconds, step


def predict_cells(model: nu.Model, images: Slices, device: str, averaging: Any) -> npt.NDArray[np.float32]:
    """Return how likely each pixel is the inside of a cell, (Z, Y, X)."""
    config = nu.PredictConfig(device=device, averaging=averaging)
    return np.stack([nu.predict(model, image, "YX", config)[0] for image in images])


def measure_errors(cells: npt.NDArray[np.float32], membrane: Slices, *, warping: bool = True) -> Errors:
    """Measure the errors of the challenge: the lowest over its thresholds, for all slices together."""
    inside, cuts, metrics = membrane == 0, nu.metrics.CHALLENGE_THRESHOLDS, nu.metrics
    errors = {"warping": metrics.warping_error(cells, inside, cuts, ndim=2)} if warping else {}
    errors["Rand"] = metrics.rand_error(cells, inside, cuts, ndim=2)
    errors["pixel"] = metrics.pixel_f_error(cells, inside, cuts)
    return errors


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--minutes", type=float, default=MARKS[-1], help="budget of the training")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    budget = 60 * args.minutes
    training, testing = read_stack(quick=args.quick)
    settings = replace(MODEL, features=4, depth=2) if args.quick else MODEL
    config = replace(TRAINING, **({"max_steps": 4, "crop": 64} if args.quick else {"max_seconds": budget}))
    pauses = [] if args.quick else [budget * mark / MARKS[-1] for mark in MARKS[:-1]]
    model = nu.Model.create(settings)
    curve: list[dict[str, Any]] = []
    for seconds, step in train(model, training, config, args.device, pauses):
        cells = predict_cells(model, testing.images, args.device, "none")
        curve.append({"minutes": seconds / 60, "steps": step, **measure_errors(cells, testing.membrane, warping=False)})
        print(", ".join(f"{key} {value:.4g}" for key, value in curve[-1].items()), flush=True)
    rows = []
    for averaging, words in (("rotations", "7 rotations"), ("flips", "8 flips"), ("none", "no averaging")):
        cells = predict_cells(model, testing.images, args.device, averaging)
        rows.append({"method": f"this, {words}", "trained": f"{curve[-1]['minutes']:.3g} min"})
        rows[-1] |= {f"{key} error": value for key, value in measure_errors(cells, testing.membrane).items()}
    for name, *errors in PUBLISHED:
        keys = ("warping error", "Rand error", "pixel error")
        rows.append({"method": name, "trained": "published", **dict(zip(keys, errors, strict=True))})
    report(
        "isbi", f"ISBI 2012 membranes: {len(testing.images)} slices after training on {len(training.images)}", rows,
        args.out, device=args.device, curve=curve, model=settings, training=config,
    )  # fmt: skip


if __name__ == "__main__":
    main()
