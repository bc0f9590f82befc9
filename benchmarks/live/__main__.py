"""A simulated person in the real window: how soon each stroke is answered, and whether the window stays fluid.

    python -m benchmarks.live [--sets nuclei_fluo,synthetic] [--minutes 30]

For each image a window is opened in a process of its own, under Xvfb where there is no display. The person opens the
dock, paints a stroke of background and one of foreground, presses Train, and then in each round paints where the
result in view is most wrong, waits for the answer and looks at it for some seconds. Of 4096 x 4096 pixels the middle
1024 x 1024 are in view. A result counts as shown when the first frame with it was drawn. A block is the time in which
the window did not come to its turn, napari's own drawing included.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.live.scenes import SCENES
from benchmarks.reporting import arguments, report
from benchmarks.window_process import in_a_window

_ALLOWED = {
    "first result (s)": "1.5",
    "inputs to the first result": "5",
    "later strokes, median (s)": "0.3",
    "better network, median (s)": "3",
    "inputs a round but strokes and class keys": "0",
    "longest block (ms)": "50",
    "99th percentile (ms)": "20",
    "frames per second in training": "20, or as without",
    "growth (%)": "5",
}
_PASSED_ON = ("rounds", "minutes", "size", "canvas", "window_threads", "seed", "looking", "panning")
_SCREEN = "1920x1300"
_NOT_IN_THE_TABLE = ("dice", "blocked in", "problem texts")


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sets", default=",".join(SCENES))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--looking", type=float, default=4.0, help="seconds for which the person looks at a result")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long to go on, to watch the memory")
    parser.add_argument("--size", type=int, default=4096, help="side of the synthetic image")
    parser.add_argument("--canvas", type=int, default=1024, help="sides of the canvas on the screen")
    parser.add_argument("--panning", type=float, default=3.0, help="seconds for which frames are counted")
    parser.add_argument("--window-threads", type=int, help="threads of the network; else as the dock chooses")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--explain", action="store_true", help="tell in what the window was held up")
    options = parser.parse_args(argv)
    if options.quick:
        options.sets, options.rounds, options.looking, options.panning = "synthetic", 1, 0.2, 0.2
        options.size, options.canvas = 128, 256
    found = {name: _in_own_window(name, options) for name in options.sets.split(",")}
    rows = _rows(found)
    details = {"seed": options.seed, "looking": options.looking, "sessions": found}
    report("live", "a person paints while the network learns", rows, options.out, **details)
    if options.explain:
        for name, measured in found.items():
            for stack, times in measured["blocked in"]:
                print(f"\n{name}, {times} times in:\n{stack}")


def _in_own_window(name: str, options: argparse.Namespace) -> dict[str, Any]:
    choices = {name: getattr(options, name) for name in _PASSED_ON}
    found: dict[str, Any] = in_a_window("benchmarks.live.window", json.dumps(choices | {"set": name}), screen=_SCREEN)
    return found


def _rows(found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each figure, with a column for each image."""
    first = next(iter(found.values()))
    rows = [
        {"what": what, **{name: measured[what] for name, measured in found.items()}, "allowed": _ALLOWED.get(what, "")}
        for what in first
        if what not in _NOT_IN_THE_TABLE
    ]
    for number in range(len(first["dice"])):
        dices = {name: measured["dice"][number] for name, measured in found.items()}
        rows.append({"what": f"Dice in view after round {number + 1}", **dices, "allowed": ""})
    return rows


if __name__ == "__main__":
    main()
