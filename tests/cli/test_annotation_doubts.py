"""Training says so where a mask of single objects is read as something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_unet.data.object_masks import numbers_in_one_piece, takes_object_for_background


@pytest.fixture
def objects() -> np.ndarray:
    """25 discs, each with a number of its own, 0 around them."""
    y, x = np.mgrid[:96, :96]
    mask = np.zeros((96, 96), np.uint16)
    for number in range(25):
        cy, cx = 10 + 18 * (number // 5), 10 + 18 * (number % 5)
        mask[(y - cy) ** 2 + (x - cx) ** 2 < 40 + number] = number + 1
    return mask


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "looks like a mask of single objects, but its number 1 is learnt as background"),
        (("--task", "classes"), "holds 25 numbers, nearly each in one piece"),
        (("--task", "classes", "--labels-are", "ground-truth"), "use --task objects; if they are classes, name them"),
        (("--labels-are", "ground-truth"), ""),
        (("--task", "classes", "--classes", ",".join(f"organ {n}" for n in range(26))), ""),
    ],
)
def test_a_mask_of_objects_used_as_something_else_is_told_once(
    tmp_path: Path, run: Callable[..., Any], objects: np.ndarray, options: tuple[str, ...], words: str
) -> None:
    image = np.random.default_rng(0).normal(objects > 0, 0.2).astype(np.float32)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", image)
        np.save(tmp_path / f"{name}_mask.npy", objects)
    network = ("--features", 4, "--depth", 1, "--device", "cpu", "--batch-size", 1, "--crop", 32, "--steps", 1)
    files = (tmp_path / "a.npy", tmp_path / "b.npy", "-a", tmp_path / "*_mask.npy", "-o", tmp_path / "m.safetensors")
    done = run("train", *files, *network, *options)
    assert done.code == 0, done
    warnings = [line for line in done.err.splitlines() if line.startswith("Warning")]
    assert len(warnings) == bool(words)
    assert not words or ("a_mask.npy" in warnings[0] and words in warnings[0])


def test_strokes_and_classes_are_not_taken_for_objects(objects: np.ndarray) -> None:
    strokes = np.where(objects > 0, objects + 1, 0)
    strokes[::16] = 1  # several strokes of background
    classes = objects % 12
    rings = np.where(ndimage.binary_dilation(objects > 0, iterations=2) & (objects == 0), 1, 0)
    rings += np.where(objects > 0, objects + 1, 0)  # as accepted objects are painted
    organs = np.where(objects <= 8, objects, 0)
    assert not takes_object_for_background(strokes)
    assert not takes_object_for_background(np.where(objects > 0, objects + 1, 1))
    assert not takes_object_for_background(rings)
    assert not numbers_in_one_piece(classes)
    assert not numbers_in_one_piece(organs)
    assert not numbers_in_one_piece((objects > 0).astype(np.uint8))
    assert numbers_in_one_piece(objects) == 25
    assert numbers_in_one_piece(np.stack([objects] * 3)) == 25
    assert numbers_in_one_piece(objects.astype(np.uint32) * 1_000_003) == 25
    assert numbers_in_one_piece(np.where(objects == 5, 6, objects)) == 24  # one of many in two pieces
    assert takes_object_for_background(objects)
