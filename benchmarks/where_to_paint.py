"""Strokes needed where the model asks for them, against strokes in random places.

A simulated person begins with one stroke of each class on an image. Then they paint one stroke after the other, each
of the true class at its place: at random places, or where `find_spot` leads. After each stroke the shipped starting
weights are adapted (closed form, no training) and the Dice of the whole image is taken. "Needed" is the number of
strokes, the first two included, after which the Dice first is the highest that random places reach on average within
`--strokes`. `--measures` says what counts as uncertain: see `napari_unet.predict.uncertainty`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import napari_unet as nu
from benchmarks.few_strokes.tasks import load_set
from benchmarks.reporting import arguments, data_folder, report
from napari_unet.data.simulated_strokes import add_stroke
from napari_unet.models.adapt import Adapter
from napari_unet.models.next_spot import Spot, find_spot
from napari_unet.nets.device import choose_device
from napari_unet.predict.feature_cache import FeatureCache
from napari_unet.predict.uncertainty import MEASURES, Measure

_SETS = ("nuclei_fluo", "nuclei_he", "isbi2012_em")
_LENGTH = 20.0
_WIDTH = 3.0

Place = tuple[int, int]
Chooser = Callable[[Adapter, nu.Sample, np.random.Generator], Place]


def random_place(adapter: Adapter, sample: nu.Sample, rng: np.random.Generator) -> Place:
    """Return any pixel that is not painted."""
    free = np.flatnonzero(sample.annotation == 0)
    row, column = np.unravel_index(int(rng.choice(free)), sample.annotation.shape)
    return int(row), int(column)


def asked_place(adapter: Adapter, sample: nu.Sample, rng: np.random.Generator, *, measure: Measure) -> Place:
    """Return where the model asks for a stroke."""
    found = find_spot(adapter, [sample], task="classes", measure=measure)
    ((row, column),) = [event.place for event in found if isinstance(event, Spot)]
    return row, column


class Person:
    """Paints on one image and sees how good the result is.

    Parameters
    ----------
    name : str
        The set.
    seed : int
        Chooses the image.
    device : str
        Where the network runs.
    """

    def __init__(self, name: str, seed: int, device: str) -> None:
        images = load_set(name, data_folder())
        image = images[np.random.default_rng(1000).permutation(len(images))[seed % len(images)]]
        self.image, self.axes = image.image, image.axes
        self.truth = (image.objects > 0).astype(np.uint8)
        self.cache = FeatureCache()
        channels = image.image.shape[image.axes.index("S")] if "S" in image.axes else 1
        self.adapter = Adapter(nu.Model.pretrained(in_channels=channels), device, cache=self.cache)

    def curve(self, choose: Chooser, strokes: int, seed: int) -> list[float]:
        """Return the Dice after the first two strokes and after each further one."""
        rng = np.random.default_rng(seed)
        annotation = np.zeros(self.truth.shape, np.uint8)
        sample = nu.Sample(self.image, annotation, self.axes)
        for value in (0, 1):
            places = np.argwhere(self.truth == value)
            self._paint(annotation, tuple(places[rng.integers(len(places))].tolist()), rng)
        found = [self._dice(sample)]
        for _ in range(strokes - 2):
            self._paint(annotation, choose(self.adapter, sample, rng), rng)
            found.append(self._dice(sample))
        return found

    def _paint(self, annotation: npt.NDArray[np.uint8], place: Place, rng: np.random.Generator) -> None:
        add_stroke(annotation, self.truth, place, rng, length=_LENGTH, width=_WIDTH)

    def _dice(self, sample: nu.Sample) -> float:
        self.adapter.adapt([sample], task="classes")
        probability = self.adapter.probabilities(self.image, self.axes)[1]
        return float(nu.metrics.dice(probability > 0.5, self.truth > 0))


def needed(curve: Sequence[float], wanted: float) -> int:
    """Return after how many strokes a curve first is as high as wanted; one more than it has if it never is.

    Examples
    --------
    >>> needed([0.5, 0.7, 0.9], 0.7), needed([0.5], 0.7)
    (3, 3)
    """
    return next((number for number, dice in enumerate(curve, start=2) if dice >= wanted), len(curve) + 2)


def main(argv: Sequence[str] | None = None) -> Path:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sets", default=",".join(_SETS))
    parser.add_argument("--seeds", type=int, default=3, help="images of each set")
    parser.add_argument("--repeats", type=int, default=3, help="persons who begin in different places, per image")
    parser.add_argument("--measures", default=",".join(MEASURES), help="what counts as uncertain")
    parser.add_argument("--strokes", type=int, default=22, help="strokes on an image")
    options = parser.parse_args(argv)
    if options.quick:
        options.sets, options.seeds, options.repeats, options.strokes = "nuclei_he", 1, 1, 4
    torch.set_num_threads(options.threads)
    device = str(choose_device(options.device).torch_device)
    rows = [_compare(name, seed, options, device) for name in options.sets.split(",") for seed in range(options.seeds)]
    rows.append(_summarise(rows))
    return report("where_to_paint", "Strokes until the Dice of random places", rows, options.out, **_details(options))


def _details(options: Any) -> dict[str, Any]:
    return {"strokes": options.strokes, "repeats": options.repeats, "length": _LENGTH, "width": _WIDTH}


def _compare(name: str, seed: int, options: Any, device: str) -> dict[str, Any]:
    """Paint one image with each way to choose places; all begin with the same two strokes."""
    person = Person(name, seed, device)
    measures = options.measures.split(",")
    choosers: dict[str, Chooser] = {"random": random_place}
    choosers |= {measure: partial(asked_place, measure=measure) for measure in measures}
    curves = {
        way: [person.curve(choose, options.strokes, 100 * seed + repeat) for repeat in range(options.repeats)]
        for way, choose in choosers.items()
    }
    wanted = float(np.mean(curves["random"], axis=0).max())
    strokes = {way: mean(needed(curve, wanted) for curve in found) for way, found in curves.items()}
    row: dict[str, Any] = {"set": name, "image": str(seed), "wanted Dice": wanted}
    row |= {f"needed, {way}": count for way, count in strokes.items()}
    row |= {f"ratio, {measure}": strokes[measure] / strokes["random"] for measure in measures}
    row |= {f"last Dice, {way}": mean(curve[-1] for curve in found) for way, found in curves.items()}
    print(row, flush=True)
    return row


def _summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over all images."""
    return {key: mean(row[key] for row in rows) if key not in ("set", "image") else "mean" for key in rows[0]}


if __name__ == "__main__":
    main()
