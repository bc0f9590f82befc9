"""Real images through the terminal: fully annotated ones for quality, and every kind of axes from file to file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_unet.assess.metrics import average_precision, dice
from napari_unet.data.files import read_image, write_image, write_labels
from napari_unet.data.simulated_strokes import simulate_strokes
from napari_unet.data.synthetic import cells

QUICK = ("--features", 4, "--depth", 2, "--device", "cpu", "--batch-size", 2, "--steps", 25)
Run = Callable[..., Any]


@pytest.mark.slow
def test_two_annotated_images_and_a_short_training_segment_four_others(
    tmp_path: Path, run: Run, real_data: Any, capsys: Any
) -> None:
    data = real_data("nuclei_fluo_dsb2018")
    for number in range(6):
        folder = "train" if number < 2 else "test"
        write_image(tmp_path / folder / f"n{number}.tif", data[f"image_{number:02d}"], "YX", None)
        write_labels(tmp_path / f"{folder}_truth" / f"n{number}.tif", data[f"label_{number:02d}"], "YX", None)
    model = tmp_path / "m.unet.safetensors"
    truth = ("-a", tmp_path / "train_truth", "--labels-are", "ground-truth")
    budget = ("--steps", 160, "--seconds", 280)  # half a minute on a quiet core
    done = run("train", tmp_path / "train", *truth, "-o", model, *budget, "--features", 16, "--device", "cpu")
    assert done.code == 0, done
    assert run("predict", model, tmp_path / "test", "-o", tmp_path / "out", "--device", "cpu").code == 0
    pairs = [
        (np.asarray(read_image(tmp_path / "out" / f"n{number}_labels.tif").array), data[f"label_{number:02d}"])
        for number in range(2, 6)
    ]
    found = [dice(predicted, reference) for predicted, reference in pairs]
    objects = [average_precision(predicted, reference) for predicted, reference in pairs]
    with capsys.disabled():
        print(
            f"\nfour unseen images: Dice {np.round(found, 3)}, mean {np.mean(found):.3f}; AP50 {np.mean(objects):.3f}"
        )
    assert np.mean(found) >= 0.85


def go_through(folder: Path, run: Run, image: Any, strokes: Any, axes: str, *options: object) -> np.ndarray:
    """Write image and strokes to files, train, predict and read the result."""
    write_image(folder / "a.tif", image, axes, None)
    write_labels(folder / "a_strokes.tif", strokes, axes.replace("S", ""), None)
    model = folder / "m.unet.safetensors"
    files = (folder / "a.tif", "-a", folder / "a_strokes.tif", "-o", model, "--axes", axes)
    trained = run("train", *files, *QUICK, *options)
    assert trained.code == 0, trained
    predicted = run("predict", model, folder / "a.tif", "--axes", axes, "-o", folder / "out", "--device", "cpu")
    assert predicted.code == 0, predicted
    result = read_image(folder / "out" / "a_labels.tif")
    assert result.axes == axes.replace("S", "")
    return np.asarray(result.array)


@pytest.mark.parametrize("name", ["tiny_samples", "embryo_nuclei_3d"])
def test_a_volume_goes_through_the_terminal(tmp_path: Path, run: Run, real_data: Any, name: str) -> None:
    data = real_data(name)
    keys = ("stardist_img3d", "stardist_mask3d") if name == "tiny_samples" else ("image_00", "label_00")
    image, truth = (data[key] for key in keys)
    middle = len(truth) // 2
    strokes = simulate_strokes(truth, slices=[middle - 4, middle, middle + 4], length=15)
    labels = go_through(tmp_path, run, image, strokes, "ZYX", "--ndim", 3)
    assert labels.shape == image.shape
    assert labels[middle].any()


def test_a_colour_image_goes_through_the_terminal(tmp_path: Path, run: Run, real_data: Any) -> None:
    data = real_data("nuclei_he_dsb2018")
    image, truth = data["images"][0], data["labels"][0]
    strokes = simulate_strokes((truth > 0).astype(np.uint8), task="classes")
    labels = go_through(tmp_path, run, image, strokes, "YXS", "--task", "classes")
    assert labels.shape == image.shape[:2]
    assert set(np.unique(labels)) == {1, 2}


def test_a_time_series_goes_through_the_terminal(tmp_path: Path, run: Run) -> None:
    example = cells((4, 96, 96), axes="TYX", seed=1)
    strokes = simulate_strokes(example.labels, slices=[1])
    labels = go_through(tmp_path, run, example.image, strokes, "TYX", "--steps", 100, "--features", 8)
    assert labels.shape == example.image.shape
    assert labels.any(axis=(1, 2)).all()
