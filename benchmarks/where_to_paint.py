"""Strokes needed where the model asks for them, against strokes in random places.

A simulated person begins with one stroke of each class on an image. Then they paint one stroke after the other, each
of the true class at its place: at random places, or where `find_spot` leads. After each stroke the shipped starting
weights are adapted (closed form, no training) and the Dice of the whole image is taken. "Needed" is the number of
strokes, the first two included, after which the Dice first is the highest that random places reach on average within
`--strokes`: for single images the mean over the persons of when each of them is there, for sets when the mean curve of
all images and persons is there, between two strokes by interpolation. `--measures` says what counts as uncertain: see
`napari_unet.predict.uncertainty`. The errors of a set's ratios are standard errors over its images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import napari_unet as nu
from benchmarks.few_strokes.tasks import SETS, load_set, task_of
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
Curves = Mapping[str, list[list[float]]]  # of each way to choose places, one for each person
Chooser = Callable[[Adapter, nu.Sample, np.random.Generator], Place]


def random_place(adapter: Adapter, sample: nu.Sample, rng: np.random.Generator) -> Place:
    """Return any pixel that is not painted."""
    free = np.flatnonzero(sample.annotation == 0)
    row, column = np.unravel_index(int(rng.choice(free)), sample.annotation.shape)
    return int(row), int(column)


def asked_place(adapter: Adapter, sample: nu.Sample, rng: np.random.Generator, *, measure: Measure) -> Place:
    """Return where the model asks for a stroke."""
    found = find_spot(adapter, [sample], measure=measure)
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
        self.adapter.model.task = task_of(SETS[name])

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
        self.adapter.adapt([sample])
        probability = self.adapter.probabilities(self.image, self.axes)[1]
        return float(nu.metrics.dice(probability > 0.5, self.truth > 0))


def first_time(curve: Sequence[float], wanted: float) -> float:
    """Return after how many strokes a curve first is as high as wanted; one more than it has if it never is.

    Examples
    --------
    >>> first_time([0.5, 0.7, 0.9], 0.7), first_time([0.5], 0.7)
    (3, 3)
    """
    return next((number for number, dice in enumerate(curve, start=2) if dice >= wanted), len(curve) + 2)


def between_strokes(curve: Sequence[float], wanted: float) -> float:
    """Return the same, as if the Dice rose evenly from one stroke to the next.

    Examples
    --------
    >>> between_strokes([0.5, 0.7, 0.9], 0.8), between_strokes([0.5], 0.7)
    (3.5, 3)
    """
    after = first_time(curve, wanted)
    place = int(after) - 2
    if place in (0, len(curve)):
        return after
    low, high = curve[place - 1], curve[place]
    return float(round(after - (high - wanted) / (high - low), 6))


def main(argv: Sequence[str] | None = None) -> Path:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sets", default=",".join(_SETS))
    parser.add_argument("--seeds", type=int, default=8, help="images of each set")
    parser.add_argument("--repeats", type=int, default=6, help="persons who begin in different places, per image")
    parser.add_argument("--measures", default=",".join(MEASURES), help="what counts as uncertain")
    parser.add_argument("--strokes", type=int, default=22, help="strokes on an image")
    options = parser.parse_args(argv)
    if options.quick:
        options.sets, options.seeds, options.repeats, options.strokes = "nuclei_he", 1, 1, 4
    torch.set_num_threads(options.threads)
    device = str(choose_device(options.device).torch_device)
    rows, sets = [], []
    for name in options.sets.split(","):
        found = []
        for seed in range(options.seeds):
            found.append(_paint_image(name, seed, options, device))
            rows.append(_row(name, str(seed), found[-1], first_time) | dict.fromkeys(_errors(found)))
            print(rows[-1], flush=True)
        sets.append(_row(name, "all", _mean_curves(found), between_strokes) | _errors(found))
        print(sets[-1], flush=True)
    together = _summarise(sets, "mean of the sets")
    together |= {key: float(np.sqrt(sum(row[key] ** 2 for row in sets)) / len(sets)) for key in _errors(found)}
    rows += [_summarise(rows, "mean of the images"), *sets, together]
    return report("where_to_paint", "Strokes until the Dice of random places", rows, options.out, **_details(options))


def _details(options: Any) -> dict[str, Any]:
    return {"strokes": options.strokes, "repeats": options.repeats, "length": _LENGTH, "width": _WIDTH}


def _paint_image(name: str, seed: int, options: Any, device: str) -> Curves:
    """Paint one image with each way to choose places; all begin with the same two strokes."""
    person = Person(name, seed, device)
    choosers: dict[str, Chooser] = {"random": random_place}
    choosers |= {measure: partial(asked_place, measure=measure) for measure in options.measures.split(",")}
    return {
        way: [person.curve(choose, options.strokes, 100 * seed + repeat) for repeat in range(options.repeats)]
        for way, choose in choosers.items()
    }


def _row(name: str, image: str, curves: Curves, needed: Callable[[Sequence[float], float], float]) -> dict[str, Any]:
    wanted = float(np.mean(curves["random"], axis=0).max())
    strokes = {way: float(mean(needed(curve, wanted) for curve in found)) for way, found in curves.items()}
    row: dict[str, Any] = {"set": name, "image": image, "wanted Dice": wanted}
    row |= {f"needed, {way}": count for way, count in strokes.items()}
    row |= {f"ratio, {way}": count / strokes["random"] for way, count in strokes.items() if way != "random"}
    row |= {f"last Dice, {way}": mean(float(curve[-1]) for curve in found) for way, found in curves.items()}
    return row


def _mean_curves(found: Sequence[Curves]) -> Curves:
    return {way: [np.mean([curves[way] for curves in found], axis=(0, 1)).tolist()] for way in found[0]}


def _errors(found: Sequence[Curves]) -> dict[str, float]:
    """Return the standard errors of a set's ratios, by leaving out one image after the other (jackknife)."""
    without = [
        _row("", "", _mean_curves([*found[:i], *found[i + 1 :]] or found), between_strokes) for i in range(len(found))
    ]
    ways = [way for way in found[0] if way != "random"]
    spread = {way: np.var([row[f"ratio, {way}"] for row in without]) * (len(found) - 1) for way in ways}
    return {f"error, {way}": float(np.sqrt(value)) for way, value in spread.items()}


def _summarise(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the means of what is a number in all rows."""
    means = {key: mean(row[key] for row in rows) if isinstance(rows[0][key], float) else None for key in rows[0]}
    return means | {"set": name, "image": ""}


if __name__ == "__main__":
    main()
