from __future__ import annotations

import math

from pytestqt.qtbot import QtBot

from napari_unet.learn.events import FitFinished, FitProgress, FitRecovered, FitScored, FitStarted
from napari_unet.widgets.training.plot import TrainingPlot
from napari_unet.widgets.training.status import Curve, TrainingStatus, describe_training


def trained() -> TrainingStatus:
    status = TrainingStatus()
    status.take(FitStarted(0, 0.5, "CPU, 1 thread", held_out=True))
    status.take(FitProgress(1, 2.0, 0.8, 0.1, 18.0))
    status.take(FitScored(20, 9.0, 0.91, 0.91, improved=True))
    status.take(FitScored(40, 18.0, 0.87, 0.91, improved=False))
    status.take(FitProgress(41, 42.0, 0.3, 0.7, 18.0))
    return status


def test_the_headline_says_score_best_and_time() -> None:
    assert trained().headline == "score 0.87 (held out), best 0.91 · 0:42, 0:18 left"


def test_what_was_stopped_before_its_first_score_promises_none() -> None:
    status = TrainingStatus()
    status.take(FitStarted(0, 0.5, "CPU, 1 thread", held_out=True))
    status.take(FitProgress(3, 4.0, 0.8, None, None))
    assert status.headline == "first score follows · 0:04"
    assert describe_training(status, None) == "no score yet · 0:04"


def test_at_the_end_only_the_best_counts() -> None:
    status = trained()
    status.take(FitFinished(60, 60.2, 0.91, stopped=False))
    assert status.headline == "score 0.91 (best, held out) · 1:00"
    assert status.fraction == 1.0


def test_it_says_so_where_nothing_could_be_held_out() -> None:
    status = TrainingStatus()
    status.take(FitStarted(0, 0.5, "CPU", held_out=False, note="Paint one more stroke of cell."))
    status.take(FitProgress(3, 4.0, math.nan, None, None))
    assert status.headline == "no held-out score · 0:04"
    assert status.note == "Paint one more stroke of cell."
    assert status.loss.points == []
    status.take(FitRecovered(3, 4.0, "The memory was not enough."))
    assert status.note == "The memory was not enough."


def test_a_long_curve_stays_short_and_keeps_its_ends() -> None:
    curve = Curve()
    for x in range(100_000):
        curve.add(float(x), float(x))
    assert len(curve.points) <= 400
    assert curve.points[0] == (0.0, 0.0)
    assert curve.points[-1][0] > 99_000


def test_the_plot_draws_both_lines_in_their_colours(qtbot: QtBot) -> None:
    plot = TrainingPlot()
    qtbot.addWidget(plot)
    plot.resize(300, 120)

    def colours() -> set[str]:
        picture = plot.grab().toImage()
        return {picture.pixelColor(x, y).name() for x in range(40, 260) for y in range(25, 100)}

    assert not {"#e69f00", "#2bb58a"} & colours()
    plot.show_status(trained())
    assert {"#e69f00", "#2bb58a"} <= colours()
