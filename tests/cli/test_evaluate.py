"""`napari-unet evaluate`: many results against their references, tables in three forms, and files that are no good."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from napari_unet.assess.evaluation import evaluate_labels
from napari_unet.assess.evaluation_config import EvaluationConfig
from napari_unet.cli import evaluation
from napari_unet.data.files import write_image, write_labels

Run = Callable[..., Any]


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Return a folder with results c0_labels.tif, ... in `seg` and references c0.png, ... in `truth`."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    for number in range(3):
        truth, result = np.zeros((40, 48), np.uint8), np.zeros((40, 48), np.uint16)
        for index, (row, column) in enumerate([(10, 10), (10, 34), (28, 22)]):
            shift = rng.integers(-2, 3)
            truth[(y - row) ** 2 + (x - column) ** 2 < 49] = index + 1
            result[(y - row - shift) ** 2 + (x - column) ** 2 < 49] = 40 - index
        for folder in ("seg", "truth"):
            (tmp_path / folder).mkdir(exist_ok=True)
        write_labels(tmp_path / "seg" / f"c{number}_labels.tif", result, "YX")
        write_labels(tmp_path / "truth" / f"c{number}.png", truth)
        inside = np.clip(0.3 * (result > 0) + 0.7 * rng.random(result.shape), 0, 1).astype(np.float32)
        write_image(tmp_path / "seg" / f"c{number}_probabilities.tif", np.stack([1 - inside, inside]), "CYX")
    return tmp_path


def read(path: Path) -> np.ndarray:
    from napari_unet.data.files import read_image

    return np.asarray(read_image(path).array)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def known_scores(folder: Path, number: int, **settings: Any) -> dict[str, float]:
    files = (folder / "seg" / f"c{number}_labels.tif", folder / "truth" / f"c{number}.png")
    return dict(evaluate_labels(*map(read, files), config=EvaluationConfig(**settings)).rows[0].values)


def test_folders_are_scored_and_the_tables_agree(scored: Path, run: Run) -> None:
    tables = ("--csv", scored / "new" / "scores.csv", "--json", scored / "scores.json")
    done = run("evaluate", scored / "seg" / "*_labels.tif", "--reference", scored / "truth", *tables)
    assert done.code == 0, done
    lines = rows_of(scored / "new" / "scores.csv")
    content = json.loads((scored / "scores.json").read_text(encoding="utf-8"))
    printed = list(csv.DictReader(done.out.splitlines()[:5], delimiter="\t"))
    assert [line["name"] for line in lines] == [f"c{n}_labels.tif" for n in range(3)] + ["mean (sum of counts)"]
    assert printed == lines
    for number in range(3):
        known = known_scores(scored, number)
        assert {name: float(lines[number][name]) for name in known} == pytest.approx(known)
        assert content["rows"][number]["values"] == pytest.approx(known)
        assert content["files"][number]["reference"] == str(scored / "truth" / f"c{number}.png")
    assert content["means"]["Dice"] == pytest.approx(np.mean([known_scores(scored, n)["Dice"] for n in range(3)]))
    assert content["settings"]["task"] == "objects"


def test_settings_reach_the_metrics(scored: Path, run: Run) -> None:
    files = (scored / "seg" / "c0_labels.tif", "-r", scored / "truth" / "c0.png", "--json", scored / "s.json")
    assert run("evaluate", *files, "--warping", "--masks", "both").code == 0
    values = json.loads((scored / "s.json").read_text())["rows"][0]["values"]
    assert values == pytest.approx(known_scores(scored, 0, warping=True, masks="both"))
    assert run("evaluate", *files, "--task", "classes", "--predicted-zero", "background").code == 0
    values = json.loads((scored / "s.json").read_text())["rows"][0]["values"]
    known = known_scores(scored, 0, task="classes", predicted_zero="background")
    assert values == pytest.approx({name: None if math.isnan(value) else value for name, value in known.items()})
    options = ("--task", "classes", "--masks", "both", "--classes", "rest, cell")
    assert run("evaluate", *files, *options).code == 0
    assert "Dice: cell" in json.loads((scored / "s.json").read_text())["means"]


def test_probabilities_find_their_results_in_the_same_folder(scored: Path, run: Run) -> None:
    done = run("evaluate", scored / "seg", "-r", scored / "truth", "--json", scored / "s.json",
               "--probabilities", scored / "seg" / "*_probabilities.tif")  # fmt: skip
    assert done.code == 0, done
    rows = json.loads((scored / "s.json").read_text())["rows"]
    for number, row in enumerate(rows):
        chances = read(scored / "seg" / f"c{number}_probabilities.tif")
        truth = read(scored / "truth" / f"c{number}.png")
        result = read(scored / "seg" / f"c{number}_labels.tif")
        assert row["values"]["AUPRC"] == pytest.approx(evaluate_labels(result, truth, chances).means["AUPRC"])


def test_stack_gets_a_row_for_each_frame(tmp_path: Path, run: Run) -> None:
    truth = np.zeros((3, 20, 24), np.uint8)
    truth[:, 4:12, 4:12] = 1
    write_labels(tmp_path / "truth.tif", truth, "TYX")
    write_labels(tmp_path / "stack_labels.tif", np.roll(truth, 2, axis=2), "TYX")
    done = run("evaluate", tmp_path / "stack_labels.tif", "-r", tmp_path / "truth.tif")
    assert done.code == 0, done
    assert [line.split("\t")[0] for line in done.out.splitlines()[1:4]] == [f"stack_labels.tif t={n}" for n in range(3)]
    volume = ("--axes", "ZYX", "--ndim", "3")
    done = run("evaluate", tmp_path / "stack_labels.tif", "-r", tmp_path / "truth.tif", *volume)
    assert [line.split("\t")[0] for line in done.out.splitlines()[1:2]] == ["stack_labels.tif"]


def test_bad_files_are_told_and_the_rest_is_scored(scored: Path, run: Run) -> None:
    (scored / "seg" / "c1_labels.tif").write_bytes(b"not an image")
    write_labels(scored / "truth" / "c2.png", np.zeros((8, 9), np.uint8))
    write_labels(scored / "seg" / "c7_labels.tif", np.zeros((8, 9), np.uint8), "YX")
    done = run("evaluate", scored / "seg" / "*_labels.tif", "-r", scored / "truth", "--csv", scored / "s.csv")
    assert done.code == 1
    errors = [line for line in done.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 3
    assert "There is no reference for c7_labels.tif" in errors[0]
    assert "c1_labels.tif can't be read" in errors[1]
    assert "The shapes differ, (40, 48) in c2_labels.tif and (8, 9) in c2.png" in errors[2]
    assert "Traceback" not in done.err
    names = [line["name"] for line in rows_of(scored / "s.csv")]
    assert names == ["c0_labels.tif", "mean (sum of counts)"]


def test_defect_that_one_file_brings_out_does_not_stop_the_rest(
    scored: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_scores = evaluation.score_frames

    def failing(*arguments: Any, name: str, **options: Any) -> Any:
        if name.startswith("c1"):
            raise RuntimeError("shapes differ")
        return true_scores(*arguments, name=name, **options)

    monkeypatch.setattr(evaluation, "score_frames", failing)
    done = run("evaluate", scored / "seg" / "*_labels.tif", "-r", scored / "truth")
    assert done.code == 1
    assert "Error: c1_labels.tif: unexpected RuntimeError: shapes differ" in done.err
    assert [line.split("\t")[0] for line in done.out.splitlines()[1:3]] == ["c0_labels.tif", "c2_labels.tif"]


def test_order_pairs_the_files_only_where_no_name_does_and_that_is_said(scored: Path, run: Run) -> None:
    (scored / "truth" / "c0.png").rename(scored / "truth" / "x.png")
    (scored / "truth" / "c1.png").rename(scored / "truth" / "y.png")
    results = (scored / "seg" / "c0_labels.tif", scored / "seg" / "c1_labels.tif")
    done = run("evaluate", *results, "-r", scored / "truth" / "x.png", "-r", scored / "truth" / "y.png")
    assert done.code == 0, done
    assert "the order pairs the files: c0_labels.tif with x.png, c1_labels.tif with y.png" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("seg/*_labels.tif", "-r", "gone"), "gone does not exist"),
        (("seg/c0_labels.tif", "seg/c1_labels.tif", "-r", "truth/c2.png"), "2 results but 1 references"),
        (("seg/c0_labels.tif", "-r", "truth/c0.png", "--csv", "scores.txt"), "ends in .csv"),
        (("seg/c0_labels.tif", "-r", "truth/c0.png", "--json", "truth/c0.png/x.json"), "can't be written"),
        (("seg/c0_labels.tif", "-r", "truth/c0.png", "--ndim", "3"), "c0_labels.tif: Volumes need an axis Z"),
        (("seg/c0_probabilities.tif", "-r", "truth/c0.png"), "does not hold labels"),
    ],
)
def test_wrong_input_ends_with_one_line(
    scored: Path, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(scored)
    assert words in run("evaluate", *arguments).error_line()
    assert not Path("scores.txt").exists()


def test_old_table_stays_when_nothing_could_be_scored(scored: Path, run: Run) -> None:
    (scored / "s.csv").write_text("old")
    (scored / "seg" / "c0_labels.tif").write_bytes(b"")
    arguments = (scored / "seg" / "c0_labels.tif", "-r", scored / "truth" / "c0.png", "--csv", scored / "s.csv")
    assert run("evaluate", *arguments).code == 1
    assert (scored / "s.csv").read_text() == "old"


@pytest.mark.parametrize("count", [1, 3, 6])
def test_terminal_shows_a_table_for_a_person(
    scored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    class Terminal(Console):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, force_terminal=True, width=100, no_color=True)

    monkeypatch.setattr(evaluation, "Console", Terminal)
    table = evaluation.EvaluationTable.join(
        [evaluate_labels(np.eye(9, dtype=int), np.eye(9, dtype=int), name=f"cells {n}") for n in range(count)]
    )
    evaluation.show_scores(evaluation.Scores(table, (), ()))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "Dice" in shown
    assert f"cells {count - 1}" in shown
    assert ("mean" in shown) == (count > 1)
    assert ("--csv" in shown) == (count > 4)
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 100
