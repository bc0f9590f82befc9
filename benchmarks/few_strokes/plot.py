"""Draw the race's figures: Dice over seconds of training, one panel for each set and number of strokes.

`python -m benchmarks.few_strokes.plot few_strokes.json few_strokes.png`
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

__all__ = ["draw_curves", "main"]

_COLOURS = {"forest": "#7f7f7f", "closed form": "#56b4e9", "ours": "#d55e00", "scratch": "#009e73", "monai": "#cc79a7"}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path, nargs="+", help="what the race wrote; several files are joined")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    options = parser.parse_args(argv)
    rows = [row for path in options.figures for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    draw_curves(rows, options.picture)


def draw_curves(rows: Sequence[dict[str, Any]], picture: Path) -> None:
    """Draw the rows of the race's table; a bar shows the spread over the seeds."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    strokes = list(dict.fromkeys(row["strokes"] for row in rows))
    size = (2.4 * len(sets) + 0.6, 2.2 * len(strokes) + 0.9)
    figure, panels = pyplot.subplots(
        len(strokes), len(sets), figsize=size, squeeze=False, sharex=True, layout="constrained"
    )
    for line, number in zip(panels, strokes, strict=True):
        for panel, name in zip(line, sets, strict=True):
            _draw_panel(panel, [row for row in rows if (row["set"], row["strokes"]) == (name, number)])
            panel.set_title(f"{name}, {number}", fontsize=8)
        line[0].set_ylabel("Dice")
    for panel in panels[-1]:
        panel.set_xlabel("seconds of training")
    handles: dict[str, Any] = {}
    for panel in panels.flat:
        handles |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)


def _draw_panel(panel: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for contender in dict.fromkeys(row["contender"] for row in rows):
        own = sorted((row for row in rows if row["contender"] == contender), key=lambda row: row["seconds"])
        colour = _COLOURS.get(contender)
        if len(own) == 1:  # not trained
            panel.axhline(own[0]["Dice"], color=colour, linestyle="--", linewidth=1, label=contender)
            continue
        panel.errorbar(
            [row["seconds"] for row in own], [row["Dice"] for row in own], [row["spread"] for row in own],
            color=colour, linewidth=1.4, capsize=2, label=contender,
        )  # fmt: skip
    panel.set_ylim(0, 1)
    panel.grid(alpha=0.25)


if __name__ == "__main__":
    main()
