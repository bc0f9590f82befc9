"""A simulated person corrects one image: what each stroke is worth, and whether what was painted is shown so.

The person begins with a stroke of each class in its most spacious part, then again and again paints where the result is
most wrong, with the brush that the dock chooses. Contenders: the closed form; the same without its trees, and so
without the place beside them (`ask_others`); as the regression leaves it, without `follow_strokes` and `ask_others`; a
random forest on multi-scale image features. Each has a person of its own. "Shown otherwise" is the share of painted
pixels, each class counting the same, that the last result shows as another class; "other images" is the Dice on up to
three images of other groups after the last round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from benchmarks.few_strokes.contenders import CONTENDERS
from benchmarks.few_strokes.tasks import SETS, Episode, TestImage, load_set
from benchmarks.live.person import deepest
from benchmarks.reporting import arguments, data_folder, report
from napari_unet.assess.metrics import dice
from napari_unet.data.sample import Sample
from napari_unet.data.simulated_strokes import add_stroke
from napari_unet.widgets.annotate.annotation import usual_brush_size

_SETS = ("nuclei_fluo", "nuclei_he", "isbi2012_em", "ct_lung_2d", "mri_lv")
_LENGTH = 40.0
_OTHERS = 3

Predict = Callable[[npt.NDArray[Any], str], npt.NDArray[np.float32]]  # of an image and its axes, to the foreground's
Learn = Callable[[Sample], Predict]


def main(argv: Sequence[str] | None = None) -> Path:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sets", default=",".join(_SETS))
    parser.add_argument("--images", type=int, default=3, help="of each set, evenly spread")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args(argv)
    if options.quick:
        options.sets, options.images, options.rounds = "nuclei_he", 1, 3
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.sets.split(","):
        images = load_set(name, data_folder())
        chosen = [images[i] for i in np.linspace(0, len(images) - 1, options.images).astype(int)]
        for contender, learn in _contenders(options.device, has_objects=SETS[name].has_objects).items():
            found = [list(_paint(image, images, learn, options.rounds, seed)) for seed, image in enumerate(chosen)]
            rows.append({"set": name, "contender": contender} | _summarise(np.array(found)))
            print(rows[-1], flush=True)
    rows += _means(rows)
    return report("corrections", "Dice while a person corrects", rows, options.out, rounds=options.rounds)


def _contenders(device: str, *, has_objects: bool) -> dict[str, Learn]:
    def learn(sample: Sample, name: str) -> Predict:
        episode = Episode("", 2, has_objects=has_objects, support=[sample], query=[])
        ((_, predict),) = CONTENDERS[name](episode, (0.0,), 0, device)
        return predict

    def without_trees(sample: Sample) -> Predict:
        with patch.multiple("napari_unet.learn.second_opinion", _WRONG=1.0, _WRONG_STILL=1.0):
            return learn(sample, "closed form")

    def regression_alone(sample: Sample) -> Predict:
        with (
            patch("napari_unet.learn.closed_form.follow_strokes", lambda _, __, weight, bias, **___: (weight, bias)),
            patch.multiple("napari_unet.learn.second_opinion", _WRONG_ENCLOSURE=1.0, _WRONG_AFTER_ALL=1.0),
        ):
            return without_trees(sample)

    return {
        "closed form": lambda sample: learn(sample, "closed form"),
        "without trees": without_trees,
        "regression alone": regression_alone,
        "forest": lambda sample: learn(sample, "forest"),
    }


def _paint(
    image: TestImage, images: Sequence[TestImage], learn: Learn, rounds: int, seed: int
) -> Iterator[tuple[float, float, float]]:
    """Paint and correct; yields Dice, the share of painted pixels shown otherwise, and Dice on others in the end."""
    truth = (image.objects > 0).astype(np.uint8)
    width, rng = usual_brush_size(truth.shape), np.random.default_rng(seed)
    strokes = np.zeros(truth.shape, np.uint8)
    for kind in (0, 1):
        add_stroke(strokes, truth, deepest(truth == kind), rng, length=_LENGTH, width=width)
    others = [other for other in images if other.group != image.group]
    others = [others[i] for i in np.linspace(0, len(others) - 1, min(_OTHERS, len(others))).astype(int)]
    for number in range(rounds):
        predict = learn(Sample(image.image, strokes.copy(), image.axes))
        shown = predict(image.image, image.axes) > 0.5
        otherwise = [float((shown != bool(kind))[strokes == kind + 1].mean()) for kind in (0, 1)]
        there = [dice(predict(o.image, o.axes) > 0.5, o.objects > 0) for o in others] if number == rounds - 1 else [0.0]
        yield float(dice(shown, truth > 0)), float(np.mean(otherwise)), float(np.mean(there))
        pieces, count = ndimage.label(shown != (truth > 0))
        if count:
            largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
            add_stroke(strokes, truth, deepest(largest), rng, length=_LENGTH, width=width)


def _summarise(found: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the means over images and thirds of the rounds of what was found (image, round, 3)."""
    thirds = [float(part.mean()) for part in np.array_split(found[..., 0], 3, axis=1)]
    return {
        "Dice, first third": thirds[0], "second": thirds[1], "last": thirds[2],
        "painted, but shown otherwise": float(found[:, -1, 1].mean()),
        "other images": float(found[:, -1, 2].mean()),
    }  # fmt: skip


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    means = []
    for contender in dict.fromkeys(row["contender"] for row in rows):
        own = [row for row in rows if row["contender"] == contender]
        figures = {key: float(np.mean([row[key] for row in own])) for key in own[0] if key not in ("set", "contender")}
        means.append({"set": "mean of the sets", "contender": contender} | figures)
    return means


if __name__ == "__main__":
    main()
