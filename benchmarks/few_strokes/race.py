"""Race with few strokes: which contender segments other images best, after so many seconds.

Each contender gets the same strokes on one or two images and segments five others of the same set. Dice of the
foreground at a probability of one half; average precision of objects at IoU 0.5 for sets with single objects.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import torch

from benchmarks.few_strokes.contenders import ABLATIONS, CONTENDERS, Predict
from benchmarks.few_strokes.tasks import SETS, Episode, draw_episode
from benchmarks.reporting import arguments, data_folder, report
from napari_unet.assess.metrics import average_precision, dice
from napari_unet.predict.instances import separate_objects

_FLAT = tuple(name for name in SETS if not name.endswith("_3d"))


def main(argv: Sequence[str] | None = None) -> Path:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sets", default=",".join(_FLAT), help=f"some of {', '.join(SETS)}")
    parser.add_argument("--strokes", default="5,20", help="strokes a class, or 'full' for completely painted images")
    parser.add_argument("--marks", default="0,5,20,60", help="seconds of training after which is tested")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--pace", type=float, help="steps a second to take for granted, where others use the machine, too"
    )
    parser.add_argument(
        "--contenders", default=",".join(CONTENDERS), help=f"some of {', '.join([*CONTENDERS, *ABLATIONS])}"
    )
    options = parser.parse_args(argv)
    if options.quick:
        options.sets, options.strokes, options.marks, options.seeds = "nuclei_fluo", "5", "0,1", 1
        options.contenders = "forest,closed form,scratch"
    torch.set_num_threads(options.threads)
    marks = tuple(float(mark) for mark in options.marks.split(","))
    chosen = [name for name in options.contenders.split(",") if name != "monai" or importlib.util.find_spec("monai")]
    if len(chosen) < len(options.contenders.split(",")):
        print("MONAI is not installed: it does not take part")
    rows = []
    for name in options.sets.split(","):
        for strokes in options.strokes.split(","):
            rows += _race(name, None if strokes == "full" else int(strokes), chosen, marks, options)
    rows += _means(rows)
    return report("few_strokes", "Few strokes: Dice on other images", rows, options.out, seeds=options.seeds)


def _race(
    name: str, strokes: int | None, chosen: list[str], marks: tuple[float, ...], options: Any
) -> list[dict[str, Any]]:
    found: dict[tuple[str, float], list[dict[str, float]]] = {}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        episode = draw_episode(name, strokes, seed, data_folder())
        for contender in chosen:
            for mark, predict in (CONTENDERS | ABLATIONS)[contender](
                episode, marks, seed, options.device, options.pace
            ):
                scores = _score(episode, predict)
                found.setdefault((contender, mark), []).append(scores)
                print(
                    f"{name}, {strokes or 'full'} strokes, seed {seed}: {contender} after {mark:g} s: {scores}",
                    flush=True,
                )
    return [
        {
            "set": name, "strokes": str(strokes or "full"), "contender": contender, "seconds": mark,
            "Dice": mean(score["dice"] for score in scores), "spread": pstdev(score["dice"] for score in scores),
            "AP50": mean(score["ap50"] for score in scores) if "ap50" in scores[0] else None,
        }
        for (contender, mark), scores in found.items()
    ]  # fmt: skip


def _score(episode: Episode, predict: Predict) -> dict[str, float]:
    scores, precisions = [], []
    for query in episode.query:
        probability = predict(query.image, query.axes)
        scores.append(dice(probability > 0.5, query.objects > 0))
        if episode.has_objects:
            found = separate_objects(probability, spacing=episode.support[0].spacing)
            precisions.append(average_precision(found, query.objects))
    result = {"dice": round(float(mean(scores)), 4)}
    return result | {"ap50": round(float(mean(precisions)), 4)} if precisions else result


def _means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over the sets, for each number of strokes, contender and mark."""
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["strokes"], row["contender"], row["seconds"]), []).append(row)
    return [
        {
            "set": "mean of the sets", "strokes": strokes, "contender": contender, "seconds": mark,
            "Dice": mean(row["Dice"] for row in group), "spread": mean(row["spread"] for row in group), "AP50": None,
        }
        for (strokes, contender, mark), group in groups.items()
    ]  # fmt: skip
