"""`napari-unet train`: from files to a model file, whatever comes in between."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_unet.assess.metrics import dice
from napari_unet.data.files import read_image, write_image, write_labels
from napari_unet.models.model import Model

QUICK = ("--features", 4, "--depth", 1, "--device", "cpu", "--batch-size", 2, "--crop", 32)


@pytest.mark.parametrize(
    ("annotation", "options"), [("strokes/*.tif", ()), ("masks/*.png", ("--labels-are", "ground-truth"))]
)
def test_model_that_is_trained_on_files_finds_the_objects(
    squares: Path, run: Callable[..., Any], annotation: str, options: tuple[str, ...]
) -> None:
    out = squares / "new" / "m.unet.safetensors"
    network = ("--features", 8, "--depth", 2, "--device", "cpu", "--batch-size", 4, "--crop", 48)
    files = (squares / "img1.tif", "-a", squares / annotation.replace("*", "img1*"), "-o", out)
    done = run("train", *files, "--steps", 60, *network, *options)
    assert done.code == 0, done
    assert f"Model: {out}" in done.out
    assert "60 steps" in done.out
    model = Model.load(out)
    assert (model.task, model.spacing, model.history["steps"]) == ("objects", (0.5, 0.25), 60)
    predicted = run("predict", out, squares / "img2.tif", "-o", squares / "out", "--device", "cpu")
    assert predicted.code == 0, predicted
    labels = np.asarray(read_image(squares / "out" / "img2_labels.tif").array)
    truth = np.asarray(read_image(squares / "masks" / "img2_mask.png").array)
    assert dice(labels, truth) > 0.75
    assert np.unique(labels).size == 5


def test_pairs_are_told_and_settings_reach_the_training(squares: Path, run: Callable[..., Any]) -> None:
    files = (squares, "-a", squares / "strokes", "-o", squares / "m.safetensors")
    chosen = ("--task", "classes", "--classes", "rest, a,b ,c,d", "--norm", "none", "--no-flips", "--seed", 3,
              "--loss", "cross-entropy+boundary")  # fmt: skip
    done = run("train", *files, "--steps", 2, *QUICK, *chosen)
    assert done.code == 0, done
    assert "img1.tif  with  img1.tif" in done.err
    assert "img2.tif  with  img2.tif" in done.err
    model = Model.load(squares / "m.safetensors")
    assert model.config.classes == ("rest", "a", "b", "c", "d")
    assert (model.config.norm, model.config.features, model.task) == (None, 4, "classes")


def test_classes_are_counted_where_they_are_not_named(squares: Path, run: Callable[..., Any]) -> None:
    run("train", squares, "-a", squares / "strokes", "-o", squares / "m.safetensors", "--steps", 1, *QUICK,
        "--task", "classes")  # fmt: skip
    assert Model.load(squares / "m.safetensors").config.classes[3:] == ("class 4", "class 5")


def test_training_goes_on_from_a_model(squares: Path, run: Callable[..., Any], untrained: Path) -> None:
    arguments = ("train", squares / "img1.tif", "-a", squares / "strokes" / "img1.tif", "--start", untrained)
    out = squares / "m.safetensors"
    assert run(*arguments, "-o", out, "--steps", 1, "--device", "cpu").code == 0
    assert Model.load(out).config == Model.load(untrained).config


def test_training_starts_from_a_model_that_does_not_fit_wholly(
    squares: Path, tmp_path: Path, run: Callable[..., Any], untrained: Path
) -> None:
    """Other channels, more classes, another depth, a renamed class: the layers that fit are kept, the rest is told."""
    out, strokes = squares / "m.safetensors", squares / "strokes" / "img1.tif"
    gray = np.asarray(read_image(squares / "img1.tif").array)
    write_image(tmp_path / "img1.png", np.stack([gray] * 3, -1).astype(np.uint8), "YXS")
    before = untrained.read_bytes()
    common = ("--start", untrained, "-o", out, "--steps", 1, "--device", "cpu", "--learning-rate", 1e-7)
    done = run("train", tmp_path / "img1.png", "-a", strokes, *common, "--task", "classes", "--depth", 3)
    assert done.code == 0, done
    old, new = Model.load(untrained), Model.load(out)
    assert (new.config.in_channels, new.config.depth, new.config.features) == (3, 3, old.config.features)
    assert new.config.classes[:2] == old.config.classes
    assert new.config.classes[3:] == ("class 4", "class 5")
    assert "adapted from 1 to 3 channels" in done.err
    assert "made anew for 'class 3', 'class 4' and 'class 5'" in done.err
    key = "merge.0.layers.3.weight"
    assert np.allclose(new.network.state_dict()[key], old.network.state_dict()[key], atol=1e-4)
    assert untrained.read_bytes() == before
    renamed = run("train", squares / "img1.tif", "-a", strokes, *common, "--classes", "rest,cell")
    assert renamed.code == 0, renamed
    assert Model.load(out).config.classes == ("rest", "cell")
    words = run("train", squares / "img1.tif", "-a", strokes, *common, "--features", 5).error_line()
    assert "start with a new model" in words


def test_an_encoder_is_kept_only_if_there_is_one_to_keep(
    squares: Path, run: Callable[..., Any], untrained: Path
) -> None:
    files = ("train", squares / "img1.tif", "-a", squares / "strokes" / "img1.tif", "--freeze-encoder")
    first, second = squares / "first.safetensors", squares / "second.safetensors"
    options = ("--steps", 1, "--device", "cpu")
    assert "has learnt nothing" in run(*files, "-o", first, "--start", untrained, *options).error_line()
    assert run(*files[:-1], "-o", first, "--start", untrained, *options).code == 0
    assert "has learnt nothing" in run(*files, "-o", second, "--start", first, "--depth", 2, *options).error_line()
    assert run(*files, "-o", second, "--start", first, "--classes", "rest,cell", *options).code == 0
    old, new = (Model.load(path).network.state_dict() for path in (first, second))
    assert all(np.array_equal(value, new[key]) for key, value in old.items() if key.startswith("down"))
    assert not np.array_equal(old["head.weight"], new["head.weight"])


def test_rgb_image_and_volume_are_trained_on(tmp_path: Path, run: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    strokes = np.zeros((12, 40, 40), np.uint8)
    strokes[:, 2:6], strokes[:, 20:30] = 1, 2
    write_image(tmp_path / "rgb.png", rng.integers(0, 255, (40, 40, 3), dtype=np.uint8), "YXS")
    write_labels(tmp_path / "rgb_strokes.png", strokes[0])
    write_image(tmp_path / "volume.tif", rng.integers(0, 255, (12, 40, 40), dtype=np.uint8), "ZYX", (2.0, 1.0, 1.0))
    write_labels(tmp_path / "volume_strokes.tif", strokes, "ZYX", (2.0, 1.0, 1.0))
    for name, ending, options in (("rgb", "png", ()), ("volume", "tif", ("--ndim", 3)), ("volume", "tif", ())):
        out = tmp_path / f"{name}{len(options)}.safetensors"
        files = (tmp_path / f"{name}.{ending}", "-a", tmp_path / f"{name}_strokes.{ending}", "-o", out)
        assert run("train", *files, "--steps", 1, *QUICK, *options).code == 0
        result = run("predict", out, files[0], "-o", tmp_path / "out", "--overwrite", "--device", "cpu")
        assert result.code == 0, result
        labels = read_image(tmp_path / "out" / f"{name}_labels.{ending}")
        assert labels.array.shape == ((12, 40, 40) if name == "volume" else (40, 40))
    assert Model.load(tmp_path / "rgb0.safetensors").config.in_channels == 3
    assert Model.load(tmp_path / "volume2.safetensors").config.ndim == 3


def _cases(folder: Path) -> dict[str, tuple[list[object], str]]:
    image, strokes, out = folder / "img1.tif", folder / "strokes" / "img1.tif", folder / "m.safetensors"
    empty, one, other, small = (folder / f"{name}.png" for name in ("empty", "one", "other", "small"))
    labels = np.zeros((64, 72), np.uint8)
    write_labels(empty, labels)
    labels[:8] = 1
    write_labels(one, labels)
    write_labels(small, labels[:10])
    write_image(folder / "flat.tif", np.full((64, 72), 7, np.uint8), "YX")
    write_image(other, np.random.default_rng(0).integers(0, 255, (64, 72, 3), dtype=np.uint8), "YXS")
    return {
        "missing image": ([folder / "gone.tif", "-a", strokes, "-o", out], "gone.tif does not exist"),
        "missing annotation": ([image, "-a", folder / "gone.png", "-o", out], "gone.png does not exist"),
        "other shape": ([image, "-a", small, "-o", out], "shape (10, 72)"),
        "nothing painted": ([image, "-a", empty, "-o", out], "Nothing is painted"),
        "one class": ([image, "-a", one, "-o", out], "--labels-are ground-truth"),
        "no contrast": ([folder / "flat.tif", "-a", strokes, "-o", out], "flat.tif"),
        "colours as annotation": ([image, "-a", other, "-o", out], "other.png is a colour picture"),
        "wrong axes": ([image, "-a", strokes, "-o", out, "--axes", "ZYX"], "'ZYX'"),
        "image as model": ([image, "-a", strokes, "-o", image], "name that ends in .safetensors"),
        "no such device": ([image, "-a", strokes, "-o", out, "--device", "abacus"], "'abacus'"),
        "too few classes": (
            [image, "-a", strokes, "-o", out, "--task", "classes", "--classes", "a,b"], "only 2 classes"
        ),
        "one class name": ([image, "-a", strokes, "-o", out, "--classes", "a"], "`classes`"),
        "same file twice": ([image, "-a", strokes, "-o", out, "--checkpoint", out], "different names"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "case",
    ["missing image", "missing annotation", "other shape", "nothing painted", "one class", "no contrast",
     "colours as annotation", "wrong axes", "image as model", "no such device", "too few classes", "one class name",
     "same file twice"],
)  # fmt: skip
def test_bad_input_ends_with_one_line_and_no_model(squares: Path, run: Callable[..., Any], case: str) -> None:
    arguments, words = _cases(squares)[case]
    before = (squares / "img1.tif").read_bytes()
    assert words in run("train", *arguments, "--steps", 1).error_line()
    assert not (squares / "m.safetensors").exists()
    assert (squares / "img1.tif").read_bytes() == before


@pytest.mark.parametrize("arguments", [["--features", "0"], ["--norm", "odd"], ["--no-such"], ["--seconds", "soon"]])
def test_usage_errors_have_exit_code_2(squares: Path, run: Callable[..., Any], arguments: list[str]) -> None:
    files = ("train", squares, "-a", squares / "strokes", "-o", squares / "m.safetensors")
    assert run(*files, *arguments).code == 2


def _wait_for_steps(process: subprocess.Popen[str]) -> str:
    """Read the error stream up to the first line of progress behind a step."""
    assert process.stderr is not None
    seen = ""
    while not re.search(r"Training .* step [1-9]", seen):
        line = process.stderr.readline()
        assert line, f"the process ended: {seen}"
        seen += line
    return seen


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_training_keeps_the_best_model(
    squares: Path, start_process: Callable[..., Any], number: int
) -> None:
    out = squares / "m.safetensors"
    process = start_process(
        "train", squares, "-a", squares / "strokes", "-o", out, *QUICK, "--seconds", 1000, "--validate-every", 1
    )
    _wait_for_steps(process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    assert "Stopped: " in stdout
    assert "Stopping; the best model so far is kept" in stderr
    assert Model.load(out).history["steps"] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.slow
def test_killed_training_leaves_the_old_model_and_goes_on_from_its_checkpoint(
    squares: Path, start_process: Callable[..., Any], run: Callable[..., Any]
) -> None:
    out, checkpoint = squares / "m.safetensors", squares / "run.safetensors"
    Model.create().save(out)
    before = out.read_bytes()
    arguments = ("train", squares, "-a", squares / "strokes", "-o", out, "--checkpoint", checkpoint, *QUICK)
    process = start_process(*arguments, "--seconds", 100, "--validate-every", 1)
    _wait_for_steps(process)
    for _ in range(600):
        if checkpoint.exists():
            break
        time.sleep(0.1)
    process.kill()
    process.communicate(timeout=200)
    assert out.read_bytes() == before
    assert checkpoint.exists()
    assert run(*arguments, "--steps", 1, "--validate-every", 1).code == 0
    assert Model.load(out).history["steps"] > 1


# ------------------------------------------------------------------------------------------- what it begins with


def test_it_begins_with_the_starting_weights(run: Callable[..., Any], squares: Path) -> None:
    files = [squares / "img1.tif", "-a", squares / "strokes" / "img1.tif", "--out", squares / "m.unet.safetensors"]
    result = run("train", *files, "--steps", 1, "--batch-size", 1, "--crop", 32)
    assert result.code == 0, result
    assert "scratch" not in result.err
    model = Model.load(squares / "m.unet.safetensors")
    assert model.closed_form is not None
    assert model.history["start"]["pretrained"] is True


def test_from_scratch_and_other_networks_do_not(run: Callable[..., Any], squares: Path) -> None:
    files = [squares / "img1.tif", "-a", squares / "strokes" / "img1.tif", "--out", squares / "m.unet.safetensors"]
    for option, told in ((["--from-scratch", "--depth", 1], False), (["--features", 4, "--depth", 1], True)):
        result = run("train", *files, "--steps", 1, "--batch-size", 1, "--crop", 32, *option)
        assert result.code == 0, result
        assert ("Training from scratch: the starting weights are for another network" in result.err) == told
        assert Model.load(squares / "m.unet.safetensors").closed_form is None
    both = run("train", *files, "--from-scratch", "--start", squares / "m.unet.safetensors")
    assert "--from-scratch begins with random weights" in both.error_line()
